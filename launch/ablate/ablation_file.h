// An ablation's file: which runs are compared, and what is made equal before.
//
//   name: kjv-attention
//   base: quickstart.yaml                  # a run's file: everything that is not named below comes from there
//   baseline: gqa                          # one of the variants
//   seeds: [1, 2, 3]
//   set: {train.steps: 200}                # for every cell
//   variants:                              # name -> keys that change
//     gqa: {model.attention.type: gqa}
//     gta: {model.attention.type: gta}
//   equal: parameters                      # flops, attention_flops, cache_bytes, none
//   adjust: [model.intermediate_size]      # what may be changed for it, of every variant but the baseline
//   tolerance: 0.005                       # of the baseline's
//   unmatched: true                        # every variant that was adjusted once more as it was
//   sizes: {small: {model.layers: 2}, large: {model.layers: 8}}    # every variant and seed at each
//   tune: {keys: {optimizer.learning_rate: [1.0e-3, 2.0e-3, 4.0e-3]}, seeds: [101], steps: 100}
//   test: [shards/test-*.h5]               # evaluated once, at the end
//   compare: {practical_difference: 0.005} # nats; smaller ones are called practically equal
//
// Read strictly: unknown keys, wrong types and values out of range are refused, all at once, with file, line and
// column.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "launch/ablate/cost.h"
#include "launch/config/yaml_reader.h"

namespace gta {

// Some keys of a configuration under a name.
struct Variation {
  std::string name;
  PlacedValues keys;
};

// A grid of values, of which each variant takes the one whose runs end with the lowest validation loss.
struct Tuning {
  std::string key;             // a number's
  std::vector<double> values;  // rising, two or more
  std::vector<int64_t> seeds;  // none of those that count
  int64_t steps = 0;           // of such a run; 0: as many as the others have
};

struct AblationFile {
  std::string path;
  std::string name, base, baseline;
  std::vector<int64_t> seeds;
  PlacedValues set;
  std::vector<Variation> variants;  // the baseline among them
  std::vector<Variation> sizes;     // none: the base's own
  Budget equal = Budget::None;
  std::vector<std::string> adjust;
  double tolerance = 0.005;
  bool unmatched = false;
  std::optional<Tuning> tune;
  std::vector<std::string> test;  // files
  double practical_difference = 0.005;
};

// Overrides are `key.path=value` of the configurations, over `set`. Error(BadInput) with all problems, a line each.
AblationFile read_ablation(const std::string& path, const std::vector<std::string>& overrides);

// Every key, with absolute paths: what read_ablation() reads to the same cells, wherever it lies.
std::string to_yaml(const AblationFile& file);

}  // namespace gta
