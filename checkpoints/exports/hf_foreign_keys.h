// Keys of a config.json that are not those of a model of ours.
#pragma once

#include <string>

#include "checkpoints/exports/hf_model.h"
#include "checkpoints/exports/json_object.h"

namespace gta {

// Error(BadInput) names a key that makes it another model than `type` is here, and what it would have to be: sliding
// windows, other activations, biases elsewhere, quantisation, multipliers, experts. (Scaled RoPE: hf_config_reader.cpp)
void refuse_foreign_keys(const JsonObject& json, HfClass type);

// Keys that are neither read here nor known to say nothing about what a model computes, some of them by name; "" where
// there are none.
std::string passed_over(const JsonObject& json);

}  // namespace gta
