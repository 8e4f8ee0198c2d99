#include "data/loader.h"

#include <map>

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
    config.train = write_shards(small_tokenizer(), inputs, {}, folder.path("shards"), "train", shard_tokens);
    config.sequence_length = sequence_length;
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
      const auto [shard, window] = data.sampler.at(batch.first_sample + i);
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
  ASSERT_EQ(data.sampler.samples_per_epoch(), windows);
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
    Loader loader(data, size, 20, 2);
    for (int64_t first = 20; first < 40; first += size) {
      const Batch batch = loader.next();
      EXPECT_EQ(batch.first_sample, first);
      EXPECT_TRUE(std::equal(batch.tokens.begin(), batch.tokens.end(), all.begin() + first * 16));
    }
  }
}

TEST(Loader, StopsAtAnyMoment) {
  const Corpus corpus(16);
  const TrainingData data = corpus.open();
  for (int taken = 0; taken < 30; ++taken) {
    Loader loader(data, 2, 0, 1 + taken % 3);
    for (int i = 0; i < taken % 7; ++i) loader.next();
  }
}

TEST(Loader, ErrorOfTheReadingThreadComesOutOfNextEveryTime) {
  const Corpus corpus(16, 2, 1'000'000);
  const TrainingData data = corpus.open();
  const std::string path = corpus.config.train.at(0);
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
  refusal([&] { Loader(data, 0, 0); });
  refusal([&] { Loader(data, 2, -1); });
  refusal([&] { Loader(data, 2, 0, 0); });
}

TEST(TrainingData, RefusesAnotherTokenizerAndTooLongSamples) {
  const Corpus corpus(16);
  train_tokenizer({sample_text(9, 4000)}, 400, corpus.folder.path("other.model"));
  const Tokenizer other = Tokenizer::load(corpus.folder.path("other.model"));
  EXPECT_NE(refusal([&] { open_training_data(corpus.config, other, 1); }).find("train-00000.h5"), std::string::npos);
  DataConfig config = corpus.config;
  config.sequence_length = 1 << 20;
  EXPECT_NE(refusal([&] { open_training_data(config, small_tokenizer(), 1); }).find("sequence_length"), std::string::npos);
  config.sequence_length = 0;
  EXPECT_NE(refusal([&] { open_training_data(config, small_tokenizer(), 1); }).find("sequence_length"), std::string::npos);
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
  std::swap(config.train[0], config.train[1]);
  EXPECT_NE(open_training_data(config, small_tokenizer(), 1).hash(), corpus.open().hash());
}

}  // namespace
}  // namespace gta
