// What was changed while a run trained, as comments at the end of its configuration, where they travel with every
// checkpoint:
//   # Changed while it trained:
//   # from step 51 on, optimizer.learning_rate: 0.003 -> 0.001
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "launch/config/config.h"

namespace gta {

// Those lines of a configuration; "" when it has none.
std::string history_of(const std::string& yaml);
// With what holds from the step after `done` on.
std::string with_changes(const std::string& history, int64_t done, const std::vector<ConfigDifference>& changes);

}  // namespace gta
