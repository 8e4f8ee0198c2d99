// Decoding and prefill of one model on random weights: what a token costs at a given length of what is cached.
//
// The cache is filled with random numbers up to the length, as a prompt would have, and `tokens` more are decoded one
// after the other, in all sequences at once. Prefill reads a prompt of the length in chunks.
#pragma once

#include <cstdint>
#include <memory>

#include "core/measure/timing.h"
#include "layers/transformer/causal_lm.h"

namespace gta {

struct DecodePoint {
  int64_t context = 0;  // tokens cached of each sequence
  int64_t sequences = 1;
};

struct DecodeMeasurement {
  DecodePoint at;
  Timing step;              // one token of every sequence
  int64_t cache_bytes = 0;  // of `context` tokens of all sequences, as the allocator has them
  double bytes = 0;         // that a step reads at least: every weight once, and the cached
  double flops = 0;         // of a step
  // A step's bytes/s in those of a copy (read and written together) and of reading the whole cache in order, made right
  // beside it: medians.
  double of_copy = 0, of_read = 0;
  double prefill_seconds = 0;  // of the whole prompt of one sequence; 0: not measured
  double tokens_per_second() const { return static_cast<double>(at.sequences) / step.median; }
};

enum class MemoryLimits : uint8_t { Measured, NotMeasured };  // of_copy and of_read, or 0
enum class WeightFormat : uint8_t { AsComputed, Int8 };       // of matrices: the dtype of compute, or bytes

struct DecodeFormats {
  DType compute, cache;
  WeightFormat weights = WeightFormat::AsComputed;
};

class DecodeBenchmark {
 public:
  // Random weights, the same for every variant's common parts.
  DecodeBenchmark(const ModelConfig& model, const DecodeFormats& formats, Device device);
  DecodeMeasurement measure(const DecodePoint& at, int64_t tokens, MemoryLimits limits) const;
  // Of each sequence at most: one to warm up, those that are timed, as many beside the limits.
  static constexpr int64_t decoded(int64_t tokens) { return 2 * tokens + 1; }
  double measure_prefill(int64_t context, int64_t chunk) const;  // seconds
  int64_t weight_bytes() const { return weight_bytes_; }         // that a token multiplies with

 private:
  ModelConfig config_;
  std::unique_ptr<ParameterSpace> space_;
  std::unique_ptr<CausalLm> model_;
  DecodeFormats formats_;
  Device device_;
  int64_t weight_bytes_ = 0, multiplying_ = 0;  // weights that a token multiplies with
};

}  // namespace gta
