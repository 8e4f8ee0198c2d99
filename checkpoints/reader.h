// Reads checkpoints, believing nothing that its hash does not confirm.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "checkpoints/manifest.h"
#include "core/comm/communicator.h"

namespace gta {

class Checkpoint {
 public:
  using Entry = ManifestEntry;  // part, parameter, shape, dtype, first, count, file, offset, hash

  // Reads the manifest and compares the files' sizes. Error(BadInput) names what is damaged.
  static Checkpoint open(const std::string& path);

  const std::string& path() const { return path_; }
  const TrainingPosition& position() const { return manifest_.position; }
  const std::string& config_yaml() const { return manifest_.config_yaml; }
  const std::vector<Entry>& entries() const { return manifest_.entries; }
  uint64_t hash() const { return hash_; }  // of the manifest, which has those of everything else
  const std::vector<ManifestFile>& files() const { return manifest_.files; }
  // The bytes of one of entries(), verified. Error(BadInput) names it when they do not have its hash.
  std::string read(const Entry& entry) const;
  // The file's bytes, as read() gives them, read once.
  const std::string& tokenizer() const;
  // Reads everything and compares every range's and every file's hash; Error(BadInput) names the first that differs.
  void verify() const;
  // Error(BadInput) names the parameters that are left over, or of another shape or dtype, and the elements that are
  // missing; parts that no range asks for ("exp_avg" when sampling) are left alone. A range of no elements says that a
  // parameter is known, and that nothing of it is wanted.
  void check_fits(const std::vector<StateRange>& ranges) const;
  // Fills the ranges from however many files, cut as they may be; check_fits() before anything is written. Reads the
  // entries that hold something of them, and nothing else: each whole, once, verified as it comes. After an Error the
  // ranges hold nothing that is of use.
  void load(const std::vector<StateRange>& ranges) const;

 private:
  std::string path_;
  Manifest manifest_;
  uint64_t hash_ = 0;
  mutable std::optional<std::string> tokenizer_;
};

// Folder names, lowest step first; empty when there is no such folder. "step-00001000.replaced" stands for its step
// while a writer that cannot exchange two folders in one call is between its two renames.
std::vector<std::string> list_checkpoints(const std::string& directory);
int64_t step_of(const std::string& checkpoint_name);
std::string checkpoint_name(int64_t step);  // "step-00001000"

// What becomes of a checkpoint: `consider` says whether it is wanted, and what it throws is thrown (the tokenizer has
// been verified by then); then `load` reads what is wanted of it, and an Error there means that it is damaged.
struct CheckpointUse {
  std::function<bool(const Checkpoint&)> consider = [](const Checkpoint&) { return true; };
  std::function<void(const Checkpoint&)> load = [](const Checkpoint& checkpoint) { checkpoint.verify(); };
};
// The newest one that is wanted and loads, so that nothing is read twice; damaged ones are named in a warning and
// skipped.
std::optional<Checkpoint> use_newest_good(const std::string& directory, const CheckpointUse& use);
// The same by all ranks, who all use the one that they get: those that the lead sees are tried, and one that is damaged
// for any rank is for each. consider() decides alike on each rank. Error(BadInput) names a rank that finds another one
// under a name.
std::optional<Checkpoint> use_newest_good(const std::string& directory, const CheckpointUse& use, Communicator& ranks);
std::optional<std::string> find_newest_good(const std::string& directory);  // that verifies
// The newest one whose position is sound, by its manifest alone.
std::optional<std::string> find_newest_sound(const std::string& directory);
// RUN, RUN/checkpoints or a checkpoint's own folder: the checkpoint, or the newest good one of a run. Error(BadInput)
// says what would do.
Checkpoint use_checkpoint(const std::string& run_or_checkpoint, const CheckpointUse& use);
// The same by all ranks, who all use the one that they get. Error(BadInput) names a rank that finds another one under
// the name, as copies on hosts may be.
Checkpoint use_checkpoint(const std::string& run_or_checkpoint, const CheckpointUse& use, Communicator& ranks);
std::string resolve_checkpoint(const std::string& run_or_checkpoint);  // its folder; of a run, one that verifies

}  // namespace gta
