// Keys and values of multi-head latent attention, head by head, from one product and the rotated key that all heads
// share.
//
//   K_h = [kv_h[0 : n), k_rope]    V_h = kv_h[n : n + dv)          h = 0 .. heads-1
//   kv (tokens, heads * (n + dv))  k_rope (tokens, d)            K (tokens, heads * (n + d))   V (tokens, heads * dv)
//
//   dkv_h = [dK_h[0 : n), dV_h]      dk_rope = sum over heads of dK_h[n : n + d), head 0 first
//
// n = nope_dim, d = rope_dim, dv = value_dim. The core takes heads that lie next to each other, so each of these
// numbers is copied once; backward needs none of them again.
#pragma once

#include "core/tape.h"

namespace gta {

struct LatentHeadSizes {
  int64_t heads, nope_dim, rope_dim, value_dim;
};
GTA_KERNEL(void latent_heads_join(const LatentHeadSizes& sizes, const Tensor& kv, const Tensor& k_rope, const Tensor& k,
                                  const Tensor& v))
struct LatentHeadsBackward {
  LatentHeadSizes sizes;
  Tensor d_k, d_v;        // undefined: nothing to add
  Tensor d_kv, d_k_rope;  // undefined when not wanted
  GradientMode mode_kv, mode_k_rope;
};
GTA_KERNEL(void latent_heads_split(const LatentHeadsBackward& arguments))

struct LatentHeadsOp {
  static constexpr const char* name = "latent_heads";
  LatentHeadSizes sizes;

  void check(const Tensor& kv, const Tensor& k_rope) const;
  std::array<Tensor, 2> forward(Saved& saved, const Tensor& kv, const Tensor& k_rope) const;  // K, V
  void backward(const Saved& saved, std::span<Tensor> d_outputs, std::span<GradientSlot> d_inputs) const;
};

}  // namespace gta
