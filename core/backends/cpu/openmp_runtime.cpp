#include "core/backends/cpu/openmp_runtime.h"

#include <dlfcn.h>

namespace gta::cpu {
namespace {

// From the runtime that is loaded, libgomp or another; null in a oneDNN without OpenMP.
template <class Function>
Function* find(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_DEFAULT, name));
}

}  // namespace

void use_one_openmp_thread() {
  static const auto set_num_threads = find<void(int)>("omp_set_num_threads");
  thread_local const bool done = [] {
    if (set_num_threads) set_num_threads(1);
    return true;
  }();
  static_cast<void>(done);
}

std::vector<int> openmp_places() {
  const auto places = find<int()>("omp_get_num_places");
  const auto count = find<int(int)>("omp_get_place_num_procs");
  const auto ids = find<void(int, int*)>("omp_get_place_proc_ids");
  std::vector<int> all;
  if (!places || !count || !ids) return all;
  for (int place = 0; place < places(); ++place) {
    std::vector<int> some(static_cast<size_t>(count(place)));
    ids(place, some.data());
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

}  // namespace gta::cpu
