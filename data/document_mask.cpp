#include "data/document_mask.h"

#include <algorithm>

namespace gta {
namespace {

// Calls `take` with each offset in [first, last] less first, once also where empty documents repeat it.
template <class F>
void each_start(const std::vector<uint64_t>& offsets, int64_t first, int64_t last, F&& take) {
  int64_t before = -1;
  for (auto at = std::lower_bound(offsets.begin(), offsets.end(), static_cast<uint64_t>(first)); at != offsets.end();
       ++at) {
    const auto start = static_cast<int64_t>(*at);
    if (start > last) return;
    if (start != before) take(start - first);
    before = start;
  }
}

}  // namespace

int64_t count_labels(const std::vector<uint64_t>& offsets, int64_t first, int64_t length) {
  int64_t labels = length;
  each_start(offsets, first + 1, first + length, [&](int64_t) { --labels; });
  return labels;
}

int64_t mask_documents(const std::vector<uint64_t>& offsets, int64_t first, std::span<int32_t> labels,
                       std::span<int32_t> starts) {
  const auto length = static_cast<int64_t>(labels.size());
  int64_t left = length, row = 0, start = 0;
  const auto document_ends = [&](int64_t end) {
    for (; row < end; ++row) starts[row] = static_cast<int32_t>(start);
    start = end;
  };
  each_start(offsets, first, first + length, [&](int64_t next) {
    document_ends(next);
    if (next == 0) return;  // the label is the window before's
    labels[next - 1] = kNoLabel;
    --left;
  });
  document_ends(length);
  return left;
}

}  // namespace gta
