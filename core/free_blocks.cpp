#include "core/free_blocks.h"

#include <iterator>

namespace gta {

void FreeBlocks::insert(char* data, int64_t bytes) {
  ranges_.emplace(data, bytes);
  by_size_.emplace(bytes, data);
}

void FreeBlocks::erase(std::map<char*, int64_t>::iterator range) {
  by_size_.erase({range->second, range->first});
  ranges_.erase(range);
}

void* FreeBlocks::take(int64_t bytes) {
  if (bytes < kMappedBytes) {
    const auto found = heap_.find(bytes);
    return found == heap_.end() ? nullptr : heap_.extract(found).mapped();
  }
  // What is left has to be a block too: less could not be told from the heap's.
  auto found = by_size_.lower_bound({bytes, nullptr});
  if (found != by_size_.end() && found->first != bytes) found = by_size_.lower_bound({bytes + kMappedBytes, nullptr});
  if (found == by_size_.end()) return nullptr;
  const auto [size, data] = *found;
  erase(ranges_.find(data));
  if (size > bytes) insert(data + bytes, size - bytes);
  return data;
}

void FreeBlocks::put(void* data, int64_t bytes) {
  if (bytes < kMappedBytes) {
    heap_.emplace(bytes, data);
    return;
  }
  char* first = static_cast<char*>(data);
  const auto next = ranges_.lower_bound(first);
  if (next != ranges_.begin())
    if (const auto before = std::prev(next); before->first + before->second == first) {
      first = before->first;
      bytes += before->second;
      erase(before);
    }
  if (next != ranges_.end() && first + bytes == next->first) {
    bytes += next->second;
    erase(next);
  }
  insert(first, bytes);
}

}  // namespace gta
