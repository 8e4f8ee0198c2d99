// What this program is and where it runs: --version and environment.json.
#pragma once

#include <string>

namespace gta {

std::string version_text();      // several lines
std::string environment_json();  // versions, commit, compiler, hardware, command, time

}  // namespace gta
