// gta plan --match: what a configuration has to be changed to, to cost what another one does.
#pragma once

#include "launch/commands/commands.h"

namespace gta {

int run_plan_match(const PlanCommand& command);

}  // namespace gta
