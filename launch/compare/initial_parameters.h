// RUN/initial.json: hashes of a run's parameters before its first step, by which runs are seen to have begun alike.
//
//   {"seed": 1, "parameters": {"model.norm.weight": {"shape": [256], "hash": "16 hexadecimal digits"}, ...}}
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace gta {

struct InitialParameters {
  int64_t seed = 0;
  std::map<std::string, std::string> hashes;  // by name and shape: "model.norm.weight (256)"
};

// Error(BadInput) says what is damaged.
InitialParameters read_initial_parameters(const std::string& file);

}  // namespace gta
