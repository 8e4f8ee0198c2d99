// A run's folder: config.yaml, environment.json, initial.json, log.txt, metrics.jsonl, tensorboard/, samples/,
// checkpoints/, last_checkpoint.json. One process at a time: a lock, run.lock, refuses the second one, where locks
// work; and a fence, run.fence, ends the first one where they do not (launch/fence.h).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "launch/append_file.h"
#include "launch/fence.h"
#include "launch/metrics.h"
#include "launch/tensorboard.h"

namespace gta {

enum class FolderLock : uint8_t { Take, Leave };  // Leave: as where the file system has none

class RunFolder {
 public:
  // Makes the folder where absent, takes its lock and the next number of its fence; Error(Failed) naming the holder
  // when another process has the lock, Error(BadInput) where something else has the name of one of its files.
  // Nothing else is written before make_folders().
  explicit RunFolder(std::string path, FolderLock lock = FolderLock::Take);
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string checkpoints() const { return path_ + "/checkpoints"; }
  std::string config_file() const { return path_ + "/config.yaml"; }

  std::string metrics_file() const { return path_ + "/metrics.jsonl"; }
  std::string sample_file(int64_t step) const;

  // What every write into the folder asks first; for as long as anybody may ask.
  const std::shared_ptr<Fence>& fence() const { return fence_; }

  // samples/ and checkpoints/. Error(Failed) where one cannot be: a file has its name, or a link that leads nowhere;
  // Error(BadInput) where nothing can be written into it.
  void make_folders();
  // Opens metrics.jsonl and tensorboard/, cut back to a checkpoint's step first: what a resumed run does not know of
  // did not happen.
  void begin(int64_t step);
  // A line of metrics.jsonl, with the time of now, and the scalars of tensorboard/. Waits for no disk.
  void add_metrics(MetricsRow row);
  // Hands both to the system, unless another start has taken over; false when the disk refused some of it (a warning
  // said why; later calls try again).
  bool flush_metrics();

  // The folder may be renamed while a run trains in it, and another run begin under its old name: the lock and the open
  // files are the folder's and not its name's. Finds where it is now; true when path() has changed. Where the lock's
  // file alone was removed, it is made and taken again. Error(Failed) when the folder is gone, or another process has
  // it.
  bool follow();

  // What is remembered of the last checkpoint that was whole on disk. Checkpoints may lie behind a link, on a disk that
  // is not there at the next start: a run that does not find them must not begin anew. An error is a warning; nothing
  // where another start has taken over.
  struct NotedCheckpoint {
    int64_t step;
    std::string directory;  // where checkpoints/ led
  };
  void note_checkpoint(int64_t step);
  std::optional<NotedCheckpoint> noted_checkpoint() const;

 private:
  void take_lock();
  bool holds(const std::string& lock) const;  // whether the file of this name is the one that is locked

  std::string path_;
  FolderLock use_lock_;
  int lock_ = -1;
  std::shared_ptr<Fence> fence_;  // before what asks it
  std::optional<AppendFile> metrics_;
  std::optional<TensorBoard> tensorboard_;
};

// The process that trains in a folder, as its lock says: "4711", or "?" where it does not; nothing where none does.
std::optional<std::string> lock_holder(const std::string& run);

// Calls take(row, end) with each whole row of a metrics.jsonl and the byte behind it, the last row first, until it
// returns false. Rows come in the order of their steps, so what has to be looked at lies at the end. What is no row
// (torn by a kill) is left out.
void each_row_from_the_end(const std::string& path, const std::function<bool(const MetricsRow&, int64_t)>& take);

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
