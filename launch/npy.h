// NumPy's .npy files, version 1: int32 in, float32 out. Little-endian, C order.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace gta {

template <class T>
struct NpyArray {
  std::vector<int64_t> shape;
  std::vector<T> values;
};

// int32 or int64 elements; Error(BadInput) for anything else
NpyArray<int32_t> read_npy_int32(const std::string& path);
void write_npy(const std::string& path, const NpyArray<float>& array);

}  // namespace gta
