#include "checkpoints/exports/gguf_reference.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "core/error.h"
#include "core/gemm.h"
#include "core/parallel.h"

namespace gta {
namespace {

struct Matrix {
  int64_t rows = 0, columns = 0;
  std::vector<double> values = std::vector<double>(static_cast<size_t>(rows * columns));

  double* row(int64_t r) { return values.data() + r * columns; }
  const double* row(int64_t r) const { return values.data() + r * columns; }
};

// Heads that lie next to each other in the rows of a matrix.
struct Heads {
  const Matrix& matrix;
  int64_t count, dim;

  const double* at(int64_t row, int64_t head) const { return matrix.row(row) + head * dim; }
};

enum class RopePairs : uint8_t { HalfApart, Neighbours };

class Engine {
 public:
  explicit Engine(const GgufFile& file) : file_(file), architecture_(key<std::string>("general.architecture")) {}

  Matrix logits(std::span<const int32_t> tokens) const {
    Matrix x = embed(tokens);
    for (int64_t block = 0, blocks = count("block_count"); block < blocks; ++block) {
      const std::string prefix = fmt::format("blk.{}.", block);
      add(x, attention(norm(x, prefix + "attn_norm.weight"), prefix, block));
      const bool gated = architecture_ == "qwen35";
      add(x, mlp(norm(x, prefix + (gated ? "post_attention_norm.weight" : "ffn_norm.weight")), prefix));
    }
    return linear(norm(x, "output_norm.weight"), file_.find("output.weight") ? "output" : "token_embd");
  }

 private:
  template <class T>
  const T& key(const std::string& name) const {
    for (const auto& [of, value] : file_.keys())
      if (of == name)
        if (const T* found = std::get_if<T>(&value)) return *found;
    bad_input(file_.path(), "has no key {} of the type that it needs", name);
  }
  int64_t count(const std::string& name) const { return key<uint32_t>(architecture_ + "." + name); }
  double real(const std::string& name) const { return key<float>(architecture_ + "." + name); }
  const GgufTensor& tensor(const std::string& name) const {
    const GgufTensor* found = file_.find(name);
    if (!found) bad_input(file_.path(), "has no tensor {}", name);
    return *found;
  }

  Matrix embed(std::span<const int32_t> tokens) const {
    const GgufTensor& table = tensor("token_embd.weight");
    Matrix x{static_cast<int64_t>(tokens.size()), table.shape.back()};
    for (int64_t t = 0; t < x.rows; ++t) {
      const std::vector<float> row = file_.read_rows(table, tokens[static_cast<size_t>(t)], 1);
      std::copy(row.begin(), row.end(), x.row(t));
    }
    return x;
  }

  // x W^T, and the bias where there is one.
  Matrix linear(const Matrix& x, const std::string& name) const {
    const GgufTensor& weight = tensor(name + ".weight");
    const int64_t out = weight.shape[0], in = weight.shape.back();
    if (in != x.columns) bad_input(file_.path(), "has {} of {} columns, expected {}", weight.name, in, x.columns);
    Matrix y{x.rows, out};
    parallel_ranges(out, 64, [&](int64_t first, int64_t last) {
      const std::vector<float> stored = file_.read_rows(weight, first, last - first);
      const std::vector<double> w(stored.begin(), stored.end());
      cpu::block_gemm<double>(Transpose::No, Transpose::Yes, x.rows, last - first, in, x.row(0), in, w.data(), in,
                              y.row(0) + first, out, GradientMode::Overwrite);
    });
    if (const GgufTensor* bias = file_.find(name + ".bias")) {
      const std::vector<float> b = file_.read(*bias);
      for (int64_t t = 0; t < y.rows; ++t)
        for (int64_t i = 0; i < out; ++i) y.row(t)[i] += b[static_cast<size_t>(i)];
    }
    return y;
  }

  // Each `dim` columns by themselves, dim the weight's.
  Matrix norm(Matrix x, const std::string& name) const {
    const std::vector<float> weight = file_.read(tensor(name));
    const auto dim = static_cast<int64_t>(weight.size());
    const double eps = real("attention.layer_norm_rms_epsilon");
    for (int64_t t = 0; t < x.rows; ++t)
      for (double* part = x.row(t); part + dim <= x.row(t) + x.columns; part += dim) {
        double sum = 0;
        for (int64_t i = 0; i < dim; ++i) sum += part[i] * part[i];
        const double inverse = 1 / std::sqrt(sum / static_cast<double>(dim) + eps);
        for (int64_t i = 0; i < dim; ++i) part[i] *= inverse * weight[static_cast<size_t>(i)];
      }
    return x;
  }

