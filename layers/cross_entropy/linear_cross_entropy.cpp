#include "layers/cross_entropy/linear_cross_entropy.h"

#include <algorithm>

namespace gta {
namespace {

// On the CPU 16 MiB of float32: half of a shared cache, and rows enough for the products. On a GPU every chunk reads
// and writes the head's whole float32 gradient: 1 GiB of logits, 2,048 rows of a vocabulary of 128,256, spends as long
// on the product as on that.
constexpr int64_t chunk_logits(DeviceType device) { return int64_t{1} << (device == DeviceType::Cuda ? 28 : 22); }

}  // namespace

int64_t LinearCrossEntropyOp::chunk_rows(int64_t tokens, int64_t vocab, DeviceType device) {
  return std::clamp<int64_t>(chunk_logits(device) / vocab / 64 * 64, 64, std::max<int64_t>(tokens, 64));
}

void require_labels(const Tensor& labels, int64_t vocab) {
  if (labels.device().type != DeviceType::Cpu) return;
  const int32_t* const l = labels.data<int32_t>();
  for (int64_t i = 0; i < labels.elements(); ++i)
    require(l[i] == kIgnoredLabel || (l[i] >= 0 && l[i] < vocab), LinearCrossEntropyOp::name,
            "label {} is outside the vocabulary of {}", l[i], vocab);
}

void LinearCrossEntropyOp::check(const Tensor& hidden, const Tensor& weight) const {
  ensure(hidden.columns() == weight.columns(), name, "expected hidden (tokens, {}) for a head {}, got {}",
         weight.columns(), to_string(weight.shape()), describe(hidden));
  ensure(labels.dtype() == DType::I32 && labels.elements() == hidden.rows(), name,
         "expected int32 labels for {} tokens, got {}", hidden.rows(), describe(labels));
  ensure(labels.device() == weight.device(), name, "expected labels on {} like the head, got them on {}",
         name_of(weight.device()), name_of(labels.device()));
  if (token_losses.defined())
    ensure(token_losses.dtype() == DType::F64 && token_losses.shape() == Shape{hidden.rows(), 2} &&
               token_losses.device() == weight.device(),
           name, "expected room for the losses of {} tokens, float64 ({}, 2) on {}, got {}", hidden.rows(),
           hidden.rows(), name_of(weight.device()), describe(token_losses));
  require_labels(labels, weight.rows());
}

std::array<Tensor, 2> LinearCrossEntropyOp::forward(Saved& saved, std::span<GradientSlot> d_weights,
                                                    const Tensor& hidden, const Tensor& weight) const {
  const int64_t tokens = hidden.rows(), vocab = weight.rows();
  const int64_t chunk = chunk_rows(tokens, vocab, memory_type(hidden.device()));
  const bool training = saved.recording();
  ensure(!training || d_weights[1].wanted(), name, "needs to know where the gradient of the head goes");
  Tensor logits =
      Tensor::empty({std::min(chunk, tokens), vocab}, state_dtype(hidden.dtype()), hidden.device(), Purpose::Workspace);
  Tensor d_logits = !training || hidden.dtype() == logits.dtype()
                        ? logits
                        : Tensor::empty(logits.shape(), hidden.dtype(), hidden.device(), Purpose::Workspace);
  const Tensor losses = token_losses.defined()
                            ? token_losses
                            : Tensor::empty({tokens, 2}, DType::F64, hidden.device(), Purpose::Workspace);
  Tensor d_hidden = training ? Tensor::empty(hidden.shape(), hidden.dtype(), hidden.device()) : Tensor{};
  const Tensor flat_labels = labels.reshape({tokens, 1});
  for (int64_t first = 0; first < tokens; first += chunk) {
    const int64_t rows = std::min(chunk, tokens - first);
    const Tensor h = hidden.with_link({}).row_slice(first, rows), z = logits.row_slice(0, rows),
                 d_z = d_logits.row_slice(0, rows);
    gemm({.a = h, .b = weight, .transpose_b = Transpose::Yes, .c = z});
    {
      ProfilerRange range("cross_entropy");
      GTA_DISPATCH(z.device(), cross_entropy_rows, z, flat_labels.row_slice(first, rows), label_weight, z_loss,
                   training ? CrossEntropyMode::LossAndGradient : CrossEntropyMode::LossOnly,
                   losses.row_slice(first, rows), d_z);
    }
    if (training) {
      gemm({.a = d_z, .b = weight, .c = d_hidden.row_slice(first, rows)});
      gemm({.a = d_z,
            .transpose_a = Transpose::Yes,
            .b = h,
            .c = d_weights[1].destination(),
            .mode = first == 0 ? d_weights[1].mode() : GradientMode::Accumulate});
    }
    if (hidden.device().type == DeviceType::Meta) break;  // all chunks hold the same, and there may be billions of them
  }
  saved.keep(d_hidden);
  const Tensor totals = Tensor::empty({2}, DType::F64, hidden.device(), Purpose::Workspace);
  GTA_DISPATCH(hidden.device(), sum_losses, losses, totals);
  return {totals.column_slice(0, 1).reshape({1}), totals.column_slice(1, 1).reshape({1})};
}

void LinearCrossEntropyOp::backward(const Saved& saved, std::span<Tensor> d_outputs,
                                    std::span<GradientSlot> d_inputs) const {
  const Tensor& d_loss = d_outputs[0];
  if (!d_loss.defined() || d_loss.device().type != DeviceType::Cpu || *d_loss.data<double>() != 1.0)
    fail(name, "the loss is the root of backward: its gradient must be the 1 that backward(loss) starts from");
  if (d_outputs[1].defined()) fail(name, "the cross-entropy is for reading: backward starts from the loss");
  d_inputs[0].give(saved[0]);
}

}  // namespace gta
