// Another value of a configuration's key, for tests that walk all keys.
#pragma once

#include <optional>

#include "launch/config/config.h"

namespace gta {

inline RunConfig with_type(RunConfig config, const std::string& type) {
  find_config_key("model.attention.type")->set(config, type);
  return config;
}

// Two configurations that differ in this key alone, of a type of attention that uses it; nothing for a key that has
// only one value.
struct OtherValue {
  RunConfig before, after;
};
inline std::optional<OtherValue> other_value(const RunConfig& config, const ConfigKey& key) {
  OtherValue other{config, config};
  ConfigValue value = key.get(config);
  if (auto* b = std::get_if<bool>(&value)) *b = !*b;
  if (auto* i = std::get_if<int64_t>(&value)) *i += 1;
  if (auto* d = std::get_if<double>(&value)) *d = *d / 3 + 1e-7;
  if (auto* p = std::get_if<std::vector<double>>(&value)) (*p)[1] /= 3;
  if (auto* l = std::get_if<std::vector<std::string>>(&value)) l->push_back("/more");
  if (auto* m = std::get_if<std::vector<DataSource>>(&value)) m->push_back({{"/more"}, 0.5});
  if (auto* s = std::get_if<std::string>(&value)) {
    if (key.type != KeyType::Choice)
      *s = "/other";
    else if (key.choices.size() == 1)
      return std::nullopt;
    else
      *s = key.choices[*s == key.choices[0] ? 1 : 0];
  }
  key.set(other.after, value);
  if (!key.used_by.empty()) {
    other.before = with_type(other.before, key.used_by.front());
    other.after = with_type(other.after, key.used_by.front());
  }
  return other;
}

}  // namespace gta
