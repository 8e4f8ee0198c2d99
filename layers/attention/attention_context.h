// What an attention layer has to know besides its input: how rows form sequences, where they stand, and what is cached
// of earlier tokens.
#pragma once

#include "layers/attention/decoding_cache/decoding_cache.h"
#include "layers/attention/probe/probe.h"
#include "layers/attention/shared_map_attention/shared_map_attention.h"
#include "layers/rope/rope.h"

namespace gta {

struct AttentionContext {
  int64_t batch = 1;     // sequences; rows are sequence after sequence
  int64_t sequence = 0;  // rows of each
  Tensor rope_table;     // (positions, rope_dim of the model)
  // int32 (rows): row of its sequence where a row's document begins: the first visible key; undefined: 0
  Tensor document_starts = {};
  const LayerCache* cache = nullptr;  // of earlier tokens, and of this call's; no recording, no documents
  const CachePlace* place = nullptr;  // there, of this call's rows
  Probe* probe = nullptr;             // its last block is filled in; without a cache

  ProbedRows probed_rows() const { return {batch, sequence}; }
  // Positions start again with every document.
  RopePositions positions() const {
    return {sequence, rope_table, document_starts, place ? place->positions : Tensor{}};
  }
};

// With a cache: writes k and v (rows of this call) into it, and returns its tensors; else k and v themselves.
std::array<Tensor, 2> extend_cache(const AttentionContext& context, const Tensor& k, const Tensor& v);
// The core on this context's sequences and documents; k and v are what extend_cache() gave.
Tensor attend(Tape& tape, const AttentionContext& context, const AttentionShape& shape, const Tensor& q,
              const Tensor& k, const Tensor& v);

}  // namespace gta
