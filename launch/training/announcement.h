// What a training says of itself before its first step.
#pragma once

#include <string>
#include <vector>

#include "launch/training/training.h"

namespace gta {

// What the configuration asks for and will not get, or hardly means; a line each.
std::vector<std::string> what_has_no_effect(const Training& training);

// Model, device, memory, data. peak_flops: of products on this device, FLOP/s.
void announce(const Training& training, double peak_flops);

}  // namespace gta
