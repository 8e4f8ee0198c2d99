// What a run's last rows say about its parts: the loss by position in the context and by length of the document, and
// what `train.diagnose_every_steps` measures layer by layer, side by side for all variants.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "launch/compare/comparison.h"

namespace gta {

// The last rows of a run's metrics.jsonl of the kinds "breakdown" and "diagnosis": "loss/position/3-4",
// "map_entropy/layers.0". Empty where there are none.
struct LastRows {
  int64_t breakdown_step = 0, diagnosis_step = 0;
  std::map<std::string, double> breakdown, diagnosis;
};
LastRows last_rows(const std::string& metrics_file);

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

// rows: of each run, as Comparison::runs has them; those that count are taken. Profiles in an order of their own, those
// without any number left out.
std::vector<Profile> profiles_of(const Comparison& comparison, const std::vector<LastRows>& rows);
// The same, of the runs' files.
std::vector<Profile> read_profiles(const Comparison& comparison);

}  // namespace gta
