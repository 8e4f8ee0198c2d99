#include "data/loader.h"

#include <sys/resource.h>
#include <unistd.h>

#include <map>

#include "core/io/hash.h"
#include "core/io/hdf5.h"
#include "tests/data/data_test_tools.h"

namespace gta {
namespace {

struct Corpus {
  TemporaryFolder folder;
  DataConfig config;

  explicit Corpus(int64_t sequence_length, int documents = 12, int64_t shard_tokens = 700) {
    std::vector<std::string> inputs;
    for (int i = 0; i < documents; ++i) inputs.push_back(folder.write(std::to_string(i) + ".txt", sample_text(i, 150)));
    config.train = {{write_shards(small_tokenizer(), inputs, {}, folder.path("shards"), "train", shard_tokens)}};
    config.sequence_length = sequence_length;
  }
  // A second source, and how the two are weighed.
  void mix(double weight, double other_weight) {
    std::vector<std::string> inputs;
    for (int i = 0; i < 5; ++i)
      inputs.push_back(folder.write("other" + std::to_string(i) + ".txt", sample_text(100 + i, 90)));
    config.train[0].weight = weight;
    config.train.resize(1);
    config.train.push_back(
        {write_shards(small_tokenizer(), inputs, {}, folder.path("shards"), "other", 400), other_weight});
  }
  TrainingData open(uint64_t seed = 1) const { return open_training_data(config, small_tokenizer(), seed); }
};

TEST(Loader, GivesTheSamplersWindowsWithLabelsOneFurther) {
  const Corpus corpus(16);
  const TrainingData data = corpus.open();
  ASSERT_GT(data.shards.size(), 1u);
  Loader loader(data, 3, 0);
  for (int64_t batch_number = 0; batch_number < 20; ++batch_number) {
    const Batch batch = loader.next();
    EXPECT_EQ(batch.first_sample, 3 * batch_number);
    ASSERT_EQ(batch.tokens.size(), 48u);
    ASSERT_EQ(batch.labels.size(), 48u);
    for (int64_t i = 0; i < 3; ++i) {
      const auto [source, shard, window] = data.sampler.at(batch.first_sample + i);
      std::vector<int32_t> expected(17);
      data.shards[shard].read(window * 16, 17, expected.data());
      EXPECT_TRUE(std::equal(expected.begin(), expected.end() - 1, batch.tokens.begin() + 16 * i));
      EXPECT_TRUE(std::equal(expected.begin() + 1, expected.end(), batch.labels.begin() + 16 * i));
    }
  }
}

TEST(Loader, EveryLabelOfTheWindowsComesOncePerEpoch) {
  const Corpus corpus(10);
  const TrainingData data = corpus.open();
  int64_t windows = 0;
  std::map<std::vector<int32_t>, int> expected, found;
  for (const TokenShard& shard : data.shards)
    for (int64_t first = 0; first + 11 <= shard.summary().tokens; first += 10) {
      std::vector<int32_t> window(11);
      shard.read(first, 11, window.data());
      ++expected[window];
      ++windows;
    }
  ASSERT_EQ(data.sampler.samples_per_epoch(0), windows);
  Loader loader(data, 1, 0);
  for (int64_t i = 0; i < windows; ++i) {
    Batch batch = loader.next();
    batch.tokens.push_back(batch.labels.back());
    ++found[batch.tokens];
  }
  EXPECT_EQ(found, expected);
}

TEST(Loader, GoesOnFromAnySampleAndInAnyBatchSizeTheSame) {
  const Corpus corpus(16);
  const TrainingData data = corpus.open();
  std::vector<int32_t> all;
  Loader whole(data, 1, 0);
  for (int i = 0; i < 40; ++i) {
    const Batch batch = whole.next();
    all.insert(all.end(), batch.tokens.begin(), batch.tokens.end());
  }
  for (int64_t size : {2, 4, 5}) {
    Loader loader(data, size, 20, 0, 2);
    for (int64_t first = 20; first < 40; first += size) {
      const Batch batch = loader.next();
      EXPECT_EQ(batch.first_sample, first);
      EXPECT_TRUE(std::equal(batch.tokens.begin(), batch.tokens.end(), all.begin() + first * 16));
    }
  }
}

std::vector<int32_t> tokens_of(const TrainingData& data, int64_t first_sample, int64_t samples) {
  return Loader(data, samples, first_sample).next().tokens;
}

TEST(Loader, AMixtureIsTheSameOnAnyNumberOfRanksAndFromAnySample) {
  Corpus corpus(16);
  corpus.mix(0.7, 0.3);
  const TrainingData data = corpus.open();
  ASSERT_EQ(data.sampler.sources(), 2);
  constexpr int64_t kBatch = 4, kSteps = 90;  // more than two epochs of the second source
  ASSERT_GT(data.sampler.count(1, kBatch * kSteps), 2 * data.sampler.samples_per_epoch(1));
  std::vector<int32_t> all;
  for (int64_t sample = 0; sample < kBatch * kSteps; ++sample) {
    const auto [source, shard, window] = data.sampler.at(sample);
    std::vector<int32_t> expected(16);
    data.shards[shard].read(window * 16, 16, expected.data());
    EXPECT_EQ(data.shards[shard].summary().path.find("other") != std::string::npos, source == 1);
    all.insert(all.end(), expected.begin(), expected.end());
  }
  for (int64_t ranks : {1, 2, 4}) {
    std::vector<int32_t> taken;
    for (int64_t step = 0; step < kSteps; ++step)
      for (int64_t rank = 0; rank < ranks; ++rank) {
        const std::vector<int32_t> slice = tokens_of(data, step * kBatch + rank * (kBatch / ranks), kBatch / ranks);
        taken.insert(taken.end(), slice.begin(), slice.end());
      }
    EXPECT_EQ(taken, all) << ranks << " ranks";
  }
  for (int64_t first = 0; first < kBatch * kSteps; first += 7)
    EXPECT_TRUE(std::equal(all.begin() + first * 16, all.begin() + (first + 1) * 16, tokens_of(data, first, 1).begin()))
        << first;
}

// Document starts and labels of the loader's batches, against the places of BOS in the raw tokens (a text here encodes
// to none).
TEST(Loader, WithADocumentMaskRowsKnowWhereTheirDocumentBeginsAndNoLabelCrossesOne) {
  for (const bool mixed : {false, true}) {
    Corpus corpus(32, 40, 900);
    if (mixed) corpus.mix(2, 1);
    corpus.config.document_mask = true;
    const TrainingData data = corpus.open();
    ASSERT_EQ(data.document_mask, DocumentMask::On);
    std::vector<std::vector<int32_t>> raw;
    for (const TokenShard& shard : data.shards) {
      raw.emplace_back(shard.summary().tokens);
      shard.read(0, shard.summary().tokens, raw.back().data());
    }
    Loader loader(data, 3, 0);
    int64_t labels = 0, inside = 0;
    for (int64_t number = 0; number < 50; ++number) {
      const Batch batch = loader.next();
      ASSERT_EQ(batch.document_starts.size(), 96u);
      int64_t in_batch = 0;
      for (int64_t i = 0; i < 3; ++i) {
        const auto [source, shard, window] = data.sampler.at(batch.first_sample + i);
        int32_t start = 0;
        for (int32_t r = 0; r < 32; ++r) {
          const std::vector<int32_t>& tokens = raw[shard];
          const int64_t at = window * 32 + r;
          if (tokens[at] == small_tokenizer().bos()) start = r;
          const bool crosses = tokens[at + 1] == small_tokenizer().bos();
          EXPECT_EQ(batch.document_starts[i * 32 + r], start);
          EXPECT_EQ(batch.labels[i * 32 + r], crosses ? kNoLabel : tokens[at + 1]);
          EXPECT_EQ(batch.tokens[i * 32 + r], tokens[at]);
          in_batch += !crosses;
          inside += start > 0;
        }
      }
      EXPECT_EQ(batch.label_count, in_batch);
      EXPECT_EQ(data.count_labels(batch.first_sample, 3), in_batch);
      labels += in_batch;
    }
    EXPECT_LT(labels, 50 * 96);
    EXPECT_GT(inside, 100) << "documents that begin inside a window, or this proves nothing";
    EXPECT_EQ(data.count_labels(0, 150), labels);
    EXPECT_EQ(data.count_labels(10, 0), 0);
  }
}

TEST(Loader, WithoutADocumentMaskEveryRowHasItsLabel) {
  const Corpus corpus(16);
  const TrainingData data = corpus.open();
  const Batch batch = Loader(data, 3, 0).next();
  EXPECT_TRUE(batch.document_starts.empty());
  EXPECT_EQ(batch.label_count, 48);
  EXPECT_EQ(data.count_labels(7, 3), 48);
}

// All tokens of a source's shards in order, and whether a document begins there.
struct Joined {
  std::vector<int32_t> tokens;
  std::vector<bool> begins;
  explicit Joined(const DataSource& source) {
    for (const std::string& path : source.shards) {
      const TokenShard shard(path);
      const size_t first = tokens.size();
      tokens.resize(first + shard.summary().tokens);
      shard.read(0, shard.summary().tokens, tokens.data() + first);
      begins.resize(tokens.size() + 1);
      for (const uint64_t offset : shard.document_offsets(0, shard.summary().documents)) begins[first + offset] = true;
    }
  }
};

TEST(Loader, WindowsAcrossShardsAreThoseOfTheSourcesTokensInARow) {
  for (const bool masked : {false, true}) {
    Corpus corpus(32, 12, 150);  // about every shard is a document, and ends inside a window
    corpus.mix(2, 1);
    corpus.config.windows_across_shards = true;
    corpus.config.document_mask = masked;
    const TrainingData data = corpus.open();
    const std::vector<Joined> sources = {Joined(corpus.config.train[0]), Joined(corpus.config.train[1])};
    ASSERT_EQ(data.streams.size(), 2u);
    ASSERT_GT(data.shards.size(), 10u);
    Loader loader(data, 1, 0);
    std::vector<std::map<int64_t, int>> seen(2);
    int64_t labels = 0;
    const int64_t samples = 3 * data.sampler.samples_per_epoch(0);
    for (int64_t sample = 0; sample < samples; ++sample) {
      const auto [source, stream, window] = data.sampler.at(sample);
      ASSERT_EQ(stream, source);
      const Joined& joined = sources[source];
      const Batch batch = loader.next();
      int32_t start = 0;
      for (int32_t r = 0; r < 32; ++r) {
        const int64_t at = window * 32 + r;
        if (joined.begins[at]) start = r;
        EXPECT_EQ(batch.tokens[r], joined.tokens[at]);
        EXPECT_EQ(batch.labels[r], masked && joined.begins[at + 1] ? kNoLabel : joined.tokens[at + 1]);
        if (masked) {
          EXPECT_EQ(batch.document_starts[r], start);
        }
      }
      EXPECT_EQ(data.count_labels(sample, 1), batch.label_count);
      labels += batch.label_count;
      ++seen[source][window];
    }
    EXPECT_EQ(masked, labels < 32 * samples);
    for (size_t source : {0u, 1u}) {
      const auto windows = static_cast<int64_t>((sources[source].tokens.size() - 1) / 32);
      EXPECT_EQ(data.sampler.samples_per_epoch(static_cast<int64_t>(source)), windows);
      EXPECT_EQ(static_cast<int64_t>(seen[source].size()), windows) << "every window of the source";
    }
  }
}

TEST(Loader, StopsAtAnyMoment) {
  const Corpus corpus(16);
  const TrainingData data = corpus.open();
  for (int taken = 0; taken < 30; ++taken) {
    Loader loader(data, 2, 0, 0, 1 + taken % 3);
    for (int i = 0; i < taken % 7; ++i) loader.next();
  }
}

TEST(Loader, ErrorOfTheReadingThreadComesOutOfNextEveryTime) {
  const Corpus corpus(16, 2, 1'000'000);
  const TrainingData data = corpus.open();
  const std::string path = corpus.config.train.at(0).shards.at(0);
  std::string bytes = bytes_of(path);
  bytes[hdf5::Reader(path).dataset("/tokens").offset + 100] ^= 1;
  std::ofstream(path, std::ios::binary | std::ios::in).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  Loader loader(data, 2, 0);
  for (int i = 0; i < 3; ++i) EXPECT_NE(refusal([&] { loader.next(); }).find(path), std::string::npos);
}

TEST(Loader, MeasuresWhatTheLastCallWaited) {
  const Corpus corpus(16);
  Loader loader(corpus.open(), 2, 0);
  for (int i = 0; i < 3; ++i) {
    const auto start = std::chrono::steady_clock::now();
    loader.next();
    const double took = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    EXPECT_GE(loader.seconds_waited(), 0);
    EXPECT_LE(loader.seconds_waited(), took);
  }
}

TEST(Loader, RefusesSizesThatCannotBe) {
  const Corpus corpus(16);
  const TrainingData data = corpus.open();
  refusal([&] { Loader(data, 0, 0); }, ErrorKind::Internal);
  refusal([&] { Loader(data, 2, -1); }, ErrorKind::Internal);
  refusal([&] { Loader(data, 2, 0, 1); }, ErrorKind::Internal);
  refusal([&] { Loader(data, 2, 0, 0, 0); }, ErrorKind::Internal);
}

// In a process of its own, which may hold fewer descriptors than there are shards.
TEST(TrainingData, ReadsMoreShardsThanAProcessMayHaveDescriptors) {
  Corpus corpus(16, 1);
  const std::string first = corpus.config.train[0].shards.at(0);
  for (int i = 0; i < 300; ++i) {
    corpus.config.train[0].shards.push_back(corpus.folder.path(fmt::format("copy-{}.h5", i)));
    std::filesystem::copy_file(first, corpus.config.train[0].shards.back());
  }
  const auto child = [&] {
    const rlimit few{64, 64};
    if (setrlimit(RLIMIT_NOFILE, &few) != 0) _exit(2);
    try {
      const TrainingData data = corpus.open();
      std::vector<int32_t> window(17);
      for (int64_t sample = 0; sample < data.sampler.samples_per_epoch(0); ++sample) {
        const Mixture::Position at = data.sampler.at(sample);
        data.streams[at.shard].read(at.window * 16, 17, window.data());
      }
    } catch (const Error& error) {
      fmt::print(stderr, "{}\n", error.what());
      _exit(3);
    }
    _exit(0);
  };
  EXPECT_EXIT(child(), testing::ExitedWithCode(0), "");
}

TEST(TrainingData, RefusesAnotherTokenizerAndTooLongSamples) {
  const Corpus corpus(16);
  train_tokenizer({sample_text(9, 4000)}, 400, corpus.folder.path("other.model"));
  const Tokenizer other = Tokenizer::load(corpus.folder.path("other.model"));
  EXPECT_NE(refusal([&] { open_training_data(corpus.config, other, 1); }).find("train-00000.h5"), std::string::npos);
  DataConfig config = corpus.config;
  config.sequence_length = 1 << 20;
  EXPECT_NE(refusal([&] { open_training_data(config, small_tokenizer(), 1); }).find("sequence_length"),
            std::string::npos);
  config.sequence_length = 0;
  EXPECT_NE(refusal([&] { open_training_data(config, small_tokenizer(), 1); }).find("sequence_length"),
            std::string::npos);
}

TEST(TrainingData, HashOfAPlainListIsTheOneItAlwaysWas) {
  // Checkpoints hold it: another one would refuse every run that goes on.
  const Corpus corpus(16);
  const TrainingData data = corpus.open();
  Hasher hasher;
  hasher.update(&data.sequence_length, sizeof(int64_t));
  for (const TokenShard& shard : data.shards) {
    const uint64_t content = shard.content_hash();
    hasher.update(&content, sizeof content);
  }
  EXPECT_EQ(data.hash(), hasher.digest());
  DataConfig config = corpus.config;
  config.train[0].weight = 3;
  EXPECT_EQ(open_training_data(config, small_tokenizer(), 1).hash(), data.hash());
}

TEST(TrainingData, HashOfAMixtureNamesItsSourcesAndTheirWeights) {
  Corpus corpus(16);
  corpus.mix(0.7, 0.3);
  const auto hash_of = [&](const std::vector<DataSource>& train) {
    DataConfig config = corpus.config;
    config.train = train;
    return open_training_data(config, small_tokenizer(), 1).hash();
  };
  const DataSource a = corpus.config.train[0], b = corpus.config.train[1];
  ASSERT_GT(a.shards.size(), 1u);
  DataSource all = a, head = a, tail = b;
  all.shards.insert(all.shards.end(), b.shards.begin(), b.shards.end());
  head.shards.pop_back();
  tail.shards.insert(tail.shards.begin(), a.shards.back());
  const std::vector<uint64_t> hashes = {
      hash_of({a, b}), hash_of({b, a}),       hash_of({{a.shards, 0.6}, {b.shards, 0.4}}),
      hash_of({all}),  hash_of({head, tail}), hash_of({a, {b.shards, 0.3001}})};
  for (size_t i = 0; i < hashes.size(); ++i)
    for (size_t k = 0; k < i; ++k) EXPECT_NE(hashes[i], hashes[k]) << i << " and " << k;
  EXPECT_EQ(hash_of({{a.shards, 7}, {b.shards, 3}}), hashes[0]) << "the same order of samples";
}

TEST(TrainingData, SaysHowManyTokensAreInNoSample) {
  Corpus corpus(100, 12, 150);
  const std::vector<std::string>& paths = corpus.config.train[0].shards;
  int64_t tokens = 0, within = 0, short_shards = 0, short_tokens = 0, longest = 0;
  for (const std::string& path : paths) longest = std::max(longest, TokenShard(path).summary().tokens);
  corpus.config.sequence_length = longest / 2;
  for (const std::string& path : paths) {
    const int64_t of_shard = TokenShard(path).summary().tokens;
    std::vector<bool> covered(of_shard);
    for (int64_t first = 0; first + longest / 2 + 1 <= of_shard; first += longest / 2)
      std::fill_n(covered.begin() + first, longest / 2 + 1, true);
    tokens += of_shard;
    within += std::count(covered.begin(), covered.end(), true);
    if (!covered[0]) ++short_shards, short_tokens += of_shard;
  }
  const TrainingData apart = corpus.open();
  const TrainingData::Unsampled u = apart.unsampled();
  EXPECT_EQ(u.of, tokens);
  EXPECT_EQ(u.tokens, tokens - within);
  EXPECT_EQ(u.short_shards, short_shards);
  EXPECT_EQ(u.short_tokens, short_tokens);
  ASSERT_GT(u.tokens, 0);
  const std::string text = describe_unsampled(apart);
  EXPECT_EQ(text.find(fmt::format("{} of {} tokens (", tokens - within, tokens)), 0u) << text;
  EXPECT_NE(text.find("data.windows_across_shards"), std::string::npos) << text;

  corpus.config.windows_across_shards = true;
  const TrainingData across = corpus.open();
  EXPECT_EQ(across.unsampled().tokens, (tokens - 1) % across.sequence_length);
  EXPECT_EQ(across.unsampled().short_shards, 0);
  EXPECT_EQ(describe_unsampled(across).find("data.windows_across_shards"), std::string::npos);

  // Nothing but shards that are too short: refused, with both ways out.
  corpus.config.windows_across_shards = false;
  corpus.config.sequence_length = longest;
  EXPECT_NE(refusal([&] { corpus.open(); }).find("data.windows_across_shards"), std::string::npos);
  corpus.config.windows_across_shards = true;
  EXPECT_EQ(corpus.open().sampler.samples_per_epoch(0), (tokens - 1) / longest);
}

TEST(TrainingData, HashSaysWhetherWindowsGoAcrossShards) {
  Corpus corpus(16);
  std::vector<uint64_t> hashes = {corpus.open().hash()};
  corpus.config.windows_across_shards = true;
  hashes.push_back(corpus.open().hash());
  corpus.mix(2, 1);
  hashes.push_back(corpus.open().hash());
  corpus.config.windows_across_shards = false;
  hashes.push_back(corpus.open().hash());
  for (size_t i = 0; i < hashes.size(); ++i)
    for (size_t k = 0; k < i; ++k) EXPECT_NE(hashes[i], hashes[k]) << i << " and " << k;
}

TEST(TrainingData, HashNamesContentOrderAndLengthButNotPlaces) {
  const Corpus corpus(16), elsewhere(16), other(16, 11);
  EXPECT_EQ(corpus.open().hash(), elsewhere.open().hash());
  EXPECT_EQ(corpus.open(1).hash(), corpus.open(2).hash());
  EXPECT_NE(corpus.open().hash(), other.open().hash());
  DataConfig config = corpus.config;
  config.sequence_length = 17;
  EXPECT_NE(open_training_data(config, small_tokenizer(), 1).hash(), corpus.open().hash());
  config = corpus.config;
  std::swap(config.train[0].shards[0], config.train[0].shards[1]);
  EXPECT_NE(open_training_data(config, small_tokenizer(), 1).hash(), corpus.open().hash());
}

}  // namespace
}  // namespace gta
