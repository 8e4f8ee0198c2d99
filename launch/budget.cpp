#include "launch/budget.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "core/io/file.h"
#include "data/shards.h"
#include "launch/config/file_pattern.h"
#include "launch/plan.h"

namespace gta {
namespace {

// How often something comes that is due every so many steps and at the end; 0: at the end only.
// In float64: whatever it is multiplied with may be as large.
double times_due(int64_t steps, int64_t every) {
  return every > 0 ? static_cast<double>(steps / every + (steps % every != 0 ? 1 : 0)) : 1;
}

// Of shards that a run names by paths or patterns; nothing where one is not here.
std::optional<int64_t> tokens_here(const std::vector<std::string>& patterns) try {
  int64_t tokens = 0;
  for (const std::string& pattern : patterns) {
    const std::vector<std::string> files =
        exists(pattern) ? std::vector<std::string>{pattern} : matching_files(pattern);
    if (files.empty()) return std::nullopt;
    for (const std::string& file : files) tokens += TokenShard(file).summary().tokens;
  }
  return tokens;
} catch (const Error&) {
  return std::nullopt;
}

}  // namespace

RunBudget budget_of(const RunConfig& run) {
  const TrainConfig& train = run.train;
  const Plan cost = plan_model(run.model, run.data.sequence_length);
  RunBudget budget;
  budget.steps = train.steps;
  if (__builtin_mul_overflow(train.steps, train.global_batch_size, &budget.tokens) ||
      __builtin_mul_overflow(budget.tokens, run.data.sequence_length, &budget.tokens))
    bad_input("train.steps", "{} steps of {} x {} tokens are more than 2^63 tokens: lower them", train.steps,
              train.global_batch_size, run.data.sequence_length);
  const auto tokens = static_cast<double>(budget.tokens);
  budget.training = tokens * cost.flops_per_token_training;
  budget.recomputed = tokens * recomputed_flops_per_token(run.model, run.data.sequence_length, train.recompute);
  const auto forward = [&](double count) { return count * cost.flops_per_token_forward; };
  if (!run.data.validation.empty()) {
    const std::optional<int64_t> here = tokens_here(run.data.validation);
    const int64_t most = train.validation_tokens;
    budget.validation_set_is_known = most > 0 || here;
    const int64_t each = most > 0 ? std::min(most, here.value_or(most)) : here.value_or(0);
    budget.validation = forward(times_due(train.steps, train.evaluate_every_steps) * static_cast<double>(each));
  }
  if (train.diagnose_every_steps > 0)
    budget.diagnosis = forward(static_cast<double>(train.steps / train.diagnose_every_steps) *
                               static_cast<double>(train.micro_batch_size * run.data.sequence_length));
  const auto sampled = static_cast<double>(train.sample_tokens * static_cast<int64_t>(train.sample_prompts.size()));
  budget.samples = forward((1 + times_due(train.steps, train.sample_every_steps)) * sampled);
  return budget;
}

double seconds_of(const RunBudget& budget, const RunSpeed& speed) {
  const double again = speed.source == SpeedSource::Assumed ? budget.recomputed : 0;
  return (budget.model_flops() + again) / speed.flops_per_second +
         static_cast<double>(budget.steps) * speed.update_seconds;
}

std::string people_count(double count) {
  for (const auto& [unit, suffix] : {std::pair{1e12, "T"}, {1e9, "B"}, {1e6, "M"}, {1e3, "K"}}) {
    if (count < unit) continue;
    const double value = count / unit;
    std::string text = fmt::format("{:.{}f}", value, value < 10 ? 2 : 1);
    while (text.back() == '0') text.pop_back();
    if (text.back() == '.') text.pop_back();
    return text + suffix;
  }
  return fmt::format("{:.0f}", count);
}

}  // namespace gta
