// What must hold of a whole model, whatever its attention.
#include "layers/transformer/causal_lm.h"

#include <iterator>

#include "layers/cross_entropy/linear_cross_entropy.h"
#include "tests/op_case.h"
#include "tests/small_model.h"

namespace gta::testing {
namespace {

struct Model {
  ParameterSpace space;
  CausalLm lm;
  Model(const ModelConfig& config, DType dtype, uint64_t seed = 7) : lm(space, config) {
    space.allocate(dtype, Device{}, SpaceUse::Training);
    space.initialize(seed);
  }
  std::vector<double> gradients() const {
    std::vector<double> all = to_doubles(space.gradients(ParameterKind::Matrix));
    const std::vector<double> vectors = to_doubles(space.gradients(ParameterKind::Vector));
    all.insert(all.end(), vectors.begin(), vectors.end());
    return all;
  }
};

std::vector<int32_t> some_tokens(int64_t count) {
  std::vector<int32_t> tokens(count);
  for (int64_t i = 0; i < count; ++i) tokens[i] = static_cast<int32_t>(RandomStream(3, "tokens").bits(i) % 50);
  return tokens;
}

TEST(CausalLm, ALaterTokenChangesNoEarlierLogit) {
  for (AttentionType type : kAttentionTypes)
    for (DType dtype : {DType::F32, DType::F64}) {
      const Model model(small_model(type), dtype);
      const int64_t length = 70;
      std::vector<int32_t> tokens = some_tokens(length);
      const std::vector<char> before = to_bytes(model.lm.logits(Tensor::from<int32_t>({1, length}, tokens)));
      for (int64_t changed : {int64_t{1}, int64_t{37}, int64_t{64}, length - 1}) {
        std::vector<int32_t> other = tokens;
        other[changed] = (other[changed] + 1) % 50;
        const std::vector<char> after = to_bytes(model.lm.logits(Tensor::from<int32_t>({1, length}, other)));
        const size_t row = before.size() / length;
        EXPECT_TRUE(std::equal(before.begin(), before.begin() + changed * row, after.begin()))
            << name_of(type) << " token " << changed;
        EXPECT_FALSE(std::equal(before.begin() + changed * row, before.end(), after.begin() + changed * row));
      }
    }
}

TEST(CausalLm, DecodingTokenByTokenIsTheWholeForward) {
  for (AttentionType type : kAttentionTypes)
    // Float32: two layers of sums of some 50 products, in another order.
    for (auto [dtype, tolerance] : {std::pair{DType::F64, 1e-12}, {DType::F32, 2e-5}}) {
      const Model model(small_model(type), dtype);
      const int64_t length = 70, vocab = 50;
      const std::vector<int32_t> tokens = some_tokens(length);
      const std::vector<double> whole = to_doubles(model.lm.logits(Tensor::from<int32_t>({1, length}, tokens)));
      constexpr int64_t kOnly[] = {0};
      DecodingCache cache = model.lm.make_cache(1, length, model.lm.dtype());
      // a prompt of five, then one by one, and eleven more in between
      for (int64_t t = 0, last; t < length; t = last) {
        last = t == 0 ? 5 : t == 30 ? 41 : t + 1;
        const Tensor fresh = Tensor::from<int32_t>({1, last - t}, {tokens.begin() + t, tokens.begin() + last});
        const std::vector<double> logits = to_doubles(model.lm.decode(fresh, kOnly, cache));
        ASSERT_TRUE(near(logits, {whole.begin() + (last - 1) * vocab, whole.begin() + last * vocab}, tolerance))
            << name_of(type) << " token " << t;
      }
      EXPECT_EQ(cache.length(0), length);
      EXPECT_THROW(model.lm.decode(Tensor::from<int32_t>({1, 1}, {0}), kOnly, cache), Error);
    }
}

TEST(CausalLm, VariantsOfOneSeedShareTheParametersTheyHaveInCommon) {
  const Model gqa(small_model(AttentionType::Gqa), DType::F32);
  for (AttentionType type : kAttentionTypes) {
    const Model model(small_model(type), DType::F32);
    int common = 0;
    for (const Parameter& p : gqa.space.parameters())
      for (const Parameter& q : model.space.parameters())
        if (p.name == q.name && p.shape == q.shape) {
          ++common;
          EXPECT_EQ(to_bytes(gqa.space.view(gqa.space.values(p.kind), p)),
                    to_bytes(model.space.view(model.space.values(q.kind), q)))
              << name_of(type) << " " << p.name;
        }
    EXPECT_GE(common, 14) << name_of(type);  // all but q, k, v and their like
  }
  const Model other(small_model(AttentionType::Gqa), DType::F32, 8);
  EXPECT_NE(to_bytes(gqa.space.values(ParameterKind::Matrix)), to_bytes(other.space.values(ParameterKind::Matrix)));
}

struct Batch {
  int64_t sequences = 4, length = 33;
  std::vector<int32_t> tokens = some_tokens(4 * 33), labels = some_tokens(4 * 33);
  double weight = 1.0 / (4 * 33 - 1);
  Batch() {
    std::rotate(labels.begin(), labels.begin() + 1, labels.end());
    labels[20] = kIgnoredLabel;
  }
  double add_gradients(const Model& model, int64_t first, int64_t count) const {
    const auto part = [&](const std::vector<int32_t>& all) {
      return Tensor::from<int32_t>({count, length},
                                   {all.begin() + first * length, all.begin() + (first + count) * length});
    };
    Tape tape(TapeMode::Recording);
    const Tensor loss = model.lm.loss(tape, part(tokens), part(labels), weight);
    tape.backward(loss);
    return loss.to_vector<double>()[0];
  }
};

TEST(CausalLm, MicroBatchesAddUpToTheBatch) {
  const Batch batch;
  for (AttentionType type : kAttentionTypes)
    // Float32: gradients are sums over 132 tokens, added in another order.
    for (auto [dtype, tolerance] : {std::pair{DType::F64, 1e-12}, {DType::F32, 1e-5}}) {
      const Model one(small_model(type), dtype), many(small_model(type), dtype);
      const double loss = batch.add_gradients(one, 0, 4);
      double sum = 0;
      for (auto [first, count] : {std::pair<int64_t, int64_t>{0, 1}, {1, 2}, {3, 1}})
        sum += batch.add_gradients(many, first, count);
      EXPECT_NEAR(loss, sum, tolerance * loss);
      EXPECT_TRUE(near(many.gradients(), one.gradients(), tolerance)) << name_of(type) << " " << name_of(dtype);
    }
}

TEST(CausalLm, GradientsAreTheDifferencesOfTheLoss) {
  const Batch batch;
  for (AttentionType type : kAttentionTypes)
    for (bool tied : {true, false}) {
      ModelConfig config = small_model(type);
      config.tie_embeddings = tied;
      const Model model(config, DType::F64);
      batch.add_gradients(model, 0, 4);
      const auto loss = [&] {
        Tape tape(TapeMode::Inference);
        return model.lm
            .loss(tape, Tensor::from<int32_t>({4, 33}, batch.tokens), Tensor::from<int32_t>({4, 33}, batch.labels),
                  batch.weight)
            .to_vector<double>()[0];
      };
      for (const Parameter& p : model.space.parameters()) {
        const Tensor value = model.space.view(model.space.values(p.kind), p);
        const std::vector<double> at = to_doubles(value),
                                  gradient = to_doubles(model.space.view(model.space.gradients(p.kind), p));
        const std::vector<double> direction =
            random_values(p.name + "direction", p.elements(), 1 / std::sqrt(p.elements()));
        const auto moved = [&](double h) {
          std::vector<double> x = at;
          for (size_t i = 0; i < x.size(); ++i) x[i] += h * direction[i];
          value.copy_from(Tensor::from<double>(p.shape, x));
          return loss();
        };
        double along = 0;
        for (size_t i = 0; i < direction.size(); ++i) along += direction[i] * gradient[i];
        const double h = 1e-3, difference = (8 * (moved(h) - moved(-h)) - (moved(2 * h) - moved(-2 * h))) / (12 * h);
        EXPECT_NEAR(along, difference, 1e-8) << name_of(type) << " " << p.name;  // truncation h^4, rounding 1e-16 / h
        value.copy_from(Tensor::from<double>(p.shape, at));
      }
    }
}

TEST(CausalLm, SameBitsForAnyNumberOfThreads) {
  const ThreadCount restore;
  const Batch batch;
  for (AttentionType type : kAttentionTypes) {
    set_threads(1);
    const Model one(small_model(type), DType::F32);
    const double loss = batch.add_gradients(one, 0, 4);
    for (int count : {2, 3, 4}) {
      set_threads(count);
      const Model other(small_model(type), DType::F32);
      EXPECT_EQ(loss, batch.add_gradients(other, 0, 4)) << count;
      EXPECT_TRUE(one.gradients() == other.gradients()) << name_of(type) << " " << count << " threads";
    }
  }
}

TEST(CausalLm, ADecodingCacheHoldsWhatTheVariantKeeps) {
  const int64_t expected[] = {2 * 12 * 4, 2 * 4, 2 * 2 * 4, 7 + 2, 2 * 4 + 12 * 4, 2 * 4 + 4 * 4, 2 * 4 + 3 * 4};
  for (size_t i = 0; i < std::size(kAttentionTypes); ++i)
    EXPECT_EQ(cache_widths(small_model(kAttentionTypes[i])).total(), expected[i]) << name_of(kAttentionTypes[i]);
}

TEST(CausalLm, RefusesConfigurationsThatCannotBeBuilt) {
  using Change = void (*)(ModelConfig&);
  struct Case {
    AttentionType type;
    Change change;
    const char* says;
  };
  for (const Case& c : {
           Case{AttentionType::Mha, [](ModelConfig& m) { m.head_dim = 5; }, "model.head_dim is 5: RoPE rotates pairs"},
           Case{AttentionType::Mha, [](ModelConfig& m) { m.head_dim = 0; }, "model.head_dim is 0"},
           Case{AttentionType::Gqa, [](ModelConfig& m) { m.attention.kv_heads = 5; },
                "attention.kv_heads 5 does not divide heads 12"},
           Case{AttentionType::Gqa, [](ModelConfig& m) { m.attention.kv_heads = 0; },
                "attention.kv_heads is missing: type gqa"},
           Case{AttentionType::Mla, [](ModelConfig& m) { m.attention.kv_lora_rank = 0; },
                "attention.kv_lora_rank is missing: type mla"},
           Case{AttentionType::Mla, [](ModelConfig& m) { m.attention.nope_dim = 0; },
                "attention.nope_dim is missing: type mla"},
           Case{AttentionType::Mla, [](ModelConfig& m) { m.attention.rope_dim = 0; },
                "attention.rope_dim is missing: type mla"},
           Case{AttentionType::Mla, [](ModelConfig& m) { m.attention.value_dim = 0; },
                "attention.value_dim is missing: type mla"},
           Case{AttentionType::Mla, [](ModelConfig& m) { m.attention.rope_dim = 3; },
                "attention.rope_dim is 3: RoPE rotates pairs"},
           Case{AttentionType::Gva, [](ModelConfig& m) { m.attention.query_heads = 0; },
                "attention.query_heads is missing: type gva"},
           Case{AttentionType::Gva, [](ModelConfig& m) { m.attention.query_heads = 5; },
                "attention.query_heads 5 does not divide heads 12"},
           Case{AttentionType::Gva, [](ModelConfig& m) { m.attention.key_heads = 4; },
                "attention.key_heads 4 does not divide query_heads 6"},
           Case{AttentionType::Gha, [](ModelConfig& m) { m.attention.key_heads = 4; },
                "attention.key_heads 4 does not divide query_heads 6"},
           Case{AttentionType::Gha, [](ModelConfig& m) { m.attention.query_heads = 8; },
                "attention.query_heads 8 does not divide heads 12"},
           Case{AttentionType::Gha, [](ModelConfig& m) { m.attention.value_heads = 0; },
                "attention.value_heads is missing: type gha"},
           Case{AttentionType::Gha, [](ModelConfig& m) { m.attention.value_heads = 3; },
                "attention.value_heads 3 is no multiple of 2, the heads that share a map (heads 12 / query_heads 6)"},
           Case{AttentionType::Gha, [](ModelConfig& m) { m.attention.value_heads = 8; },
                "attention.value_heads 8 make 4 groups of 2 values, which do not divide query_heads 6"},
           Case{AttentionType::Gta, [](ModelConfig& m) { m.attention.latent_dim = 5; },
                "attention.latent_dim 5 does not divide a group's width 8"},
           Case{AttentionType::Gta, [](ModelConfig& m) { m.attention.latent_heads = 4; },
                "attention.latent_heads 4 does not divide query_heads 6"},
       }) {
    ParameterSpace space;
    ModelConfig config = small_model(c.type);
    c.change(config);
    try {
      CausalLm lm(space, config);
      ADD_FAILURE() << "expected: " << c.says;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(c.says), std::string::npos) << error.what();
    }
  }
  // What a type does not use is not looked at.
  ModelConfig config = small_model(AttentionType::Mla);
  config.head_dim = 0;
  config.attention.kv_heads = 5;
  ParameterSpace space;
  EXPECT_NO_THROW(CausalLm(space, config));
  for (int64_t ModelConfig::*size : {&ModelConfig::vocab_size, &ModelConfig::max_sequence_length}) {
    config = small_model(AttentionType::Gqa);
    config.*size = 0;
    try {
      CausalLm lm(space, config);
      ADD_FAILURE() << "left to be known later, and it is not";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("must be known"), std::string::npos) << error.what();
    }
  }
}

TEST(CausalLm, RefusesTokensThatAreNoBatchOrTooLong) {
  const Model model(small_model(AttentionType::Gqa), DType::F32);
  const auto refusal = [&](const Tensor& tokens, ErrorKind kind = ErrorKind::BadInput) -> std::string {
    try {
      model.lm.logits(tokens);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kind);
      return error.what();
    }
    return "nothing was refused";
  };
  EXPECT_NE(refusal(Tensor::from<int32_t>({3}, {1, 2, 3}), ErrorKind::Internal)
                .find("expected tokens int32 (batch, sequence), got int32 (3)"),
            std::string::npos);
  EXPECT_NE(
      refusal(Tensor::from<int32_t>({1, 81}, some_tokens(81))).find("81 tokens are more than max_sequence_length 80"),
      std::string::npos);
  EXPECT_NE(refusal(Tensor::from<int32_t>({1, 2}, {1, 50})).find("token 50 is outside the vocabulary of 50"),
            std::string::npos);
}

}  // namespace
}  // namespace gta::testing
