// What a run's weights were before its first step, as hashes: RUN/initial.json, by which runs that are compared show
// that the parameters they share began with the same bits.
//
//   {"seed": 1234, "dtype": "float32", "parameters": {"model.norm.weight": {"shape": [256], "hash": "16 digits"}, ...}}
#pragma once

#include <string>

#include "launch/training/training.h"

namespace gta {

// Of weights that are whole on this rank, in the dtype in which the model computes with them; xxh3 of their bytes.
std::string initial_values_json(const Training& training);

}  // namespace gta
