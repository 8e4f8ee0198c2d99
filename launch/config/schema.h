// The table of all configuration keys: what the reader, the writer, the differences and docs/configuration.md are made
// from.
#pragma once

#include <functional>
#include <string>
#include <variant>
#include <vector>

#include "launch/config/run_config.h"

namespace gta {

using ConfigValue = std::variant<bool, int64_t, double, std::string, std::vector<double>, std::vector<std::string>,
                                 std::vector<DataSource>>;

enum class KeyType : uint8_t {
  Boolean,
  Integer,
  Count,
  Real,
  Text,
  Choice,
  Path,
  RealPair,
  TextList,
  PathList,
  SourceList
};
// What a resumed run's key may be. Fixed: as it was. MayChange: another, from now on. Place: another place, where the
// same content lies; it is compared itself.
enum class OnResume : uint8_t { Fixed, MayChange, Place };

struct ConfigKey {
  std::string path;
  KeyType type;
  std::string help;
  OnResume resume = OnResume::Fixed;
  double least = 0, most = 0;          // of numbers, inclusive
  bool above_least = false;            // least itself is out of range
  std::vector<std::string> choices{};  // what this build has
  std::string word{};                  // what the integer -1 is written as
  std::string when_absent{};           // what a page shows in place of the default's value: "required"
  std::vector<std::string> known{};    // other values of the contract, which this build lacks
  std::vector<std::string> used_by{};  // attention types; empty: all
  std::function<void(RunConfig&, const ConfigValue&)> set{};
  std::function<ConfigValue(const RunConfig&)> get{};
};

const std::vector<ConfigKey>& config_keys();
const ConfigKey* find_config_key(const std::string& path);
std::string type_text(const ConfigKey& key);                             // "integer, 1 to 1048576"
std::string value_text(const ConfigKey& key, const ConfigValue& value);  // as YAML

}  // namespace gta
