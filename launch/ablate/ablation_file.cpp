#include "launch/ablate/ablation_file.h"

#include <fmt/ranges.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "core/error.h"
#include "launch/ablate/matcher.h"
#include "launch/config/config.h"
#include "launch/config/file_pattern.h"
#include "launch/suggestion.h"

namespace gta {
namespace {

constexpr double kLongest = 1e12;
constexpr size_t kMostNames = 64, kMostSeeds = 1000, kMostTrials = 64;

bool is_name(const std::string& text) {
  constexpr size_t kLongestName = 64;
  const auto fits = [](unsigned char c) { return std::isalnum(c) || c == '_' || c == '-' || c == '.'; };
  return !text.empty() && text.size() <= kLongestName && std::all_of(text.begin(), text.end(), fits) &&
         std::isalnum(static_cast<unsigned char>(text[0]));
}

class FileReader {
 public:
  explicit FileReader(const std::string& path) { file_.path = path; }

  AblationFile read(const std::vector<std::string>& overrides) {
    const YAML::Node root = load_yaml_file(file_.path, problems);
    if (root.IsMap()) read_root(root);
    for (const std::string& text : overrides) read_override(text, file_.set, problems);
    throw_problems(problems);
    return std::move(file_);
  }

 private:
  void problem(const YAML::Node& node, const std::string& text) {
    problems.push_back(problem_at(node, file_.path, text));
  }

  void read_root(const YAML::Node& root) {
    static const std::vector<std::string> kKeys = {"name",     "base",  "baseline", "seeds",     "set",
                                                   "variants", "equal", "adjust",   "tolerance", "unmatched",
                                                   "sizes",    "tune",  "test",     "compare"};
    each_key(root, "", kKeys, [&](const std::string& key, const YAML::Node& name, const YAML::Node& value) {
      read_key(key, name, value);
    });
    for (const char* key : {"name", "base", "baseline", "seeds", "variants"})
      if (!seen_.count(key)) problem(root, fmt::format("{}: is missing", key));
    if (problems.empty()) check(root);
  }

  // use(key, where it stands, value) for each key of a mapping; those that are unknown, twice or without a value are
  // problems.
  template <class Use>
  void each_key(const YAML::Node& map, const std::string& prefix, const std::vector<std::string>& keys, Use&& use) {
    std::set<std::string> names;
    for (const auto& pair : map) {
      if (!pair.first.IsScalar()) {
        problem(pair.first, prefix + "a key is not a word");
        continue;
      }
      const std::string name = pair.first.Scalar(), path = prefix + name;
      if (!keys.empty() && std::find(keys.begin(), keys.end(), name) == keys.end())
        problem(pair.first,
                fmt::format("{}: is no key of an ablation{}", path, did_you_mean(nearest_word(name, keys))));
      else if (!names.insert(name).second)
        problem(pair.first, fmt::format("{}: is given twice: remove one", path));
      else if (pair.second.IsNull())
        problem(pair.first, fmt::format("{}: has no value", path));
      else
        use(name, pair.first, pair.second);
    }
  }

  bool is_map(const std::string& key, const YAML::Node& node) {
    if (!node.IsMap()) problem(node, fmt::format("{}: expected a mapping", key));
    return node.IsMap();
  }

  template <class T>
  void take(const ConfigKey& key, const YAML::Node& node, T& value) {
    ConfigValue read;
    if (read_yaml_value(key, node, file_.path, read, problems)) value = std::get<T>(std::move(read));
  }
  static ConfigKey number(const std::string& path, double least, double most, KeyType type = KeyType::Real) {
    return {path, type, "", OnResume::Fixed, least, most};
  }

  void read_key(const std::string& key, const YAML::Node& place, const YAML::Node& node) {
    seen_.insert(key);
    if (key == "name") {
      take({key, KeyType::Text, ""}, node, file_.name);
      if (!file_.name.empty() && !is_name(file_.name)) wrong_name(key, node, file_.name);
    } else if (key == "base") {
      take({key, KeyType::Path, ""}, node, file_.base);
      if (!file_.base.empty())
        file_.base = (std::filesystem::absolute(file_.path).parent_path() / file_.base).lexically_normal().string();
    } else if (key == "baseline") {
      take({key, KeyType::Text, ""}, node, file_.baseline);
      baseline_ = node;
    } else if (key == "seeds") {
      read_integers(key, node, file_.seeds);
    } else if (key == "set") {
      read_yaml_part(node, file_.path, file_.set, problems);
    } else if (key == "variants") {
      read_variations(key, node, file_.variants);
    } else if (key == "sizes") {
      read_variations(key, node, file_.sizes);
    } else if (key == "equal") {
      std::string name;
      take({key, KeyType::Choice, "", OnResume::Fixed, 0, 0, false, budget_names()}, node, name);
      if (!name.empty()) file_.equal = budget_named(name);
    } else if (key == "adjust") {
      take({key, KeyType::TextList, ""}, node, file_.adjust);
      for (const std::string& adjusted : file_.adjust)
        if (!is_adjustable(adjusted))
          problem(node, fmt::format("adjust: {} is no key that is adjusted: expected whole numbers of the model, as {}",
                                    adjusted, fmt::join(adjustable_keys(), ", ")));
    } else if (key == "tolerance") {
      take(number(key, 0, 1), node, file_.tolerance);
    } else if (key == "unmatched") {
      take({key, KeyType::Boolean, ""}, node, file_.unmatched);
    } else if (key == "tune") {
      if (is_map(key, node)) read_tuning(place, node);
    } else if (key == "test") {
      read_test(node);
    } else if (is_map(key, node)) {
      each_key(node, "compare.", {"practical_difference"},
               [&](const std::string& name, const YAML::Node&, const YAML::Node& value) {
                 take(number("compare." + name, 0, 100), value, file_.practical_difference);
               });
    }
  }

