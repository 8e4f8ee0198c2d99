// What an attention layer has to know besides its input: how rows form sequences, where they stand, and what is cached of earlier tokens.
#pragma once

#include "core/tape.h"

namespace gta {

// Columns of the two cached tensors of a layer: keys after RoPE, and values (or latents).
struct CacheWidths {
  int64_t keys, values;
  int64_t total() const { return keys + values; }
};

// The cache of one layer for one sequence: rows [0, filled) hold earlier tokens.
struct LayerCache {
  Tensor keys, values;  // (max tokens, width)
};

struct AttentionContext {
  int64_t batch = 1;           // sequences; rows are sequence after sequence
  int64_t sequence = 0;        // rows of each
  int64_t first_position = 0;  // of each sequence's first row; also the number of cached tokens
  Tensor rope_table;           // (positions, head_dim)
  Tensor document_starts;      // int32 (rows): first visible key; undefined: all earlier ones
  LayerCache* cache = nullptr; // batch 1 and no recording
};

// With a cache: appends k and v (rows of this step) and returns all cached rows; else k and v themselves.
std::array<Tensor, 2> extend_cache(const AttentionContext& context, const Tensor& k, const Tensor& v);

}  // namespace gta
