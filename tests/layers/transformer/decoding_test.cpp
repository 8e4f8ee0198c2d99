// A batch of sequences of unequal length that begin, grow and end each for itself, against each alone and whole.
#include <map>
#include <numeric>

#include "layers/transformer/causal_lm.h"
#include "tests/op_case.h"
#include "tests/small_model.h"

namespace gta::testing {
namespace {

using Ids = std::vector<int64_t>;
constexpr int64_t kVocab = 50, kCapacity = 140;

std::vector<int32_t> some_text(int64_t length, uint64_t seed) {
  const RandomStream random(seed, "text");
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < length; ++i)
    tokens.push_back(static_cast<int32_t>(random.bits(static_cast<uint64_t>(i)) % kVocab));
  return tokens;
}

struct Formats {
  DType compute, cache;
};
std::string name_of(const Formats& formats) {
  return fmt::format("{} over a cache of {}", name_of(formats.compute), name_of(formats.cache));
}
constexpr Formats kPairs[] = {
    {DType::F32, DType::F32}, {DType::BF16, DType::BF16}, {DType::F32, DType::BF16}, {DType::BF16, DType::F32}};

// Of the largest logit. A bfloat16 model rounds everything, whatever its cache is. Of a float32 model a cache of
// bfloat16 moves keys and values by 2^-8 of themselves at most: in two layers four times that.
double tolerance_of(const Formats& formats) {
  if (formats.compute == DType::F64) return 1e-12;
  if (formats.compute == DType::BF16) return 0.05;
  return formats.cache == DType::BF16 ? 0x4p-8 : 3e-5;
}

class Decoder {
 public:
  Decoder(AttentionType type, const Formats& formats, Device device)
      : model_(space_, config(type)), tolerance_(tolerance_of(formats)) {
    space_.allocate(formats.compute, device, SpaceUse::Inference);
    space_.initialize(7);
    cache_.emplace(model_.make_cache(9, kCapacity, formats.cache));
  }
  DecodingCache& cache() { return *cache_; }

  // A text of its own for a slot of the cache, and what the whole of it gives.
  void begin(int64_t slot, int64_t length) {
    Sequence& s = sequences_[slot];
    s.text = some_text(length, static_cast<uint64_t>(100 * slot + length));
    s.logits = to_doubles(model_.logits(Tensor::from<int32_t>({1, length}, s.text)));
    cache_->clear(slot);
  }
  // Appends `count` tokens to each of these slots, and compares.
  void step(const Ids& slots, int64_t count) {
    std::vector<int32_t> tokens;
    std::vector<double> expected;
    for (const int64_t slot : slots) {
      const Sequence& s = sequences_.at(slot);
      const int64_t at = cache_->length(slot), last = at + count - 1;
      tokens.insert(tokens.end(), s.text.begin() + at, s.text.begin() + at + count);
      expected.insert(expected.end(), s.logits.begin() + last * kVocab, s.logits.begin() + (last + 1) * kVocab);
    }
    const Tensor logits =
        model_.decode(Tensor::from<int32_t>({static_cast<int64_t>(slots.size()), count}, tokens), slots, *cache_);
    ASSERT_TRUE(near(to_doubles(logits), expected, tolerance_)) << slots.size() << " sequences, " << count << " tokens";
  }

