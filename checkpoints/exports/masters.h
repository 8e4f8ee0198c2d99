// The weights that are exported, or filled from a file: the float32 masters of a space on the CPU, by name.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/parameter_space.h"

namespace gta {

class Masters {
 public:
  // Error(Internal) where the space holds but a part of a parameter, another dtype or another device.
  explicit Masters(const ParameterSpace& space);

  std::span<float> at(const std::string& parameter) const;  // the space's own memory
  std::vector<float> values(const std::string& parameter) const;

 private:
  std::map<std::string, std::span<float>> masters_;
};

}  // namespace gta
