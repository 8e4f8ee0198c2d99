#include "launch/ablate/cost.h"

#include <fmt/ranges.h>

#include <limits>

#include "core/error.h"
#include "launch/plan.h"
#include "launch/suggestion.h"

namespace gta {
namespace {

constexpr Budget kBudgets[] = {Budget::None, Budget::Parameters, Budget::Flops, Budget::AttentionFlops,
                               Budget::CacheBytes};

// Multiply-adds of the product that follows the maps, per token and layer.
int64_t decoder_multiply_adds(const ModelConfig& model) {
  const AttentionConfig& a = model.attention;
  return a.type == AttentionType::Gta && a.value_decoder == ValueDecoderType::DirectLearned
             ? a.latent_dim * model.heads * model.head_dim
             : 0;
}

}  // namespace

const char* name_of(Budget budget) {
  switch (budget) {
    case Budget::None:
      return "none";
    case Budget::Parameters:
      return "parameters";
    case Budget::Flops:
      return "flops";
    case Budget::AttentionFlops:
      return "attention_flops";
    case Budget::CacheBytes:
      return "cache_bytes";
  }
  return "?";
}

std::vector<std::string> budget_names() {
  std::vector<std::string> names;
  for (Budget budget : kBudgets) names.emplace_back(name_of(budget));
  return names;
}

Budget budget_named(const std::string& name) {
  for (Budget budget : kBudgets)
    if (name == name_of(budget)) return budget;
  bad_input("equal", "expected one of {}, got '{}'{}", fmt::join(budget_names(), ", "), name,
            did_you_mean(nearest_word(name, budget_names())));
}

double Cost::of(Budget budget) const {
  switch (budget) {
    case Budget::Parameters:
      return static_cast<double>(parameters);
    case Budget::Flops:
      return training_flops();
    case Budget::AttentionFlops:
      return attention_flops_per_token;
    case Budget::CacheBytes:
      return static_cast<double>(cache_bytes_per_token);
    case Budget::None:
      break;
  }
  internal_error("cost", "no budget has no cost");
}

Cost cost_of(const RunConfig& run) {
  const ModelConfig& model = run.model;
  const Plan plan = plan_model(model, run.data.sequence_length);
  Cost cost;
  cost.parameters = plan.parameters;
  cost.parameters_non_embedding = plan.parameters_non_embedding;
  cost.flops_per_token_training = plan.flops_per_token_training;
  const double keys = (static_cast<double>(run.data.sequence_length) + 1) / 2;  // that a query sees, in the mean
  cost.attention_flops_per_token =
      2 * static_cast<double>(model.layers) *
      (static_cast<double>(plan.map_multiply_adds) * keys + static_cast<double>(decoder_multiply_adds(model)));
  cost.cache_bytes_per_token =
      plan.cache_numbers_per_token_and_layer * model.layers * static_cast<int64_t>(size_of(run.train.dtype));
  cost.steps = run.train.steps;
  const int64_t per_step = run.train.global_batch_size * run.data.sequence_length;
  if (__builtin_mul_overflow(per_step, run.train.steps, &cost.tokens))
    cost.tokens = std::numeric_limits<int64_t>::max();
  return cost;
}

}  // namespace gta
