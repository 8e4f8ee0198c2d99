// What this program is and where it runs: --version and environment.json.
#pragma once

#include <string>
#include <vector>

#include "core/device.h"

namespace gta {

std::string version_text();      // several lines
std::string environment_json(const Device& device);  // versions, commit, compiler, hardware, command, time
// What of it decides how sums are rounded, and differs from the file that an earlier start wrote: a line each, "device: before -> now". A file that is
// not there, or damaged, says nothing.
std::vector<std::string> environment_differences(const std::string& earlier_file, const Device& device);

}  // namespace gta
