// What an ablation's file expands to: arms (a variant at a size, made equal to the baseline there) and their cells (an
// arm with a seed), each of which is an ordinary run.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "launch/ablate/ablation_file.h"
#include "launch/ablate/matcher.h"

namespace gta {

struct Arm {
  std::string name;           // VARIANT, VARIANT-unmatched, with a size VARIANT-SIZE
  std::string variant, size;  // "" where there are no sizes
  bool is_baseline = false;
  bool unmatched = false;  // as it was, beside what was made equal
  RunConfig config;        // without a seed of its own; vocabulary and lengths are resolved for counting alone
  Match match;             // its config is what is counted
};

// Of the size's baseline first, then as in the file; size after size. Error(BadInput) with all that is wrong with any
// of them: a configuration, a budget that cannot be met.
std::vector<Arm> arms_of(const AblationFile& file);

struct CellPlan {
  std::string name;  // ARM-seed-S
  size_t arm;
  int64_t seed;
  RunConfig config;
  std::map<std::string, std::string> keys = {};  // that tell it from others: its variant, seed and what differs
};

// Seed after seed, so that what is there after a while compares all arms.
std::vector<CellPlan> cells_of(const AblationFile& file, const std::vector<Arm>& arms);

// The trials of a search (AblationFile::tune) over a grid: ARM-VALUE-seed-S, with the budget's adjustments.
struct Trial {
  CellPlan cell;
  double value;
};
std::vector<Trial> trials_of(const AblationFile& file, const std::vector<Arm>& arms, const std::vector<double>& values);

}  // namespace gta
