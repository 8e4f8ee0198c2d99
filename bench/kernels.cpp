#include "bench/kernels.h"

#include <algorithm>
#include <deque>

#include "bench/cudnn_attention.h"
#include "bench/model_shapes.h"
#include "bench/products.h"
#include "core/log.h"
#include "core/measure/peak.h"
#include "core/measure/random_tensor.h"
#include "layers/attention/latent_heads/latent_heads.h"
#include "layers/attention/value_decoder/value_decoder.h"
#include "layers/cross_entropy/linear_cross_entropy.h"
#include "layers/embedding/embedding.h"
#include "layers/linear/linear.h"
#include "layers/rms_norm/rms_norm.h"
#include "layers/rope/rope.h"
#include "layers/swiglu/swiglu.h"
#include "layers/transformer/causal_lm.h"
#include "optim/adamw.h"

namespace gta {
namespace {

// An input of an op and what becomes of its gradient: of an activation it is new, of a parameter it is added to what is
// there. An activation may be columns of a merged one; its gradient is then columns of a buffer of that width.
struct Operand {
  enum class Role : uint8_t { Absent, Activation, Parameter } role = Role::Absent;
  Tensor tensor, gradient;  // gradient: of a parameter
  int64_t first_column = 0, all_columns = 0;
};

std::vector<Tensor> as_vector(const Tensor& tensor) { return {tensor}; }
template <size_t n>
std::vector<Tensor> as_vector(const std::array<Tensor, n>& tensors) {
  return {tensors.begin(), tensors.end()};
}

// FLOPs of the products that `work` makes.
double flops_of(const std::function<void()>& work) {
  Profiler profiler;
  profiler.start();
  {
    ProfilerRange range("bench");
    work();
  }
  profiler.stop();
  double flops = 0;
  for (const Profiler::Row& row : profiler.summary()) flops += row.flops;
  return flops;
}

class Bench {
 public:
  explicit Bench(const KernelBenchmark& settings)
      : s_(settings),
        m_(settings.model),
        tokens_(settings.micro_batch * settings.sequence),
        core_(core_shape(m_, settings.micro_batch)),
        traffic_(s_.device) {}

  void products() {
    for (const Product& p : products_of_step(m_, tokens_, s_.device.type)) {
      if (!wants(p.name)) continue;
      const bool at = p.transpose_a == Transpose::Yes, bt = p.transpose_b == Transpose::Yes;
      const Gemm gemm_arguments{
          .a = random(at ? Shape{p.k, p.m} : Shape{p.m, p.k}),
          .transpose_a = p.transpose_a,
          .b = random(bt ? Shape{p.n, p.k} : Shape{p.k, p.n}),
          .transpose_b = p.transpose_b,
          // A weight's gradient, the one product whose first operand is transposed, is float32 in any case.
          .c = random_tensor("c", {p.m, p.n}, at ? state_dtype(s_.dtype) : s_.dtype, s_.device),
          .mode = p.mode};
      add(
          {RowKind::Product, p.name, fmt::format("{} x {} x {}", p.m, p.n, p.k), p.calls, p.flops(), 0, {}}, [] {},
          [&] { gemm(gemm_arguments); });
    }
  }

  void ops() {
    const int64_t hidden = m_.hidden_size, layers = m_.layers,
                  both = (core_.query_heads + core_.key_heads) * core_.head_dim;
    const int64_t values = core_.value_heads * core_.value_dim, width = m_.heads * m_.head_dim,
                  latent = core_.query_heads * core_.value_dim;
    const int64_t merged = linear_shapes(m_)[0].out;

    if (wants_op(EmbeddingOp::name))
      op(1, EmbeddingOp{tokens({s_.micro_batch, s_.sequence})}, {parameter({m_.vocab_size, hidden})},
         {numbers(2 * hidden), numbers(3 * hidden)});
    if (wants_op(RmsNormOp::name))
      op(1, RmsNormOp{m_.norm_eps}, {activation(hidden), parameter({hidden})},
         {numbers(2 * hidden), numbers(3 * hidden)});
    if (wants_op(ResidualRmsNormOp::name))
      op(2 * layers, ResidualRmsNormOp{m_.norm_eps}, {activation(hidden), activation(hidden), parameter({hidden})},
         {numbers(4 * hidden), numbers(4 * hidden)});
    for (const LinearShape& linear : linear_shapes(m_))
      if (wants_op(fmt::format("{} {}", LinearOp::name, linear.name)))
        op(layers, LinearOp{},
           {activation(linear.in), parameter({linear.out, linear.in}),
            linear.bias ? parameter({linear.out}) : Operand{}},
           {0, 0}, linear.name);
    if (!grouped()) latent_attention();
    if (grouped() && wants_op(RopeOp::name))
      op(layers,
         RopeOp{{core_.query_heads + core_.key_heads, m_.head_dim},
                {s_.sequence, rope_table(s_.sequence, m_.head_dim, m_.rope_theta, s_.dtype, s_.device)}},
         {columns(merged, 0, both)}, {numbers(2 * both), numbers(2 * both)});
    core_attention();
    if (has_value_decoder(m_) && wants_op(ValueDecoderOp::name))
      op(layers, ValueDecoderOp{core_.query_heads, core_.value_dim, m_.attention.gate},
         {activation(latent), columns(merged, both + values, width),
          has_learned_decoder(m_) ? parameter({latent, width / core_.query_heads}) : Operand{}},
         {numbers(latent + 2 * width), numbers(2 * latent + 3 * width)});
    if (wants_op(SwigluOp::name))
      op(layers, SwigluOp{}, {activation(2 * m_.intermediate_size)},
         {numbers(3 * m_.intermediate_size), numbers(5 * m_.intermediate_size)});
    loss();
    update();
  }

