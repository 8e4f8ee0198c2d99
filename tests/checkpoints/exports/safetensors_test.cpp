#include "checkpoints/exports/safetensors.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "core/error.h"
#include "core/io/file.h"
#include "tests/checkpoints/test_state.h"

namespace gta {
namespace {

uint16_t half_of(float value) {
  uint16_t bits = 0;
  const std::string bytes = encode(NumberFormat::F16, {&value, 1});
  std::memcpy(&bits, bytes.data(), sizeof bits);
  return bits;
}

TEST(NumberFormat, Float16RoundsToNearestAndTiesToEven) {
  for (const auto& [value, bits] : {std::pair{1.0F, 0x3c00},
                                    {-2.0F, 0xc000},
                                    {65504.0F, 0x7bff},
                                    {65519.996F, 0x7bff},
                                    {65520.0F, 0x7c00},
                                    {0x1p-14F, 0x0400},
                                    {0x1p-24F, 0x0001},
                                    {0x1p-25F, 0x0000},    // half way to zero, which is even
                                    {0x1.8p-24F, 0x0002},  // half way between one and two
                                    {0x1.ff8p-15F, 0x03ff},
                                    {0x1.ffep-15F, 0x0400},    // rounds up into the normal ones
                                    {1.00048828125F, 0x3c00},  // half way
                                    {1.00146484375F, 0x3c02},
                                    {0.0F, 0x0000},
                                    {-0.0F, 0x8000},
                                    {-std::numeric_limits<float>::infinity(), 0xfc00}})
    EXPECT_EQ(half_of(value), bits) << value;
  EXPECT_TRUE(std::isnan(decode(NumberFormat::F16, encode(NumberFormat::F16, std::array{NAN}))[0]));
}

TEST(NumberFormat, WhatEveryFloat16SaysComesBack) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    if ((bits & 0x7c00) == 0x7c00 && (bits & 0x3ff)) continue;  // NaN
    const auto half = static_cast<uint16_t>(bits);
    const float value = decode(NumberFormat::F16, {reinterpret_cast<const char*>(&half), sizeof half})[0];
    ASSERT_EQ(half_of(value), half) << value;
  }
}

class Safetensors : public testing::Test {
 protected:
  std::string path() const { return folder_.path() + "/x.safetensors"; }
  // A file with this header, and so many bytes behind it.
  void put(const std::string& header, size_t data) const {
    const uint64_t length = header.size();
    std::string bytes(sizeof length, '\0');
    std::memcpy(bytes.data(), &length, sizeof length);
    publish_text(path(), bytes + header + std::string(data, '\0'));
  }
  std::string refusal() const {
    try {
      SafetensorsFile::open(path());
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::BadInput);
      return error.what();
    }
    return "it is taken";
  }

  test::TemporaryFolder folder_;
};

TEST_F(Safetensors, WhatIsWrittenIsReadInEveryFormat) {
  const std::vector<float> values = {1, -2, 0.5F, 3, 1024, -0.0F};
  for (NumberFormat format : {NumberFormat::F32, NumberFormat::BF16, NumberFormat::F16}) {
    write_safetensors(path(), {{"b", format, {2, 3}, 0, 0}, {"a", format, {}, 0, 0}, {"none", format, {0, 4}, 0, 0}},
                      [&](size_t i) { return i == 0   ? values
                                             : i == 1 ? std::vector{7.0F}
                                                      : std::vector<float>{}; });
    const SafetensorsFile file = SafetensorsFile::open(path());
    ASSERT_EQ(file.tensors().size(), 3u);
    EXPECT_EQ(file.tensors()[0].name, "b");
    EXPECT_EQ(file.tensors()[0].shape, (std::vector<int64_t>{2, 3}));
    EXPECT_EQ(file.read(file.tensors()[0]), values);
    EXPECT_EQ(file.read(file.tensors()[1]), std::vector{7.0F});
    uint64_t length = 0;
    std::memcpy(&length, read_file(path()).data(), sizeof length);
    EXPECT_EQ(length % 8, 0u);
  }
}

