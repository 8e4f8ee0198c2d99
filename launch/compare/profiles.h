// What a run's last rows say about its parts: the loss by position in the context and by length of the document, and
// what `train.diagnose_every_steps` measures layer by layer, side by side for all variants.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "launch/compare/comparison.h"

namespace gta {

// One quantity over the parts of a model or of a text.
struct Profile {
  std::string key;  // "loss/position"
  std::string title, x_label, y_label;
  std::string explanation;                // a sentence: what it is, and what to look for
  std::vector<std::string> labels;        // of x: "3-4", "0", "embed_tokens"; in their order
  int64_t first_step = 0, last_step = 0;  // of the rows

  struct Line {
    std::string variant;
    std::vector<Estimate> values;  // one for each label; without values where no run has the number
  };
  std::vector<Line> lines;  // in the order of the variants, those that have any number
};

inline constexpr size_t kMostLabels = 256;  // of a profile; no more are taken

// Of the runs that count (RunRecord::last_rows); in an order of their own, those without any number left out.
std::vector<Profile> profiles_of(const Comparison& comparison);

}  // namespace gta
