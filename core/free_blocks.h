// Freed memory that the allocator keeps, and hands out again.
//
// Blocks of kMappedBytes and more are whole pages of mappings: any part of one can be used, or given back to the
// system, alone. A request takes the smallest range that holds it and leaves the rest, which is nothing or kMappedBytes
// and more; ranges side by side become one again. So no size that is asked for once stays behind for nobody else to
// use. Smaller blocks are the heap's, and serve requests of their own size only.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <utility>

namespace gta {

inline constexpr int64_t kMappedBytes = int64_t{1} << 16;

class FreeBlocks {
 public:
  // `bytes` that were put in before, or nullptr.
  void* take(int64_t bytes);
  void put(void* data, int64_t bytes);
  // f(data, bytes) for everything that is kept; then it is forgotten.
  template <class F>
  void clear(F&& f) {
    for (const auto& [bytes, data] : heap_) f(data, bytes);
    for (const auto& [data, bytes] : ranges_) f(static_cast<void*>(data), bytes);
    heap_.clear();
    ranges_.clear();
    by_size_.clear();
  }

 private:
  void insert(char* data, int64_t bytes);
  void erase(std::map<char*, int64_t>::iterator range);

  std::multimap<int64_t, void*> heap_;
  std::map<char*, int64_t> ranges_;
  std::set<std::pair<int64_t, char*>> by_size_;  // the same
};

}  // namespace gta