 private:
  static ModelConfig config(AttentionType type) {
    ModelConfig config = small_model(type);
    config.max_sequence_length = kCapacity;
    return config;
  }
  struct Sequence {
    std::vector<int32_t> text;
    std::vector<double> logits;
  };
  ParameterSpace space_;
  CausalLm model_;
  std::optional<DecodingCache> cache_;
  std::map<int64_t, Sequence> sequences_;
  double tolerance_;
};

void decode_seven(const Formats& formats, Device device) {
  for (AttentionType type : kAttentionTypes) {
    SCOPED_TRACE(fmt::format("{} {}", name_of(type), name_of(formats)));
    Decoder d(type, formats, device);
    // Slots in no order; prompts of odd lengths, in chunks of odd sizes, two of them together.
    const std::map<int64_t, Ids> prompts = {{8, {1}}, {0, {7}}, {3, {5, 59}}, {5, {65}}, {1, {31, 1, 95}}, {6, {2, 3}}};
    for (const auto& [slot, chunks] : prompts) {
      d.begin(slot, std::accumulate(chunks.begin(), chunks.end(), int64_t{0}) + 13);
      for (const int64_t chunk : chunks) d.step({slot}, chunk);
    }
    d.begin(7, 30);
    d.step({7}, 6);
    d.step({7, 6}, 3);
    const Ids seven = {8, 7, 0, 3, 6, 1, 5};
    for (int i = 0; i < 3; ++i) d.step(seven, 1);
    // Two that begin together, and one beside others that are under way.
    d.begin(4, 20);
    d.begin(0, 20);
    d.step({0, 4}, 3);
    d.begin(4, 20);
    d.step({1, 4, 8}, 2);
    // Two end, others take their slots, the rest goes on.
    d.begin(0, 20);
    d.begin(5, 90);
    d.step({5}, 83);
    d.step({0}, 11);
    for (int i = 0; i < 3; ++i) d.step({1, 0, 5, 8}, 1);
    d.step({3, 5}, 2);
    EXPECT_EQ(d.cache().length(1), 127 + 8);
    EXPECT_EQ(d.cache().length(5), 88);
    EXPECT_EQ(d.cache().length(2), 0);
  }
}

TEST(Decoding, SevenSequencesOfUnequalLengthAreEachAsAlone) {
  decode_seven({DType::F64, DType::F64}, Device{});
  for (const Formats& formats : kPairs) decode_seven(formats, Device{});
}

TEST(Decoding, CudaSevenSequencesOfUnequalLengthAreEachAsAlone) {
  GTA_NEEDS_CUDA();
  for (const Formats& formats : kPairs) decode_seven(formats, *cuda_device());
}

// Few sequences that grow by a token each: what another one says, or whether it is there, changes no bit.
TEST(Decoding, ASequenceHasTheSameBitsAloneAndBesideOthers) {
  const std::vector<int64_t> lengths = {1, 7, 33, 64, 65, 100, 129};
  for (AttentionType type : kAttentionTypes)
    for (const Formats& formats : kPairs) {
      ModelConfig config = small_model(type);
      config.max_sequence_length = kCapacity;
      ParameterSpace space;
      const CausalLm model(space, config);
      space.allocate(formats.compute, Device{}, SpaceUse::Inference);
      space.initialize(7);
      const auto tokens = [](const std::vector<int32_t>& of) {
        return Tensor::from<int32_t>({static_cast<int64_t>(of.size()), 1}, of);
      };
      // Each with its prompt alone, then three tokens: alone in `apart`, all at once in `together`.
      DecodingCache together = model.make_cache(7, kCapacity, formats.cache),
                    apart = model.make_cache(7, kCapacity, formats.cache);
      Ids all;
      std::vector<std::vector<int32_t>> texts;
      for (size_t i = 0; i < lengths.size(); ++i) {
        const Ids slot = {static_cast<int64_t>(i)};
        all.push_back(slot[0]);
        texts.push_back(some_text(lengths[i] + 3, i));
        const Tensor prompt = Tensor::from<int32_t>({1, lengths[i]}, {texts[i].begin(), texts[i].end() - 3});
        model.decode(prompt, slot, together);
        model.decode(prompt, slot, apart);
      }
      for (int64_t step = 0; step < 3; ++step) {
        std::vector<int32_t> next;
        for (size_t i = 0; i < lengths.size(); ++i) next.push_back(texts[i][static_cast<size_t>(lengths[i] + step)]);
        const std::vector<double> logits = to_doubles(model.decode(tokens(next), all, together));
        for (size_t i = 0; i < lengths.size(); ++i) {
          const auto first = logits.begin() + static_cast<int64_t>(i) * kVocab;
          EXPECT_EQ(to_doubles(model.decode(tokens({next[i]}), Ids{all[i]}, apart)),
                    std::vector<double>(first, first + kVocab))
              << name_of(type) << " " << name_of(formats) << ", sequence " << i << ", step " << step;
        }
      }
    }
}

// Rounded to bytes a model is another one, but nearly the same: as far as steps of 1/127 of a row's largest weight go.
TEST(Decoding, WithInt8WeightsLogitsAreNearThoseOfTheWeights) {
  for (AttentionType type : kAttentionTypes)
    for (bool tied : {true, false}) {
      ModelConfig config = small_model(type);
      config.tie_embeddings = tied;
      ParameterSpace space;
      const CausalLm model(space, config);
      space.allocate(DType::F32, Device{}, SpaceUse::Inference);
      space.initialize(7);
      const std::vector<int32_t> text = some_text(20, 3);
      const Tensor prompt = Tensor::from<int32_t>({1, 19}, {text.begin(), text.end() - 1}),
                   last = Tensor::from<int32_t>({1, 1}, {text.back()});
      const auto decoded = [&] {
        DecodingCache cache = model.make_cache(1, 20, DType::F32);
        model.decode(prompt, Ids{0}, cache);
        return to_doubles(model.decode(last, Ids{0}, cache));
      };
      const std::vector<double> exact = decoded();
      space.use_int8(model.only_looked_up());
      const std::vector<double> rounded = decoded();
      EXPECT_NE(rounded, exact);
      EXPECT_TRUE(near(rounded, exact, 0.05)) << name_of(type) << (tied ? " tied" : "");
    }
}

// What a format holds of the prompt in the first layer, whose keys and values no cache has had a part in: their values,
// rounded once.
TEST(Decoding, ACacheHoldsKeysAndValuesRoundedToItsOwnFormat) {
  constexpr int64_t kPrompt = 9;
  const std::vector<int32_t> text = some_text(kPrompt + 1, 3);
  const Tensor prompt = Tensor::from<int32_t>({1, kPrompt}, {text.begin(), text.end() - 1}),
               last = Tensor::from<int32_t>({1, 1}, {text.back()});
  for (AttentionType type : kAttentionTypes)
    for (DType compute : {DType::F32, DType::BF16}) {
      SCOPED_TRACE(fmt::format("{} {}", name_of(type), name_of(compute)));
      ParameterSpace space;
      const CausalLm model(space, small_model(type));
      space.allocate(compute, Device{}, SpaceUse::Inference);
      space.initialize(7);
      struct Decoded {
        std::vector<double> keys, values, logits;
        int64_t bytes;
      };
      const auto decoded = [&](DType format) {
        DecodingCache cache = model.make_cache(1, kPrompt + 1, format);
        model.decode(prompt, Ids{0}, cache);
        const LayerCache& first = cache.layer(0);
        EXPECT_EQ(first.keys.dtype(), format);
        const auto rows = [&](const Tensor& of) {
          return of.columns() > 0 ? to_doubles(of.row_slice(0, kPrompt)) : std::vector<double>{};
        };
        return Decoded{rows(first.keys), rows(first.values), to_doubles(model.decode(last, Ids{0}, cache)),
                       cache.bytes()};
      };
      const Decoded exact = decoded(DType::F32), rounded = decoded(DType::BF16);
      const auto in_bfloat16 = [](std::vector<double> values) {
        for (double& value : values) value = bfloat16(value);
        return values;
      };
      EXPECT_EQ(rounded.keys, in_bfloat16(exact.keys));
      EXPECT_EQ(rounded.values, in_bfloat16(exact.values));
      // What a bfloat16 model puts into a cache is bfloat16 already.
      EXPECT_EQ(rounded.keys == exact.keys, compute == DType::BF16);
      EXPECT_EQ(rounded.bytes * 2, exact.bytes);
      EXPECT_EQ(exact.bytes, cache_widths(small_model(type)).total() * (kPrompt + 1) * small_model(type).layers * 4);
      if (compute == DType::F32) {
        EXPECT_FALSE(near(rounded.logits, exact.logits, 1e-5)) << "nothing was rounded";
      }
    }
}

TEST(Decoding, ACacheGoesWithTheArithmeticOfItsModel) {
  for (const auto& [compute, cache] : {Formats{DType::F64, DType::F32}, Formats{DType::F64, DType::BF16},
                                       Formats{DType::F32, DType::F64}, Formats{DType::BF16, DType::I32}}) {
    ParameterSpace space;
    const CausalLm model(space, small_model(AttentionType::Gta));
    space.allocate(compute, Device{}, SpaceUse::Inference);
    EXPECT_THROW(model.make_cache(1, 4, cache), Error) << name_of(Formats{compute, cache});
  }
}

// The cache's tensors stay where they are, and what was written stays as it is.
TEST(Decoding, WritesEachTokenOnceAndMovesNothing) {
  for (AttentionType type : kAttentionTypes) {
    Decoder d(type, {DType::F32, DType::F32}, Device{});
    d.begin(2, 40);
    d.step({2}, 9);
    const LayerCache before = d.cache().layer(1);
    const std::vector<float> keys = before.keys.row_slice(2 * kCapacity, 9).to_vector<float>();
    d.begin(4, 30);
    d.step({4}, 5);
    d.step({2, 4}, 1);
    const LayerCache& after = d.cache().layer(1);
    EXPECT_EQ(before.keys.raw_data(), after.keys.raw_data());
    EXPECT_EQ(before.values.raw_data(), after.values.raw_data());
    EXPECT_EQ(after.keys.row_slice(2 * kCapacity, 9).to_vector<float>(), keys);
    EXPECT_EQ(after.keys.columns() + after.values.columns(), cache_widths(small_model(type)).total());
  }
}

}  // namespace
}  // namespace gta::testing
