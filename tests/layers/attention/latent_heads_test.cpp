// latent_heads against its formula in double.
#include "layers/attention/latent_heads/latent_heads.h"

#include "layers/rope/rope.h"

#include "tests/op_case.h"

namespace gta::testing {
namespace {

std::vector<OpCase> latent_heads_cases() {
  using Start = OpCase::DOutput;
  std::vector<OpCase> cases;
  struct Sizes {
    int64_t tokens, heads, nope, rope, value;
  };
  for (const Sizes& s : {Sizes{1, 1, 1, 2, 1},
                         {3, 2, 5, 4, 3},
                         {33, 3, 2, 6, 9},
                         {65, 5, 7, 2, 17},
                         {31, 4, 16, 8, 16},
                         {5, 3, 64, 32, 24}})
    for (const auto& [k, v] : {std::pair{Start::Random, Start::Random},
                               {Start::Random, Start::Undefined},
                               {Start::Undefined, Start::Random}})
      cases.push_back(
          {.name = fmt::format("{} tokens, {} heads of {} + {}, values of {}, gradients {}{}", s.tokens, s.heads,
                               s.nope, s.rope, s.value, k == Start::Random ? "k" : "", v == Start::Random ? "v" : ""),
           .inputs = {Input::random("kv", {s.tokens, s.heads * (s.nope + s.value)}),
                      Input::random("k_rope", {s.tokens, s.rope})},
           .op =
               [=](DType) {
                 return any_op<2>(LatentHeadsOp{{s.heads, s.nope, s.rope, s.value}});
               },
           .reference =
               [=](const Matrices& x) {
                 Matrix keys(s.tokens, s.heads * (s.nope + s.rope)), values(s.tokens, s.heads * s.value);
                 for (int64_t t = 0; t < s.tokens; ++t)
                   for (int64_t h = 0; h < s.heads; ++h) {
                     for (int64_t c = 0; c < s.nope; ++c)
                       keys(t, h * (s.nope + s.rope) + c) = x[0](t, h * (s.nope + s.value) + c);
                     for (int64_t c = 0; c < s.rope; ++c) keys(t, h * (s.nope + s.rope) + s.nope + c) = x[1](t, c);
                     for (int64_t c = 0; c < s.value; ++c)
                       values(t, h * s.value + c) = x[0](t, h * (s.nope + s.value) + s.nope + c);
                   }
                 return Matrices{keys, values};
               },
           .d_outputs = {k, v}});
  return cases;
}

GTA_OP_CASE_TESTS(LatentHeads, latent_heads_cases())

TEST(LatentHeads, WhatDoesNotFitIsRefused) {
  const auto refused = [](auto&& op, auto&&... inputs) {
    try {
      op.check(inputs...);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  const auto tensor = [](int64_t rows, int64_t columns) {
    return Tensor::zeros({rows, columns}, DType::F32, Device{});
  };
  const Tensor table = rope_table(4, 6, 100, DType::F32, Device{});
  EXPECT_NE(refused(RopeOp{{2, 6, 3}, {4, table}}, tensor(4, 17)).find("2 heads x (3 + 6)"), std::string::npos);
  EXPECT_NE(refused(RopeOp{{2, 5, 3}, {4, table}}, tensor(4, 16)).find("rope_dim 5 is odd"), std::string::npos);
  EXPECT_NE(refused(RopeOp{{2, 4, 3}, {4, table}}, tensor(4, 14)).find("table of 4 columns"), std::string::npos);
  EXPECT_NE(refused(RopeOp{{2, 6, 3}, {5, table}}, tensor(5, 18)).find("max_sequence_length"), std::string::npos);
  EXPECT_NE(refused(RopeOp{{2, 6, 3}, {4, table}}, tensor(6, 18)).find("no whole number of sequences"),
            std::string::npos);
  EXPECT_NE(refused(LatentHeadsOp{{2, 3, 6, 5}}, tensor(4, 18), tensor(4, 6)).find("2 heads x (3 + 5)"),
            std::string::npos);
  EXPECT_NE(refused(LatentHeadsOp{{2, 3, 6, 5}}, tensor(4, 16), tensor(4, 5)).find("k_rope (4 tokens, 6)"),
            std::string::npos);
  EXPECT_NE(refused(LatentHeadsOp{{2, 3, 6, 5}}, tensor(4, 16), tensor(3, 6)).find("k_rope (4 tokens, 6)"),
            std::string::npos);
  EXPECT_EQ(refused(LatentHeadsOp{{2, 3, 6, 5}}, tensor(4, 16), tensor(4, 6)), "");
}

}  // namespace
}  // namespace gta::testing
