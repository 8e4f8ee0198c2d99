#include "launch/config/config.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <utility>

#include "core/io/file.h"
#include "launch/config/file_pattern.h"
#include "launch/config/yaml_reader.h"

namespace gta {
namespace {

// The folder that relative paths of a configuration file are relative to.
std::string base_folder(const std::string& file) {
  return file.starts_with(kOverride) ? std::filesystem::current_path() : std::filesystem::absolute(file).parent_path();
}

std::string join(const std::string& base, const std::string& path) {
  return std::filesystem::path(path).is_absolute() ? path
                                                   : (std::filesystem::path(base) / path).lexically_normal().string();
}

std::string absolute_path(const std::string& path, const std::string& file) { return join(base_folder(file), path); }

// Only what the user wrote is a pattern, not the names of the folders above the file that says it.
std::string absolute_pattern(const std::string& pattern, const std::string& file) {
  return join(pattern_of(base_folder(file)), pattern);
}

// "4 or 6": the divisors next to a number that is none.
std::string nearest_divisors(int64_t whole, int64_t number) {
  if (number >= whole) return std::to_string(whole);
  int64_t below = number, above = number;
  while (whole % below != 0) --below;
  while (whole % above != 0) ++above;
  return fmt::format("{} or {}", below, above);
}

// "6 or 12": the multiples next to a number that is none.
std::string nearest_multiples(int64_t of, int64_t number) {
  const int64_t below = number / of * of;
  return below > 0 ? fmt::format("{} or {}", below, below + of) : std::to_string(of);
}

class Resolver {
 public:
  explicit Resolver(std::string name) : name_(std::move(name)) {}

  PlacedValues values;
  std::vector<ConfigProblem> problems;
  int64_t tokens = 0;  // train.tokens, when train.steps follows from it
  int64_t ranks = 1;

  void apply(const std::string& prefix, DataFiles files) {
    for (auto& [path, placed] : values) {
      const ConfigKey& key = *find_config_key(path);
      if (!path.starts_with(prefix)) continue;
      if (key.type == KeyType::Path && !std::get<std::string>(placed.value).empty())
        placed.value = absolute_path(std::get<std::string>(placed.value), placed.file);
      if (key.type == KeyType::PathList)
        placed.value = expand(path, std::get<std::vector<std::string>>(placed.value), placed.file, files);
      if (key.type == KeyType::SourceList)
        for (DataSource& source : std::get<std::vector<DataSource>>(placed.value))
          source.shards = expand(path, source.shards, placed.file, files);
      key.set(config, placed.value);
    }
  }

  // Whether nothing was wrong with a key so far. A key that was misspelt or misread stands at its default, often "not
  // given": no check of keys against each other complains about it, or because of it.
  bool known(const std::string& key) const {
    return std::none_of(problems.begin(), problems.end(), [&](const ConfigProblem& p) {
      return p.key.empty() || p.key == key || (p.key.back() == '.' && key.starts_with(p.key));
    });
  }

  // A problem of a key, at its place where it was given.
  void problem(const std::string& key, const std::string& text) {
    const auto found = values.find(key);
    if (found == values.end())
      problems.push_back({name_, 0, 0, key + ": " + text, key});
    else
      problems.push_back({found->second.file, found->second.line, found->second.column, key + ": " + text, key});
  }

  void check_model() {
    for (const auto& [key, text] : problems_of(config.model))
      if (known("model." + key)) problem("model." + key, text);
  }

  // A trained model that no run tells of. longest: tokens that it was trained to see.
  void check_model_alone(int64_t longest) {
    if (config.model.vocab_size == 0 && known("model.vocab_size")) problem("model.vocab_size", "is missing");
    if (longest == 0 && known("model.max_sequence_length")) problem("model.max_sequence_length", "is missing");
    config.data.sequence_length = longest;
  }

  void expect(bool holds, const char* key, const std::string& text) {
    if (!holds && known(key)) problem(key, text);
  }

  void check_run(DataFiles files) {
    check_complete(files);
    check_together();
  }

  // What a training cannot begin without.
  void check_complete(DataFiles files) {
    const RunConfig& c = config;
    expect(!c.name.empty(), "name", "is missing: the run's folder is named after it");
    expect(c.name.find('/') == std::string::npos && c.name != "." && c.name != "..", "name",
           "is a folder's name: expected no slash");
    expect(std::none_of(c.name.begin(), c.name.end(), [](unsigned char byte) { return byte < ' ' || byte == 0x7f; }),
           "name", "is a folder's name: expected no control characters");
    expect(!c.data.tokenizer.empty(), "data.tokenizer", "is missing");
    expect(!c.data.train.empty(), "data.train", "is missing");
    expect(c.data.sequence_length > 0, "data.sequence_length", "is missing");
    expect(c.train.global_batch_size > 0, "train.global_batch_size", "is missing");
    expect(c.train.steps > 0 || c.train.tokens > 0 || !known("train.tokens"), "train.steps",
           "expected either train.steps or train.tokens");
    if (files == DataFiles::Expand && !c.data.tokenizer.empty())
      expect(exists(c.data.tokenizer), "data.tokenizer",
             fmt::format("{} does not exist: make one with 'gta data tokenizer'", c.data.tokenizer));
  }

