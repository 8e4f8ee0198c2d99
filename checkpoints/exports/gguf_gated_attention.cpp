#include "checkpoints/exports/gguf_gated_attention.h"

#include <cmath>

#include "checkpoints/exports/gguf_sources.h"
#include "core/gemm.h"

namespace gta {
namespace {

constexpr float kConstant = 0x1p20F;  // c: exact in float32, and so is its square

struct Dims {
  int64_t hidden, head_dim, maps, key_heads, latent_heads, latent_dim;
  int64_t group_width;  // e d_l: columns of the output that one map serves
  int64_t gated_dim;    // D
  int64_t heads;        // of D columns
  bool has_bias, learned;

  int64_t map_of(int64_t head) const { return head * gated_dim / group_width; }
};

Dims dims_of(const ModelConfig& config) {
  const AttentionConfig& a = config.attention;
  const int64_t width = config.heads * config.head_dim, gated = gated_head_dim(config).value();
  return {config.hidden_size,
          config.head_dim,
          a.query_heads,
          a.key_heads,
          a.latent_heads,
          a.latent_dim,
          width / a.query_heads,
          gated,
          width / gated,
          a.qkv_bias,
          a.value_decoder == ValueDecoderType::DirectLearned};
}

// Where each row of a matrix of our q or k goes; -1 becomes a row of zeros, and kConstant in the bias at d_h.
std::vector<float> spread(const std::vector<float>& values, const GgufRows& rows, int64_t columns) {
  std::vector<float> result(rows.size() * static_cast<size_t>(columns));
  for (size_t row = 0; row < rows.size(); ++row)
    if (rows[row] >= 0)
      std::copy_n(values.begin() + rows[row] * columns, columns,
                  result.begin() + static_cast<std::ptrdiff_t>(row) * columns);
  return result;
}

void add_head_rows(GgufRows& rows, const Dims& d, int64_t head_of_ours) {
  for (int64_t column = 0; column < d.gated_dim; ++column)
    rows.push_back(column < d.head_dim ? head_of_ours * d.head_dim + column : -1);
}

std::vector<float> head_bias(const Dims& d, const std::vector<float>& bias, int64_t head_of_ours) {
  std::vector<float> result(static_cast<size_t>(d.gated_dim));
  if (d.has_bias) std::copy_n(bias.begin() + head_of_ours * d.head_dim, d.head_dim, result.begin());
  result[static_cast<size_t>(d.head_dim)] = kConstant;
  return result;
}

std::vector<float> bias_of(const Masters& masters, const Dims& d, const std::string& parameters, const char* name) {
  return d.has_bias ? masters.values(parameters + name + ".bias") : std::vector<float>{};
}

void append(std::vector<float>& to, std::span<const float> from) { to.insert(to.end(), from.begin(), from.end()); }

// Rows of every head: its query, then its gate.
std::vector<float> queries_and_gates(const Dims& d, const Masters& masters, const std::string& parameters) {
  const std::vector<float> q = masters.values(parameters + "q_proj.weight"),
                           gate = masters.values(parameters + "g_proj.weight");
  const int64_t gate_numbers = d.gated_dim * d.hidden;
  std::vector<float> result;
  for (int64_t head = 0; head < d.heads; ++head) {
    GgufRows rows;
    add_head_rows(rows, d, d.map_of(head));
    append(result, spread(q, rows, d.hidden));
    append(result,
           std::span(gate).subspan(static_cast<size_t>(head * gate_numbers), static_cast<size_t>(gate_numbers)));
  }
  return result;
}

std::vector<float> query_and_gate_biases(const Dims& d, const Masters& masters, const std::string& parameters) {
  const std::vector<float> q = bias_of(masters, d, parameters, "q_proj"),
                           gate = bias_of(masters, d, parameters, "g_proj");
  std::vector<float> result;
  for (int64_t head = 0; head < d.heads; ++head) {
    append(result, head_bias(d, q, d.map_of(head)));
    for (int64_t column = 0; column < d.gated_dim; ++column)
      result.push_back(d.has_bias ? gate[static_cast<size_t>(head * d.gated_dim + column)] : 0);
  }
  return result;
}

int64_t key_head_of(const Dims& d, int64_t head) { return d.map_of(head) / (d.maps / d.key_heads); }

// Of map g: M (d_l, group_width) = P_g + copies of the identity, M^T C with C (d_l, columns) the latent's rows.
std::vector<float> decoded(const Dims& d, const std::vector<float>& latents, const std::vector<float>& decoder,
                           int64_t columns) {
  std::vector<float> result;
  const int64_t dl = d.latent_dim;
  for (int64_t map = 0; map < d.maps; ++map) {
    std::vector<double> m(static_cast<size_t>(dl * d.group_width)), c(static_cast<size_t>(dl * columns)),
        v(static_cast<size_t>(d.group_width * columns));
    for (int64_t l = 0; l < dl; ++l)
      for (int64_t t = 0; t < d.group_width; ++t) {
        const int64_t at = l * d.group_width + t;
        m[static_cast<size_t>(at)] =
            (t % dl == l ? 1.0 : 0.0) + (d.learned ? decoder[static_cast<size_t>(map * dl * d.group_width + at)] : 0.0);
      }
    const int64_t latent = map / (d.maps / d.latent_heads);
    std::copy_n(latents.begin() + latent * dl * columns, dl * columns, c.begin());
    cpu::block_gemm<double>(Transpose::Yes, Transpose::No, d.group_width, columns, dl, m.data(), d.group_width,
                            c.data(), columns, v.data(), columns, GradientMode::Overwrite);
    for (double value : v) result.push_back(static_cast<float>(value));
  }
  return result;
}

std::vector<float> decoder_of(const Dims& d, const Masters& masters, const std::string& parameters) {
  return d.learned ? masters.values(parameters + "v_b_proj.weight") : std::vector<float>{};
}

// d_h columns of one number, then zeros.
GgufSource norm_weight(const std::string& name, const Dims& d, double value) {
  return {name, {d.gated_dim}, kVector, [d, value](const Masters&) {
            std::vector<float> weight(static_cast<size_t>(d.gated_dim));
            std::fill_n(weight.begin(), d.head_dim, static_cast<float>(value));
            return weight;
          }};
}

// Of the idle block: the least that llama.cpp's recurrent blocks take.
constexpr int64_t kState = 16, kGroups = 2, kSteps = 4, kInner = 64, kConvolution = 4;

}  // namespace

std::optional<int64_t> gated_head_dim(const ModelConfig& config) {
  const int64_t group_width = config.heads / config.attention.query_heads * config.head_dim;
  if (config.attention.latent_dim > config.head_dim) return config.attention.latent_dim;
  for (int64_t dim = config.head_dim + 1; dim <= group_width; ++dim)
    if (group_width % dim == 0 && dim % 2 == 0) return dim;
  return std::nullopt;
}

void add_gated_attention(std::vector<GgufSource>& tensors, const ModelConfig& config, const std::string& prefix,
                         const std::string& parameters) {
  const Dims d = dims_of(config);
  const int64_t width = d.heads * d.gated_dim;
  tensors.push_back({prefix + "attn_q.weight", {2 * width, d.hidden}, kMatrix, [d, parameters](const Masters& masters) {
                       return queries_and_gates(d, masters, parameters);
                     }});
  tensors.push_back({prefix + "attn_q.bias", {2 * width}, kVector, [d, parameters](const Masters& masters) {
                       return query_and_gate_biases(d, masters, parameters);
                     }});
  tensors.push_back({prefix + "attn_k.weight", {width, d.hidden}, kMatrix, [d, parameters](const Masters& masters) {
                       GgufRows rows;
                       for (int64_t head = 0; head < d.heads; ++head) add_head_rows(rows, d, key_head_of(d, head));
                       return spread(masters.values(parameters + "k_proj.weight"), rows, d.hidden);
                     }});
  tensors.push_back({prefix + "attn_k.bias", {width}, kVector, [d, parameters](const Masters& masters) {
                       const std::vector<float> k = bias_of(masters, d, parameters, "k_proj");
                       std::vector<float> result;
                       for (int64_t head = 0; head < d.heads; ++head)
                         append(result, head_bias(d, k, key_head_of(d, head)));
                       return result;
                     }});
  tensors.push_back({prefix + "attn_v.weight", {width, d.hidden}, kMatrix, [d, parameters](const Masters& masters) {
                       return decoded(d, masters.values(parameters + "v_proj.weight"),
                                      decoder_of(d, masters, parameters), d.hidden);
                     }});
  if (d.has_bias)
    tensors.push_back({prefix + "attn_v.bias", {width}, kVector, [d, parameters](const Masters& masters) {
                         return decoded(d, masters.values(parameters + "v_proj.bias"),
                                        decoder_of(d, masters, parameters), 1);
                       }});
  const double undo = kConstant / std::sqrt(static_cast<double>(d.gated_dim)),
               scale = std::sqrt(static_cast<double>(d.gated_dim) / static_cast<double>(d.head_dim));
  tensors.push_back(norm_weight(prefix + "attn_q_norm.weight", d, undo * scale));
  tensors.push_back(norm_weight(prefix + "attn_k_norm.weight", d, undo));
  tensors.push_back(same_values(prefix + "attn_output.weight", {d.hidden, width}, parameters + "o_proj.weight"));
}

void add_idle_recurrent_block(std::vector<GgufSource>& tensors, const ModelConfig& config, const std::string& prefix) {
  const int64_t hidden = config.hidden_size, mlp = config.intermediate_size;
  const int64_t channels = 2 * kState * kGroups + kInner;
  for (GgufSource source :
       {constant("attn_norm.weight", {hidden}, 1, kVector),
        constant("post_attention_norm.weight", {hidden}, 1, kVector),
        constant("attn_qkv.weight", {channels, hidden}, 0), constant("attn_gate.weight", {kInner, hidden}, 0),
        constant("ssm_conv1d.weight", {channels, kConvolution}, 0, kVector),
        constant("ssm_dt.bias", {kSteps}, 0, kVector), constant("ssm_a", {kSteps}, -1, kVector),
        constant("ssm_beta.weight", {kSteps, hidden}, 0), constant("ssm_alpha.weight", {kSteps, hidden}, 0),
        constant("ssm_norm.weight", {kState}, 1, kVector), constant("ssm_out.weight", {hidden, kInner}, 0),
        constant("ffn_gate.weight", {mlp, hidden}, 0), constant("ffn_up.weight", {mlp, hidden}, 0),
        constant("ffn_down.weight", {hidden, mlp}, 0)}) {
    source.name = prefix + source.name;
    tensors.push_back(std::move(source));
  }
}

void add_gated_keys(GgufKeys& keys, const ModelConfig& config) {
  const Dims d = dims_of(config);
  const auto key = [&keys](const char* name, GgufValue value) {
    keys.emplace_back(std::string("qwen35.") + name, std::move(value));
  };
  // Pairs take turns to belong to the position's first, second and third coordinate, which are one number in a text:
  // every pair has to belong to one of them.
  const int64_t pairs = d.head_dim / 2;
  key("rope.dimension_sections",
      std::vector<int32_t>{static_cast<int32_t>((pairs + 2) / 3), static_cast<int32_t>((pairs + 1) / 3),
                           static_cast<int32_t>(pairs / 3), 0});
  std::vector<uint8_t> recurrent(static_cast<size_t>(config.layers));
  recurrent.push_back(1);
  key("attention.recurrent_layers", recurrent);
  key("ssm.conv_kernel", static_cast<uint32_t>(kConvolution));
  key("ssm.inner_size", static_cast<uint32_t>(kInner));
  key("ssm.state_size", static_cast<uint32_t>(kState));
  key("ssm.time_step_rank", static_cast<uint32_t>(kSteps));
  key("ssm.group_count", static_cast<uint32_t>(kGroups));
}

}  // namespace gta
