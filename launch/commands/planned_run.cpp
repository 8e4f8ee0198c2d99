#include "launch/commands/planned_run.h"

#include <algorithm>

#include "core/error.h"
#include "launch/vocabulary.h"

namespace gta {

std::string resolve_planned(RunConfig& run, int64_t sequence_length) {
  const std::string note = take_vocabulary(run);
  if (sequence_length > 0) run.data.sequence_length = sequence_length;
  require(run.data.sequence_length > 0, "plan", "needs a sequence length: give --sequence-length N");
  run.model.max_sequence_length = std::max(run.model.max_sequence_length, run.data.sequence_length);
  return note;
}

}  // namespace gta
