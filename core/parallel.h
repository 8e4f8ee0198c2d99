// Loops over independent work items of the CPU backend, by one pool of threads. Items are cut by size, never by the
// number of threads, so that results do not depend on it; an exception in an item is rethrown in the caller.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

namespace gta {

// How many threads work on a loop, the caller among them; at first available_processors().
void set_threads(int threads);
void set_default_threads(int threads);  // unless set_threads() has been called
int threads();

// What a loop does to an item, without its type.
struct ItemBody {
  void (*call)(const void* body, int64_t item);
  const void* body;
};
void run_items(int64_t items, ItemBody body);

// body(i) for each i in [0, items), in any order, by any thread. A loop inside of an item runs in that item's thread
// alone, and so does a loop that a second thread begins while the pool works for a first one.
template <class F>
void parallel_for(int64_t items, F&& body) {
  using Body = std::remove_reference_t<F>;
  run_items(items, {[](const void* f, int64_t item) { (*const_cast<Body*>(static_cast<const Body*>(f)))(item); },
                    std::addressof(body)});
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
