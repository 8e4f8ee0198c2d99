// What an attention layer has to know besides its input: how rows form sequences, where they stand, and what is cached
// of earlier tokens.
#pragma once

#include "layers/attention/shared_map_attention/shared_map_attention.h"
#include "layers/rope/rope.h"

namespace gta {

// Columns of the two cached tensors of a layer: keys after RoPE, and values (or latents). MLA's keys begin with its
// latent, which serves as the values too: values 0.
struct CacheWidths {
  int64_t keys, values;
  int64_t total() const { return keys + values; }
};

// The cache of one layer for one sequence: rows [0, filled) hold earlier tokens.
struct LayerCache {
  Tensor keys, values;  // (max tokens, width)
};

// What a forward pass looks like inside, block by block.
struct Probe {
  struct Block {
    double largest_score = 0;  // the largest scaled score before a softmax
    double stream_rms = 0;     // root mean square of the residual stream after the block
  };
  std::vector<Block> blocks;
};

struct AttentionContext {
  int64_t batch = 1;           // sequences; rows are sequence after sequence
  int64_t sequence = 0;        // rows of each
  int64_t first_position = 0;  // of each sequence's first row; also the number of cached tokens
  Tensor rope_table;           // (positions, rope_dim of the model)
  // int32 (rows): row of its sequence where a row's document begins: the first visible key; undefined: 0
  Tensor document_starts;
  LayerCache* cache = nullptr;  // batch 1 and no recording
  Probe* probe = nullptr;       // its last block is filled in

  // Positions start again with every document.
  RopePositions positions() const { return {sequence, first_position, rope_table, document_starts}; }
};

// Error when there are earlier tokens without a cache, or a batch with one.
void check_positions(const AttentionContext& context);
// Writes the rows of this step below the cached ones and returns all of them.
Tensor append_to_cache(const AttentionContext& context, const Tensor& cache, const Tensor& fresh);
// With a cache: appends k and v (rows of this step) and returns all cached rows; else k and v themselves.
std::array<Tensor, 2> extend_cache(const AttentionContext& context, const Tensor& k, const Tensor& v);
// The core on this context's sequences and documents.
Tensor attend(Tape& tape, const AttentionContext& context, const AttentionShape& shape, const Tensor& q,
              const Tensor& k, const Tensor& v);

}  // namespace gta
