// What a forward pass says of its attention, against the formulas written plainly in double.
#include <cmath>
#include <numbers>

#include "core/parallel.h"
#include "layers/attention/attention_context.h"
#include "layers/attention/grouped_head_latent.h"
#include "layers/attention/probe/effective_rank.h"
#include "layers/attention/probe/map_statistics.h"
#include "layers/transformer/causal_lm.h"
#include "tests/op_case.h"
#include "tests/small_model.h"

namespace gta::testing {
namespace {

using std::numbers::pi;

// As numpy's of the same formula, below.
Tensor waves(int64_t rows, int64_t columns) {
  std::vector<double> x;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) {
      const auto i = static_cast<double>(r), j = static_cast<double>(c);
      x.push_back(std::sin(0.7 * i * i + 1.3 * j * (i + 1) + 0.2 * j * j) + 0.3 * std::cos(i * 0.05));
    }
  return Tensor::from<double>({rows, columns}, x);
}

// The expected numbers are numpy's: s = svd(x); p = s / s.sum(); exp(-(p log p).sum()), with
// x = sin(0.7 i^2 + 1.3 j (i + 1) + 0.2 j^2) + 0.3 cos(0.05 i).
TEST(EffectiveRank, IsNumpys) {
  struct Case {
    int64_t rows, columns;
    double expected;
  };
  for (const auto& [rows, columns, expected] : {Case{1, 1, 1},
                                                {2, 3, 1.9899526681297457},
                                                {5, 5, 4.079626350298221},
                                                {40, 7, 6.874790246530412},
                                                {7, 40, 6.819593010541933},
                                                {130, 64, 49.42091958688593},
                                                {64, 130, 49.28483650534688},
                                                {300, 97, 60.580056598532664}})
    EXPECT_NEAR(effective_rank(waves(rows, columns)), expected, 1e-9 * expected) << rows << " x " << columns;
  std::vector<double> hilbert;
  for (int i = 0; i < 144; ++i) hilbert.push_back(1.0 / (i / 12 + i % 12 + 1));
  // Of its singular values those below 1e-8 are lost in the squares.
  EXPECT_NEAR(effective_rank(Tensor::from<double>({12, 12}, hilbert)), 1.759793379820142, 1e-6);
}

TEST(EffectiveRank, CountsDirections) {
  const auto of = [](const Shape& shape, const std::vector<double>& x) {
    return effective_rank(Tensor::from<double>(shape, x));
  };
  EXPECT_NEAR(of({2, 2}, {3, 0, 0, 3}), 2, 1e-12);
  EXPECT_NEAR(of({4, 2}, {1, 2, 2, 4, -1, -2, 0, 0}), 1, 1e-12) << "rows along one line";
  EXPECT_NEAR(of({3, 3}, {0, 7, 0, 0, 0, 7, 7, 0, 0}), 3, 1e-12);
  const double h = std::log(4.0) - 0.75 * std::log(3.0);  // of 3/4 and 1/4
  EXPECT_NEAR(of({2, 2}, {3, 0, 0, -1}), std::exp(h), 1e-12);
  EXPECT_EQ(of({2, 3}, {0, 0, 0, 0, 0, 0}), 0);
  EXPECT_NEAR(of({1, 3}, {1e-200, 0, 0}), 0, 0) << "squares that are no numbers any more are nothing";
  for (const double bad : {NAN, INFINITY}) EXPECT_TRUE(std::isnan(of({2, 3}, {1, 2, 3, bad, 5, 6})));
  // A product through three columns has three directions, however wide it is.
  const Tensor narrow = waves(50, 3), wide = Tensor::empty({50, 40}, DType::F64, Device{});
  gemm({.a = narrow, .b = waves(3, 40), .c = wide});
  EXPECT_LE(effective_rank(wide), 3 + 1e-9);
  EXPECT_GT(effective_rank(wide), 1.5);
  EXPECT_EQ(effective_rank(waves(30, 20).column_slice(5, 7)), effective_rank(waves(30, 20).column_slice(5, 7).clone()));
}

TEST(SymmetricEigenvalues, AreThoseOfMatricesWhoseValuesAreKnown) {
  // 2 on the diagonal, -1 beside it: 2 - 2 cos(k pi / (n + 1)).
  for (const int64_t n : {1, 2, 3, 70}) {
    const Tensor matrix = Tensor::zeros({n, n}, DType::F64, Device{});
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = std::max<int64_t>(0, i - 1); j <= std::min(n - 1, i + 1); ++j)
        matrix.data<double>()[i * n + j] = i == j ? 2 : -1;
    std::vector<double> values = symmetric_eigenvalues(matrix);
    std::sort(values.begin(), values.end());
    for (int64_t k = 0; k < n; ++k)
      EXPECT_NEAR(values[k], 2 - 2 * std::cos(static_cast<double>(k + 1) * pi / static_cast<double>(n + 1)), 1e-13);
  }
  // All pairs alike: n c once, 0 otherwise.
  std::vector<double> values =
      symmetric_eigenvalues(from_doubles({40, 40}, std::vector<double>(1600, 2.5), DType::F64));
  std::sort(values.begin(), values.end());
  EXPECT_NEAR(values.back(), 100, 1e-12);
  EXPECT_NEAR(values[38], 0, 1e-12);
}

