#include "launch/npy.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>

#include "core/error.h"
#include "core/io/file.h"

namespace gta {
namespace {

template <class T>
std::string bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

std::string npy(std::string header, const std::string& data) {
  header += '\n';
  return std::string("\x93NUMPY\x01\x00", 8) + static_cast<char>(header.size() & 0xff) +
         static_cast<char>(header.size() >> 8) + header + data;
}

class Npy : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/gta-npy-XXXXXX";
    folder_ = mkdtemp(pattern);
  }
  void TearDown() override { remove_tree(folder_); }
  NpyArray<int32_t> read(const std::string& bytes) const {
    publish_text(folder_ + "/a.npy", bytes);
    return read_npy_int32(folder_ + "/a.npy");
  }
  void expect_refused(const std::string& part, const std::string& bytes) const {
    try {
      read(bytes);
      ADD_FAILURE() << "was read; expected: " << part;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::BadInput);
      EXPECT_NE(std::string(error.what()).find("a.npy] " + part), std::string::npos) << error.what();
    }
  }
  std::string folder_;
};

const std::vector<int32_t> kSix = {0, 1, 2, -3, INT32_MAX, INT32_MIN};

TEST_F(Npy, ReadsBothKindsOfIntegersInAnyShape) {
  const NpyArray<int32_t> small =
      read(npy("{'descr': '<i4', 'fortran_order': False, 'shape': (2, 3), }", bytes_of(kSix)));
  EXPECT_EQ(small.shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(small.values, kSix);
  const NpyArray<int32_t> large = read(npy("{'descr': '<i8', 'fortran_order': False, 'shape': (6,), }",
                                           bytes_of(std::vector<int64_t>(kSix.begin(), kSix.end()))));
  EXPECT_EQ(large.shape, std::vector<int64_t>{6});
  EXPECT_EQ(large.values, kSix);
  EXPECT_EQ(read(npy("{'descr': '<i4', 'fortran_order': False, 'shape': (0, 3), }", "")).values.size(), 0u);
}

TEST_F(Npy, WritesWhatHasItsShapeAndItsData) {
  write_npy(folder_ + "/b.npy", {{2, 1}, {1.5f, -2.0f}});
  const std::string file = read_file(folder_ + "/b.npy");
  const size_t header = static_cast<unsigned char>(file[8]) + 256 * static_cast<unsigned char>(file[9]);
  EXPECT_EQ((10 + header) % 64, 0u);
  EXPECT_NE(file.find("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1, ), }"), std::string::npos);
  EXPECT_EQ(file.substr(10 + header), bytes_of(std::vector<float>{1.5f, -2.0f}));
}

TEST_F(Npy, WhatIsNoSuchArrayIsRefused) {
  const std::string good = "{'descr': '<i4', 'fortran_order': False, 'shape': (2, 3), }", data = bytes_of(kSix);
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string header = good;
    return npy(header.replace(header.find(from), from.size(), to), data);
  };
  expect_refused("is no .npy file of version 1", "");
  expect_refused("is no .npy file of version 1", npy(good, data).substr(0, 9));
  expect_refused("is no .npy file of version 1", std::string("\x93NUMPY\x02\x00", 8) + npy(good, data).substr(8));
  expect_refused("is no .npy file of version 1", "text that is long enough to be one");
  expect_refused("ends in its header", npy(good, data).substr(0, 40));
  expect_refused("holds '<f4': expected int32 or int64", with("<i4", "<f4"));
  expect_refused("holds '>i4': expected int32 or int64", with("<i4", ">i4"));
  expect_refused("holds '': expected int32 or int64", with("'descr'", "'other'"));
  expect_refused("is in Fortran order: expected C order", with("False", "True"));
  expect_refused("has the shape (-2, -3)", with("2, 3", "-2, -3"));
  expect_refused("has the shape (4294967296, 4294967296)", with("2, 3", "4294967296, 4294967296"));
  expect_refused("has 24 bytes of data, its shape (2, 2) needs 4 elements of 4", with("2, 3", "2, 2"));
  expect_refused("has 24 bytes of data, its shape (4611686018427387910,) needs", with("2, 3", "4611686018427387910,"));
  for (int64_t beyond : {int64_t{INT32_MAX} + 1, int64_t{INT32_MIN} - 1})
    expect_refused(
        fmt::format("element 1 is {}: no token", beyond),
        npy("{'descr': '<i8', 'fortran_order': False, 'shape': (2,), }", bytes_of(std::vector<int64_t>{7, beyond})));
}

}  // namespace
}  // namespace gta
