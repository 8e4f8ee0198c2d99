// YAML text -> values of the schema's keys with their places. The only part of the program that knows yaml-cpp.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "launch/config/schema.h"

namespace gta {

inline constexpr const char* kOverride = "--set ";

struct PlacedValue {
  ConfigValue value;
  std::string file;  // what names it, or "--set key.path=value"
  int line = 0, column = 0;
};
using PlacedValues = std::map<std::string, PlacedValue>;  // by key path

struct ConfigProblem {
  std::string file;
  int line = 0, column = 0;  // 0: the file as a whole
  std::string text;
  std::string key;  // what this leaves unknown: a key, a section that ends in '.', or "" for everything
};

// Reads a mapping whose keys lie below `prefix` ("" for a run, "model." for a model) into values; later calls overwrite
// earlier values. Follows include: and model: FILE. Everything that is wrong is appended to problems.
void read_yaml_file(const std::string& path, const std::string& prefix, PlacedValues& values,
                    std::vector<ConfigProblem>& problems);
void read_yaml_text(const std::string& text, const std::string& name, const std::string& prefix, PlacedValues& values,
                    std::vector<ConfigProblem>& problems);
// key.path=value
void read_override(const std::string& text, PlacedValues& values, std::vector<ConfigProblem>& problems);
// The mapping of a file has a key of a run, as `model`, `train` or `include`: it is not a model alone.
bool yaml_has_section(const std::string& path);

}  // namespace gta