  std::vector<BenchRow> take_rows() { return std::move(rows_); }

 private:
  struct Bytes {
    double forward, backward;
  };

  // MLA's ops between its products: the latent's norm, both rotations, and the heads put together.
  void latent_attention() {
    const AttentionConfig& a = m_.attention;
    const int64_t layers = m_.layers, rank = a.kv_lora_rank, merged = linear_shapes(m_)[0].out,
                  kv = linear_shapes(m_)[1].out;
    const int64_t q_and_k = core_.query_heads * core_.head_dim, values = core_.value_heads * core_.value_dim;
    const auto rope = [&](const char* part, const RopeHeads& heads, int64_t first) {
      if (wants_op(fmt::format("{} {}", RopeOp::name, part)))
        op(layers,
           RopeOp{heads, {s_.sequence, rope_table(s_.sequence, a.rope_dim, m_.rope_theta, s_.dtype, s_.device)}},
           {columns(merged, first, heads.heads * heads.head_width())},
           {numbers(2 * heads.heads * heads.head_width()), numbers(2 * heads.heads * heads.head_width())}, part);
    };
    if (wants_op(fmt::format("{} latent", RmsNormOp::name)))
      op(layers, RmsNormOp{m_.norm_eps}, {columns(merged, q_and_k, rank), parameter({rank})},
         {numbers(2 * rank), numbers(3 * rank)}, "latent");
    rope("q", {m_.heads, a.rope_dim, a.nope_dim}, 0);
    rope("k", {1, a.rope_dim}, q_and_k + rank);
    if (wants_op(LatentHeadsOp::name)) {
      const double moved = numbers(kv + a.rope_dim + q_and_k + values);
      op(layers, LatentHeadsOp{{m_.heads, a.nope_dim, a.rope_dim, a.value_dim}},
         {activation(kv), activation(a.rope_dim)}, {moved, moved});
    }
  }

  // The core on operands that lie as in a step, and its peer on such tensors: grouped variants have q and k in one
  // buffer and v behind them in the merged projection's; MLA puts each together anew.
  void core_attention() {
    const std::string name = SharedMapAttentionOp::name, forward_name = name + " forward (cuDNN)",
                      backward_name = name + " backward (cuDNN)";
    const bool ours = wants_op(name), peer = s_.device.type == DeviceType::Cuda && s_.dtype == DType::BF16 &&
                                             (wants(forward_name) || wants(backward_name));
    if (!ours && !peer) return;
    const int64_t q = core_.query_heads * core_.head_dim, k = core_.key_heads * core_.head_dim,
                  v = core_.value_heads * core_.value_dim;
    const int64_t merged = linear_shapes(m_)[0].out;
    const Operand operands[] = {grouped() ? columns(q + k, 0, q) : activation(q),
                                grouped() ? columns(q + k, q, k) : activation(k),
                                grouped() ? columns(merged, q + k, v) : activation(v)};
    if (ours) op(m_.layers, SharedMapAttentionOp{core_, {}}, operands, {0, 0});
    if (peer) cudnn_attention(operands, forward_name, backward_name);
  }

  // Bytes of that many columns of every token.
  double numbers(int64_t columns) const {
    return static_cast<double>(tokens_ * columns) * static_cast<double>(size_of(s_.dtype));
  }
  Tensor tokens(const Shape& shape) const {
    return random_tokens("tokens", shape, m_.vocab_size).to(s_.device, Purpose::Data);
  }

  bool grouped() const { return m_.attention.type != AttentionType::Mla; }
  bool wants(const std::string& name) const { return name.find(s_.only) != std::string::npos; }
  bool wants_op(const std::string& name) const { return wants(name + " forward") || wants(name + " backward"); }

