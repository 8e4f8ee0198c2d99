// What a profile of training steps says.
#pragma once

#include <string>

#include "core/profiler.h"

namespace gta {

// Of the ranges named "step" and what is inside them: the trace into a file, and a table by falling time into the log.
// Error(Failed) when the file cannot be written.
void report_profile(const Profiler& profiler, const std::string& trace_file);

}  // namespace gta
