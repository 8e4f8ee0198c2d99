// A run's folder: config.yaml, environment.json, log.txt, metrics.jsonl, tensorboard/, samples/, checkpoints/. One process at a time (a
// lock).
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
  explicit RunFolder(std::string path);
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string checkpoints() const { return path_ + "/checkpoints"; }
  std::string config_file() const { return path_ + "/config.yaml"; }

  // metrics.jsonl and tensorboard/, cut back to a checkpoint's position first: what a resumed run does not know of did not happen.
  void open_metrics(int64_t bytes, int64_t step);
  // One object with a key `step`: a line of metrics.jsonl and the scalars of tensorboard/. Waits for no disk.
  void add_metrics(const nlohmann::json& row);
  // Bytes of metrics.jsonl so far; both have been handed to the system.
  int64_t metrics_bytes();

 private:
  std::string path_;
  int lock_ = -1;
  std::optional<AppendFile> metrics_;
  std::optional<TensorBoard> tensorboard_;
};

// A folder's name without slashes and "/." at its end.
std::string folder_name(std::string path);

// Renames an existing run's folder to PATH.before-N; nothing is deleted. A symbolic link stays, what it leads to is renamed. The new name, or ""
// when there was none. Error(BadInput) for the folder that the program works in, or one around it.
std::string move_aside(const std::string& path);

}  // namespace gta
