// Reads checkpoints, believing nothing that its hash does not confirm.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "checkpoints/manifest.h"

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
  const std::vector<ManifestFile>& files() const { return manifest_.files; }
  std::string tokenizer() const;
  // Reads everything and compares every range's and every file's hash; Error(BadInput) names the first that differs.
  void verify() const;
  // Fills the ranges, however they are cut. Everything is verified before the first range is written. Error(BadInput) names the parameters
  // that are missing, left over, or of another shape or dtype; parts that no range asks for ("exp_avg" when sampling) are left alone.
  void load(const std::vector<StateRange>& ranges) const;

 private:
  std::string path_;
  Manifest manifest_;
};

// Folder names, lowest step first; empty when there is no such folder. "step-00001000.replaced" stands for its step while a writer that
// cannot exchange two folders in one call is between its two renames.
std::vector<std::string> list_checkpoints(const std::string& directory);
int64_t step_of(const std::string& checkpoint_name);
// The newest one that verifies; damaged ones are named in a warning and skipped.
std::optional<std::string> find_newest_good(const std::string& directory);
// RUN, RUN/checkpoints or a checkpoint's own folder -> the checkpoint's folder; the newest good one of a run. Error(BadInput) says what
// would do.
std::string resolve_checkpoint(const std::string& run_or_checkpoint);

}  // namespace gta
