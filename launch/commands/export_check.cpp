#include "launch/commands/export_check.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace gta {

Tensor reference_prompt(const LoadedModel& model) {
  const int64_t count = std::min<int64_t>(32, model.config.model.max_sequence_length);
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < count; ++i)
    tokens.push_back(static_cast<int32_t>((i * 7919 + 5) % model.tokenizer.vocab_size()));
  return Tensor::from<int32_t>({1, count}, tokens);
}

double largest_difference(const std::vector<double>& ours, const std::vector<double>& theirs) {
  ensure(ours.size() == theirs.size(), "export", "{} logits and {}", ours.size(), theirs.size());
  double largest = 0, most = 0;
  for (size_t i = 0; i < ours.size(); ++i) {
    largest = std::max(largest, std::abs(ours[i]));
    most = std::max(most, std::abs(ours[i] - theirs[i]));
    if (!(std::abs(ours[i] - theirs[i]) < INFINITY)) return INFINITY;
  }
  return largest > 0 ? most / largest : most;
}

}  // namespace gta
