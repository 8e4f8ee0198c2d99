// An ablation's cells as the jobs of a SLURM array.
#pragma once

#include <string>
#include <vector>

namespace gta {

struct ArrayJob {
  std::string name, folder;            // of the ablation
  std::vector<std::string> arguments;  // of `gta ablate`, by which a job finds its cell
  std::vector<std::string> cells;
  std::vector<std::string> options;  // of sbatch
  int64_t at_once = 0;               // jobs that may run side by side; 0: any number
};

// The script: lines for SLURM, and what a job does.
std::string array_script(const ArrayJob& job);

// Writes FOLDER/slurm/array.sbatch and hands it in; what sbatch said. Error(Failed) with that where it refuses it, or
// where there is no sbatch.
std::string submit(const ArrayJob& job);

}  // namespace gta
