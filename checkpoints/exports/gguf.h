// GGUF, version 3: the one file that llama.cpp and its kin read. Numbers are little-endian.
//
//   "GGUF"  u32 version  u64 tensors  u64 keys
//   key     string NAME, u32 type, value; a string is u64 bytes and the bytes, a list u32 type, u64 count, values
//   tensor  string NAME, u32 dimensions, u64 of each, the fastest first, u32 type, u64 offset in the data
//   data    from the next multiple of 32 bytes on; each tensor begins at one
//
// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "checkpoints/exports/gguf_type.h"

namespace gta {

// What keys of ours have; a list of bool is one of uint8_t here.
using GgufValue = std::variant<uint32_t, int32_t, float, bool, std::string, uint64_t, std::vector<int32_t>,
                               std::vector<float>, std::vector<uint8_t>, std::vector<std::string>>;
using GgufKeys = std::vector<std::pair<std::string, GgufValue>>;

struct GgufTensor {
  std::string name;  // 63 bytes at most
  GgufType type = GgufType::F32;
  std::vector<int64_t> shape;  // the slowest first, as everywhere here; up to four
  int64_t offset = 0;          // in the data

  int64_t elements() const;
  int64_t bytes() const { return bytes_of(type, elements()); }
};

// A file from outside: every count and offset is checked against the file's size before it is used.
class GgufFile {
 public:
  // Error(BadInput) says what is wrong with it, or that it has a type of key or tensor that no file of ours has.
  static GgufFile open(const std::string& path);

  const std::string& path() const { return path_; }
  const GgufKeys& keys() const { return keys_; }
  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  const GgufTensor* find(const std::string& name) const;  // nullptr: it has none
  std::vector<float> read(const GgufTensor& tensor) const;
  std::vector<float> read_rows(const GgufTensor& tensor, int64_t first, int64_t count) const;  // of its last dimension

 private:
  std::string path_;
  int64_t data_ = 0;  // where it begins
  GgufKeys keys_;
  std::vector<GgufTensor> tensors_;
};

// Writes, in this order, tensors with a name, type and shape, and syncs the file. values(i): of the i-th, each asked
// for once: no more than one tensor is in memory.
void write_gguf(const std::string& path, const GgufKeys& keys, std::vector<GgufTensor> tensors,
                const std::function<std::vector<float>(size_t)>& values);

}  // namespace gta