  void wrong_name(const std::string& key, const YAML::Node& node, const std::string& name) {
    problem(node, fmt::format("{}: expected letters, digits, '-', '_' and '.', at most 64, since folders are named "
                              "after it, got '{}'",
                              key, name));
  }

  void read_integers(const std::string& key, const YAML::Node& node, std::vector<int64_t>& numbers) {
    if (!node.IsSequence() || node.size() == 0 || node.size() > kMostSeeds)
      return problem(node,
                     fmt::format("{}: expected a list of 1 to {} whole numbers, like [1, 2, 3]", key, kMostSeeds));
    for (const auto& item : node) {
      int64_t value = -1;
      take(number(key, 0, find_config_key("seed")->most, KeyType::Integer), item, value);
      if (value < 0) continue;
      if (std::find(numbers.begin(), numbers.end(), value) != numbers.end())
        problem(item, fmt::format("{}: {} is given twice: remove one", key, value));
      numbers.push_back(value);
    }
  }

  void read_variations(const std::string& key, const YAML::Node& node, std::vector<Variation>& variations) {
    if (!is_map(key, node)) return;
    if (node.size() == 0 || node.size() > kMostNames)
      return problem(node, fmt::format("{}: expected 1 to {} names, got {}", key, kMostNames, node.size()));
    each_key(node, key + ".", {}, [&](const std::string& name, const YAML::Node& place, const YAML::Node& keys) {
      if (!is_name(name)) wrong_name(key, place, name);
      if (key == "sizes" && (name == "unmatched" || name.ends_with("-unmatched")))
        problem(
            place,
            fmt::format("sizes.{}: is what the report of unmatched variants is called: expected another name", name));
      variations.push_back({name, {}});
      read_yaml_part(keys, file_.path, variations.back().keys, problems);
      for (const char* own : {"name", "seed"})
        if (variations.back().keys.count(own))
          problem(place, fmt::format("{}.{}: changes {}, which the ablation gives each cell", key, name, own));
    });
  }

  void read_tuning(const YAML::Node& place, const YAML::Node& node) {
    Tuning& tune = file_.tune.emplace();
    each_key(node, "tune.", {"keys", "seeds", "steps"},
             [&](const std::string& name, const YAML::Node&, const YAML::Node& value) {
               if (name == "seeds")
                 read_integers("tune.seeds", value, tune.seeds);
               else if (name == "steps")
                 take(number("tune.steps", 1, kLongest, KeyType::Integer), value, tune.steps);
               else
                 read_grid(value, tune);
             });
    if (tune.key.empty() || tune.seeds.empty())
      problem(place,
              "tune: expected keys and seeds, like {keys: {optimizer.learning_rate: [1.0e-3, 2.0e-3]}, seeds: "
              "[101], steps: 100}");
  }

  void read_grid(const YAML::Node& node, Tuning& tune) {
    if (!node.IsMap() || node.size() != 1)
      return problem(node,
                     "tune.keys: expected one key with the values that are tried, like {optimizer.learning_rate: "
                     "[1.0e-3, 2.0e-3]}");
    const YAML::Node name = node.begin()->first, values = node.begin()->second;
    const ConfigKey* const key = name.IsScalar() ? find_config_key(name.Scalar()) : nullptr;
    if (!key || key->type != KeyType::Real)
      return problem(name,
                     "tune.keys: expected a key of the configuration whose value is a number, like "
                     "optimizer.learning_rate");
    if (!values.IsSequence() || values.size() < 2 || values.size() > kMostTrials)
      return problem(values, fmt::format("tune.keys.{}: expected a list of 2 to {} values", key->path, kMostTrials));
    for (const auto& item : values) {
      double value = -1;
      take(*key, item, value);
      if (!tune.values.empty() && value <= tune.values.back())
        problem(item, fmt::format("tune.keys.{}: expected rising values", key->path));
      tune.values.push_back(value);
    }
    tune.key = key->path;
  }

