// How a training begins: where its run's folder left off, with the weights of another run, or with random ones.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "checkpoints/reader.h"
#include "launch/plan.h"
#include "launch/run_folder.h"
#include "launch/training/looks.h"
#include "launch/training/training.h"

namespace gta {

// What goes on from a checkpoint.
struct Resumed {
  Checkpoint checkpoint;
  Looks owed;                            // what the run did not come to after the checkpoint's step
  std::vector<std::string> left_behind;  // names of checkpoints that are not sound, and that the run goes back behind
};

// From the newest good checkpoint of the run's folder, if this configuration may go on from it; nothing when the run
// has none. All ranks go on from the same one, `folder` being the lead's and nullptr elsewhere. A micro-batch of auto
// stays what it was where that fits: another one would round sums in another order. With a lower learning rate the run
// goes back behind what is not sound: that is what the message of a run that ended in skipped steps advises. A training
// that is at its end and owes nothing gets no memory. notes: what the user should know, a line each. Error(BadInput)
// where keys or data have changed that may not, no checkpoint is whole, or the plan does not fit into the device's
// memory, which log.txt then says too.
std::optional<Resumed> resume(Training& training, const std::string& run_dir, const RunFolder* folder, Misfit misfit,
                              std::vector<std::string>& notes);

// At step 0, with random weights or those of train.init_from. All ranks.
void begin(Training& training, Misfit misfit, std::vector<std::string>& notes);

}  // namespace gta
