// A run's folder: config.yaml, environment.json, log.txt, metrics.jsonl, samples/, checkpoints/. One process at a time (a lock).
#pragma once

#include <cstdint>
#include <string>

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

  // metrics.jsonl, cut back to `bytes` first: what a resumed run does not know of did not happen.
  void open_metrics(int64_t bytes);
  void add_metrics(const std::string& json_line);
  // Bytes written so far, all of them handed to the system.
  int64_t metrics_bytes();

 private:
  std::string path_;
  int lock_ = -1;
  int metrics_ = -1;
  std::string buffered_;
  int64_t metrics_bytes_ = 0;
};

// Renames an existing run's folder to PATH.before-N; nothing is deleted. The new name, or "" when there was none.
std::string move_aside(const std::string& path);

}  // namespace gta
