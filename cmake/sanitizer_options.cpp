// What the sanitizers are told about libraries that they cannot see into; part of every program of a build with
// GTA_SANITIZE.
#include "core/sanitizer.h"

extern "C" {

// Damaged files make HDF5 ask for sizes that no machine has. It is told so by a null pointer, as it is everywhere else,
// and refuses the file.
const char* __asan_default_options() { return "allocator_may_return_null=1"; }
const char* __tsan_default_options() { return "allocator_may_return_null=1"; }
const char* __ubsan_default_options() { return "print_stacktrace=1"; }

// HDF5 1.10 reads a few bytes beyond its own buffers in some files whose headers are damaged, and forgets some memory
// of others; the tests damage every byte (core/io/README.md).
const char* __asan_default_suppressions() { return "interceptor_via_lib:libhdf5\n"; }
const char* __lsan_default_suppressions() { return "leak:libhdf5\n"; }
// The same, and what oneDNN's generated code does beside its calls of the system's functions is not seen; nor what Open
// MPI's libraries do among themselves.
const char* __tsan_default_suppressions() {
  return "called_from_lib:libhdf5_serial.so\n"
         "called_from_lib:libdnnl.so\n"
         "deadlock:mca_\n"
         "deadlock:libopen-pal.so\n"
         "race:mca_\n"
         "race:libopen-pal.so\n"
         "race:libmpi.so\n"
         "race:libpmix.so\n";
}
}
