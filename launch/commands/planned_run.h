// What `gta plan` counts, where the file does not say all of it.
#pragma once

#include <cstdint>
#include <string>

#include "launch/config/run_config.h"

namespace gta {

// Vocabulary and lengths of a planned configuration; sequence_length: instead of its own, 0: its own. What was taken
// for the vocabulary, for the user; "" where the configuration says it. Error(BadInput) where no length is known.
std::string resolve_planned(RunConfig& run, int64_t sequence_length);

}  // namespace gta