  // Row t is position t; of every head the rope.dimension_count columns from `first` on.
  void rotate(Matrix& x, int64_t head_dim, int64_t first, RopePairs pairs) const {
    const int64_t dim = count("rope.dimension_count");
    for (int64_t t = 0; t < x.rows; ++t)
      for (double* head = x.row(t); head < x.row(t) + x.columns; head += head_dim)
        for (int64_t j = 0; j < dim / 2; ++j) {
          const double angle = static_cast<double>(t) * std::pow(real("rope.freq_base"), -2.0 * static_cast<double>(j) /
                                                                                             static_cast<double>(dim));
          double& a = head[first + (pairs == RopePairs::Neighbours ? 2 * j : j)];
          double& b = head[first + (pairs == RopePairs::Neighbours ? 2 * j + 1 : j + dim / 2)];
          const double x0 = a, x1 = b;
          a = x0 * std::cos(angle) - x1 * std::sin(angle);
          b = x1 * std::cos(angle) + x0 * std::sin(angle);
        }
  }

  static Matrix softmax_attention(const Heads& q, const Heads& k, const Heads& v, double scale) {
    Matrix out{q.matrix.rows, q.count * v.dim};
    for (int64_t head = 0; head < q.count; ++head)
      for (int64_t t = 0; t < out.rows; ++t) {
        const int64_t key_head = head / (q.count / k.count), value_head = head / (q.count / v.count);
        std::vector<double> weights;
        for (int64_t s = 0; s <= t; ++s) {
          double score = 0;
          for (int64_t i = 0; i < q.dim; ++i) score += q.at(t, head)[i] * k.at(s, key_head)[i];
          weights.push_back(scale * score);
        }
        const double most = *std::max_element(weights.begin(), weights.end());
        double sum = 0;
        for (double& weight : weights) sum += weight = std::exp(weight - most);
        for (int64_t s = 0; s <= t; ++s)
          for (int64_t i = 0; i < v.dim; ++i)
            out.row(t)[head * v.dim + i] += weights[static_cast<size_t>(s)] / sum * v.at(s, value_head)[i];
      }
    return out;
  }

  Matrix attention(const Matrix& x, const std::string& prefix, int64_t block) const {
    if (architecture_ == "llama") return grouped(x, prefix, RopePairs::Neighbours);
    if (architecture_ == "qwen2") return grouped(x, prefix, RopePairs::HalfApart);
    if (architecture_ == "deepseek2") return latent(x, prefix);
    if (architecture_ != "qwen35") bad_input(file_.path(), "has the architecture {}, unknown here", architecture_);
    return key<std::vector<uint8_t>>("qwen35.attention.recurrent_layers").at(static_cast<size_t>(block))
               ? recurrent(x, prefix)
               : gated(x, prefix);
  }

  Matrix grouped(const Matrix& x, const std::string& prefix, RopePairs pairs) const {
    const int64_t heads = count("attention.head_count"), kv_heads = count("attention.head_count_kv"),
                  dim = count("attention.key_length");
    Matrix q = linear(x, prefix + "attn_q"), k = linear(x, prefix + "attn_k");
    const Matrix v = linear(x, prefix + "attn_v");
    rotate(q, dim, 0, pairs);
    rotate(k, dim, 0, pairs);
    return linear(softmax_attention({q, heads, dim}, {k, kv_heads, dim}, {v, kv_heads, dim},
                                    1 / std::sqrt(static_cast<double>(dim))),
                  prefix + "attn_output");
  }

