// The cache of one text or of many: what its numbers are, and how prompts get there.
#pragma once

#include <cstdint>
#include <string>

#include "core/dtype.h"

namespace gta {

// Tokens of a prompt that are computed at once.
inline constexpr int64_t kPrefillChunk = 512;

struct CacheOptions {
  DType dtype;  // of keys, values and latents
  int64_t prefill_chunk = kPrefillChunk;
};

// What --cache says: "dtype", that of compute, or the name of one. Error(BadInput) where it does not go with compute in
// `compute`.
DType cache_dtype(const std::string& cache, DType compute);

}  // namespace gta
