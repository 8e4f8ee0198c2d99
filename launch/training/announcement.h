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

// A warning where the disk has no room for the checkpoints that the run is to keep, and the one that is written beside
// them.
void warn_of_room(const Training& training, const std::string& checkpoints);

}  // namespace gta
