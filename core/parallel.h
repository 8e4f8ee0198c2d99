// Loops over independent work items of the CPU backend. Items are cut by size, never by the number of threads, so that results do not
// depend on it; an exception in an item is rethrown in the caller.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace gta {

inline void set_threads([[maybe_unused]] int threads) {
#ifdef _OPENMP
  omp_set_num_threads(threads);
#endif
}

inline int threads() {
#ifdef _OPENMP
  return omp_get_max_threads();
#else
  return 1;
#endif
}

template <class F>
void parallel_for(int64_t items, F&& body) {
  if (items <= 0) return;
  // A single item runs in a parallel region too: a product inside it would otherwise be cut by the number of threads.
  std::exception_ptr error;
  std::atomic<bool> failed{false};
#pragma omp parallel for schedule(dynamic)
  for (int64_t i = 0; i < items; ++i) {
    if (failed.load(std::memory_order_relaxed)) continue;
    try {
      body(i);
    } catch (...) {
      if (!failed.exchange(true)) error = std::current_exception();
    }
  }
  if (error) std::rethrow_exception(error);
}

// body(first, last) over [0, count) in pieces of at most `grain`.
template <class F>
void parallel_ranges(int64_t count, int64_t grain, F&& body) {
  if (grain < 1) grain = 1;
  parallel_for((count + grain - 1) / grain, [&](int64_t i) {
    const int64_t first = i * grain, last = first + grain < count ? first + grain : count;
    body(first, last);
  });
}

}  // namespace gta
