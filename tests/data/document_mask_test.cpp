#include "data/document_mask.h"

#include "tests/data/data_test_tools.h"

namespace gta {
namespace {

struct Masked {
  std::vector<int32_t> labels, starts;
  int64_t count = 0;
};

// One token after the other: which document is it in, and where does that begin?
Masked naive(const std::vector<uint64_t>& offsets, int64_t first, int64_t length) {
  Masked masked;
  for (int64_t r = 0; r < length; ++r) {
    int64_t start = 0;
    bool label = true;
    for (uint64_t offset : offsets) {
      const auto at = static_cast<int64_t>(offset);
      if (at <= first + r) start = std::max<int64_t>(0, at - first);
      if (at == first + r + 1) label = false;
    }
    masked.starts.push_back(static_cast<int32_t>(start));
    masked.labels.push_back(label ? static_cast<int32_t>(r) : kNoLabel);
    masked.count += label;
  }
  return masked;
}

Masked masked(const std::vector<uint64_t>& offsets, int64_t first, int64_t length) {
  Masked m;
  for (int64_t r = 0; r < length; ++r) m.labels.push_back(static_cast<int32_t>(r));
  m.starts.assign(length, -7);
  m.count = mask_documents(offsets, first, m.labels, m.starts);
  return m;
}

TEST(DocumentMask, StartsAndLabelsAreThoseOfEachTokensOwnDocument) {
  const std::vector<std::vector<uint64_t>> all = {
      // with empty documents
      {0, 40},     {0, 1, 2, 3, 4, 40},      {0, 7, 14, 21, 28, 40}, {0, 0, 5, 5, 5, 9, 9, 40, 40},
      {0, 39, 40}, {0, 3, 4, 19, 20, 33, 40}};
  for (const auto& offsets : all)
    for (int64_t length : {1, 2, 5, 7, 16, 39})
      for (int64_t first = 0; first + length + 1 <= 40; ++first) {
        const Masked expected = naive(offsets, first, length), got = masked(offsets, first, length);
        EXPECT_EQ(got.starts, expected.starts) << first << " + " << length;
        EXPECT_EQ(got.labels, expected.labels) << first << " + " << length;
        EXPECT_EQ(got.count, expected.count) << first << " + " << length;
        EXPECT_EQ(count_labels(offsets, first, length), expected.count) << first << " + " << length;
      }
}

TEST(DocumentMask, AWindowInsideOneDocumentIsLeftAsItIs) {
  const Masked m = masked({0, 100, 1000}, 300, 50);
  EXPECT_EQ(m.count, 50);
  EXPECT_EQ(m.starts, std::vector<int32_t>(50, 0));
  for (int32_t r = 0; r < 50; ++r) EXPECT_EQ(m.labels[r], r);
}

TEST(DocumentMask, AnIdOfATokenThatBeginsOrEndsDocumentsIsATokenLikeOthersInsideOfOne) {
  const int32_t bos = small_tokenizer().bos(), eos = small_tokenizer().eos();
  std::vector<int32_t> labels = {5, eos, bos, 9, bos, bos, eos, eos}, starts(8);
  const std::vector<int32_t> before = labels;
  EXPECT_EQ(mask_documents({0, 50}, 10, labels, starts), 8);
  EXPECT_EQ(labels, before);
  EXPECT_EQ(starts, std::vector<int32_t>(8, 0));
}

TEST(DocumentMask, AWindowThatBeginsWithADocumentKeepsAllOfItsLabels) {
  EXPECT_EQ(masked({0, 100, 200}, 100, 20).count, 20);
  // and one that ends with a document's last token asks it for nothing.
  const Masked m = masked({0, 100, 200}, 80, 20);
  EXPECT_EQ(m.count, 19);
  EXPECT_EQ(m.labels.back(), kNoLabel);
  EXPECT_EQ(m.starts, std::vector<int32_t>(20, 0));
}

}  // namespace
}  // namespace gta