  Tensor random(const Shape& shape) const { return random_tensor("operand", shape, s_.dtype, s_.device); }
  Operand columns(int64_t all, int64_t first, int64_t count) const {
    return {Operand::Role::Activation, random({tokens_, all}).column_slice(first, count), {}, first, all};
  }
  Operand activation(int64_t width) const { return columns(width, 0, width); }
  Operand parameter(const Shape& shape) const {
    const DType state = state_dtype(s_.dtype);
    return {Operand::Role::Parameter, random_tensor("operand", shape, shape.rank() == 2 ? s_.dtype : state, s_.device),
            random_tensor("gradient", shape, state, s_.device), 0, 0};
  }

  template <class Prepare, class Work>
  void add(BenchRow row, const Prepare& prepare, const Work& work) {
    const auto cold = [&] {
      prepare();
      traffic_.sweep();
    };
    row.timing = time_repeated(s_.repeats, s_.device, cold, work);
    log::info("{} {}: {:.3f} ms", row.name, row.shape, 1e3 * row.timing.median);
    rows_.push_back(std::move(row));
  }

  template <class O, size_t n>
  void op(int64_t calls, const O& op, const Operand (&operands)[n], Bytes bytes, const std::string& part = "") {
    const std::string name = part.empty() ? O::name : fmt::format("{} {}", O::name, part);
    [&]<size_t... i>(std::index_sequence<i...>) { op.check(operands[i].tensor...); }
    (std::make_index_sequence<n>{});
    const auto apply = [&](Saved& saved) {
      return as_vector([&]<size_t... i>(std::index_sequence<i...>) {
        return op.forward(saved, operands[i].tensor...);
      }(std::make_index_sequence<n>{}));
    };
    std::string shape;
    for (const Operand& operand : operands)
      if (operand.role != Operand::Role::Absent)
        shape += fmt::format("{}{}x{}", shape.empty() ? "" : " ", operand.tensor.rows(), operand.tensor.columns());
    const auto forward = [&] {
      Saved saved(TapeMode::Recording);
      apply(saved);
    };
    if (wants(name + " forward"))
      add(
          {RowKind::Op, name + " forward", shape, calls, flops_of(forward), bytes.forward, {}}, [] {}, forward);
    if (!wants(name + " backward")) return;

    Saved saved(TapeMode::Recording);
    std::vector<Tensor> starts, d_outputs;
    for (const Tensor& output : apply(saved))
      starts.push_back(random_tensor("d_output", output.shape(), output.dtype(), output.device()));
    // An op may overwrite a gradient that only it looks at, as it does in a step: each call has its own.
    const auto prepare = [&] {
      d_outputs.clear();
      for (const Tensor& start : starts) d_outputs.push_back(start.clone());
    };
    const auto backward = [&] {
      std::deque<TapeValue> gradients;
      std::vector<GradientSlot> slots;
      for (const Operand& o : operands) {
        if (o.role == Operand::Role::Absent) slots.push_back({});
        if (o.role == Operand::Role::Parameter) slots.push_back({o.gradient, GradientMode::Accumulate});
        if (o.role == Operand::Role::Activation) {
          TapeValue& value = gradients.emplace_back();
          value.shape = {o.tensor.rows(), o.all_columns};
          value.dtype = o.tensor.dtype();
          value.device = o.tensor.device();
          slots.push_back({&value, o.first_column, o.tensor.columns(), GradientMode::Overwrite});
        }
      }
      op.backward(saved, d_outputs, slots);
    };
    prepare();
    const double flops = flops_of(backward);
    add({RowKind::Op, name + " backward", shape, calls, flops, bytes.backward, {}}, prepare, backward);
  }

  void cudnn_attention(const Operand (&operands)[3], const std::string& forward_name,
                       const std::string& backward_name) {
    const auto& [batch, nq, nk, nv, dk, dv, scale] = core_;
    const auto gradient = [&](const Operand& o) {
      return random({tokens_, o.all_columns}).column_slice(o.first_column, o.tensor.columns());
    };
    const AttentionForward forward{core_,
                                   operands[0].tensor,
                                   operands[1].tensor,
                                   operands[2].tensor,
                                   {},
                                   random({tokens_, nq * dv}),
                                   Tensor::empty({batch * nq, s_.sequence}, DType::F32, s_.device)};
    const AttentionBackward backward{forward,
                                     random({tokens_, nq * dv}),
                                     gradient(operands[0]),
                                     gradient(operands[1]),
                                     gradient(operands[2]),
                                     GradientMode::Overwrite,
                                     GradientMode::Overwrite,
                                     GradientMode::Overwrite};
    const std::string shape = fmt::format("{0}x{1} {0}x{2} {0}x{3}", tokens_, nq * dk, nk * dk, nv * dv);
    const auto row = [&](const std::string& row_name, int64_t multiply_adds, CudnnAttention& pass) {
      const double flops = 2 * visible_pairs(forward) * static_cast<double>(multiply_adds);
      if (wants(row_name))
        add(
            {RowKind::Op, row_name, shape, m_.layers, flops, 0, {}}, [] {}, [&] { pass.run(); });
    };
    try {
      CudnnAttention forward_pass(forward);
      forward_pass.run();  // backward reads what it writes
      row(forward_name, dk + dv, forward_pass);
      if (!wants(backward_name)) return;
      CudnnAttention backward_pass(backward);
      row(backward_name, 3 * dk + 2 * dv, backward_pass);
    } catch (const std::exception& error) {  // a peer that is not there is no reason to measure nothing
      log::info("rows of cuDNN's attention are left out: {}", error.what());
    }
  }

