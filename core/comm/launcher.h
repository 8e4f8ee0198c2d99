// Which launcher started this process as one of several, by what it left in the environment: mpirun of Open MPI and of
// MPICH, and SLURM's srun with pmix or pmi2. A process that was started plainly never touches MPI.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace gta {

struct Launcher {
  std::string name;  // "mpirun", "srun"
  int64_t rank = 0, ranks = 1;
  bool connects = true;  // whether they can find each other: tasks of an srun without --mpi cannot
};
std::optional<Launcher> launcher();  // nothing where there is none, or where it says nothing that can be read

}  // namespace gta
