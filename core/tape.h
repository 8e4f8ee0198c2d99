// The tape: applies ops one after the other, eagerly, and plays them backwards.
//
// An Op is a small struct of attributes with
//   void check(const Inputs&...) const;                      the only place that validates
//   Outputs forward(Saved& saved, const Inputs&...) const;   Tensor or std::array<Tensor, n>; says what it saves
//   void backward(const Saved& saved, std::span<Tensor> d_outputs, std::span<GradientSlot> d_inputs) const;
//   static constexpr const char* name;
// and, where an output is cheap to compute again from what the op saves,
//   static constexpr size_t recomputed_output;
//   Tensor recompute(const Saved& saved) const;              the same bits as that output
// and, where forward makes gradients of weights already, in place of the forward above
//   Outputs forward(Saved& saved, std::span<GradientSlot> d_weights, const Inputs&...) const;
//                                                            Ignore for inputs that are no weights, and without a tape
//
// Rules of gradients, stated once:
// - The gradient of a parameter accumulates into the flat space; every other gradient is overwritten, unless branches
//   meet: then the second one accumulates. A GradientSlot says which; an op does as it is told.
// - An output that nothing used has an undefined d_output. An input that needs no gradient has a slot with mode Ignore.
// - backward may overwrite a d_output that is unique(), and may hand a tensor over as a gradient with
//   GradientSlot::give().
// - Column slices of a value share its gradient: slots of slices are slices of one buffer.
// - The gradient of a weight is complete when every op that took the weight has been played, those inside recomputed
//   blocks too. The tape's listener hears it then, once, while backward goes on: in the order in which backward
//   finishes, a tied embedding at its last use. On a GPU what completes it is queued by then.
#pragma once

#include <array>
#include <concepts>
#include <functional>
#include <memory>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/gemm.h"
#include "core/parameter_space.h"
#include "core/profiler.h"
#include "core/tensor.h"

namespace gta {

class Tape;

enum class TapeMode : uint8_t { Recording, Inference };
// What backward computes again instead of keeping. Elementwise: outputs that ops say they can recompute. Block:
// everything inside Tape::checkpoint.
enum class Recompute : uint8_t { None, Elementwise, Block };
const char* name_of(Recompute recompute);                // "none", "elementwise", "block"
Recompute recompute_from_name(const std::string& name);  // Error(BadInput) naming the three

// Called when the gradient of a weight is complete, as far as this tape adds to it; not for weights that no op used.
using GradientListener = std::function<void(const Weight&)>;

// Called before an op takes a weight: its value may still be on its way. Not when backward computes forward again.
using WeightUse = std::function<void(const Weight&)>;

// Computes a tensor again that was not kept.
using Again = std::function<Tensor()>;

// What forward keeps for backward. Nothing is kept when the tape does not record.
class Saved {
 public:
  explicit Saved(TapeMode mode, const Tape* tape = nullptr) : mode_(mode), tape_(tape) {}
  bool recording() const { return mode_ == TapeMode::Recording; }
  // Of a tensor that its op can compute again, only how to do so is kept.
  void keep(Tensor tensor);
  // Valid in backward and recompute.
  const Tensor& operator[](size_t i) const { return tensors_.at(i); }

 private:
  friend class Tape;
  void restore();

  TapeMode mode_;
  const Tape* tape_;
  std::vector<Tensor> tensors_;
  std::vector<std::pair<size_t, Again>> missing_;  // which of the tensors, and how to make it
};

struct TapeValue;

// Where the gradient of one input goes and how.
class GradientSlot {
 public:
  GradientSlot() = default;
  // With a destination of its own (tests, parameters).
  GradientSlot(Tensor destination, GradientMode mode) : destination_(std::move(destination)), mode_(mode) {}
  GradientSlot(TapeValue* value, int64_t first_column, int64_t columns, GradientMode mode)
      : value_(value), first_column_(first_column), columns_(columns), mode_(mode) {}

  GradientMode mode() const { return mode_; }
  bool wanted() const { return mode_ != GradientMode::Ignore; }
  // The memory to write or add to; allocated when first asked for.
  Tensor destination();
  // This tensor is the gradient (or is added to it).
  void give(const Tensor& gradient);

