// Multi-head latent attention (MLA), as in DeepSeek-V2-Lite: no low rank for queries, no biases.
//
//   [q | c | k_rope] = x W^T (one product)    q_h = [q_nope, rope(q_rope)]
//   latent = rms_norm(c), k_rope = rope(k_rope)
//   k_nope, v = latent W_UKV^T                k_h = [k_nope, k_rope], k_rope one for all heads
//   u = core(q, k, v)      y = u W_O^T        maps = key heads = value heads = heads,
//                                             dk = nope + rope, dv = value_dim, scale = dk^-1/2
//
//   Decoding (absorbed): k_nope is linear in the latent, so the query can take W_UK instead, and the result W_UV:
//   q'_h = [q_nope W_UK,h, q_rope]   k' = [latent, k_rope], one key head   v' = latent, one value head
//   u_h = u'_h W_UV,h^T
//
// Cached per token are latent (after its norm) and k_rope (after RoPE), side by side in one tensor: it is k', and its
// first columns are v'. Parameters carry the names of DeepSeek-V2: kv_a_proj_with_mqa makes [c | k_rope], kv_b_proj is
// W_UKV, head by head (nope | value).
#pragma once

#include "layers/attention/attention_context.h"
#include "layers/linear/linear.h"
#include "layers/rms_norm/rms_norm.h"
#include "layers/transformer/model_config.h"

namespace gta {

class MultiHeadLatentAttention {
 public:
  MultiHeadLatentAttention(ParameterSpace& space, const std::string& prefix, const ModelConfig& config);
  Tensor forward(Tape& tape, const Tensor& x, const AttentionContext& context) const;

  static CacheWidths cache_widths(const ModelConfig& config);
  static int64_t map_multiply_adds(const ModelConfig& config);           // with keys and values made for every head
  static int64_t map_multiply_adds_decoding(const ModelConfig& config);  // per cached token, absorbed

 private:
  // (tokens, heads * value_dim), from the cache.
  Tensor attend_absorbed(Tape& tape, const AttentionContext& context, const Tensor& q) const;

  int64_t heads_, rank_, nope_dim_, rope_dim_, value_dim_;
  double scale_;
  Linear q_and_down_;
  RmsNorm norm_;
  Linear up_, output_;
};

}  // namespace gta
