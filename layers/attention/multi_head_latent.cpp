#include "layers/attention/multi_head_latent.h"

#include <cmath>

#include "layers/attention/latent_heads/latent_heads.h"
#include "layers/attention/probe/effective_rank.h"
#include "layers/attention/shared_map_attention/shared_map_attention.h"

namespace gta {

CacheWidths MultiHeadLatentAttention::cache_widths(const ModelConfig& config) {
  return {config.attention.kv_lora_rank + config.attention.rope_dim, 0};
}

int64_t MultiHeadLatentAttention::map_multiply_adds(const ModelConfig& config) {
  return config.heads * (config.attention.nope_dim + config.attention.rope_dim + config.attention.value_dim);
}

int64_t MultiHeadLatentAttention::map_multiply_adds_decoding(const ModelConfig& config) {
  return config.heads * (2 * config.attention.kv_lora_rank + config.attention.rope_dim);
}

MultiHeadLatentAttention::MultiHeadLatentAttention(ParameterSpace& space, const std::string& prefix,
                                                   const ModelConfig& config)
    : heads_(config.heads),
      rank_(config.attention.kv_lora_rank),
      nope_dim_(config.attention.nope_dim),
      rope_dim_(config.attention.rope_dim),
      value_dim_(config.attention.value_dim),
      scale_(1.0 / std::sqrt(static_cast<double>(nope_dim_ + rope_dim_))),
      q_and_down_(space, prefix,
                  {{"q_proj", heads_ * (nope_dim_ + rope_dim_)}, {"kv_a_proj_with_mqa", rank_ + rope_dim_}},
                  config.hidden_size, Bias::None, config.initializer_range),
      norm_(space, prefix + "kv_a_layernorm", rank_, config.norm_eps),
      up_(space, prefix, {{"kv_b_proj", heads_ * (nope_dim_ + value_dim_)}}, rank_, Bias::None,
          config.initializer_range),
      output_(space, prefix, {{"o_proj", config.hidden_size}}, heads_ * value_dim_, Bias::None,
              config.initializer_range) {}

Tensor MultiHeadLatentAttention::forward(Tape& tape, const Tensor& x, const AttentionContext& context) const {
  const int64_t q_width = heads_ * (nope_dim_ + rope_dim_);
  const Tensor down = q_and_down_.forward(tape, x);
  const Tensor q =
      tape.apply(RopeOp{{heads_, rope_dim_, nope_dim_}, context.positions()}, down.column_slice(0, q_width));
  const Tensor latent = norm_.forward(tape, down.column_slice(q_width, rank_));
  const Tensor k_rope =
      tape.apply(RopeOp{{1, rope_dim_}, context.positions()}, down.column_slice(q_width + rank_, rope_dim_));
  if (context.probe) context.probe->blocks.back().latent_rank = effective_rank(context.probed_rows().of(latent));
  AttentionContext fresh = context;
  if (context.cache) {
    const Tensor& cache = context.cache->keys;
    GTA_DISPATCH(cache.device(), write_rows, cache.column_slice(0, rank_), context.place->rows, latent);
    GTA_DISPATCH(cache.device(), write_rows, cache.column_slice(rank_, rope_dim_), context.place->rows, k_rope);
    if (!context.place->at_beginning) return output_.forward(tape, attend_absorbed(tape, context, q));
    // A prompt with nothing before it: its keys and values are cheaper to make than to absorb.
    fresh.place = nullptr;
  }
  const auto [k, v] =
      tape.apply(LatentHeadsOp{{heads_, nope_dim_, rope_dim_, value_dim_}}, up_.forward(tape, latent), k_rope);
  const Tensor u =
      attend(tape, fresh, {context.batch, heads_, heads_, heads_, nope_dim_ + rope_dim_, value_dim_, scale_}, q, k, v);
  return output_.forward(tape, u);
}

Tensor MultiHeadLatentAttention::attend_absorbed(Tape& tape, const AttentionContext& context, const Tensor& q) const {
  const Tensor& cached = context.cache->keys;
  const int64_t key_dim = rank_ + rope_dim_, head_rows = nope_dim_ + value_dim_;
  const Tensor weight = tape.use(up_.weight());  // rows of head h: W_UK,h (nope), then W_UV,h (value)
  Tensor absorbed = Tensor::empty({q.rows(), heads_ * key_dim}, q.dtype(), q.device());
  {
    ProfilerRange range("absorb_queries");
    for (int64_t h = 0; h < heads_; ++h) {
      const Tensor from = q.column_slice(h * (nope_dim_ + rope_dim_), nope_dim_ + rope_dim_),
                   to = absorbed.column_slice(h * key_dim, key_dim);
      gemm({.a = from.column_slice(0, nope_dim_),
            .b = weight.row_slice(h * head_rows, nope_dim_),
            .c = to.column_slice(0, rank_)});
      to.column_slice(rank_, rope_dim_).copy_from(from.column_slice(nope_dim_, rope_dim_));
    }
  }
  const Tensor u = attend(tape, context, {context.batch, heads_, 1, 1, key_dim, rank_, scale_}, absorbed, cached,
                          cached.column_slice(0, rank_));
  Tensor values = Tensor::empty({q.rows(), heads_ * value_dim_}, q.dtype(), q.device());
  ProfilerRange range("expand_values");
  for (int64_t h = 0; h < heads_; ++h)
    gemm({.a = u.column_slice(h * rank_, rank_),
          .b = weight.row_slice(h * head_rows + nope_dim_, value_dim_),
          .transpose_b = Transpose::Yes,
          .c = values.column_slice(h * value_dim_, value_dim_)});
  return values;
}

}  // namespace gta