  // Each rank computes as many micro-batches of a step as the others. One that is not given, or auto, will fit.
  void check_batches() {
    TrainConfig& train = config.train;
    const int64_t micro = std::max<int64_t>(1, train.micro_batch_size), batch = train.global_batch_size;
    if (train.micro_batch_size == 0) train.micro_batch_size = std::max<int64_t>(1, batch / ranks);
    if (batch <= 0 || batch % (micro * ranks) == 0) return;
    const std::string multiples = nearest_multiples(micro * ranks, batch);
    if (batch % ranks == 0)
      expect(false, "train.micro_batch_size",
             fmt::format("{}{} does not divide train.global_batch_size {}: expected {}, or a train.global_batch_size "
                         "of {}",
                         micro, ranks > 1 ? fmt::format(" x {} ranks", ranks) : "", batch,
                         nearest_divisors(batch / ranks, micro), multiples));
    else
      expect(false, "train.global_batch_size",
             fmt::format("{} is no multiple of {} ranks{}: expected {}", batch, ranks,
                         micro > 1 ? fmt::format(" x train.micro_batch_size {}", micro) : "", multiples));
  }

  // Keys against each other, and those that follow from others.
  void check_together() {
    RunConfig& c = config;
    check_batches();
    expect(c.train.steps == 0 || c.train.tokens == 0 || !known("train.tokens"), "train.steps",
           "expected either train.steps or train.tokens");
    if (c.train.tokens > 0 && c.train.steps == 0 && c.train.global_batch_size > 0 && c.data.sequence_length > 0) {
      const int64_t per_step = c.train.global_batch_size * c.data.sequence_length;
      c.train.steps = (c.train.tokens + per_step - 1) / per_step;
      tokens = std::exchange(c.train.tokens, 0);
    }
    check_schedule();
    if (c.model.max_sequence_length == 0) c.model.max_sequence_length = c.data.sequence_length;
    expect(c.data.sequence_length <= c.model.max_sequence_length, "data.sequence_length",
           fmt::format("{} is more than model.max_sequence_length {}", c.data.sequence_length,
                       c.model.max_sequence_length));
  }

  void check_schedule() {
    ScheduleConfig& schedule = config.optimizer.schedule;
    const int64_t length = schedule.steps > 0 ? schedule.steps : config.train.steps;
    const std::string steps = fmt::format("the {} {} steps", schedule.steps > 0 ? "schedule's" : "run's", length);
    if (length <= 0) return;  // said already
    if (schedule.warmup_fraction > 0) {
      expect(schedule.warmup_steps == 0, "optimizer.schedule.warmup_fraction",
             fmt::format("expected it or warmup_steps, which is {}, not both (warmup_steps=0 takes that back)",
                         schedule.warmup_steps));
      schedule.warmup_steps = static_cast<int64_t>(std::ceil(schedule.warmup_fraction * static_cast<double>(length)));
      schedule.warmup_fraction = 0;
    }
    expect(schedule.warmup_steps <= length, "optimizer.schedule.warmup_steps",
           fmt::format("{} is more than {}; for a short trial give it beside: --set optimizer.schedule.warmup_steps={}",
                       schedule.warmup_steps, steps, (length + 9) / 10));
    if (schedule.type != ScheduleType::Wsd) return;
    expect(schedule.decay_steps > 0, "optimizer.schedule.decay_steps", "is missing: wsd ends in a decay");
    expect(schedule.decay_steps + schedule.warmup_steps <= length, "optimizer.schedule.decay_steps",
           fmt::format("{} after {} steps of warm-up do not fit into {}", schedule.decay_steps, schedule.warmup_steps,
                       steps));
  }

  RunConfig config;

 private:
  std::vector<std::string> expand(const std::string& path, const std::vector<std::string>& patterns,
                                  const std::string& file, DataFiles files) {
    std::vector<std::string> expanded;
    for (const std::string& pattern : patterns) {
      const std::string absolute = absolute_pattern(pattern, file);
      if (files == DataFiles::Ignore) {
        expanded.push_back(literal_path(absolute).value_or(absolute));
        continue;
      }
      const std::vector<std::string> found = matching_files(absolute);
      expanded.insert(expanded.end(), found.begin(), found.end());
      if (found.empty() && exists(absolute_path(pattern, file)))
        problem(path, fmt::format("{} matches no file, though one is named exactly so: write {}", absolute,
                                  pattern_of(pattern)));
      else if (found.empty())
        problem(path, fmt::format("{} matches no file: make shards with 'gta data shards'", absolute));
    }
    return expanded;
  }

