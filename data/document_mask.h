// Which rows of a window belong to one document, so that none sees another's, and which labels that leaves.
//
// A window's inputs are tokens [first, first + length) of a shard, label r is token first + r + 1; `offsets` are the
// shard's document offsets, never token ids: a text may hold the id of a BOS.
//
//   start[r] = max(0, (the last offset <= first + r) - first)
//   row r sees rows start[r] .. r, and stands at position r - start[r]
//   label r  = none if first + r + 1 is an offset: the last token of a document says nothing of the next one's first
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace gta {

enum class DocumentMask : uint8_t { Off, On };

inline constexpr int32_t kNoLabel = -1;

// The labels that a window has.
int64_t count_labels(const std::vector<uint64_t>& offsets, int64_t first, int64_t length);

// Writes start (length) and takes from labels (length) what is none. Returns the labels left: count_labels().
int64_t mask_documents(const std::vector<uint64_t>& offsets, int64_t first, std::span<int32_t> labels,
                       std::span<int32_t> starts);

}  // namespace gta
