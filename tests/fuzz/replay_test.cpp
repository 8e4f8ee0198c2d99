// The corpora of the fuzz targets, and changes of each of their files, always the same ones: every byte that is cut
// off, flipped or set to an extreme may be refused, and must not do anything else.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "core/io/file.h"
#include "core/log.h"
#include "core/random.h"
#include "core/sanitizer.h"
#include "tests/fuzz/target.h"

namespace gta::fuzz {
namespace {

// Changes of one kind to one file: seconds for everything. Readers have no threads for ThreadSanitizer to look at.
constexpr uint64_t kMostOfAKind = kThreadSanitizer ? 20 : 400;

// "" or how it ended otherwise.
std::string defect(const Target& target, const std::string& bytes) {
  try {
    target.run(bytes);
    return "";
  } catch (const std::exception& error) {
    return error.what();
  } catch (...) {
    return "something that is no exception of the standard library";
  }
}

std::string corpus_of(const Target& target) {
  return std::string(GTA_SOURCE_DIR) + "/tests/fuzz/corpus/" + target.name;
}

class Replay : public testing::TestWithParam<Target> {
 protected:
  void SetUp() override { log::set_level(log::Level::Error); }
  void TearDown() override { log::set_level(log::Level::Info); }
};

TEST_P(Replay, EveryFileOfTheCorpusIsTakenOrRefused) {
  int64_t good = 0;
  for (const std::string& name : list_directory(corpus_of(GetParam()))) {
    const std::string bytes = read_file(corpus_of(GetParam()) + "/" + name);
    EXPECT_LT(bytes.size(), 20u << 10) << name << ": seeds are small";
    EXPECT_EQ(defect(GetParam(), bytes), "") << name;
    if (!name.starts_with("good-")) continue;
    ++good;
    EXPECT_TRUE(GetParam().run(bytes)) << name << ": what fuzzing starts from should be taken";
  }
  EXPECT_GT(good, 0);
}

TEST_P(Replay, AFileThatIsCutOffOrChangedIsTakenOrRefused) {
  for (const std::string& name : list_directory(corpus_of(GetParam()))) {
    const std::string bytes = read_file(corpus_of(GetParam()) + "/" + name);
    const uint64_t size = bytes.size(), stride = std::max<uint64_t>(1, size / kMostOfAKind);
    for (uint64_t at = 0; at < size; at += stride) {
      ASSERT_EQ(defect(GetParam(), bytes.substr(0, at)), "") << name << " cut after " << at << " bytes";
      std::string changed = bytes;
      changed[at] = static_cast<char>(changed[at] ^ (1 << at / stride % 8));
      ASSERT_EQ(defect(GetParam(), changed), "") << name << " with a flipped bit in byte " << at;
    }
    const RandomStream random(1, name);
    for (uint64_t round = 0; round < kMostOfAKind && size > 0; ++round) {
      std::string changed = bytes;
      std::string what;
      for (uint64_t i = 0; i <= round % 3; ++i) {
        const uint64_t draw = random.bits(3 * round + i), at = (draw >> 8) % size;
        const uint64_t width = std::min<uint64_t>(1u << draw % 4, size - at);
        // Of 1, 2, 4 or 8 bytes: the values at which sums and products of sizes overflow.
        const uint64_t extremes[] = {0, ~0ull, 1ull << (8 * width - 1), (1ull << (8 * width - 1)) - 1,
                                     0x0101010101010101};
        std::memcpy(changed.data() + at, &extremes[(draw >> 4) % 5], width);
        what += fmt::format(" {} bytes at {} to {:x};", width, at, extremes[(draw >> 4) % 5]);
      }
      ASSERT_EQ(defect(GetParam(), changed), "") << name << " with" << what;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Fuzz, Replay, testing::ValuesIn(targets().begin(), targets().end()),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace gta::fuzz