  // Its forward makes the gradients too; its backward hands one over.
  void loss() {
    const std::string name = fmt::format("{} with gradients", LinearCrossEntropyOp::name);
    if (!wants(name)) return;
    const Operand hidden = activation(m_.hidden_size), weight = parameter({m_.vocab_size, m_.hidden_size});
    const LinearCrossEntropyOp op{tokens({tokens_}), 1.0 / static_cast<double>(tokens_)};
    op.check(hidden.tensor, weight.tensor);
    const auto forward = [&] {
      Saved saved(TapeMode::Recording);
      GradientSlot d_weights[] = {{}, {weight.gradient, GradientMode::Accumulate}};
      op.forward(saved, d_weights, hidden.tensor, weight.tensor);
    };
    add(
        {RowKind::Op,
         name,
         fmt::format("{}x{} {}x{}", tokens_, m_.hidden_size, m_.vocab_size, m_.hidden_size),
         1,
         flops_of(forward),
         0,
         {}},
        [] {}, forward);
  }

  void update() {
    if (!wants("zero_gradients") && !wants("gradient_norm") && !wants("adamw")) return;
    ParameterSpace space;
    const CausalLm model(space, m_);
    space.allocate(s_.dtype, s_.device, SpaceUse::Training);
    space.initialize(1);
    OptimizerConfig config;
    AdamW optimizer(space, config);
    double held = 0;  // bytes of weights, and of gradients or one moment
    const Tensor rounded = space.rounded(space.layout().whole(ParameterKind::Matrix));
    const double copied =
        rounded.defined() ? static_cast<double>(rounded.elements()) * static_cast<double>(size_of(rounded.dtype())) : 0;
    for (ParameterKind kind : kParameterKinds) {
      const Tensor flat = space.gradients(kind);
      held += static_cast<double>(flat.elements()) * static_cast<double>(size_of(flat.dtype()));
      const Tensor some =
          random_tensor("gradient", {1, std::min<int64_t>(flat.elements(), 1 << 20)}, flat.dtype(), s_.device);
      for (int64_t first = 0; first < flat.elements(); first += some.columns()) {
        const int64_t count = std::min(some.columns(), flat.elements() - first);
        flat.column_slice(first, count).copy_from(some.column_slice(0, count));
      }
    }
    const auto row = [&](const char* name, double bytes, const std::function<void()>& work) {
      if (wants(name))
        add(
            {RowKind::Op, name, fmt::format("{}", space.parameter_count()), 1, 0, bytes, {}}, [] {}, work);
    };
    const Tensor squares = optimizer.sum_of_squares(), loss = Tensor::zeros({1}, DType::F64, s_.device);
    row("gradient_norm", held, [&] { optimizer.sum_of_squares(); });
    // weight and both moments read and written, gradient read
    row("adamw", 7 * held + copied, [&] { optimizer.step(config.learning_rate, squares, loss); });
    row("zero_gradients", held, [&] { space.zero_gradients(); });
  }

  const KernelBenchmark& s_;
  const ModelConfig& m_;
  int64_t tokens_;
  AttentionShape core_;
  Traffic traffic_;
  std::vector<BenchRow> rows_;
};

}  // namespace

const char* name_of(RowKind kind) { return kind == RowKind::Product ? "product" : "op"; }

KernelMeasurement measure_kernels(const KernelBenchmark& settings) {
  require(settings.repeats > 0 && settings.micro_batch > 0 && settings.sequence > 0, "bench",
          "expected positive repeats, micro-batch and sequence, got {}, {}, {}", settings.repeats, settings.micro_batch,
          settings.sequence);
  KernelMeasurement measured;
  // Neighbours and frequency change: a limit is the better of two moments.
  const auto limits = [&] {
    measured.peak_flops = std::max(measured.peak_flops, measure_peak_flops(settings.dtype, settings.device));
    measured.copy_bandwidth = std::max(measured.copy_bandwidth, measure_copy_bandwidth(settings.device));
  };
  limits();
  Bench bench(settings);
  bench.products();
  bench.ops();
  measured.rows = bench.take_rows();
  require(!measured.rows.empty(), "bench", "no row's name contains '{}'", settings.only);
  limits();
  return measured;
}

}  // namespace gta
