// What each op's check() refuses, one thing wrong at a time, and that the message is the op's and names what was wrong.
#include <gtest/gtest.h>

#include "layers/attention/attention_context.h"
#include "layers/attention/shared_map_attention/shared_map_attention.h"
#include "layers/attention/value_decoder/value_decoder.h"
#include "layers/cross_entropy/linear_cross_entropy.h"
#include "layers/embedding/embedding.h"
#include "layers/linear/linear.h"
#include "layers/rms_norm/rms_norm.h"
#include "layers/rope/rope.h"
#include "layers/swiglu/swiglu.h"

namespace gta {
namespace {

Tensor zeros(int64_t rows, int64_t columns) { return Tensor::zeros({rows, columns}, DType::F32, Device{}); }
Tensor vector_of(int64_t size) { return Tensor::zeros({size}, DType::F32, Device{}); }
Tensor indices(const std::vector<int32_t>& values) {
  return Tensor::from<int32_t>({static_cast<int64_t>(values.size())}, values);
}

// The arguments are taken as they are, and refused by the op's name with `part` in the message.
template <class O, class... Inputs>
void expect_taken(const O& op, const Inputs&... inputs) {
  EXPECT_NO_THROW(op.check(inputs...)) << O::name;
}
template <class O, class... Inputs>
void expect_refused(ErrorKind kind, const std::string& part, const O& op, const Inputs&... inputs) {
  try {
    op.check(inputs...);
    ADD_FAILURE() << O::name << " took what it should refuse: " << part;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    EXPECT_EQ(error.where(), O::name) << error.what();
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what() << "\nexpected: " << part;
  }
}

// Shapes are what layers give to ops: theirs is the mistake.
template <class O, class... Inputs>
void expect_refused(const std::string& part, const O& op, const Inputs&... inputs) {
  expect_refused(ErrorKind::Internal, part, op, inputs...);
}

TEST(OpChecks, Embedding) {
  const Tensor weight = zeros(5, 3);
  expect_taken(EmbeddingOp{indices({0, 4})}, weight);
  expect_refused("expected int32 tokens, got float32 (2)", EmbeddingOp{vector_of(2)}, weight);
  expect_refused(ErrorKind::BadInput, "token 5 is outside the vocabulary of 5", EmbeddingOp{indices({0, 5})}, weight);
  expect_refused(ErrorKind::BadInput, "token -1 is outside the vocabulary of 5", EmbeddingOp{indices({0, -1})}, weight);
}

TEST(OpChecks, Linear) {
  const Tensor x = zeros(2, 3), weight = zeros(5, 3);
  expect_taken(LinearOp{}, x, weight, Tensor{});
  expect_taken(LinearOp{}, x, weight, vector_of(5));
  expect_refused("expected x (tokens, 3) for a weight (5, 3), got float32 (2, 4)", LinearOp{}, zeros(2, 4), weight,
                 Tensor{});
  expect_refused("expected x (tokens, 3) for a weight (3)", LinearOp{}, x, vector_of(3), Tensor{});
  expect_refused("expected a bias of 5, got float32 (4)", LinearOp{}, x, weight, vector_of(4));
}

TEST(OpChecks, RmsNorm) {
  expect_taken(RmsNormOp{1e-6}, zeros(2, 3), vector_of(3));
  expect_refused("expected a weight of 3 for x float32 (2, 3), got float32 (4)", RmsNormOp{1e-6}, zeros(2, 3),
                 vector_of(4));
  expect_taken(ResidualRmsNormOp{1e-6}, zeros(2, 3), zeros(2, 3), vector_of(3));
  expect_refused("expected a weight of 3", ResidualRmsNormOp{1e-6}, zeros(2, 3), zeros(2, 3), vector_of(2));
  expect_refused("of one shape, got float32 (2, 3) and float32 (3, 3)", ResidualRmsNormOp{1e-6}, zeros(2, 3),
                 zeros(3, 3), vector_of(3));
  expect_refused("of one shape, got float32 (2, 3) and float32 (2, 4)", ResidualRmsNormOp{1e-6}, zeros(2, 3),
                 zeros(2, 4), vector_of(3));
}

TEST(OpChecks, Rope) {
  // {heads, rope_dim}, {sequence, table, document_starts, given}
  expect_taken(RopeOp{{2, 4}, {3, zeros(8, 4)}}, zeros(6, 8));
  expect_taken(RopeOp{{2, 4}, {3, zeros(2, 4), {}, indices({0, 1, 0, 1, 1, 1})}}, zeros(6, 8));
  expect_refused("expected int32 positions for 6 rows, got int32 (2)",
                 RopeOp{{2, 4}, {3, zeros(8, 4), {}, indices({0, 0})}}, zeros(6, 8));
  expect_refused("rope_dim 3 is odd", RopeOp{{2, 3}, {3, zeros(8, 3)}}, zeros(6, 6));
  expect_refused("rope_dim 0 is", RopeOp{{2, 0}, {3, zeros(8, 0)}}, zeros(6, 0));
  expect_refused("expected x (tokens, 2 heads x (0 + 4)), got float32 (6, 9)", RopeOp{{2, 4}, {3, zeros(8, 4)}},
                 zeros(6, 9));
  expect_refused("7 rows are no whole number of sequences of 3", RopeOp{{2, 4}, {3, zeros(8, 4)}}, zeros(7, 8));
  expect_refused("sequences of 0", RopeOp{{2, 4}, {0, zeros(8, 4)}}, zeros(6, 8));
  expect_refused("positions [0, 3) are outside the table of 2: raise model.max_sequence_length",
                 RopeOp{{2, 4}, {3, zeros(2, 4)}}, zeros(6, 8));
  expect_refused("expected a table of 4 columns", RopeOp{{2, 4}, {3, zeros(8, 6)}}, zeros(6, 8));
  expect_refused("expected int32 document_starts for 6 rows, got float32 (6)",
                 RopeOp{{2, 4}, {3, zeros(8, 4), vector_of(6)}}, zeros(6, 8));
  expect_refused("expected int32 document_starts for 6 rows, got int32 (2)",
                 RopeOp{{2, 4}, {3, zeros(8, 4), indices({0, 0})}}, zeros(6, 8));
}

TEST(OpChecks, Swiglu) {
  expect_taken(SwigluOp{}, zeros(2, 6));
  expect_refused("an even number of columns, got float32 (2, 5)", SwigluOp{}, zeros(2, 5));
}

TEST(OpChecks, LinearCrossEntropy) {
  const Tensor hidden = zeros(2, 3), weight = zeros(5, 3);
  expect_taken(LinearCrossEntropyOp{indices({4, kIgnoredLabel}), 1}, hidden, weight);
  expect_refused("expected hidden (tokens, 3) for a head (5, 3), got float32 (2, 4)",
                 LinearCrossEntropyOp{indices({0, 1}), 1}, zeros(2, 4), weight);
  expect_refused("expected int32 labels for 2 tokens, got float32 (2)", LinearCrossEntropyOp{vector_of(2), 1}, hidden,
                 weight);
  expect_refused("expected int32 labels for 2 tokens, got int32 (3)", LinearCrossEntropyOp{indices({0, 1, 2}), 1},
                 hidden, weight);
  expect_refused(ErrorKind::BadInput, "label 5 is outside the vocabulary of 5",
                 LinearCrossEntropyOp{indices({0, 5}), 1}, hidden, weight);
  expect_refused(ErrorKind::BadInput, "label -2 is outside the vocabulary of 5",
                 LinearCrossEntropyOp{indices({-2, 0}), 1}, hidden, weight);
}

TEST(LinearCrossEntropy, TrainsOnlyWithAPlaceForTheHeadsGradientAndAsTheRoot) {
  const Tensor hidden = zeros(2, 3), weight = zeros(5, 3);
  const LinearCrossEntropyOp op{indices({0, 1}), 1};
  Saved recording(TapeMode::Recording), inference(TapeMode::Inference);
  GradientSlot nobody[2];
  try {
    op.forward(recording, nobody, hidden, weight);
    ADD_FAILURE() << "nothing was refused";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("needs to know where the gradient of the head goes"), std::string::npos)
        << error.what();
  }
  EXPECT_NO_THROW(op.forward(inference, nobody, hidden, weight));
  Saved saved(TapeMode::Recording);
  GradientSlot d_weights[] = {{}, {zeros(5, 3), GradientMode::Accumulate}};
  op.forward(saved, d_weights, hidden, weight);
  for (double start : {0.5, 1.0}) {
    std::vector<Tensor> d_outputs = {Tensor::from<double>({1}, {start}), Tensor{}};
    std::vector<GradientSlot> d_inputs = {GradientSlot(zeros(2, 3), GradientMode::Overwrite), GradientSlot{}};
    if (start == 1.0)
      EXPECT_NO_THROW(op.backward(saved, d_outputs, d_inputs));
    else
      EXPECT_THROW(op.backward(saved, d_outputs, d_inputs), Error)
          << "its gradient was made in forward, for a loss that is the root";
  }
}

TEST(OpChecks, SharedMapAttention) {
  // batch, nq, nk, nv, dk, dv, scale
  const auto op = [](int64_t batch, int64_t nq, int64_t nk, int64_t nv, Tensor starts = {}) {
    return SharedMapAttentionOp{{batch, nq, nk, nv, 4, 5, 1}, std::move(starts)};
  };
  const Tensor q = zeros(4, 24), k = zeros(6, 12), v = zeros(6, 10);
  expect_taken(op(2, 6, 3, 2), q, k, v);
  expect_taken(op(2, 6, 3, 2, indices({0, 1, 0, 1})), q, k, v);
  expect_refused("0 maps cannot share 3 key heads and 2 value heads", op(2, 0, 3, 2), zeros(4, 0), k, v);
  expect_refused("6 maps cannot share 0 key heads", op(2, 6, 0, 2), q, zeros(6, 0), v);
  expect_refused("and 0 value heads", op(2, 6, 3, 0), q, k, zeros(6, 0));
  expect_refused("6 maps cannot share 4 key heads", op(2, 6, 4, 2), q, zeros(6, 16), v);
  expect_refused("and 4 value heads", op(2, 6, 3, 4), q, k, zeros(6, 20));
  expect_refused("got float32 (4, 23), float32 (6, 12), float32 (6, 10)", op(2, 6, 3, 2), zeros(4, 23), k, v);
  expect_refused("got float32 (4, 24), float32 (6, 13), float32 (6, 10)", op(2, 6, 3, 2), q, zeros(6, 13), v);
  expect_refused("got float32 (4, 24), float32 (6, 12), float32 (6, 11)", op(2, 6, 3, 2), q, k, zeros(6, 11));
  expect_refused("do not fit a batch of 0", op(0, 6, 3, 2), q, k, v);
  expect_refused("5 query rows, 6 key rows and 6 value rows do not fit a batch of 2", op(2, 6, 3, 2), zeros(5, 24), k,
                 v);
  expect_refused("4 query rows, 7 key rows and 7 value rows do not fit a batch of 2", op(2, 6, 3, 2), q, zeros(7, 12),
                 zeros(7, 10));
  expect_refused("4 query rows, 6 key rows and 8 value rows do not fit", op(2, 6, 3, 2), q, k, zeros(8, 10));
  expect_refused("4 queries cannot end at the last of 3 keys", op(2, 6, 3, 2), zeros(8, 24), k, v);
  const auto as = [](const Tensor& x, DType dtype) { return Tensor::zeros({x.rows(), x.columns()}, dtype, Device{}); };
  SharedMapAttentionOp cached = op(2, 6, 3, 2);
  cached.keys = {indices({0, 3}), indices({3, 3}), 3, 6};
  expect_taken(cached, q, as(k, DType::BF16), as(v, DType::BF16));
  expect_taken(cached, as(q, DType::BF16), k, v);
  expect_refused("expected q, k and v of one dtype, got float32 (4, 24), bfloat16 (6, 12), bfloat16 (6, 10)",
                 op(2, 6, 3, 2), q, as(k, DType::BF16), as(v, DType::BF16));
  const std::string either = "or k and v of float32 beside bfloat16 or the other way round, got ";
  expect_refused(either + "float32 (4, 24), bfloat16 (6, 12), float32 (6, 10)", cached, q, as(k, DType::BF16), v);
  expect_refused(either + "float64 (4, 24), float32 (6, 12)", cached, as(q, DType::F64), k, v);
  expect_refused("expected int32 document_starts for 4 queries, got float32 (4)", op(2, 6, 3, 2, vector_of(4)), q, k,
                 v);
  expect_refused("expected int32 document_starts for 4 queries, got int32 (3)", op(2, 6, 3, 2, indices({0, 0, 0})), q,
                 k, v);
}

TEST(OpChecks, ValueDecoder) {
  const ValueDecoderOp op{3, 4, GateType::Sigmoid};  // maps, latent_dim; groups of two latents
  const Tensor u = zeros(2, 12), z = zeros(2, 24), p = zeros(12, 8);
  expect_taken(op, u, z, Tensor{});
  expect_taken(op, u, z, p);
  expect_refused("expected u (2 tokens, 3 maps x 4), got float32 (2, 8)", op, zeros(2, 8), z, Tensor{});
  expect_refused("expected u (3 tokens, 3 maps x 4), got float32 (2, 12)", op, u, zeros(3, 24), Tensor{});
  expect_refused("latent_dim 4 does not divide a group's width 10", op, u, zeros(2, 30), Tensor{});
  expect_refused("expected p (12, 8), got float32 (11, 8)", op, u, z, zeros(11, 8));
  expect_refused("expected p (12, 8), got float32 (12, 4)", op, u, z, zeros(12, 4));
}

}  // namespace
}  // namespace gta
