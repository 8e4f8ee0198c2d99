// GGUF: what is written is read, the types round as the format says, and what is no such file is refused.
#include "checkpoints/exports/gguf.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "core/io/file.h"
#include "core/random.h"
#include "tests/checkpoints/test_state.h"

namespace gta {
namespace {

template <class T>
std::string bytes_of_number(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}
std::string text(const std::string& text) { return bytes_of_number<uint64_t>(text.size()) + text; }

class Gguf : public testing::Test {
 protected:
  std::string path() const { return folder_.path() + "/x.gguf"; }
  std::string refusal(const std::string& bytes) const {
    publish_text(path(), bytes);
    try {
      GgufFile::open(path());
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::BadInput);
      return error.what();
    }
    return "it is taken";
  }
  // A file of one tensor of four numbers, as its parts.
  struct Parts {
    std::string magic = "GGUF", version = bytes_of_number<uint32_t>(3), tensors = bytes_of_number<uint64_t>(1),
                keys = bytes_of_number<uint64_t>(0), key, name = text("w"), dimensions = bytes_of_number<uint32_t>(1),
                sizes = bytes_of_number<uint64_t>(4), type = bytes_of_number<uint32_t>(0),
                offset = bytes_of_number<uint64_t>(0), data = std::string(32, '\0');
    std::string join() const {
      std::string all = magic + version + tensors + keys + key + name + dimensions + sizes + type + offset;
      all.resize((all.size() + 31) / 32 * 32, '\0');
      return all + data;
    }
  };

