// What this program is and where it runs: --version and environment.json.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/device.h"
#include "optim/optimizer_config.h"

namespace gta {

std::string version_text();                          // several lines
std::string environment_json(const Device& device);  // versions, commit, compiler, hardware, command, time
// What has to be alike where several ranks train together, name and value: the program and what sums depend on.
std::vector<std::pair<std::string, std::string>> program_facts(const Device& device);
// What a run that goes on should know of how this program and machine differ from those of the file that an earlier
// start wrote, a sentence each: what decides how sums are rounded, and the rule of the schedule. A file that is not
// there, or damaged, says nothing.
std::vector<std::string> changes_since(const std::string& earlier_file, const Device& device, ScheduleType schedule);

}  // namespace gta