  Matrix gated(const Matrix& x, const std::string& prefix) const {
    const int64_t heads = count("attention.head_count"), kv_heads = count("attention.head_count_kv"),
                  dim = count("attention.key_length");
    const Matrix q_and_gate = linear(x, prefix + "attn_q");
    Matrix q{x.rows, heads * dim}, gate{x.rows, heads * dim};
    for (int64_t t = 0; t < x.rows; ++t)
      for (int64_t head = 0; head < heads; ++head) {
        const double* both = q_and_gate.row(t) + head * 2 * dim;
        std::copy_n(both, dim, q.row(t) + head * dim);
        std::copy_n(both + dim, dim, gate.row(t) + head * dim);
      }
    q = norm(std::move(q), prefix + "attn_q_norm.weight");
    Matrix k = norm(linear(x, prefix + "attn_k"), prefix + "attn_k_norm.weight");
    const Matrix v = linear(x, prefix + "attn_v");
    rotate(q, dim, 0, RopePairs::HalfApart);
    rotate(k, dim, 0, RopePairs::HalfApart);
    Matrix out = softmax_attention({q, heads, dim}, {k, kv_heads, dim}, {v, kv_heads, dim},
                                   1 / std::sqrt(static_cast<double>(dim)));
    for (size_t i = 0; i < out.values.size(); ++i) out.values[i] /= 1 + std::exp(-gate.values[i]);
    return linear(out, prefix + "attn_output");
  }

  // Adds nothing, whatever its state is: then the state need not be computed.
  Matrix recurrent(const Matrix& x, const std::string& prefix) const {
    for (float weight : file_.read(tensor(prefix + "ssm_out.weight")))
      if (weight != 0) bad_input(file_.path(), "has a recurrent block {} that is not idle", prefix);
    return {x.rows, x.columns};
  }

  Matrix latent(const Matrix& x, const std::string& prefix) const {
    const int64_t heads = count("attention.head_count"), rank = count("attention.kv_lora_rank"),
                  rope = count("rope.dimension_count"), head = count("attention.key_length_mla"), nope = head - rope,
                  value = count("attention.value_length_mla");
    Matrix q = linear(x, prefix + "attn_q");
    rotate(q, head, nope, RopePairs::Neighbours);
    const Matrix down = linear(x, prefix + "attn_kv_a_mqa");
    Matrix c{x.rows, rank};
    for (int64_t t = 0; t < x.rows; ++t) std::copy_n(down.row(t), rank, c.row(t));
    c = norm(std::move(c), prefix + "attn_kv_a_norm.weight");
    Matrix k{x.rows, rank + rope}, absorbed{x.rows, heads * (rank + rope)};
    for (int64_t t = 0; t < x.rows; ++t) {
      std::copy_n(c.row(t), rank, k.row(t));
      std::copy_n(down.row(t) + rank, rope, k.row(t) + rank);
    }
    rotate(k, rank + rope, rank, RopePairs::Neighbours);
    const std::vector<float> k_b = file_.read(tensor(prefix + "attn_k_b.weight")),
                             v_b = file_.read(tensor(prefix + "attn_v_b.weight"));
    for (int64_t t = 0; t < x.rows; ++t)
      for (int64_t h = 0; h < heads; ++h) {
        double* to = absorbed.row(t) + h * (rank + rope);
        for (int64_t r = 0; r < rank; ++r)
          for (int64_t n = 0; n < nope; ++n)
            to[r] += q.row(t)[h * head + n] * k_b[static_cast<size_t>((h * rank + r) * nope + n)];
        std::copy_n(q.row(t) + h * head + nope, rope, to + rank);
      }
    const Matrix u = softmax_attention({absorbed, heads, rank + rope}, {k, 1, rank + rope}, {c, 1, rank},
                                       1 / std::sqrt(static_cast<double>(head)));
    Matrix out{x.rows, heads * value};
    for (int64_t t = 0; t < x.rows; ++t)
      for (int64_t h = 0; h < heads; ++h)
        for (int64_t i = 0; i < value; ++i)
          for (int64_t r = 0; r < rank; ++r)
            out.row(t)[h * value + i] += u.row(t)[h * rank + r] * v_b[static_cast<size_t>((h * value + i) * rank + r)];
    return linear(out, prefix + "attn_output");
  }

  Matrix mlp(const Matrix& x, const std::string& prefix) const {
    Matrix gate = linear(x, prefix + "ffn_gate");
    const Matrix up = linear(x, prefix + "ffn_up");
    for (size_t i = 0; i < gate.values.size(); ++i) gate.values[i] *= up.values[i] / (1 + std::exp(-gate.values[i]));
    return linear(gate, prefix + "ffn_down");
  }

  static void add(Matrix& x, const Matrix& branch) {
    for (size_t i = 0; i < x.values.size(); ++i) x.values[i] += branch.values.at(i);
  }

  const GgufFile& file_;
  std::string architecture_;
};

}  // namespace

std::vector<double> gguf_logits(const GgufFile& file, std::span<const int32_t> tokens) {
  return Engine(file).logits(tokens).values;
}

}  // namespace gta
