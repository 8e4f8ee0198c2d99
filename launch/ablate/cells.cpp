#include "launch/ablate/cells.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "core/error.h"
#include "launch/compare/variants.h"
#include "launch/config/config.h"
#include "launch/vocabulary.h"

namespace gta {
namespace {

void lay_over(PlacedValues& values, const PlacedValues& over) {
  for (const auto& [key, placed] : over) values[key] = placed;
}

// The arm of a variant at a size, before anything is made equal.
Arm arm_of(const AblationFile& file, const Variation& variant, const Variation* size) {
  Arm arm;
  arm.variant = variant.name;
  arm.size = size ? size->name : "";
  arm.name = size ? variant.name + "-" + size->name : variant.name;
  arm.is_baseline = variant.name == file.baseline;
  PlacedValues values = file.set;
  if (size) lay_over(values, size->keys);
  lay_over(values, variant.keys);
  arm.config = load_varied_config(file.base, values).config;
  arm.match.config = arm.config;
  require(!arm.config.data.validation.empty(), "data.validation",
          "is missing: variants are compared by their validation loss");
  take_vocabulary(arm.match.config);
  arm.match.cost = cost_of(arm.match.config);
  return arm;
}

// The same changes to a configuration whose vocabulary is not resolved, where it was not.
RunConfig adjusted(RunConfig config, const Match& match) {
  const int64_t vocabulary = config.model.vocab_size;
  config = match.config;
  config.model.vocab_size = vocabulary;
  return config;
}

// The arms of one size.
void add_arms(const AblationFile& file, const Variation* size, std::vector<Arm>& arms, std::string& problems) {
  const size_t first = arms.size();
  const auto add = [&](const Variation& variant) {
    try {
      arms.push_back(arm_of(file, variant, size));
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::BadInput) throw;
      problems += fmt::format("{}variant {}{}: {}", problems.empty() ? "" : "\n", variant.name,
                              size ? " at size " + size->name : "", error.what());
    }
  };
  for (const Variation& variant : file.variants)
    if (variant.name == file.baseline) add(variant);
  for (const Variation& variant : file.variants)
    if (variant.name != file.baseline) add(variant);
  if (file.equal == Budget::None || !problems.empty()) return;
  const double target = arms[first].match.cost.of(file.equal);
  std::vector<Arm> unmatched;
  for (size_t i = first + 1; i < arms.size(); ++i) {
    Arm& arm = arms[i];
    try {
      Match match = match_budget(arm.match.config, {file.equal, target, file.tolerance, file.adjust}, arm.name);
      if (file.unmatched && !match.adjustments.empty()) {
        unmatched.push_back(arm);
        unmatched.back().variant += "-unmatched";
        unmatched.back().unmatched = true;
        unmatched.back().name = size ? unmatched.back().variant + "-" + size->name : unmatched.back().variant;
      }
      arm.match = std::move(match);
      arm.config = adjusted(arm.config, arm.match);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::BadInput) throw;
      problems += fmt::format("{}{}", problems.empty() ? "" : "\n", error.what());
    }
  }
  for (Arm& arm : unmatched) arms.push_back(std::move(arm));
}

CellPlan cell_of(const Arm& arm, size_t index, const std::string& name, int64_t seed) {
  CellPlan cell{name, index, seed, arm.config};
  cell.config.name = name;
  cell.config.seed = seed;
  return cell;
}

void add_keys(const std::vector<Arm>& arms, std::vector<CellPlan>& cells) {
  std::vector<std::map<std::string, std::string>> settings;
  for (const Arm& arm : arms) settings.push_back(settings_of(arm.config));
  const std::vector<std::string> differing = differing_keys(settings);
  for (CellPlan& cell : cells) {
    cell.keys = {{"variant", arms[cell.arm].variant}, {"seed", std::to_string(cell.seed)}};
    if (const std::string& size = arms[cell.arm].size; !size.empty()) cell.keys["size"] = size;
    for (const std::string& key : differing)
      if (const auto found = settings[cell.arm].find(key); found != settings[cell.arm].end())
        cell.keys[key] = found->second;
  }
}

}  // namespace

std::vector<Arm> arms_of(const AblationFile& file) {
  std::vector<Arm> arms;
  std::string problems;
  if (file.sizes.empty()) add_arms(file, nullptr, arms, problems);
  for (const Variation& size : file.sizes) add_arms(file, &size, arms, problems);
  if (!problems.empty()) throw Error(ErrorKind::BadInput, "", problems);
  std::set<std::string> names;
  for (const Arm& arm : arms)
    if (!names.insert(arm.name).second)
      bad_input(file.path, "two of its variants and sizes are called {}: rename one", arm.name);
  return arms;
}

std::vector<CellPlan> cells_of(const AblationFile& file, const std::vector<Arm>& arms) {
  std::vector<CellPlan> cells;
  for (int64_t seed : file.seeds)
    for (size_t i = 0; i < arms.size(); ++i)
      cells.push_back(cell_of(arms[i], i, fmt::format("{}-seed-{}", arms[i].name, seed), seed));
  add_keys(arms, cells);
  return cells;
}

std::vector<Trial> trials_of(const AblationFile& file, const std::vector<Arm>& arms,
                             const std::vector<double>& values) {
  const Tuning& tune = *file.tune;
  const ConfigKey& key = *find_config_key(tune.key);
  std::vector<Trial> trials;
  for (int64_t seed : tune.seeds)
    for (double value : values)
      for (size_t i = 0; i < arms.size(); ++i) {
        CellPlan cell = cell_of(arms[i], i, fmt::format("{}-{}-seed-{}", arms[i].name, value, seed), seed);
        key.set(cell.config, value);
        if (tune.steps > 0) cell.config = with_steps(cell.config, tune.steps);
        trials.push_back({std::move(cell), value});
      }
  return trials;
}

}  // namespace gta
