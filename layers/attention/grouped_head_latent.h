// Grouped-head latent attention (GTA, arXiv 2506.17286).
//
//   [q | k | c | z] = x W^T + b (one product)      q, k = rope(q), rope(k)      u = core(q, k, c), in latent space
//   y = decoder(u, z, P) W_O^T      decoder: copies of u, learned part u P, gate f(z)  (value_decoder/)
//   maps nq = query_heads, key heads = key_heads, value heads = latent_heads of latent_dim, scale = head_dim^-1/2
//
// Cached are k and c alone. Parameters carry the published names: v_proj makes c, g_proj makes z, v_b_proj is P,
// input-major.
#pragma once

#include "layers/attention/attention_context.h"
#include "layers/linear/linear.h"
#include "layers/transformer/model_config.h"

namespace gta {

class GroupedHeadLatentAttention {
 public:
  GroupedHeadLatentAttention(ParameterSpace& space, const std::string& prefix, const ModelConfig& config);
  Tensor forward(Tape& tape, const Tensor& x, const AttentionContext& context) const;

  static CacheWidths cache_widths(const ModelConfig& config);
  static int64_t map_multiply_adds(const ModelConfig& config);

 private:
  // What the heads have for values before the gate, head after head: group g reads [C_g, ..., C_g] + C_g P_g.
  // latents float64 (rows, nc * d_l) on the host -> (rows, heads * head_dim)
  Tensor values_of(const Tensor& latents) const;

  AttentionConfig config_;
  int64_t head_dim_, width_;  // width_: heads * head_dim
  Linear qkcz_;
  const Weight* decoder_ = nullptr;  // P
  Linear output_;
};

}  // namespace gta