struct Maps {
  AttentionShape shape;
  Tensor q, k;
  std::vector<int32_t> starts;
};

Maps random_maps(int64_t batch, int64_t rows, int64_t maps, int64_t keys, int64_t dim) {
  Maps m{{batch, maps, keys, 1, dim, 1, 0.7}, {}, {}, {}};
  m.q = from_doubles({batch * rows, maps * dim}, random_values("q", batch * rows * maps * dim), DType::F64);
  m.k = from_doubles({batch * rows, keys * dim}, random_values("k", batch * rows * keys * dim), DType::F64);
  return m;
}

MapStatistics plainly(const Maps& m) {
  const int64_t maps = m.shape.query_heads, dim = m.shape.head_dim, rows = m.q.rows() / m.shape.batch;
  double entropy = 0, similarity = 0, pairs = 0;
  for (int64_t t = 0; t < m.q.rows(); ++t) {
    const int64_t begin = t / rows * rows, low = begin + (m.starts.empty() ? 0 : m.starts[t]);
    std::vector<std::vector<double>> a(maps);
    for (int64_t g = 0; g < maps; ++g) {
      double sum = 0;
      for (int64_t s = low; s <= t; ++s) {
        double score = 0;
        for (int64_t i = 0; i < dim; ++i)
          score += m.q.data<double>()[(t * maps + g) * dim + i] *
                   m.k.data<double>()[(s * m.shape.key_heads + g / (maps / m.shape.key_heads)) * dim + i];
        a[g].push_back(std::exp(m.shape.scale * score));
        sum += a[g].back();
      }
      for (double& p : a[g]) {
        p /= sum;
        entropy -= p * std::log(p);
      }
    }
    for (int64_t g = 0; g < maps; ++g)
      for (int64_t h = g + 1; h < maps; ++h) {
        double gh = 0, gg = 0, hh = 0;
        for (size_t s = 0; s < a[g].size(); ++s) {
          gh += a[g][s] * a[h][s];
          gg += a[g][s] * a[g][s];
          hh += a[h][s] * a[h][s];
        }
        similarity += gh / std::sqrt(gg * hh);
        ++pairs;
      }
  }
  return {entropy / static_cast<double>(m.q.rows() * maps), similarity / pairs};
}

TEST(MapStatistics, AreEntropyAndMeanCosine) {
  for (const auto& [batch, rows, maps, keys] :
       std::vector<std::array<int64_t, 4>>{{1, 2, 2, 1}, {1, 33, 6, 2}, {3, 70, 5, 5}, {2, 64, 4, 1}})
    for (const bool documents : {false, true}) {
      Maps m = random_maps(batch, rows, maps, keys, 7);
      if (documents)
        for (int64_t t = 0; t < batch * rows; ++t) m.starts.push_back(static_cast<int32_t>(t % rows / 9 * 9));
      const MapStatistics got = map_statistics(m.shape, m.q, m.k, m.starts), want = plainly(m);
      EXPECT_NEAR(got.entropy, want.entropy, 1e-12) << rows << " rows, documents " << documents;
      ASSERT_TRUE(got.similarity);
      EXPECT_NEAR(*got.similarity, *want.similarity, 1e-12) << rows << " rows, documents " << documents;
      for (const int threads : {1, 3}) {
        set_threads(threads);
        const MapStatistics again = map_statistics(m.shape, m.q, m.k, m.starts);
        EXPECT_EQ(again.entropy, got.entropy);
        EXPECT_EQ(again.similarity, got.similarity);
      }
    }
}

