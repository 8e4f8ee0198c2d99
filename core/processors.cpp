#include "core/processors.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <thread>

#include "core/backends/cpu/openmp_runtime.h"
#include "core/control_groups.h"

namespace gta {
namespace {

struct ProcessorSet {
  static constexpr int kMost = 8192;
  cpu_set_t bits[kMost / CPU_SETSIZE] = {};
  bool known = false, bound = false;  // bound: by OpenMP, so that it is not what this thread has
};

const ProcessorSet& allowed() {
  static const ProcessorSet set = [] {
    ProcessorSet s;
    for (int processor : cpu::openmp_places())
      if (processor >= 0 && processor < ProcessorSet::kMost)
        CPU_SET_S(static_cast<size_t>(processor), sizeof s.bits, s.bits);
    s.bound = CPU_COUNT_S(sizeof s.bits, s.bits) > 0;
    s.known = s.bound || sched_getaffinity(0, sizeof s.bits, s.bits) == 0;
    return s;
  }();
  return set;
}

int count() {
  const ProcessorSet& set = allowed();
  int processors =
      set.known ? CPU_COUNT_S(sizeof set.bits, set.bits) : static_cast<int>(std::thread::hardware_concurrency());
  if (const auto quota = ControlGroups().processors())
    processors = std::min(processors, static_cast<int>(std::ceil(*quota)));
  // A list (one number to a level of nesting) begins with the number that is meant here.
  if (const char* const text = std::getenv("OMP_NUM_THREADS"))
    if (const int wanted = std::atoi(text); wanted > 0) processors = std::min(processors, wanted);
  return std::max(processors, 1);
}

}  // namespace

int available_processors() {
  static const int processors = count();
  return processors;
}

void run_on_available_processors() {
  if (const ProcessorSet& set = allowed(); set.bound) sched_setaffinity(0, sizeof set.bits, set.bits);
}

}  // namespace gta
