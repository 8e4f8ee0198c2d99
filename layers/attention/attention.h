// What every attention variant is given and gives back, and the variants side by side.
//
// A variant is a module with
//   Variant(ParameterSpace&, const std::string& prefix, const ModelConfig&);
//   Tensor forward(Tape&, const Tensor& x, const AttentionContext&) const;   x (tokens, hidden) -> (tokens, hidden)
//   static CacheWidths cache_widths(const ModelConfig&);      numbers kept per token and layer when decoding
//   static int64_t map_multiply_adds(const ModelConfig&);     per pair of query and visible key
#pragma once

#include <variant>

#include "core/tape.h"
#include "layers/attention/grouped_head.h"
#include "layers/attention/grouped_head_latent.h"
#include "layers/attention/grouped_query.h"
#include "layers/attention/multi_head_latent.h"

namespace gta {

using Attention =
    std::variant<GroupedQueryAttention, MultiHeadLatentAttention, GroupedHeadAttention, GroupedHeadLatentAttention>;

Attention make_attention(ParameterSpace& space, const std::string& prefix, const ModelConfig& config);
CacheWidths cache_widths(const ModelConfig& config);
int64_t map_multiply_adds(const ModelConfig& config);
// Per query and cached token when decoding: another number than above for MLA alone.
int64_t map_multiply_adds_decoding(const ModelConfig& config);

}  // namespace gta
