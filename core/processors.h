// The processors that this process may use.
#pragma once

namespace gta {

// As many as its affinity allows, and no more than the control groups' quota or OMP_NUM_THREADS say; at least 1. Taken
// once.
int available_processors();

// Lets the calling thread run on all that its affinity allowed when the process began. oneDNN's OpenMP runtime binds
// the first thread to one processor while it is loaded if OMP_PROC_BIND or OMP_PLACES is set, as many job scripts do;
// threads started from there would share it.
void run_on_available_processors();

}  // namespace gta
