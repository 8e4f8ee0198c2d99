// What an ablation takes, before it begins.
#pragma once

#include <vector>

#include "launch/ablate/cells.h"
#include "launch/commands/commands.h"

namespace gta {

// A line for each arm: what it costs, what was adjusted for the budget and how close it came; then the whole.
void print_plan(const AblationFile& file, const std::vector<Arm>& arms, const AblateCommand& command);

}  // namespace gta
