// YAML text -> values of the schema's keys with their places.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "launch/config/schema.h"

namespace YAML {
class Node;
}

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
// A mapping within another file (an ablation's) whose keys lie below no prefix, dotted or nested; paths are relative to
// that file.
void read_yaml_part(const YAML::Node& map, const std::string& file, PlacedValues& values,
                    std::vector<ConfigProblem>& problems);
// A value of a key that need not be one of the schema's. False where it is wrong, which is then a problem.
bool read_yaml_value(const ConfigKey& key, const YAML::Node& node, const std::string& file, ConfigValue& value,
                     std::vector<ConfigProblem>& problems);
// The mapping of a whole file, whose text was checked; undefined where that is a problem.
YAML::Node load_yaml_file(const std::string& path, std::vector<ConfigProblem>& problems);
// At a key or a value.
ConfigProblem problem_at(const YAML::Node& node, const std::string& file, const std::string& text);
// Error(BadInput) with a line for each, where there are any.
void throw_problems(const std::vector<ConfigProblem>& problems);
// The mapping of a file has a key of a run, as `model`, `train` or `include`: it is not a model alone.
bool yaml_has_section(const std::string& path);

}  // namespace gta
