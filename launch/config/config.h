// Reads configurations strictly and writes them out again. The keys, their types, ranges and defaults stand in one
// table (schema.cpp).
#pragma once

#include <string>
#include <vector>

#include "launch/config/schema.h"
#include "launch/config/yaml_reader.h"

namespace gta {

enum class DataFiles : uint8_t { Expand, Ignore };  // Ignore: globs and tokenizer are not looked up (plan)

struct LoadedRun {
  RunConfig config;
  std::vector<std::string> unused_attention_keys;  // given, but not used by the chosen type: paths below model
  int64_t tokens = 0;  // train.tokens, where the run's length was given so; config.train.steps is what follows from it
};

// Error(BadInput) with one line per problem, `file:line:column: key: ...`, all at once. Overrides are `key.path=value`,
// checked like the file. ranks: that train together.
LoadedRun load_run_config(const std::string& path, const std::vector<std::string>& overrides,
                          DataFiles files = DataFiles::Expand, int64_t ranks = 1);
// The same with another file's values (an ablation's) laid over the configuration's.
LoadedRun load_varied_config(const std::string& path, const PlacedValues& over, DataFiles files = DataFiles::Expand);
// For whoever only counts: a run's file, or a model's, which is then a run of nothing but steps of one sequence of
// model.max_sequence_length (or 0) tokens as far as the overrides, which may be any keys, say nothing else.
RunConfig load_planned_config(const std::string& path, const std::vector<std::string>& overrides, int64_t ranks = 1);
// A resolved configuration as text (a checkpoint's); name: for messages. Data files are not looked up.
RunConfig parse_run_config(const std::string& text, const std::string& name);
// The same for whoever uses the model alone: without keys below `data` and `train` (a model that comes from elsewhere)
// model.vocab_size and model.max_sequence_length have to be given, and the second is data.sequence_length too.
RunConfig parse_trained_config(const std::string& text, const std::string& name,
                               const std::vector<std::string>& overrides = {});
// A model's file, or the model of a run's file.
ModelConfig load_model_config(const std::string& path, const std::vector<std::string>& overrides);
ModelConfig parse_model_config(const std::string& text, const std::string& name);
bool is_run_config(const std::string& path);

// Every key with its value, paths absolute; loads again to the same struct.
std::string to_yaml(const RunConfig& config);
// A model's file with every key; what parse_model_config() reads to the same struct. Each line begins with `indent`
// spaces.
std::string to_yaml(const ModelConfig& model, int indent = 0);

// A value as YAML that means the same in any file: paths are absolute, patterns are the files that match them now.
std::string placed_text(const ConfigKey& key, const PlacedValue& placed);

struct ConfigDifference {
  std::string key, before, after;
  OnResume on_resume;
};
// Of keys that the type of attention uses, before or after.
std::vector<ConfigDifference> differences(const RunConfig& before, const RunConfig& after);

// docs/configuration.md
std::string configuration_markdown();

}  // namespace gta
