// What an ablation writes, and where its cells stand, which the files alone tell: whoever is killed and started
// again, and whoever looks on from another terminal, sees the same.
//
//   FOLDER/ablation.yaml       the file it was made from, resolved
//   FOLDER/configs/CELL.yaml   a cell's whole configuration: `gta train` alone repeats it
//   FOLDER/cells/CELL/         its run
//   FOLDER/output/CELL.txt     what its commands said
//   FOLDER/failed/CELL.txt     why it failed; not there otherwise
//   FOLDER/trials/             of a search, the same: configs/, cells/, output/, failed/
//   FOLDER/report/             written when cells are done
//   FOLDER/ablation.lock       held by the process that runs the cells
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "launch/ablate/cells.h"

namespace gta {

enum class CellState : uint8_t {
  Waiting,      // nothing is there
  Running,      // a process trains in its folder
  Interrupted,  // it goes on from its newest checkpoint
  Done,
  Failed
};
const char* name_of(CellState state);

struct CellStatus {
  static constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  CellState state = CellState::Waiting;
  int64_t step = 0;  // that has a row
  // Of that step, the last one, of the last steps.
  double loss = kNone, validation_loss = kNone, seconds_per_step = kNone;
  std::string reason;  // of a failure
  // Of a failure: what is in its folder cannot be told, so nothing is trained there and nothing written, also when
  // failed cells are tried again.
  bool unreadable = false;
  std::string holder;  // the process that trains in it, where one does
};

// The part of an ablation's folder that holds its cells, or its trials.
class CellFolder {
 public:
  explicit CellFolder(std::string path) : path_(std::move(path)) {}

  const std::string& path() const { return path_; }
  std::string config_file(const std::string& cell) const { return path_ + "/configs/" + cell + ".yaml"; }
  std::string run(const std::string& cell) const { return path_ + "/cells/" + cell; }
  std::string output_file(const std::string& cell) const { return path_ + "/output/" + cell + ".txt"; }
  std::string failure_file(const std::string& cell) const { return path_ + "/failed/" + cell + ".txt"; }
  std::string test_file(const std::string& cell) const { return run(cell) + "/test.json"; }

  // What to do about unreadable ones. Of cells each is a failure of its own, of which status() tells; on a search's
  // trials all that comes after them depends.
  enum class Unreadable : uint8_t { Leave, Refuse };
  // Error(BadInput) where cells are there already under configurations that would train something else: all of them,
  // with what differs.
  void check(const std::vector<CellPlan>& cells, Unreadable unreadable) const;
  // The folders and the configurations.
  void prepare(const std::vector<CellPlan>& cells) const;

  CellStatus status(const CellPlan& cell) const;
  void note_failure(const CellPlan& cell, const std::string& reason) const;
  void forget_failure(const CellPlan& cell) const;

  // What `gta eval --json` said of a cell on these shards, into its test_file().
  void keep_test(const CellPlan& cell, const std::vector<std::string>& shards, const std::string& said) const;
  // Its loss; nothing where the cell was not evaluated, or on other shards.
  std::optional<double> tested_loss(const CellPlan& cell, const std::vector<std::string>& shards) const;

 private:
  CellStatus status_of_files(const CellPlan& cell) const;
  // How a cell's folder that cannot be read is told of: what is wrong, and what to do.
  std::string advice(const CellPlan& cell, const std::string& wrong) const;

  std::string path_;
};

// Held by the process that runs an ablation's cells. Error(Failed) where another one has it.
class AblationLock {
 public:
  explicit AblationLock(const std::string& folder);
  ~AblationLock();
  AblationLock(const AblationLock&) = delete;
  AblationLock& operator=(const AblationLock&) = delete;

 private:
  int file_ = -1;
};

}  // namespace gta