  void read_test(const YAML::Node& node) {
    std::vector<std::string> patterns;
    take({"test", KeyType::PathList, ""}, node, patterns);
    const std::filesystem::path folder = std::filesystem::absolute(file_.path).parent_path();
    for (const std::string& pattern : patterns) {
      const std::string absolute =
          pattern.starts_with('/') ? pattern
                                   : (std::filesystem::path(pattern_of(folder)) / pattern).lexically_normal().string();
      const std::vector<std::string> found = matching_files(absolute);
      if (found.empty()) problem(node, fmt::format("test: {} matches no file", absolute));
      file_.test.insert(file_.test.end(), found.begin(), found.end());
    }
  }

  void check(const YAML::Node& root) {
    std::vector<std::string> names;
    for (const Variation& variant : file_.variants) names.push_back(variant.name);
    if (std::find(names.begin(), names.end(), file_.baseline) == names.end())
      problem(baseline_, fmt::format("baseline: expected one of the variants {}, got '{}'{}", fmt::join(names, ", "),
                                     file_.baseline, did_you_mean(nearest_word(file_.baseline, names))));
    for (const char* own : {"name", "seed"})
      if (file_.set.count(own))
        problem(root["set"], fmt::format("set: changes {}, which the ablation gives each cell", own));
    if (file_.equal != Budget::None && file_.adjust.empty())
      problem(root["equal"], fmt::format("equal: {} needs adjust: the keys that may be changed for it, like "
                                         "[model.intermediate_size]",
                                         name_of(file_.equal)));
    if (file_.equal == Budget::None && !file_.adjust.empty())
      problem(root["adjust"], "adjust: changes nothing without equal: the budget that is made equal");
    if (file_.tune)
      for (int64_t seed : file_.tune->seeds)
        if (std::find(file_.seeds.begin(), file_.seeds.end(), seed) != file_.seeds.end())
          problem(root["tune"],
                  fmt::format("tune.seeds: {} is one of the seeds that count: a search has seeds of its own", seed));
  }

  std::vector<ConfigProblem> problems;
  AblationFile file_;
  std::set<std::string> seen_;
  YAML::Node baseline_;
};

std::string quoted(const std::string& text) { return value_text({"", KeyType::Text, ""}, text); }

std::string list_of(const std::vector<std::string>& texts) { return value_text({"", KeyType::TextList, ""}, texts); }

std::string keys_text(const PlacedValues& keys, const std::string& indent) {
  std::string text;
  for (const auto& [path, placed] : keys)
    text += fmt::format("{}{}: {}\n", indent, path, placed_text(*find_config_key(path), placed));
  return text;
}

std::string variations_text(const std::string& key, const std::vector<Variation>& variations) {
  std::string text = key + ":\n";
  for (const Variation& variation : variations)
    text += variation.keys.empty()
                ? fmt::format("  {}: {{}}\n", quoted(variation.name))
                : fmt::format("  {}:\n{}", quoted(variation.name), keys_text(variation.keys, "    "));
  return text;
}

}  // namespace

std::string to_yaml(const AblationFile& file) {
  std::string text = fmt::format("name: {}\nbase: {}\nbaseline: {}\nseeds: [{}]\n", quoted(file.name),
                                 quoted(file.base), quoted(file.baseline), fmt::join(file.seeds, ", "));
  if (!file.set.empty()) text += "set:\n" + keys_text(file.set, "  ");
  text += variations_text("variants", file.variants);
  text += fmt::format("equal: {}\n", name_of(file.equal));
  if (!file.adjust.empty()) text += fmt::format("adjust: {}\n", list_of(file.adjust));
  text += fmt::format("tolerance: {}\nunmatched: {}\n", file.tolerance, file.unmatched);
  if (!file.sizes.empty()) text += variations_text("sizes", file.sizes);
  if (file.tune)
    text += fmt::format("tune: {{keys: {{{}: [{}]}}, seeds: [{}]{}}}\n", file.tune->key,
                        fmt::join(file.tune->values, ", "), fmt::join(file.tune->seeds, ", "),
                        file.tune->steps > 0 ? fmt::format(", steps: {}", file.tune->steps) : "");
  if (!file.test.empty()) text += fmt::format("test: {}\n", value_text({"", KeyType::PathList, ""}, file.test));
  return text + fmt::format("compare: {{practical_difference: {}}}\n", file.practical_difference);
}

AblationFile read_ablation(const std::string& path, const std::vector<std::string>& overrides) {
  return FileReader(path).read(overrides);
}

}  // namespace gta
