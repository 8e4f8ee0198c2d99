// The hooks of the sanitizers that need to know about fibers. Weak: null where the program is built without that
// sanitizer, so that the same code serves every build.
#pragma once

#include <cstddef>

extern "C" {
#define GTA_WEAK __attribute__((weak))
GTA_WEAK void __asan_init();
GTA_WEAK void __asan_poison_memory_region(void const volatile*, size_t);
GTA_WEAK void __asan_unpoison_memory_region(void const volatile*, size_t);
GTA_WEAK void __sanitizer_start_switch_fiber(void**, const void*, size_t);
GTA_WEAK void __sanitizer_finish_switch_fiber(void*, const void**, size_t*);
GTA_WEAK void __sanitizer_set_death_callback(void (*)());
GTA_WEAK void* __tsan_get_current_fiber();
GTA_WEAK void* __tsan_create_fiber(unsigned);
GTA_WEAK void __tsan_destroy_fiber(void*);
GTA_WEAK void __tsan_switch_to_fiber(void*, unsigned);
GTA_WEAK void __tsan_acquire(void*);
GTA_WEAK void __tsan_release(void*);
GTA_WEAK void AnnotateIgnoreReadsBegin(const char*, int);
GTA_WEAK void AnnotateIgnoreReadsEnd(const char*, int);
GTA_WEAK void AnnotateIgnoreWritesBegin(const char*, int);
GTA_WEAK void AnnotateIgnoreWritesEnd(const char*, int);
#undef GTA_WEAK
}

namespace host_cuda {

inline bool with_asan() { return __asan_init && __sanitizer_start_switch_fiber; }
inline bool with_tsan() { return __tsan_create_fiber; }
inline void poison(const void* p, size_t bytes) {
  if (__asan_poison_memory_region) __asan_poison_memory_region(p, bytes);
}
inline void unpoison(const void* p, size_t bytes) {
  if (__asan_unpoison_memory_region) __asan_unpoison_memory_region(p, bytes);
}
inline void acquire(void* sync) {
  if (__tsan_acquire) __tsan_acquire(sync);
}
inline void release(void* sync) {
  if (__tsan_release) __tsan_release(sync);
}

// The engine's own calls of memset and malloc are seen by ThreadSanitizer even where its code is not instrumented.
struct IgnoredByTsan {
  IgnoredByTsan() {
    if (AnnotateIgnoreReadsBegin) AnnotateIgnoreReadsBegin("", 0), AnnotateIgnoreWritesBegin("", 0);
  }
  ~IgnoredByTsan() {
    if (AnnotateIgnoreReadsBegin) AnnotateIgnoreReadsEnd("", 0), AnnotateIgnoreWritesEnd("", 0);
  }
};

}  // namespace host_cuda
