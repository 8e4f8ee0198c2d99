// safetensors, the format of weights that Hugging Face's libraries read:
//
//   u64       bytes of the header, little-endian
//   header    {"NAME": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, ..., "__metadata__": {...}},
//             with spaces behind it up to a multiple of 8 bytes
//   data      of the tensors, one after the other without gaps; offsets count from its first byte
//
// https://github.com/huggingface/safetensors
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "checkpoints/exports/number_format.h"

namespace gta {

struct SafeTensor {
  std::string name;
  NumberFormat format = NumberFormat::F32;
  std::vector<int64_t> shape;
  int64_t begin = 0, end = 0;  // bytes of the data

  int64_t elements() const;
};

// A file from outside: every offset is checked against the file's size before it is used.
class SafetensorsFile {
 public:
  // Error(BadInput) says what is wrong with it, or that a tensor has a dtype that no weight here can have.
  static SafetensorsFile open(const std::string& path);

  const std::string& path() const { return path_; }
  const std::vector<SafeTensor>& tensors() const { return tensors_; }  // in the order of their data
  std::vector<float> read(const SafeTensor& tensor) const;

 private:
  std::string path_;
  int64_t data_ = 0;  // where it begins
  std::vector<SafeTensor> tensors_;
};

// Writes, in this order, tensors with a name, format and shape, and syncs the file. values(i): of the i-th, each
// asked for once: no more than one tensor is in memory.
void write_safetensors(const std::string& path, std::vector<SafeTensor> tensors,
                       const std::function<std::vector<float>(size_t)>& values);

}  // namespace gta
