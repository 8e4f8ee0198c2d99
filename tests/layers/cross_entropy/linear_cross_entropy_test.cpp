// linear_cross_entropy against its formula in double.
#include "layers/cross_entropy/linear_cross_entropy.h"

#include "tests/op_case.h"

namespace gta::testing {
namespace {

// The op with the gradient of its weight as an ordinary one: forward makes it, backward hands it over.
struct CaseOp {
  static constexpr const char* name = "linear_cross_entropy";
  Tensor labels;
  double label_weight, z_loss;

  LinearCrossEntropyOp inner() const { return {labels, label_weight, z_loss}; }
  void check(const Tensor& hidden, const Tensor& weight) const { inner().check(hidden, weight); }
  std::array<Tensor, 2> forward(Saved& saved, const Tensor& hidden, const Tensor& weight) const {
    const Tensor gradient =
        saved.recording() ? Tensor::zeros(weight.shape(), state_dtype(weight.dtype()), weight.device()) : Tensor{};
    GradientSlot d_weights[] = {{}, {gradient, GradientMode::Accumulate}};
    const std::array<Tensor, 2> losses = inner().forward(saved, d_weights, hidden, weight);
    saved.keep(gradient);
    return losses;
  }
  void backward(const Saved& saved, std::span<Tensor> d_outputs, std::span<GradientSlot> d_inputs) const {
    inner().backward(saved, d_outputs, d_inputs);
    d_inputs[1].give(saved[1]);
  }
};

std::vector<int32_t> labels_for(int64_t tokens, int64_t vocab) {
  std::vector<int32_t> labels(tokens);
  for (int64_t t = 0; t < tokens; ++t)
    labels[t] = t % 5 == 3 ? kIgnoredLabel : static_cast<int32_t>((t * 11 + vocab - 1) % vocab);
  return labels;
}

OpCase loss_case(int64_t tokens, int64_t width, int64_t vocab, double z_loss = 0) {
  const std::vector<int32_t> labels = labels_for(tokens, vocab);
  return {.name = fmt::format("{} tokens of {}, vocabulary {}, z_loss {}", tokens, width, vocab, z_loss),
          .inputs = {Input::random("hidden", {tokens, width}), Input::matrix("weight", {vocab, width})},
          .op =
              [=](DType, Device device) {
                const Tensor on_device =
                    Tensor::from<int32_t>({static_cast<int64_t>(labels.size())}, labels).to(device, Purpose::Data);
                return any_op<2>(CaseOp{on_device, 0.37, z_loss});
              },
          .reference =
              [=](const Matrices& x) {
                Matrix loss(1, 1), cross_entropy(1, 1);
                for (int64_t t = 0; t < x[0].rows; ++t) {
                  if (labels[t] == kIgnoredLabel) continue;
                  double sum = 0, target = 0;
                  for (int64_t v = 0; v < x[1].rows; ++v) {
                    double z = 0;
                    for (int64_t c = 0; c < x[0].columns; ++c) z += x[0](t, c) * x[1](v, c);
                    sum += std::exp(z);
                    if (v == labels[t]) target = z;
                  }
                  cross_entropy(0, 0) += 0.37 * (std::log(sum) - target);
                  loss(0, 0) += 0.37 * z_loss * std::log(sum) * std::log(sum);
                }
                loss(0, 0) += cross_entropy(0, 0);
                return Matrices{loss, cross_entropy};
              },
          .float32_tolerance = 1e-5,  // a logit of size 20 rounds by 1e-6; a loss is a difference of two
          .float32_gradient_tolerance = 1e-5,
          .d_outputs = {OpCase::DOutput::Ones, OpCase::DOutput::Undefined}};
}

std::vector<OpCase> loss_cases() {
  return {loss_case(1, 1, 3),  loss_case(3, 7, 17),       loss_case(7, 17, 33),       loss_case(17, 3, 65),
          loss_case(33, 5, 7), loss_case(66, 3, 5),       loss_case(17, 5, 33, 0.05), loss_case(7, 3, 65, 0.7),
          loss_case(9, 8, 64), loss_case(5, 3, 4104, 0.1)};
}
// The logits of 130 tokens are cut into chunks of 64.
std::vector<OpCase> chunked_cases() { return {loss_case(130, 3, 65537)}; }

GTA_OP_CASE_TESTS(LinearCrossEntropy, loss_cases())
GTA_OP_CASE_TEST(ChunkedLinearCrossEntropy, ForwardIsTheReference, chunked_cases(), check_forward)
GTA_OP_CASE_TEST(ChunkedLinearCrossEntropy, Float32GradientsAreNearFloat64, chunked_cases(), check_float32_gradients)
GTA_OP_CASE_TEST(ChunkedLinearCrossEntropy, SameBitsForAnyNumberOfThreads, chunked_cases(), check_threads)

TEST(LinearCrossEntropy, ChunksGiveTheGradientOfTheWhole) {
  // Ignoring all labels but one chunk's must give what that chunk alone gives.
  const OpCase c = loss_case(130, 3, 65537), part = loss_case(66, 3, 65537);
  const Outcome whole = run_case(c, DType::F64);
  OpCase tail = part;
  std::vector<double> hidden(c.inputs[0].values.begin() + 64 * 3, c.inputs[0].values.end());
  const std::vector<int32_t> labels = labels_for(130, 65537);
  tail.inputs[0].values = hidden;
  tail.op = [&](DType) {
    return any_op<2>(CaseOp{Tensor::from<int32_t>({66}, {labels.begin() + 64, labels.end()}), 0.37, 0});
  };
  const std::vector<double> all = to_doubles(whole.gradients[0]);
  EXPECT_TRUE(near({all.begin() + 64 * 3, all.end()}, to_doubles(run_case(tail, DType::F64).gradients[0]), 1e-12));
}

TEST(LinearCrossEntropy, AddsToTheWeightGradientItIsGivenAndToNothingBeside) {
  const OpCase c = loss_case(7, 17, 33);
  const std::vector<Tensor> x = contiguous_inputs(c, DType::F64);
  Guarded gradient({33, 17}, DType::F64);
  const std::vector<double> before = random_values("before", 33 * 17);
  gradient.set(before);
  Saved saved(TapeMode::Recording);
  const LinearCrossEntropyOp op{Tensor::from<int32_t>({7}, labels_for(7, 33)), 0.37};
  GradientSlot d_weights[] = {{}, {gradient.tensor(), GradientMode::Accumulate}};
  op.forward(saved, d_weights, x[0], x[1]);
  std::vector<double> expected = to_doubles(run_case(c, DType::F64).gradients[1]);
  for (size_t i = 0; i < expected.size(); ++i) expected[i] += before[i];
  EXPECT_TRUE(near(to_doubles(gradient.tensor()), expected, 1e-13));
  EXPECT_TRUE(gradient.surroundings_untouched());
}

// In chunks too: the logits of 130 tokens are cut into pieces of 64.
void expect_losses_of_tokens(const Device& device) {
  for (const auto& [tokens, width, vocab] : std::vector<std::array<int64_t, 3>>{{9, 8, 64}, {130, 3, 65537}}) {
    const Tensor hidden = from_doubles({tokens, width}, random_values("hidden", tokens * width), DType::F32)
                              .to(device, Purpose::Data),
                 weight = from_doubles({vocab, width}, random_values("weight", vocab * width), DType::F32)
                              .to(device, Purpose::Data),
                 of_tokens = Tensor::empty({tokens, 2}, DType::F64, device);
    const std::vector<int32_t> of_labels = labels_for(tokens, vocab);
    const Tensor labels = Tensor::from<int32_t>({tokens}, of_labels).to(device, Purpose::Data);
    Tape tape(TapeMode::Inference);
    const auto plain = tape.apply(LinearCrossEntropyOp{labels, 1, 0.1}, hidden, weight),
               watched = tape.apply(LinearCrossEntropyOp{labels, 1, 0.1, of_tokens}, hidden, weight);
    const std::vector<double> losses = of_tokens.to_vector<double>();
    for (size_t i = 0; i < 2; ++i) {
      const double total = plain[i].to_vector<double>()[0];
      EXPECT_EQ(watched[i].to_vector<double>()[0], total) << "the same bits";
      double sum = 0;
      for (int64_t t = 0; t < tokens; ++t) {
        EXPECT_EQ(losses[2 * t + i] == 0, of_labels[t] == kIgnoredLabel) << t;
        sum += losses[2 * t + i];
      }
      EXPECT_NEAR(sum, total, 1e-12 * total);
    }
  }
}

TEST(LinearCrossEntropy, SaysTheLossOfEachToken) { expect_losses_of_tokens({}); }

TEST(LinearCrossEntropy, CudaSaysTheLossOfEachToken) {
  GTA_NEEDS_CUDA();
  expect_losses_of_tokens(*cuda_device());
}

TEST(LinearCrossEntropy, RefusesRoomForTheLossesOfOtherTokens) {
  const Tensor hidden = Tensor::zeros({2, 3}, DType::F32, {}), weight = Tensor::zeros({5, 3}, DType::F32, {}),
               labels = Tensor::from<int32_t>({2}, {0, 4});
  for (const auto& [shape, dtype] :
       {std::pair{Shape{3, 2}, DType::F64}, {Shape{2, 2}, DType::F32}, {Shape{2, 1}, DType::F64}})
    EXPECT_THROW((LinearCrossEntropyOp{labels, 1, 0, Tensor::zeros(shape, dtype, {})}.check(hidden, weight)), Error);
}

TEST(LinearCrossEntropy, RefusesLabelsOutsideTheVocabulary) {
  const Tensor hidden = Tensor::zeros({2, 3}, DType::F32, {}), weight = Tensor::zeros({5, 3}, DType::F32, {});
  for (int32_t bad : {5, -2})
    EXPECT_THROW((LinearCrossEntropyOp{Tensor::from<int32_t>({2}, {0, bad}), 1}.check(hidden, weight)), Error);
  EXPECT_NO_THROW((LinearCrossEntropyOp{Tensor::from<int32_t>({2}, {4, kIgnoredLabel}), 1}.check(hidden, weight)));
}

}  // namespace
}  // namespace gta::testing
