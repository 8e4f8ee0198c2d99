// Which runs are the same variant, and what a variant is called.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "launch/config/run_config.h"

namespace gta {

// Whether a key counts for what is learnt, beside the seed.
bool changes_training(const std::string& key);

// Every key of a configuration that counts for what is learnt, but the seed, and its value as YAML. Left out are keys
// that the type of attention does not use, that change nothing but speed, rounding, files and what is shown, and where
// data lie (their content is compared).
std::map<std::string, std::string> settings_of(const RunConfig& config);

// Those in which they differ; a key that one does not use differs from one that another uses.
std::vector<std::string> differing_keys(const std::vector<std::map<std::string, std::string>>& settings);

// Short names, each another: the type of attention, and as many of the keys that differ among those of a type as tell
// them apart: "gqa", "gta latent_dim=64".
std::vector<std::string> variant_names(const std::vector<std::map<std::string, std::string>>& settings);

}  // namespace gta