  std::string name_;
};

std::string key_yaml(const RunConfig& config, const std::string& section, size_t& next, int indent) {
  std::string text;
  const std::vector<ConfigKey>& keys = config_keys();
  while (next < keys.size() && keys[next].path.starts_with(section)) {
    const ConfigKey& key = keys[next];
    const std::string rest = key.path.substr(section.size());
    if (const size_t dot = rest.find('.'); dot != std::string::npos) {
      const std::string name = rest.substr(0, dot);
      text += std::string(indent, ' ') + name + ":\n" + key_yaml(config, section + name + ".", next, indent + 2);
      continue;
    }
    ++next;
    text += std::string(indent, ' ') + rest + ": " + value_text(key, key.get(config)) + "\n";
  }
  return text;
}

}  // namespace

namespace {

LoadedRun conclude(Resolver& resolver, DataFiles files) {
  resolver.apply("", files);
  resolver.check_model();
  resolver.check_run(files);
  throw_problems(resolver.problems);
  LoadedRun loaded{resolver.config, {}, resolver.tokens};
  const std::string type = name_of(loaded.config.model.attention.type);
  for (const auto& [key_path, placed] : resolver.values) {
    const ConfigKey& key = *find_config_key(key_path);
    if (!key.used_by.empty() && std::find(key.used_by.begin(), key.used_by.end(), type) == key.used_by.end())
      loaded.unused_attention_keys.push_back(key_path.substr(std::string("model.").size()));
  }
  return loaded;
}

}  // namespace

LoadedRun load_run_config(const std::string& path, const std::vector<std::string>& overrides, DataFiles files,
                          int64_t ranks) {
  Resolver resolver(path);
  resolver.ranks = ranks;
  read_yaml_file(path, "", resolver.values, resolver.problems);
  for (const std::string& text : overrides) read_override(text, resolver.values, resolver.problems);
  return conclude(resolver, files);
}

LoadedRun load_varied_config(const std::string& path, const PlacedValues& over, DataFiles files) {
  Resolver resolver(path);
  read_yaml_file(path, "", resolver.values, resolver.problems);
  for (const auto& [key, placed] : over) resolver.values[key] = placed;
  return conclude(resolver, files);
}

RunConfig load_planned_config(const std::string& path, const std::vector<std::string>& overrides, int64_t ranks) {
  if (is_run_config(path)) return load_run_config(path, overrides, DataFiles::Ignore, ranks).config;
  Resolver resolver(path);
  resolver.ranks = ranks;
  read_yaml_file(path, "model.", resolver.values, resolver.problems);
  for (const std::string& text : overrides) read_override(text, resolver.values, resolver.problems);
  resolver.apply("", DataFiles::Ignore);
  resolver.check_model();
  RunConfig& config = resolver.config;
  TrainConfig& train = config.train;
  if (config.data.sequence_length == 0) config.data.sequence_length = config.model.max_sequence_length;
  if (train.micro_batch_size == 0 && train.global_batch_size == 0) train.micro_batch_size = 1;
  resolver.check_together();
  throw_problems(resolver.problems);
  return config;
}

RunConfig parse_run_config(const std::string& text, const std::string& name) {
  Resolver resolver(name);
  read_yaml_text(text, name, "", resolver.values, resolver.problems);
  resolver.apply("", DataFiles::Ignore);
  resolver.check_model();
  resolver.check_run(DataFiles::Ignore);
  throw_problems(resolver.problems);
  return resolver.config;
}

RunConfig parse_trained_config(const std::string& text, const std::string& name,
                               const std::vector<std::string>& overrides) {
  Resolver resolver(name);
  read_yaml_text(text, name, "", resolver.values, resolver.problems);
  const bool of_a_run = std::any_of(resolver.values.begin(), resolver.values.end(), [](const auto& value) {
    return value.first.starts_with("data.") || value.first.starts_with("train.");
  });
  const auto longest = resolver.values.find("model.max_sequence_length");
  const int64_t trained = longest == resolver.values.end() ? 0 : std::get<int64_t>(longest->second.value);
  for (const std::string& override_text : overrides) read_override(override_text, resolver.values, resolver.problems);
  resolver.apply("", DataFiles::Ignore);
  resolver.check_model();
  of_a_run ? resolver.check_run(DataFiles::Ignore) : resolver.check_model_alone(trained);
  throw_problems(resolver.problems);
  return resolver.config;
}

bool is_run_config(const std::string& path) { return yaml_has_section(path); }

ModelConfig load_model_config(const std::string& path, const std::vector<std::string>& overrides) {
  Resolver resolver(path);
  read_yaml_file(path, is_run_config(path) ? "" : "model.", resolver.values, resolver.problems);
  for (const std::string& text : overrides) read_override(text, resolver.values, resolver.problems);
  if (!is_run_config(path))
    for (const auto& [key, placed] : resolver.values)
      if (!key.starts_with("model."))
        resolver.problem(key, "changes nothing: " + path + " holds a model alone; give a run's file, or leave it out");
  resolver.apply("model.", DataFiles::Ignore);
  resolver.check_model();
  throw_problems(resolver.problems);
  return resolver.config.model;
}

ModelConfig parse_model_config(const std::string& text, const std::string& name) {
  Resolver resolver(name);
  read_yaml_text(text, name, "model.", resolver.values, resolver.problems);
  resolver.apply("model.", DataFiles::Ignore);
  resolver.check_model();
  throw_problems(resolver.problems);
  return resolver.config.model;
}

std::string placed_text(const ConfigKey& key, const PlacedValue& placed) {
  ConfigValue value = placed.value;
  const auto expand = [&](std::vector<std::string>& patterns) {
    std::vector<std::string> files;
    for (const std::string& pattern : patterns) {
      const std::vector<std::string> found = matching_files(absolute_pattern(pattern, placed.file));
      files.insert(files.end(), found.begin(), found.end());
    }
    patterns = std::move(files);
  };
  if (key.type == KeyType::Path)
    if (std::string& path = std::get<std::string>(value); !path.empty()) path = absolute_path(path, placed.file);
  if (key.type == KeyType::PathList) expand(std::get<std::vector<std::string>>(value));
  if (key.type == KeyType::SourceList)
    for (DataSource& source : std::get<std::vector<DataSource>>(value)) expand(source.shards);
  return value_text(key, value);
}

std::string to_yaml(const RunConfig& config) {
  size_t next = 0;
  return key_yaml(config, "", next, 0);
}

std::string to_yaml(const ModelConfig& model, int indent) {
  const std::string section = "model.";
  const std::vector<ConfigKey>& keys = config_keys();
  auto next = static_cast<size_t>(
      std::find_if(keys.begin(), keys.end(), [&](const ConfigKey& key) { return key.path.starts_with(section); }) -
      keys.begin());
  RunConfig config;
  config.model = model;
  return key_yaml(config, section, next, indent);
}

std::vector<ConfigDifference> differences(const RunConfig& before, const RunConfig& after) {
  std::vector<ConfigDifference> found;
  const auto uses = [](const RunConfig& config, const ConfigKey& key) {
    return key.used_by.empty() ||
           std::find(key.used_by.begin(), key.used_by.end(), name_of(config.model.attention.type)) != key.used_by.end();
  };
  for (const ConfigKey& key : config_keys()) {
    if (!uses(before, key) && !uses(after, key)) continue;
    const std::string old_text = value_text(key, key.get(before)), new_text = value_text(key, key.get(after));
    if (old_text != new_text) found.push_back({key.path, old_text, new_text, key.resume});
  }
  return found;
}

std::string configuration_markdown() {
  std::string text =
      "# Configuration\n\nGenerated from launch/config/schema.cpp by `gta docs configuration`; a test fails when it is "
      "stale.\n\n"
      "A configuration is one YAML mapping, read strictly: unknown or repeated keys, wrong types and values out of "
      "range are refused, all at once,\n"
      "with file, line and column. `model:` may name a file, `include:` one base file that this one is laid over; "
      "paths are relative to the file\n"
      "that names them. `--set key.path=value` overrides a key on the command line.\n\n"
      "*On resume* a key that differs from what the checkpoint was trained with is *refused* (it says what was "
      "trained), or *noted*: it changes what comes, stands in\n"
      "the log, and at the end of config.yaml with the step from which on it holds. *Same content*: files may lie "
      "elsewhere, but must hold the same. A key that the type\n"
      "of attention does not use may differ.\n\n"
      "| key | type | default | on resume | meaning |\n|---|---|---|---|---|\n";
  const RunConfig defaults;
  for (const ConfigKey& key : config_keys())
    text += fmt::format("| `{}` | {} | {} | {} | {}{} |\n", key.path, type_text(key),
                        key.when_absent.empty() ? "`" + value_text(key, key.get(defaults)) + "`" : key.when_absent,
                        key.resume == OnResume::MayChange ? "noted"
                        : key.resume == OnResume::Place   ? "same content"
                                                          : "refused",
                        key.help, key.used_by.empty() ? "" : fmt::format(" ({})", fmt::join(key.used_by, ", ")));
  return text;
}

}  // namespace gta
