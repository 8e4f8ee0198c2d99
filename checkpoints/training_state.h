// What a checkpoint stores, in logical terms: ranges of named parameters, never the flat space's cuts or padding.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/device.h"
#include "core/dtype.h"
#include "data/sampler.h"

namespace gta {

inline int64_t elements_of(const std::vector<int64_t>& shape) {
  int64_t elements = 1;
  for (int64_t size : shape) elements *= size;
  return elements;
}

struct StateRange {
  std::string part;            // "master", "exp_avg", "exp_avg_sq"
  std::string parameter;       // Hugging Face's name
  std::vector<int64_t> shape;  // of the whole parameter
  DType dtype;
  int64_t first, count;  // elements of the flattened parameter
  void* data;            // memory of count elements on the device
  Device device = {};

  int64_t elements() const { return elements_of(shape); }  // of the whole parameter
  bool whole() const { return first == 0 && count == elements(); }
  int64_t bytes() const { return count * static_cast<int64_t>(size_of(dtype)); }
};

struct TrainingPosition {
  int64_t step = 0, tokens = 0;
  int64_t next_sample = 0;  // the sampler's whole state, beside its order
  SampleOrder order = SampleOrder::Shuffle;
  int64_t updates = 0;  // of the optimizer
  int64_t skipped_steps = 0, consecutive_skipped = 0;
  uint64_t data_hash = 0;
  // not within a row of skipped steps, and its weights of a size that trained ones have: worth going back to
  bool sound = true;
  friend bool operator==(const TrainingPosition&, const TrainingPosition&) = default;
};

struct TrainingState {
  TrainingPosition position;
  std::string config_yaml;  // resolved
  std::string tokenizer;    // the file's bytes
  std::vector<StateRange> ranges;
};

}  // namespace gta