 private:
  TapeValue* value_ = nullptr;
  int64_t first_column_ = 0, columns_ = 0;
  Tensor destination_;
  GradientMode mode_ = GradientMode::Ignore;
};

template <class O, class... Inputs>
concept MakesGradientsInForward = requires(const O op, Saved saved, std::span<GradientSlot> d_weights,
                                           const Inputs&... inputs) {
  op.forward(saved, d_weights, inputs...);
};

template <class O, class... Inputs>
concept Op = requires(const O op, Saved saved, std::span<Tensor> d_outputs, std::span<GradientSlot> d_inputs,
                      const Inputs&... inputs) {
  { O::name } -> std::convertible_to<const char*>;
  op.check(inputs...);
  requires MakesGradientsInForward<O, Inputs...> || requires { op.forward(saved, inputs...); };
  op.backward(std::as_const(saved), d_outputs, d_inputs);
};

struct TapeValue {
  Shape shape;
  DType dtype = DType::F32;
  Device device;
  const Weight* weight = nullptr;                    // set when the value is one
  Again again;                                       // set when the value can be computed again
  Tensor gradient;                                   // undefined until something is written
  std::vector<std::pair<int64_t, int64_t>> written;  // column ranges of gradient that hold something
};

class Tape {
 public:
  explicit Tape(TapeMode mode, Recompute recompute = Recompute::None, GradientListener listener = {},
                WeightUse before_use = {})
      : mode_(mode), recompute_(recompute), listener_(std::move(listener)), before_use_(std::move(before_use)) {}
  Tape(const Tape&) = delete;  // what is recorded knows its tape
  Tape& operator=(const Tape&) = delete;
  bool recording() const { return mode_ == TapeMode::Recording; }
  Recompute recompute() const { return recompute_; }

  // A weight as an input of ops: its gradient accumulates into the flat space.
  Tensor use(const Weight& weight);
  // A tensor whose gradient is wanted after backward(): gradient_of().
  Tensor watch(const Tensor& tensor);
  Tensor gradient_of(const Tensor& tensor) const;

  template <class O, class... Inputs>
  requires Op<O, Inputs...>
  auto apply(const O& op, const Inputs&... inputs) {
    op.check(inputs...);
    const auto saved = std::make_shared<Saved>(mode_, this);
    const std::array<TapeLink, sizeof...(Inputs)> links = {inputs.link()...};
    auto outputs = [&] {
      ProfilerRange range(O::name);
      if constexpr (MakesGradientsInForward<O, Inputs...>) {
        std::array<GradientSlot, sizeof...(Inputs)> d_weights = {weight_slot(inputs)...};
        return op.forward(*saved, d_weights, inputs...);
      } else {
        return op.forward(*saved, inputs...);
      }
    }();
    if (recording()) {
      const std::array<int64_t, sizeof...(Inputs)> columns = {(inputs.defined() ? inputs.columns() : 0)...};
      record(O::name, links, columns, outputs_of(outputs),
             [op, saved](std::span<Tensor> d_outputs, std::span<GradientSlot> d_inputs) {
               saved->restore();
               op.backward(*saved, d_outputs, d_inputs);
             });
      if constexpr (requires { O::recomputed_output; }) {
        if (recompute_ == Recompute::Elementwise)
          set_again(outputs_of(outputs)[O::recomputed_output], [op, saved] {
            saved->restore();
            ProfilerRange range(O::name);
            return op.recompute(*saved);
          });
      }
    }
    return outputs;
  }

  // f(tape, inputs) -> outputs, of which backward keeps the inputs alone and computes everything inside again. What f
  // refers to lives until then.
  using Function = std::function<std::vector<Tensor>(Tape&, const std::vector<Tensor>&)>;
  std::vector<Tensor> checkpoint(const char* name, const Function& f, const std::vector<Tensor>& inputs);

  // d_root is the gradient of a tensor that this tape made; without it the tensor has one element and its gradient is
  // 1.
  void backward(const Tensor& root, Tensor d_root = {});
  // From several tensors at once; one whose gradient is undefined is left out.
  void backward(std::span<const Tensor> roots, std::span<Tensor> d_roots);

 private:
  friend class Saved;
  using Backward = std::function<void(std::span<Tensor>, std::span<GradientSlot>)>;
  struct Node {
    const char* name;
    std::vector<TapeLink> inputs;
    std::vector<int64_t> input_columns;
    std::vector<int32_t> outputs;
    std::vector<const Weight*> weights;  // that it takes, itself or inside
    Backward backward;
  };

  static std::span<Tensor> outputs_of(Tensor& output) { return {&output, 1}; }
  template <size_t n>
  static std::span<Tensor> outputs_of(std::array<Tensor, n>& outputs) {
    return outputs;
  }
  int32_t new_value(const Tensor& tensor);
  void record(const char* name, std::span<const TapeLink> inputs, std::span<const int64_t> columns,
              std::span<Tensor> outputs, Backward backward, std::vector<const Weight*> inside = {});
  GradientSlot weight_slot(const Tensor& input) const;
  void played(const Weight* weight);
  GradientSlot slot_of(TapeLink link, int64_t columns);
  void set_again(const Tensor& output, Again again);
  const Again* again_of(const Tensor& tensor) const;
  void play();

  TapeMode mode_;
  Recompute recompute_;
  GradientListener listener_;
  WeightUse before_use_;
  std::deque<TapeValue> values_;
  std::vector<Node> nodes_;
  std::unordered_map<const Weight*, int64_t> to_play_;  // how many nodes that take it are left
  std::vector<const Weight*> playing_;                  // of the node that is being played, those it is not done with
  std::vector<const Weight*>* used_ = nullptr;          // receives what is used, while nothing is recorded
};

}  // namespace gta
