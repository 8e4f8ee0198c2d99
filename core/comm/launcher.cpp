#include "core/comm/launcher.h"

#include <charconv>
#include <cstdlib>
#include <string_view>

namespace gta {
namespace {

std::optional<int64_t> number(const char* variable) {
  const char* const text = std::getenv(variable);
  if (!text) return std::nullopt;
  const std::string_view digits = text;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size() || value < 0) return std::nullopt;
  return value;
}

std::optional<Launcher> from(const char* name, const char* rank, const char* ranks) {
  const std::optional<int64_t> own = number(rank), all = number(ranks);
  if (!own || !all || *all < 1 || *own >= *all) return std::nullopt;
  return Launcher{name, *own, *all};
}

}  // namespace

std::optional<Launcher> launcher() {
  // mpirun inside of a SLURM job leaves both kinds.
  if (const auto found = from("mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE")) return found;
  const bool step = std::getenv("SLURM_STEP_ID") != nullptr;
  if (const auto found = from(step ? "srun" : "mpirun", "PMI_RANK", "PMI_SIZE")) return found;
  // srun --mpi=pmix says the rank in PMIX_RANK, how many there are in SLURM's own. Without --mpi SLURM's are all there
  // is; the batch script itself has no SLURM_STEP_NUM_TASKS, and a shell that srun opened is one task.
  if (std::getenv("PMIX_RANK")) return from("srun", "PMIX_RANK", "SLURM_STEP_NUM_TASKS");
  std::optional<Launcher> tasks = from("srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS");
  if (tasks && step) tasks->connects = tasks->ranks == 1;
  return step ? tasks : std::nullopt;
}

}  // namespace gta