TEST(MapStatistics, OfTheExtremes) {
  // Queries that ask nothing look everywhere alike.
  Maps flat = random_maps(2, 40, 3, 1, 4);
  flat.q.fill_zero();
  double uniform = 0;
  for (int64_t keys = 1; keys <= 40; ++keys) uniform += std::log(static_cast<double>(keys)) / 40;
  const MapStatistics everywhere = map_statistics(flat.shape, flat.q, flat.k, {});
  EXPECT_NEAR(everywhere.entropy, uniform, 1e-12);
  EXPECT_NEAR(*everywhere.similarity, 1, 1e-12);
  // Scores so large that one key has it all; the largest stands far beyond what exp() can hold.
  Maps sharp = random_maps(1, 40, 2, 2, 4);
  sharp.shape.scale = 1e6;
  const MapStatistics one_key = map_statistics(sharp.shape, sharp.q, sharp.k, {});
  EXPECT_NEAR(one_key.entropy, 0, 1e-9);
  EXPECT_TRUE(*one_key.similarity >= 0 && *one_key.similarity < 1);
  const Maps single = random_maps(1, 40, 1, 1, 4);
  EXPECT_FALSE(map_statistics(single.shape, single.q, single.k, {}).similarity) << "one map has no other";
  const Maps shortest = random_maps(3, 1, 4, 2, 5);
  const MapStatistics of_one = map_statistics(shortest.shape, shortest.q, shortest.k, {});
  EXPECT_EQ(of_one.entropy, 0);
  EXPECT_NEAR(*of_one.similarity, 1, 1e-12);
  for (const double bad : {NAN, INFINITY}) {
    Maps broken = random_maps(1, 40, 3, 1, 4);
    broken.q.data<double>()[100] = bad;
    const MapStatistics none = map_statistics(broken.shape, broken.q, broken.k, {});
    EXPECT_TRUE(std::isnan(none.entropy) && std::isnan(*none.similarity));
  }
}

TEST(ProbedRows, AreTheFirstOfTheLastSequences) {
  const auto first_of = [](int64_t batch, int64_t sequence) {
    std::vector<double> numbers;
    for (int64_t i = 0; i < batch * sequence; ++i) numbers.push_back(static_cast<double>(i));
    const Tensor x = from_doubles({batch * sequence, 1}, numbers, DType::F32);
    const ProbedRows rows(batch, sequence);
    const std::vector<double> of = to_doubles(rows.of(x));
    EXPECT_EQ(rows.of_starts({}), std::vector<int32_t>{});
    const Tensor starts = Tensor::from<int32_t>({batch * sequence}, {numbers.begin(), numbers.end()});
    EXPECT_EQ(rows.of_starts(starts), std::vector<int32_t>(of.begin(), of.end()));
    EXPECT_EQ(static_cast<int64_t>(of.size()) % rows.sequences(), 0);
    return std::tuple(rows.sequences(), of.size(), of.front(), of.back());
  };
  EXPECT_EQ(first_of(3, 5), std::tuple(3, 15U, 0, 14));
  EXPECT_EQ(first_of(3, 700), std::tuple(2, 1024U, 700, 1911)) << "512 of each of the last two";
  EXPECT_EQ(first_of(9, 300), std::tuple(3, 900U, 1800, 2699));
  EXPECT_EQ(first_of(2000, 1), std::tuple(1024, 1024U, 976, 1999));
  EXPECT_EQ(first_of(1, 3000), std::tuple(1, 512U, 0, 511));
}

