// Runs an ablation's cells, each by `gta train` in a process of its own, several side by side where asked to.
//
// Finished cells are left alone, interrupted ones go on from their checkpoints, failed ones stay failed unless they are
// to be tried again; one that fails stops no other. At a signal every cell that runs saves and ends. A cell whose
// folder another process still trains in (a start that was killed, whose cells are saving) is waited for.
#pragma once

#include <string>
#include <vector>

#include "launch/ablate/ablation_folder.h"

namespace gta {

enum class OnFailed : uint8_t { Leave, Retry };

struct RunOptions {
  int64_t jobs = 1;  // side by side; processors, or GPUs, are divided among them
  std::string device = "auto";
  OnFailed failed = OnFailed::Leave;
  std::vector<std::string> test;  // shards that each cell's last checkpoint is evaluated on, into test.json
  std::string name;               // of the whole, for messages
};

enum class RunOutcome : uint8_t {
  Finished,    // every cell is done or failed
  Interrupted  // by a signal
};
RunOutcome run_cells(const CellFolder& folder, const std::vector<CellPlan>& cells, const RunOptions& options);

// One line for each cell and one for the whole: "3 of 9 done, ETA 20:12".
std::string status_table(const CellFolder& folder, const std::vector<CellPlan>& cells);

}  // namespace gta
