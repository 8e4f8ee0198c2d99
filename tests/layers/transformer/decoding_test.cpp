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

class Decoder {
 public:
  Decoder(AttentionType type, DType dtype, Device device, double tolerance)
      : model_(space_, config(type)), tolerance_(tolerance) {
    space_.allocate(dtype, device, SpaceUse::Inference);
    space_.initialize(7);
    cache_.emplace(model_.make_cache(9, kCapacity));
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

void decode_seven(DType dtype, Device device, double tolerance) {
  for (AttentionType type : kAttentionTypes) {
    SCOPED_TRACE(fmt::format("{} {}", name_of(type), name_of(dtype)));
    Decoder d(type, dtype, device, tolerance);
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
  decode_seven(DType::F64, Device{}, 1e-12);
  decode_seven(DType::F32, Device{}, 3e-5);
  decode_seven(DType::BF16, Device{}, 0.05);
}

TEST(Decoding, CudaSevenSequencesOfUnequalLengthAreEachAsAlone) {
  GTA_NEEDS_CUDA();
  decode_seven(DType::F32, *cuda_device(), 3e-5);
  decode_seven(DType::BF16, *cuda_device(), 0.05);
}

// Few sequences that grow by a token each: what another one says, or whether it is there, changes no bit.
TEST(Decoding, ASequenceHasTheSameBitsAloneAndBesideOthers) {
  const std::vector<int64_t> lengths = {1, 7, 33, 64, 65, 100, 129};
  for (AttentionType type : kAttentionTypes)
    for (DType dtype : {DType::F32, DType::BF16}) {
      ModelConfig config = small_model(type);
      config.max_sequence_length = kCapacity;
      ParameterSpace space;
      const CausalLm model(space, config);
      space.allocate(dtype, Device{}, SpaceUse::Inference);
      space.initialize(7);
      const auto tokens = [](const std::vector<int32_t>& of) {
        return Tensor::from<int32_t>({static_cast<int64_t>(of.size()), 1}, of);
      };
      // Each with its prompt alone, then three tokens: alone in `apart`, all at once in `together`.
      DecodingCache together = model.make_cache(7, kCapacity), apart = model.make_cache(7, kCapacity);
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
              << name_of(type) << " " << name_of(dtype) << ", sequence " << i << ", step " << step;
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
        DecodingCache cache = model.make_cache(1, 20);
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

// The cache's tensors stay where they are, and what was written stays as it is.
TEST(Decoding, WritesEachTokenOnceAndMovesNothing) {
  for (AttentionType type : kAttentionTypes) {
    Decoder d(type, DType::F32, Device{}, 3e-5);
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
