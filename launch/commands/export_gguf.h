#pragma once

#include "launch/commands/commands.h"

namespace gta {

int export_gguf(const ExportCommand& command);  // `gta export --format gguf`

}  // namespace gta
