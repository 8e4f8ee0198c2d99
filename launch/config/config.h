// The one reader and writer of configuration files. What a key is (type, unit, range, default, help, whether a resumed run may change it) stands
// in one table, launch/config/schema.h; reading, writing, comparing and docs/configuration.md are all driven by that table.
//
// Refusals are one Error(BadInput) with an empty `where` and one line per problem, all problems of a file at once:
//   file:line:column: key: expected ..., got ...; did you mean ...?
// An override of the command line has '--set' in the place of file:line:column.
#pragma once

#include <string>
#include <vector>

#include "launch/config/run_config.h"

namespace gta {

struct LoadOptions {
  bool expand_data = true;  // false: data globs and the tokenizer are not looked up (plan)
};

struct LoadedRun {
  RunConfig config;                                // paths absolute, globs expanded and sorted, train.steps resolved from train.tokens
  std::vector<std::string> unused_attention_keys;  // given and well-typed, but of another variant than the chosen type: "latent_dim", ...
};

// A run file with its `include:` and `model:` files, under the overrides "key.path=value" (value: YAML, paths relative to the working directory).
LoadedRun load_run_config(const std::string& path, const std::vector<std::string>& overrides, const LoadOptions& options = {});

// A model file (the content of a `model:` mapping), or the model of a run file. Overrides are spelt as for a run: "model.layers=2".
ModelConfig load_model_config(const std::string& path, const std::vector<std::string>& overrides);

// The content of a `model:` mapping as YAML or JSON text; `name` stands for the file in messages.
ModelConfig parse_model_config(const std::string& text, const std::string& name);

// Every default written out. Loads again to the same struct.
std::string to_yaml(const RunConfig& config);
std::string to_yaml(const ModelConfig& config);

// A key whose value differs between a saved run and the one that would go on from it.
struct ConfigDifference {
  std::string key, before, after;
  bool allowed_on_resume;
};

std::vector<ConfigDifference> differences(const RunConfig& before, const RunConfig& after);

// docs/configuration.md.
std::string configuration_markdown();

}  // namespace gta
