// What a terminal that is everybody's need not show again.
#pragma once

#include "core/log.h"

namespace gta::log {

// To the file that is attached alone, if there is one.
void write_to_file(Level level, std::string_view message);

}  // namespace gta::log
