#include "launch/commands/plan_match.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "launch/ablate/matcher.h"
#include "launch/commands/planned_run.h"
#include "launch/config/config.h"

namespace gta {
namespace {

using Json = nlohmann::ordered_json;

RunConfig load(const PlanCommand& command, const std::string& path) {
  RunConfig run = load_planned_config(path, command.overrides);
  resolve_planned(run, command.sequence_length);
  return run;
}

Json json_of(const Cost& cost) {
  return {{"parameters", cost.parameters},
          {"parameters_non_embedding", cost.parameters_non_embedding},
          {"flops_per_token_training", cost.flops_per_token_training},
          {"attention_flops_per_token", cost.attention_flops_per_token},
          {"cache_bytes_per_token", cost.cache_bytes_per_token},
          {"steps", cost.steps}};
}

void print(const std::string& name, const Cost& cost) {
  fmt::print("{:<9}  {:>14}  {:>12.4g}  {:>14.4g}  {:>14}  {:>8}\n", name, cost.parameters,
             cost.flops_per_token_training, cost.attention_flops_per_token, cost.cache_bytes_per_token, cost.steps);
}

}  // namespace

int run_plan_match(const PlanCommand& command) {
  const Budget budget = budget_named(command.equal);
  require(budget != Budget::None, "--equal", "expected parameters, flops, attention_flops or cache_bytes, got none");
  for (const std::string& key : command.adjust)
    require(is_adjustable(key), "--adjust",
            "{} is no key that is adjusted: expected whole numbers of the model, or train.steps", key);
  const RunConfig baseline = load(command, command.match), given = load(command, command.config);
  const double target = cost_of(baseline).of(budget);
  const Match match = match_budget(given, {budget, target, command.tolerance, command.adjust}, command.config);
  if (command.output == Output::Json) {
    Json adjusted = Json::object();
    for (const Adjustment& a : match.adjustments) adjusted[a.key] = {{"before", a.before}, {"after", a.after}};
    fmt::print("{}\n", Json{{"equal", command.equal},
                            {"baseline", json_of(cost_of(baseline))},
                            {"given", json_of(cost_of(given))},
                            {"matched", json_of(match.cost)},
                            {"adjusted", adjusted},
                            {"off", match.off}}
                           .dump(2));
    return 0;
  }
  fmt::print("{:<9}  {:>14}  {:>12}  {:>14}  {:>14}  {:>8}\n", "", "parameters", "FLOPs/token", "attn. FLOPs/t.",
             "cache bytes/t.", "steps");
  print("baseline", cost_of(baseline));
  print("given", cost_of(given));
  print("matched", match.cost);
  fmt::print("{}: {:+.3f}% of the baseline's {}\n",
             match.adjustments.empty() ? "no change is needed" : describe(match.adjustments), 100 * match.off,
             command.equal);
  return 0;
}

}  // namespace gta
