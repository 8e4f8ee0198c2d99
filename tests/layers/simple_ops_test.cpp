// embedding, linear, rms_norm, residual_rms_norm, rope and swiglu against their formulas in double.
#include "layers/embedding/embedding.h"
#include "layers/linear/linear.h"
#include "layers/rms_norm/rms_norm.h"
#include "layers/rope/rope.h"
#include "layers/swiglu/swiglu.h"
#include "tests/op_case.h"

namespace gta::testing {
namespace {

// Rows and widths around the kernels' pieces and vector lengths, odd tails included.
const std::vector<std::pair<int64_t, int64_t>> kSizes = {
    {1, 1},
    {3, 7},
    {7, 17},
    {17, 33},
    {33, 65},
    {65, 3},
    {131, 5},
    // rows of whole 16-byte vectors: a few, more than a warp has lanes, more rows than one partial sum
    {9, 40},
    {3, 272},
    {140, 16}};

OpCase embedding_case(const std::string& name, const std::vector<int32_t>& tokens, int64_t vocab, int64_t width) {
  return {.name = name,
          .inputs = {Input::matrix("weight", {vocab, width})},
          .op =
              [=](DType, Device device) {
                return any_op<1>(EmbeddingOp{
                    Tensor::from<int32_t>({static_cast<int64_t>(tokens.size())}, tokens).to(device, Purpose::Data)});
              },
          .reference =
              [=](const Matrices& x) {
                Matrix y(static_cast<int64_t>(tokens.size()), x[0].columns);
                for (int64_t t = 0; t < y.rows; ++t)
                  for (int64_t c = 0; c < y.columns; ++c) y(t, c) = x[0](tokens[t], c);
                return Matrices{y};
              },
          .float32_tolerance = 0};  // a copy
}

std::vector<OpCase> embedding_cases() {
  std::vector<OpCase> cases;
  for (const auto& [rows, width] : kSizes) {
    const int64_t vocab = 19;
    std::vector<int32_t> tokens(rows);
    // 0 and the last never occur
    for (int64_t t = 0; t < rows; ++t) tokens[t] = static_cast<int32_t>(t * 7 % (vocab - 2) + 1);
    cases.push_back(embedding_case(fmt::format("{} tokens of {}", rows, width), tokens, vocab, width));
  }
  std::vector<int32_t> frequent(300, 2);  // more of one token than a warp or a block has threads
  for (size_t t = 5; t < frequent.size(); t += 50) frequent[t] = t % 3 ? 1 : 4;
  for (int64_t width : {5, 16})
    cases.push_back(embedding_case(fmt::format("a frequent token of {}", width), frequent, 6, width));
  return cases;
}

std::vector<OpCase> linear_cases() {
  std::vector<OpCase> cases;
  for (const auto& [rows, in] : kSizes)
    for (int64_t out : {1, 7, 70})
      for (bool bias : {false, true})
        cases.push_back({.name = fmt::format("({}, {}) to {}{}", rows, in, out, bias ? " with bias" : ""),
                         .inputs = {Input::random("x", {rows, in}), Input::matrix("weight", {out, in}),
                                    bias ? Input::vector("bias", {out}) : Input::undefined("bias")},
                         .op = [](DType) { return any_op<3>(LinearOp{}); },
                         .reference =
                             [bias](const Matrices& x) {
                               Matrix y(x[0].rows, x[1].rows);
                               for (int64_t t = 0; t < y.rows; ++t)
                                 for (int64_t o = 0; o < y.columns; ++o) {
                                   y(t, o) = bias ? x[2](0, o) : 0;
                                   for (int64_t i = 0; i < x[0].columns; ++i) y(t, o) += x[0](t, i) * x[1](o, i);
                                 }
                               return Matrices{y};
                             }});
  return cases;
}

Matrix normalised(const Matrix& s, const Matrix& weight, double eps) {
  Matrix y(s.rows, s.columns);
  for (int64_t t = 0; t < s.rows; ++t) {
    double squares = 0;
    for (int64_t c = 0; c < s.columns; ++c) squares += s(t, c) * s(t, c);
    for (int64_t c = 0; c < s.columns; ++c)
      y(t, c) = s(t, c) / std::sqrt(squares / static_cast<double>(s.columns) + eps) * weight(0, c);
  }
  return y;
}

std::vector<OpCase> rms_norm_cases() {
  std::vector<OpCase> cases;
  for (const auto& [rows, width] : kSizes)
    cases.push_back({.name = fmt::format("({}, {})", rows, width),
                     .inputs = {Input::random("x", {rows, width}), Input::vector("weight", {width})},
                     // A large eps, so that a width of 1 is no constant and eps in the wrong place shows.
                     .op = [](DType) { return any_op<2>(RmsNormOp{0.3}); },
                     .reference = [](const Matrices& x) { return Matrices{normalised(x[0], x[1], 0.3)}; }});
  return cases;
}

std::vector<OpCase> residual_rms_norm_cases() {
  using D = OpCase::DOutput;
  std::vector<OpCase> cases;
  for (const auto& [rows, width] : kSizes)
    for (const auto& d :
         std::vector<std::vector<D>>{{D::Random, D::Random}, {D::Undefined, D::Random}, {D::Random, D::Undefined}})
      cases.push_back({.name = fmt::format("({}, {}){}{}", rows, width, d[0] == D::Undefined ? ", sum unused" : "",
                                           d[1] == D::Undefined ? ", norm unused" : ""),
                       .inputs = {Input::random("x", {rows, width}), Input::random("residual", {rows, width}),
                                  Input::vector("weight", {width})},
                       .op = [](DType) { return any_op<3>(ResidualRmsNormOp{0.3}); },
                       .reference =
                           [](const Matrices& x) {
                             Matrix s = x[0];
                             for (size_t i = 0; i < s.values.size(); ++i) s.values[i] += x[1].values[i];
                             return Matrices{s, normalised(s, x[2], 0.3)};
                           },
                       .d_outputs = d});
  return cases;
}

std::vector<OpCase> rope_cases() {
  std::vector<OpCase> cases;
  // documents of that many rows, out of step; 0: none. first > 0: positions are given, three further in each sequence
  struct Sizes {
    int64_t batch, sequence, heads, rope, plain, first, document;
  };
  for (const Sizes& s : {Sizes{1, 1, 1, 2, 0, 0, 0},
                         {1, 3, 1, 6, 0, 0, 0},
                         {2, 7, 3, 10, 0, 0, 0},
                         {1, 17, 2, 34, 0, 5, 0},
                         {3, 33, 1, 4, 0, 2, 0},
                         {1, 65, 5, 2, 0, 63, 0},
                         {1, 1, 1, 2, 1, 0, 0},
                         {2, 3, 2, 4, 5, 0, 0},
                         {1, 7, 3, 6, 3, 5, 0},
                         {1, 65, 1, 34, 8, 1, 0},
                         {2, 33, 3, 16, 2, 0, 7},
                         {3, 11, 2, 2, 17, 0, 4},
                         {2, 5, 5, 64, 0, 2, 0},
                         {1, 9, 3, 32, 16, 0, 4}}) {
    const int64_t rows = s.batch * s.sequence, width = s.plain + s.rope, half = s.rope / 2;
    std::vector<int32_t> starts;
    for (int64_t t = 0; s.document && t < rows; ++t)
      starts.push_back(static_cast<int32_t>(
          std::max<int64_t>(0, (t % s.sequence + t / s.sequence) / s.document * s.document - t / s.sequence)));
    std::vector<int32_t> given;
    for (int64_t t = 0; s.first && t < rows; ++t)
      given.push_back(static_cast<int32_t>(s.first + 3 * (t / s.sequence) + t % s.sequence));
    const int64_t table = given.empty() ? s.sequence : given.back() + 1;
    cases.push_back(
        {.name = fmt::format("{} x {} rows, {} heads of {} + {}, from {}, documents of {}", s.batch, s.sequence,
                             s.heads, s.plain, s.rope, s.first, s.document),
         .inputs = {Input::random("x", {rows, s.heads * width})},
         .op =
             [=](DType dtype, Device device) {
               const auto rows_of = [&](const std::vector<int32_t>& numbers) {
                 return numbers.empty() ? Tensor{} : Tensor::from<int32_t>({rows}, numbers).to(device, Purpose::Data);
               };
               return any_op<1>(RopeOp{
                   {s.heads, s.rope, s.plain},
                   {s.sequence, rope_table(table, s.rope, 100, dtype, device), rows_of(starts), rows_of(given)}});
             },
         .reference =
             [=](const Matrices& x) {
               Matrix y = x[0];
               for (int64_t t = 0; t < rows; ++t)
                 for (int64_t h = 0; h < s.heads; ++h)
                   for (int64_t j = 0; j < half; ++j) {
                     const int64_t low = h * width + s.plain + j, high = low + half,
                                   position = given.empty() ? t % s.sequence - (starts.empty() ? 0 : starts[t])
                                                            : given[static_cast<size_t>(t)];
                     const double angle = static_cast<double>(position) * std::pow(100.0, -2.0 * j / s.rope);
                     y(t, low) = x[0](t, low) * std::cos(angle) - x[0](t, high) * std::sin(angle);
                     y(t, high) = x[0](t, high) * std::cos(angle) + x[0](t, low) * std::sin(angle);
                   }
               return Matrices{y};
             }});
  }
  return cases;
}

std::vector<OpCase> swiglu_cases() {
  std::vector<OpCase> cases;
  for (const auto& [rows, width] : kSizes)
    cases.push_back({.name = fmt::format("({}, 2 x {})", rows, width),
                     .inputs = {Input::random("gate_up", {rows, 2 * width}, 2)},
                     .op = [](DType) { return any_op<1>(SwigluOp{}); },
                     .reference =
                         [](const Matrices& x) {
                           Matrix y(x[0].rows, x[0].columns / 2);
                           for (int64_t t = 0; t < y.rows; ++t)
                             for (int64_t c = 0; c < y.columns; ++c)
                               y(t, c) = x[0](t, c) / (1 + std::exp(-x[0](t, c))) * x[0](t, y.columns + c);
                           return Matrices{y};
                         }});
  return cases;
}

GTA_OP_CASE_TESTS(Embedding, embedding_cases())

// The order of a sum shows in its last bits: it is the same on every device.
TEST(Embedding, CudaSumsByRisingPosition) {
  GTA_NEEDS_CUDA();
  struct Sizes {
    int64_t tokens, vocab;
  };
  // One to four digits of eight bits; within a warp, a block, and over blocks of more positions than the smallest.
  for (const Sizes& s : {Sizes{1, 1},
                         {255, 2},
                         {257, 256},
                         {1024, 257},
                         {3001, 300},
                         {5000, 40},
                         {4097, 33000},
                         {2049, 66000},
                         {3000, 16777217},
                         {140000, 9}}) {
    SCOPED_TRACE(fmt::format("{} tokens of {}", s.tokens, s.vocab));
    const RandomStream stream(3, "tokens");
    std::vector<int32_t> tokens(s.tokens);
    // Half of them among few, so that runs are long and short; the first and last of the vocabulary occur.
    for (int64_t t = 0; t < s.tokens; ++t)
      tokens[t] = static_cast<int32_t>(stream.bits(static_cast<uint64_t>(t)) %
                                       static_cast<uint64_t>(t % 2 ? s.vocab : std::min<int64_t>(s.vocab, 5)));
    tokens.back() = static_cast<int32_t>(s.vocab - 1);
    const std::vector<double> d_y = random_values("d_y", s.tokens);
    const auto gradient = [&](Device device) {
      const Tensor d_weight = Tensor::empty({s.vocab, 1}, DType::F32, device, Purpose::Data);
      GTA_DISPATCH(device, embedding_backward, Tensor::from<int32_t>({s.tokens}, tokens).to(device, Purpose::Data),
                   from_doubles({s.tokens, 1}, d_y, DType::F32).to(device, Purpose::Data), d_weight,
                   GradientMode::Overwrite);
      return to_bytes(d_weight);
    };
    EXPECT_TRUE(gradient(Device{}) == gradient(*cuda_device()));
  }
}

GTA_OP_CASE_TESTS(Linear, linear_cases())
GTA_OP_CASE_TESTS(RmsNorm, rms_norm_cases())
GTA_OP_CASE_TESTS(ResidualRmsNorm, residual_rms_norm_cases())
GTA_OP_CASE_TESTS(Rope, rope_cases())
GTA_OP_CASE_TESTS(Swiglu, swiglu_cases())

}  // namespace
}  // namespace gta::testing
