// The OpenMP runtime that oneDNN brings with it. Nothing here uses its threads, and oneDNN must not either: it believes
// that it is outside of a parallel region whenever OpenMP made a team of one (OMP_DYNAMIC, OMP_THREAD_LIMIT,
// OMP_MAX_ACTIVE_LEVELS), shares a product among threads that are not there, and gives wrong numbers.
#pragma once

#include <vector>

namespace gta::cpu {

// From now on OpenMP has one thread for whoever asks in the calling thread, whatever the environment says: each thread
// has its own settings.
void use_one_openmp_thread();

// The processors of OMP_PLACES, or all of the process's when OMP_PROC_BIND is set; empty if OpenMP binds nothing.
std::vector<int> openmp_places();

}  // namespace gta::cpu