  test::TemporaryFolder folder_;
};

TEST_F(Gguf, WhatIsWrittenIsReadInEveryType) {
  std::vector<float> values;
  const RandomStream random(3, "values");
  for (uint64_t i = 0; i < 2 * 3 * 64; ++i)
    values.push_back(static_cast<float>(static_cast<int>(random.bits(i) % 255) - 127) / 127);
  const GgufKeys keys = {{"a.count", uint32_t{7}},
                         {"a.signed", int32_t{-7}},
                         {"a.real", 0.5F},
                         {"a.yes", true},
                         {"a.text", std::string("caf\xc3\xa9")},
                         {"a.large", uint64_t{1} << 40},
                         {"a.counts", std::vector<int32_t>{1, -2}},
                         {"a.reals", std::vector<float>{1, -2}},
                         {"a.flags", std::vector<uint8_t>{0, 1}},
                         {"a.texts", std::vector<std::string>{"", "x"}}};
  for (GgufType type : {GgufType::F32, GgufType::F16, GgufType::BF16, GgufType::Q8_0}) {
    const std::vector<GgufTensor> tensors = {{"three", type, {2, 3, 64}, 0}, {"one", GgufType::F32, {5}, 0}};
    write_gguf(path(), keys, tensors, [&](size_t i) { return i == 0 ? values : std::vector<float>{1, 2, 3, 4, 5}; });
    const GgufFile file = GgufFile::open(path());
    EXPECT_EQ(file.keys(), keys);
    ASSERT_EQ(file.tensors().size(), 2u);
    const GgufTensor& three = *file.find("three");
    EXPECT_EQ(three.shape, (std::vector<int64_t>{2, 3, 64}));
    const std::vector<float> read = file.read(three);
    EXPECT_EQ(read, decode(type, encode(type, values))) << name_of(type);
    EXPECT_EQ(file.read_rows(three, 4, 2), std::vector<float>(read.begin() + 4 * 64, read.end())) << name_of(type);
    EXPECT_EQ(file.read(*file.find("one")), (std::vector<float>{1, 2, 3, 4, 5}));
    EXPECT_EQ(file.find("two"), nullptr);
  }
}

// d is max|x| / 127 as a float16, and q the nearest multiple of the one before it was rounded.
TEST(GgufType, ABlockOfQ80KeepsItsLargestNumberAndRoundsTheOthers) {
  std::array<float, 64> values{};
  values[0] = -127;
  values[1] = 1.4F;
  values[2] = 2.5F;
  values[3] = -2.5F;  // halves go away from zero
  const std::string bytes = encode(GgufType::Q8_0, values);
  ASSERT_EQ(bytes.size(), 68u);
  uint16_t d = 0;
  std::memcpy(&d, bytes.data(), sizeof d);
  EXPECT_EQ(d, 0x3c00);
  EXPECT_EQ(static_cast<int8_t>(bytes[2]), -127);
  EXPECT_EQ(bytes[3], 1);
  EXPECT_EQ(bytes[4], 3);
  EXPECT_EQ(static_cast<int8_t>(bytes[5]), -3);
  EXPECT_EQ(bytes.substr(34), std::string(34, '\0')) << "a block of zeros has the d 0";
  values.fill(1e38F);
  EXPECT_TRUE(std::isinf(decode(GgufType::Q8_0, encode(GgufType::Q8_0, values))[0])) << "d has no room for it";
}

TEST_F(Gguf, WhatIsNoSuchFileIsRefused) {
  Parts good;
  ASSERT_EQ(refusal(good.join()), "it is taken");
  const auto expect = [this](const Parts& parts, const std::string& reason) {
    EXPECT_NE(refusal(parts.join()).find(reason), std::string::npos) << refusal(parts.join());
  };
  EXPECT_NE(refusal("").find("it is cut off"), std::string::npos);
  EXPECT_NE(refusal(good.join().substr(0, 40)).find("it is cut off"), std::string::npos);
  Parts bad = good;
  bad.magic = "GGML";
  expect(bad, "does not begin with GGUF");
  bad = good;
  bad.version = bytes_of_number<uint32_t>(2);
  expect(bad, "of version 2: expected 3");
  bad = good;
  bad.tensors = bytes_of_number<uint64_t>(uint64_t{1} << 60);
  expect(bad, "a count is wrong");
  bad = good;
  bad.sizes = bytes_of_number<uint64_t>(uint64_t{1} << 62);
  expect(bad, "w has an impossible shape");
  bad.sizes = bytes_of_number<uint64_t>(9);
  expect(bad, "outside of the file");
  bad.sizes = bytes_of_number<uint64_t>(0);
  expect(bad, "w has an impossible shape");
  bad = good;
  bad.dimensions = bytes_of_number<uint32_t>(5);
  expect(bad, "w has 5 dimensions");
  bad = good;
  bad.type = bytes_of_number<uint32_t>(2);
  expect(bad, "w has type 2");
  bad.type = bytes_of_number<uint32_t>(8);
  expect(bad, "not whole blocks");
  bad = good;
  bad.offset = bytes_of_number<uint64_t>(16);
  expect(bad, "w has an impossible offset");
  bad.offset = bytes_of_number<uint64_t>(32);
  expect(bad, "outside of the file");
  bad = good;
  bad.keys = bytes_of_number<uint64_t>(2);
  bad.key = text("a") + bytes_of_number<uint32_t>(7) + "\1" + text("a") + bytes_of_number<uint32_t>(7) + "\1";
  expect(bad, "a key twice: a");
  bad.keys = bytes_of_number<uint64_t>(1);
  bad.key = text("a") + bytes_of_number<uint32_t>(12) + bytes_of_number<double>(1);
  expect(bad, "a key of type 12");
  bad.key = text("a") + bytes_of_number<uint32_t>(9) + bytes_of_number<uint32_t>(9) + bytes_of_number<uint64_t>(0);
  expect(bad, "a list of type 9");
  bad.key =
      text("a") + bytes_of_number<uint32_t>(9) + bytes_of_number<uint32_t>(8) + bytes_of_number<uint64_t>(1 << 20);
  expect(bad, "a count is wrong");
  // Two tensors in one place.
  bad = good;
  bad.tensors = bytes_of_number<uint64_t>(2);
  bad.offset += text("v") + bytes_of_number<uint32_t>(1) + bytes_of_number<uint64_t>(4) + bytes_of_number<uint32_t>(0) +
                bytes_of_number<uint64_t>(0);
  expect(bad, "lies in another tensor");
}

}  // namespace
}  // namespace gta
