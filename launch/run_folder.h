// A run's folder: config.yaml, environment.json, log.txt, metrics.jsonl, tensorboard/, samples/, checkpoints/. One
// process at a time (a lock).
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "launch/append_file.h"
#include "launch/tensorboard.h"

namespace gta {

class RunFolder {
 public:
  // Makes the folder where absent and takes its lock; Error(Failed) naming the holder when another process has it.
  // Nothing else is written before begin().
  explicit RunFolder(std::string path);
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string checkpoints() const { return path_ + "/checkpoints"; }
  std::string config_file() const { return path_ + "/config.yaml"; }

  std::string metrics_file() const { return path_ + "/metrics.jsonl"; }
  std::string sample_file(int64_t step) const;

  // Opens metrics.jsonl and tensorboard/, cut back to a checkpoint's step first: what a resumed run does not know of
  // did not happen.
  void begin(int64_t step);
  // One object with a key `step`: a line of metrics.jsonl and the scalars of tensorboard/. Waits for no disk.
  void add_metrics(const nlohmann::json& row);
  // Hands both to the system.
  void flush_metrics();

 private:
  std::string path_;
  int lock_ = -1;
  std::optional<AppendFile> metrics_;
  std::optional<TensorBoard> tensorboard_;
};

// Whether metrics.jsonl has a row of validation at this step.
bool has_validation(const std::string& metrics_file, int64_t step);

// Whether a folder is a run's, or empty: whatever else it holds is not a run's to write over or to move aside.
bool is_run_folder(const std::string& path);

// A folder's name without slashes and "/." at its end.
std::string folder_name(std::string path);

// Renames an existing run's folder to PATH.before-N; nothing is deleted. A symbolic link stays, what it leads to is
// renamed. The new name, or "" when there was none. Error(BadInput) for the folder that the program works in, or one
// around it.
std::string move_aside(const std::string& path);

}  // namespace gta