TEST_F(Safetensors, HostileFilesAreRefusedWithTheReason) {
  const auto tensor = [](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
  };
  const std::string good = tensor("F32", "[2]", "[0,8]");
  put(R"({"a":)" + good + "}", 8);
  EXPECT_EQ(refusal(), "it is taken");
  const struct {
    std::string header;
    size_t data;
    const char* said;
  } kCases[] = {
      {R"({"a":)" + good + "}", 4, "its tensors have 8 bytes, behind the header it has 4"},
      {R"({"a":)" + good + "}", 9, "its tensors have 8 bytes, behind the header it has 9"},
      {R"({"a":)" + good + R"(,"a":)" + good + "}", 8, "names a tensor twice"},
      {R"({"a":)" + good + R"(,"b":)" + tensor("F32", "[1]", "[4,8]") + "}", 8,
       "b does not begin where the one before ends"},
      {R"({"a":)" + tensor("F32", "[1]", "[4,8]") + "}", 8, "a does not begin where"},
      {R"({"a":)" + tensor("F32", "[3]", "[0,8]") + "}", 8, "a has 8 bytes of data, its shape says 12"},
      {R"({"a":)" + tensor("F32", "[4611686018427387904,4]", "[0,8]") + "}", 8, "a has an impossible shape"},
      {R"({"a":)" + tensor("F32", "[-2]", "[0,8]") + "}", 8, "a size is no count"},
      {R"({"a":)" + tensor("F32", "[2.0]", "[0,8]") + "}", 8, "a size is no count"},
      {R"({"a":)" + tensor("F32", "[2]", "[8,0]") + "}", 8, "a has -8 bytes of data"},
      {R"({"a":)" + tensor("F32", "[2]", "[0,18446744073709551615]") + "}", 8, "an offset is no count"},
      {R"({"a":)" + tensor("F32", "[2]", "[0]") + "}", 8, "data_offsets are not two numbers"},
      {R"({"a":)" + tensor("F32", "2", "[0,8]") + "}", 8, "a shape is no list"},
      {R"({"a":)" + tensor("I64", "[1]", "[0,8]") + "}", 8, "a is I64: expected F32, BF16 or F16"},
      {R"({"a":{"shape":[2],"data_offsets":[0,8]}})", 8, "its header is not what the format says"},
      {R"({"a":7})", 8, "its header is not what the format says"},
      {R"({"a":)", 8, "its header is not what the format says"},
      {R"({"a":[[[[[[]]]]]]})", 8, "has a tensor that is none"},
      {R"([1])", 8, "its header does not begin with {"},
      {"", 0, "its header does not begin with {"},
  };
  for (const auto& [header, data, said] : kCases) {
    put(header, data);
    EXPECT_NE(refusal().find(said), std::string::npos) << header << "\n" << refusal();
  }
  publish_text(path(), "abc");
  EXPECT_NE(refusal().find("is no safetensors file: it has 3 bytes"), std::string::npos) << refusal();
  publish_text(path(), std::string(8, '\xff') + "{}");
  EXPECT_NE(refusal().find("is cut off"), std::string::npos) << refusal();
}

// Cut anywhere, and with any byte of its header another one: refused, or read with the sizes that it says.
TEST_F(Safetensors, NoCutAndNoFlippedBitIsTakenForMoreThanThereIs) {
  write_safetensors(path(), {{"w.a", NumberFormat::F32, {3, 2}, 0, 0}, {"w.b", NumberFormat::F32, {5}, 0, 0}},
                    [](size_t i) { return std::vector<float>(i == 0 ? 6 : 5, 1); });
  const std::string whole = read_file(path());
  for (size_t bytes = 0; bytes < whole.size(); ++bytes) {
    publish_text(path(), whole.substr(0, bytes));
    EXPECT_NE(refusal(), "it is taken") << bytes;
  }
  for (size_t at = 0; at < whole.size() - 44; ++at)
    for (int bit = 0; bit < 8; ++bit) {
      std::string bytes = whole;
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << bit));
      publish_text(path(), bytes);
      try {
        const SafetensorsFile file = SafetensorsFile::open(path());
        for (const SafeTensor& tensor : file.tensors())
          EXPECT_EQ(static_cast<int64_t>(file.read(tensor).size()), tensor.elements());
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::BadInput) << error.what();
      }
    }
}

}  // namespace
}  // namespace gta