// docs/attention.md: head j of group g reads the columns (j d_h + t) mod d_l of its group's latent, and what P_g adds.
TEST(Probe, OfGtaKnowsLatentsAndWhatHeadsMakeOfThem) {
  for (const ValueDecoderType decoder : {ValueDecoderType::DirectLearned, ValueDecoderType::Direct}) {
    ModelConfig config = small_model(AttentionType::Gta);
    config.attention.value_decoder = decoder;
    ParameterSpace space;
    const GroupedHeadLatentAttention attention(space, "", config);
    space.allocate(DType::F64, Device{}, SpaceUse::Inference);
    space.initialize(11);
    const int64_t rows = 30, hidden = config.hidden_size, nq = 6, nc = 3, dl = 4, group = 12 * 4 / nq;
    const Tensor x = from_doubles({rows, hidden}, random_values("x", rows * hidden), DType::F64);
    Probe probe;
    probe.blocks.emplace_back();
    Tape tape(TapeMode::Inference);
    attention.forward(tape, x, {1, rows, rope_table(rows, 4, 1e4, DType::F64, Device{}), {}, nullptr, nullptr, &probe});
    const auto parameter = [&](const char* name) {
      const Parameter& p = space.find(name);
      return to_doubles(space.view(space.weights(p.kind), p));
    };
    const std::vector<double> w = parameter("v_proj.weight"), b = parameter("v_proj.bias");
    const std::vector<double> p =
        decoder == ValueDecoderType::Direct ? std::vector<double>(nq * dl * group) : parameter("v_b_proj.weight");
    Matrix c(rows, nc * dl), values(rows, nq * group);
    for (int64_t t = 0; t < rows; ++t) {
      for (int64_t j = 0; j < nc * dl; ++j) {
        c(t, j) = b[j];
        for (int64_t i = 0; i < hidden; ++i) c(t, j) += x.data<double>()[t * hidden + i] * w[j * hidden + i];
      }
      for (int64_t g = 0; g < nq; ++g)
        for (int64_t j = 0; j < group; ++j) {
          const int64_t latent = g / (nq / nc) * dl;
          double& value = values(t, g * group + j) = c(t, latent + j % dl);
          for (int64_t i = 0; i < dl; ++i) value += c(t, latent + i) * p[(g * dl + i) * group + j];
        }
    }
    const Probe::Block& block = probe.blocks[0];
    const double latent_rank = effective_rank(Tensor::from<double>({rows, nc * dl}, c.values)),
                 value_rank = effective_rank(Tensor::from<double>({rows, nq * group}, values.values));
    ASSERT_TRUE(block.latent_rank);
    EXPECT_NEAR(*block.latent_rank, latent_rank, 1e-9);
    EXPECT_NEAR(block.value_rank, value_rank, 1e-9);
    if (decoder == ValueDecoderType::Direct)
      EXPECT_NEAR(value_rank, latent_rank, 1e-9) << "copies are no new directions";
    else
      EXPECT_GT(std::abs(value_rank - latent_rank), 1e-2);
  }
}

std::map<std::string, double> numbers_of(const Probe::Block& block) {
  std::map<std::string, double> numbers = {
      {"map_entropy", block.map_entropy}, {"key_rank", block.key_rank}, {"value_rank", block.value_rank}};
  if (block.map_similarity) numbers["map_similarity"] = *block.map_similarity;
  if (block.latent_rank) numbers["latent_rank"] = *block.latent_rank;
  return numbers;
}

