// GTA in llama.cpp's qwen35, whose blocks have gated attention with a norm on queries and keys:
//
//   q_h, k_h = rope(norm(.))    o = sigmoid(z) * [A_1 v_1, ..., A_n v_n]    n heads of D columns for q, k and v
//
//   heads     a group's width e d_l is cut into heads of D columns; each has a copy of its map's q and k (d_h columns,
//             then zeros), and V = (P_g + copies)^T C: the value decoder is linear in the latent, so it is made part of
//             the values
//   norm      has to do nothing. A column behind the d_h is the constant c, through the bias: norm(x) is then x sqrt(D)
//             / c as far as |x|^2 is little beside c^2, and the norm's weights give x back. With c = 2^20 the error is
//             below what float32 sees for |x| up to 300. That column has the weight 0, so it adds nothing to a score
//   scale     1 / sqrt(D) there, 1 / sqrt(d_h) here: in the weights of the query's norm
#pragma once

#include <optional>

#include "checkpoints/exports/gguf_model.h"

namespace gta {

// D: the latent's width if it will do, else the least that divides a group's width and has a column more than d_h;
// nothing where there is none.
std::optional<int64_t> gated_head_dim(const ModelConfig& config);

// Of one block, PREFIX as in "blk.3.", from the parameters of "model.layers.3.self_attn.".
void add_gated_attention(std::vector<GgufSource>& tensors, const ModelConfig& config, const std::string& prefix,
                         const std::string& parameters);
// A recurrent block that adds nothing: llama.cpp wants one at least in such a model.
void add_idle_recurrent_block(std::vector<GgufSource>& tensors, const ModelConfig& config, const std::string& prefix);
// The keys that only qwen35 has.
void add_gated_keys(GgufKeys& keys, const ModelConfig& config);

}  // namespace gta
