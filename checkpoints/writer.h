// Writes one checkpoint, whole or not at all, and removes old ones.
//
//   DIRECTORY/step-00001000/  manifest.json
//                             rank-0000-of-0002.h5 (/master/NAME, /exp_avg/NAME, /exp_avg_sq/NAME, /tokenizer)
//                             rank-0001-of-0002.h5 (what the second rank owns)
//   DIRECTORY/latest -> step-00001000
//
// In three steps, of which each rank takes the second:
//
//   rank 0    folder = prepare(DIRECTORY, step)              .tmp-step-00001000
//   each      file = write_own_file(folder, rank, ...)       its file is on disk; to_json(file) goes to rank 0
//   rank 0    publish(folder, position, config, files)       the folder appears by one rename, when all is on disk
//             or give_up(folder), when a rank could not write
//
// HDF5 lays a file out and closes it; the bytes are then written, hashed and synced here with every return code
// checked. Whatever fails throws Error(Failed) with the reason, and what was there before is untouched: a checkpoint of
// the same step stays in place until the new one is whole on disk. One writer per directory at a time (a run's folder
// has a lock).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "checkpoints/manifest.h"
#include "checkpoints/state_pieces.h"
#include "checkpoints/training_state.h"

namespace gta {

// Which start of a run writes. Of several that live at once, on hosts that do not know of each other, only the last
// may; each has a number, higher than all before it.
//
// A start may be overtaken between check() and what follows it. That harms nothing that is whole:
//   the folder of a step that is being written has the start's number in its name, so two starts never write into one,
//     and nobody removes the temporary names of a start after his own;
//   publish() puts a folder in place whose files are all of its own start, and on disk: one checkpoint of one moment.
//     Where the later start has published the same step already, the two are exchanged, or the second rename fails;
//   what an older start prunes then is older than the `keep` newest that it sees, and never the newest sound one.
struct WritePermit {
  int64_t start = 0;                    // 0: there is none, and nobody else
  std::function<void()> check = [] {};  // an Error where another start has taken over, or nobody can tell
};

// The folder for the ranks' files of a step: .tmp-step-00001000, or .tmp-step-00001000.start-7.
std::string temporary_folder(const std::string& directory, int64_t step, int64_t start = 0);
// Makes it, and removes what interrupted writers left. Its path.
std::string prepare(const std::string& directory, int64_t step, int64_t start = 0);
// Writes what this rank owns, reads it back, and says what is where. The tokenizer goes into the file of rank 0; others
// need not have it.
RankFile write_own_file(const std::string& folder, int64_t rank, int64_t world_size, const TrainingState& state,
                        StatePieces& pieces);
// The new checkpoint's path. `files` are those of all ranks, in their order, and hold every element once: what they
// lack is named. After an Error it has cleaned up itself: do not call give_up() then, the folder may hold the
// checkpoint that was to be replaced.
std::string publish(const std::string& folder, const TrainingPosition& position, const std::string& config_yaml,
                    const std::vector<RankFile>& files, const WritePermit& permit = {});
// Removes the folder. Does not throw: the disk that refused a write may refuse this too, and the next prepare() removes
// it.
void give_up(const std::string& folder);

// The three steps of one rank that owns everything. The new folder's path.
std::string write_checkpoint(const std::string& directory, const TrainingState& state);
// The same from the state's pieces, which another thread may stage meanwhile.
std::string write_checkpoint(const std::string& directory, const TrainingState& state, StatePieces& pieces);

// Keeps the `keep` newest, those at multiples of keep_every_steps (0: none) and the newest that is sound, but removes
// nothing unless the newest verifies. Error(BadInput) names what is damaged there. Leftovers of interrupted writers go
// too.
void prune_checkpoints(const std::string& directory, int64_t keep, int64_t keep_every_steps,
                       const WritePermit& permit = {});

// Renames checkpoints to NAME.set-aside, which nothing here lists, loads or removes: what a run goes back behind.
void set_aside(const std::string& directory, const std::vector<std::string>& names, const WritePermit& permit = {});

}  // namespace gta
