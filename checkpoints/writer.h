// Writes one checkpoint, whole or not at all, and removes old ones.
//
//   DIRECTORY/step-00001000/  manifest.json
//                             rank-0000-of-0001.h5 (/master/NAME, /exp_avg/NAME, /exp_avg_sq/NAME, /tokenizer)
//   DIRECTORY/latest -> step-00001000
//
// HDF5 lays the file out and closes it; the bytes are then written, hashed and synced here with every return code
// checked. The folder is built as .tmp-step-00001000, and appears by one rename after everything in it is on disk.
#pragma once

#include <string>
#include <vector>

#include "checkpoints/state_pieces.h"
#include "checkpoints/training_state.h"

namespace gta {

// The new folder's path. Error(Failed) with the reason when it could not be written: what was there before is
// untouched. One writer per directory at a time (a run's folder has a lock). A checkpoint of the same step stays in
// place until the new one is whole on disk.
std::string write_checkpoint(const std::string& directory, const TrainingState& state);
// The same from the state's pieces, which another thread may stage meanwhile.
std::string write_checkpoint(const std::string& directory, const TrainingState& state, StatePieces& pieces);

// Keeps the `keep` newest, those at multiples of keep_every_steps (0: none) and the newest that is sound, but removes
// nothing unless the newest verifies. Error(BadInput) names what is damaged there. Leftovers of interrupted writers go
// too.
void prune_checkpoints(const std::string& directory, int64_t keep, int64_t keep_every_steps);

// Renames checkpoints to NAME.set-aside, which nothing here lists, loads or removes: what a run goes back behind.
void set_aside(const std::string& directory, const std::vector<std::string>& names);

}  // namespace gta
