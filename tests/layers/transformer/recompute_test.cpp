// Whatever backward computes again, the gradients are the same to the bit, and less is held.
#include "core/allocator.h"
#include "layers/transformer/causal_lm.h"
#include "tests/op_case.h"
#include "tests/small_model.h"

namespace gta::testing {
namespace {

struct Result {
  std::vector<char> loss, matrices, vectors;
  int64_t activations;  // the most held
};

Result step(const ModelConfig& config, DType dtype, Recompute recompute) {
  ParameterSpace space;
  const CausalLm model(space, config);
  space.allocate(dtype, Device{}, SpaceUse::Training);
  space.initialize(7);
  std::vector<int32_t> ids(2 * 70);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i * i % 29);
  const Tensor tokens = Tensor::from<int32_t>({2, 70}, ids);
  reset_memory_peak(Device{});
  Tape tape(TapeMode::Recording, recompute);
  const Tensor loss = model.loss(tape, tokens, tokens, 1.0 / 140);
  tape.backward(loss);
  return {to_bytes(loss), to_bytes(space.gradients(ParameterKind::Matrix)),
          to_bytes(space.gradients(ParameterKind::Vector)),
          memory_report(Device{}).peak[static_cast<int>(Purpose::Activations)]};
}

TEST(Recompute, GivesTheSameBitsAndHoldsLess) {
  for (AttentionType type : kAttentionTypes)
    for (DType dtype : {DType::F64, DType::F32, DType::BF16}) {
      SCOPED_TRACE(std::string(name_of(type)) + " " + name_of(dtype));
      const Result none = step(small_model(type), dtype, Recompute::None);
      int64_t held = none.activations;
      for (Recompute recompute : {Recompute::Elementwise, Recompute::Block}) {
        const Result other = step(small_model(type), dtype, recompute);
        EXPECT_TRUE(none.loss == other.loss && none.matrices == other.matrices && none.vectors == other.vectors)
            << name_of(recompute);
        EXPECT_LT(other.activations, held) << name_of(recompute);
        held = other.activations;
      }
    }
}

TEST(Recompute, ACheckpointOfTheTapeIsTheFunctionItself) {
  // y = x W^T from inside a checkpoint, and through a slice of it.
  const Tensor x = from_doubles({3, 4}, random_values("x", 12), DType::F64),
               w = from_doubles({4, 4}, random_values("w", 16), DType::F64);
  const auto gradient = [&](bool checkpoint) {
    Tape tape(TapeMode::Recording);
    const Tensor in = tape.watch(x);
    const Tape::Function f = [&](Tape& inner, const std::vector<Tensor>& inputs) {
      const Tensor once = inner.apply(LinearOp{}, inputs[0], w, Tensor{});
      return std::vector<Tensor>{once, inner.apply(LinearOp{}, once.column_slice(0, 4), w, Tensor{})};
    };
    const std::vector<Tensor> y = checkpoint ? tape.checkpoint("f", f, {in}) : f(tape, {in});
    std::vector<Tensor> d = {from_doubles({3, 4}, random_values("d0", 12), DType::F64),
                             from_doubles({3, 4}, random_values("d1", 12), DType::F64)};
    tape.backward(y, d);
    return to_bytes(tape.gradient_of(in));
  };
  EXPECT_EQ(gradient(true), gradient(false));
}

}  // namespace
}  // namespace gta::testing
