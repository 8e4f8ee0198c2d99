// Reads checkpoints, believing nothing that its hash does not confirm.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "checkpoints/manifest.h"

namespace gta {

class Checkpoint {
 public:
  // Reads the manifest and compares the files' sizes. Error(BadInput) names what is damaged.
  static Checkpoint open(const std::string& path);

  const std::string& path() const { return path_; }
  const TrainingPosition& position() const { return manifest_.position; }
  const std::string& config_yaml() const { return manifest_.config_yaml; }
  const std::vector<ManifestEntry>& entries() const { return manifest_.entries; }
  const std::vector<ManifestFile>& files() const { return manifest_.files; }
  std::string tokenizer() const;
  void verify() const;  // every file's hash
  // Fills the ranges, however they are cut, from verified bytes. Error(BadInput) naming parameters that are missing, left over, or of another
  // shape or dtype; parts that no range asks for are left alone.
  void load(const std::vector<StateRange>& ranges) const;

 private:
  std::string path_;
  Manifest manifest_;
};

std::vector<std::string> list_checkpoints(const std::string& directory);  // names, oldest first; empty when there is no such folder
// The newest one that verifies; damaged ones are named in a warning and skipped.
std::optional<std::string> find_newest_good(const std::string& directory);
// RUN, RUN/checkpoints or a checkpoint's own folder -> the checkpoint's folder.
std::string resolve_checkpoint(const std::string& run_or_checkpoint);

}  // namespace gta
