#include "layers/attention/grouped_head_latent.h"

#include <cmath>

#include "layers/attention/probe/effective_rank.h"
#include "layers/attention/value_decoder/value_decoder.h"

namespace gta {

CacheWidths GroupedHeadLatentAttention::cache_widths(const ModelConfig& config) {
  return {config.attention.key_heads * config.head_dim, config.attention.latent_heads * config.attention.latent_dim};
}

int64_t GroupedHeadLatentAttention::map_multiply_adds(const ModelConfig& config) {
  return config.attention.query_heads * (config.head_dim + config.attention.latent_dim);
}

GroupedHeadLatentAttention::GroupedHeadLatentAttention(ParameterSpace& space, const std::string& prefix,
                                                       const ModelConfig& config)
    : config_(config.attention),
      head_dim_(config.head_dim),
      width_(config.heads * config.head_dim),
      qkcz_(space, prefix,
            {{"q_proj", config_.query_heads * head_dim_},
             {"k_proj", config_.key_heads * head_dim_},
             {"v_proj", config_.latent_heads * config_.latent_dim},
             {"g_proj", width_}},
            config.hidden_size, config_.qkv_bias ? Bias::Present : Bias::None, config.initializer_range),
      decoder_(config_.value_decoder == ValueDecoderType::Direct
                   ? nullptr
                   : space.add({{prefix + "v_b_proj.weight",
                                 {config_.query_heads * config_.latent_dim, width_ / config_.query_heads},
                                 Initializer::normal(config.initializer_range)}})),
      output_(space, prefix, {{"o_proj", config.hidden_size}}, width_, Bias::None, config.initializer_range) {}

Tensor GroupedHeadLatentAttention::forward(Tape& tape, const Tensor& x, const AttentionContext& context) const {
  const int64_t nq = config_.query_heads, nk = config_.key_heads, nc = config_.latent_heads, dl = config_.latent_dim;
  const int64_t q_width = nq * head_dim_, k_width = nk * head_dim_, c_width = nc * dl;
  const Tensor qkcz = qkcz_.forward(tape, x);
  const Tensor qk =
      tape.apply(RopeOp{{nq + nk, head_dim_}, context.positions()}, qkcz.column_slice(0, q_width + k_width));
  const auto [k, c] =
      extend_cache(context, qk.column_slice(q_width, k_width), qkcz.column_slice(q_width + k_width, c_width));
  const double scale = 1.0 / std::sqrt(static_cast<double>(head_dim_));
  const Tensor u =
      attend(tape, context, {context.batch, nq, nk, nc, head_dim_, dl, scale}, qk.column_slice(0, q_width), k, c);
  if (context.probe) {
    Probe::Block& block = context.probe->blocks.back();
    block.latent_rank = block.value_rank;  // what the maps weigh are latents
    block.value_rank = effective_rank(values_of(context.probed_rows().of(c)));
  }
  const Tensor o =
      tape.apply(ValueDecoderOp{nq, dl, config_.gate}, u, qkcz.column_slice(q_width + k_width + c_width, width_),
                 decoder_ ? tape.use(*decoder_) : Tensor{});
  return output_.forward(tape, o);
}

Tensor GroupedHeadLatentAttention::values_of(const Tensor& latents) const {
  const int64_t nq = config_.query_heads, dl = config_.latent_dim, group_width = width_ / nq;
  const Shape shape{nq * dl, group_width};
  std::vector<double> decoder =
      decoder_ ? to_doubles(decoder_->value) : std::vector<double>(static_cast<size_t>(shape.elements()));
  for (int64_t row = 0; row < nq * dl; ++row)
    for (int64_t copy = row % dl; copy < group_width; copy += dl) decoder[row * group_width + copy] += 1;
  const Tensor copies_and_decoder = Tensor::from<double>(shape, decoder, Purpose::Workspace),
               values = Tensor::empty({latents.rows(), width_}, DType::F64, Device{}, Purpose::Workspace);
  for (int64_t g = 0; g < nq; ++g)
    gemm({.a = latents.column_slice(g / (nq / config_.latent_heads) * dl, dl),
          .b = copies_and_decoder.row_slice(g * dl, dl),
          .c = values.column_slice(g * group_width, group_width)});
  return values;
}

}  // namespace gta