TEST(Probe, HasEveryVariantsNumbersInEveryDtype) {
  constexpr int64_t kBatch = 2, kSequence = 24;
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < kBatch * kSequence; ++i)
    ids.push_back(static_cast<int32_t>(RandomStream(3, "tokens").bits(i) % 50));
  const Tensor tokens = Tensor::from<int32_t>({kBatch, kSequence}, ids);
  for (const AttentionType type : kAttentionTypes) {
    std::map<std::string, double> exact;
    for (const auto& [dtype, tolerance] : {std::pair{DType::F64, 0.0}, {DType::F32, 1e-5}, {DType::BF16, 3e-2}}) {
      const ModelConfig config = small_model(type);
      ParameterSpace space;
      const CausalLm model(space, config);
      space.allocate(dtype, Device{}, SpaceUse::Inference);
      space.initialize(7);
      const Probe probe = model.probe(tokens);
      ASSERT_EQ(probe.blocks.size(), 2U);
      const std::map<std::string, double> numbers = numbers_of(probe.blocks[1]);
      const bool has_latents = type == AttentionType::Gta || type == AttentionType::Mla;
      EXPECT_EQ(numbers.count("latent_rank"), has_latents ? 1U : 0U) << name_of(type);
      EXPECT_EQ(numbers.size(), has_latents ? 5U : 4U) << name_of(type);
      if (dtype == DType::F64) exact = numbers;
      for (const auto& [name, value] : numbers)
        EXPECT_NEAR(value, exact.at(name), tolerance * exact.at(name)) << name << " " << name_of(type);
      // A query sees its own and earlier tokens: at most log(t + 1) nats.
      double uniform = 0;
      for (int64_t keys = 1; keys <= kSequence; ++keys) uniform += std::log(static_cast<double>(keys)) / kSequence;
      EXPECT_TRUE(numbers.at("map_entropy") > 0 && numbers.at("map_entropy") < uniform) << name_of(type);
      EXPECT_TRUE(numbers.at("map_similarity") > 0 && numbers.at("map_similarity") < 1) << name_of(type);
    }
  }
}

TEST(Probe, CudaIsNearTheCpu) {
  GTA_NEEDS_CUDA();
  std::vector<int32_t> ids, starts;
  for (int64_t i = 0; i < 40; ++i) {
    ids.push_back(static_cast<int32_t>(RandomStream(3, "tokens").bits(i) % 50));
    starts.push_back(i % 20 < 7 ? 0 : 7);
  }
  const Tensor tokens = Tensor::from<int32_t>({2, 20}, ids), documents = Tensor::from<int32_t>({40}, starts);
  for (const AttentionType type : {AttentionType::Gqa, AttentionType::Mla, AttentionType::Gta})
    for (const auto& [dtype, tolerance] : {std::pair{DType::F32, 1e-5}, {DType::BF16, 3e-2}}) {
      const auto probed = [&, dtype = dtype](const Device& device) {
        ParameterSpace space;
        const CausalLm model(space, small_model(type));
        space.allocate(dtype, device, SpaceUse::Inference);
        space.initialize(7);
        return numbers_of(model.probe(tokens, documents).blocks[1]);
      };
      const std::map<std::string, double> expected = probed({}), got = probed(*cuda_device());
      ASSERT_EQ(got.size(), expected.size());
      for (const auto& [name, value] : expected)
        EXPECT_NEAR(got.at(name), value, tolerance * value) << name << " " << name_of(type) << " " << name_of(dtype);
    }
}

// Of two documents in one window what is seen is what two windows show.
TEST(Probe, KeepsDocumentsApart) {
  ParameterSpace space;
  const CausalLm model(space, small_model(AttentionType::Gqa));
  space.allocate(DType::F64, Device{}, SpaceUse::Inference);
  space.initialize(7);
  std::vector<int32_t> ids, starts;
  for (int64_t i = 0; i < 20; ++i) {
    ids.push_back(static_cast<int32_t>(RandomStream(3, "tokens").bits(i) % 50));
    starts.push_back(i < 10 ? 0 : 10);
  }
  const Probe together = model.probe(Tensor::from<int32_t>({1, 20}, ids), Tensor::from<int32_t>({20}, starts)),
              apart = model.probe(Tensor::from<int32_t>({2, 10}, ids)),
              mixed = model.probe(Tensor::from<int32_t>({1, 20}, ids));
  for (const auto& [name, value] : numbers_of(apart.blocks[1]))
    EXPECT_NEAR(numbers_of(together.blocks[1]).at(name), value, 1e-9) << name;
  EXPECT_GT(mixed.blocks[1].map_entropy, 1.1 * together.blocks[1].map_entropy);
}

}  // namespace
}  // namespace gta::testing
