// Sixteen bytes at a time: how the memory-bound kernels read and write, and how their threads share the work.
//
// A vector is n neighbouring elements of one row. n is 16 bytes' worth where rows begin at multiples of 16 bytes and
// hold whole vectors, which is so for every model worth training, and 1 where not. Arithmetic is float32.
#pragma once

#include <algorithm>
#include <bit>
#include <initializer_list>

#include "core/backends/cuda/launch.h"

namespace gta::cuda {

// A tensor as kernels see it: element (r, c) at data[r * pitch + c]. An undefined tensor has no data.
template <class T>
struct Rows {
  T* data;
  int64_t pitch;
  __device__ __forceinline__ T* at(int64_t row, int64_t column) const { return data + row * pitch + column; }
};
template <class T>
Rows<T> rows_of(const Tensor& tensor) {
  if (!tensor.defined()) return {nullptr, 0};
  return {device_data<std::remove_const_t<T>>(tensor), tensor.pitch()};
}

// n elements in one access, as 32-bit words: of a struct of bfloat16 the compiler makes several accesses.
template <int words>
struct alignas(4 * words) [[gnu::may_alias]] Words {
  uint32_t word[words];
};

template <int n>
__device__ __forceinline__ void load_vector(float (&to)[n], const float* from) {
  if constexpr (n == 1) {
    to[0] = *from;
  } else {
#pragma unroll
    for (int i = 0; i < n; i += 4) {
      const Words<4> four = *reinterpret_cast<const Words<4>*>(from + i);
#pragma unroll
      for (int j = 0; j < 4; ++j) to[i + j] = __builtin_bit_cast(float, four.word[j]);
    }
  }
}
template <int n>
__device__ __forceinline__ void load_vector(float (&to)[n], const __nv_bfloat16* from) {
  if constexpr (n == 1) {
    to[0] = to_float(*from);
  } else {
    const Words<n / 2> pairs = *reinterpret_cast<const Words<n / 2>*>(from);
#pragma unroll
    for (int i = 0; i < n / 2; ++i) {  // bfloat16 is the upper half of a float
      to[2 * i] = __builtin_bit_cast(float, pairs.word[i] << 16);
      to[2 * i + 1] = __builtin_bit_cast(float, pairs.word[i] & 0xffff0000u);
    }
  }
}
template <int n>
__device__ __forceinline__ void store_vector(float* to, const float (&from)[n]) {
  if constexpr (n == 1) {
    *to = from[0];
  } else {
#pragma unroll
    for (int i = 0; i < n; i += 4) {
      Words<4> four;
#pragma unroll
      for (int j = 0; j < 4; ++j) four.word[j] = __builtin_bit_cast(uint32_t, from[i + j]);
      *reinterpret_cast<Words<4>*>(to + i) = four;
    }
  }
}
template <int n>
__device__ __forceinline__ void store_vector(__nv_bfloat16* to, const float (&from)[n]) {
  if constexpr (n == 1) {
    store(*to, from[0]);
  } else {
    Words<n / 2> pairs;
#pragma unroll
    for (int i = 0; i < n / 2; ++i) {
      const __nv_bfloat162 pair = __floats2bfloat162_rn(from[2 * i], from[2 * i + 1]);
      __builtin_memcpy(&pairs.word[i], &pair, sizeof pair);
    }
    *reinterpret_cast<Words<n / 2>*>(to) = pairs;
  }
}
template <int n, class T>
__device__ __forceinline__ void copy_vector(T* to, const T* from) {
  if constexpr (n == 1)
    *to = *from;
  else
    *reinterpret_cast<Words<n * sizeof(T) / 4>*>(to) = *reinterpret_cast<const Words<n * sizeof(T) / 4>*>(from);
}
// to = values, or to += values, each sum rounded once.
template <int n, class T>
__device__ __forceinline__ void write_vector(T* to, float (&values)[n], bool accumulate) {
  if (accumulate) {
    float before[n];
    load_vector(before, to);
#pragma unroll
    for (int i = 0; i < n; ++i) values[i] = before[i] + values[i];
  }
  store_vector(to, values);
}
// x as a T holds it.
template <class T>
__device__ __forceinline__ float rounded(float x) {
  T y;
  store(y, x);
  return to_float(y);
}

inline bool aligned_rows(const Tensor& tensor) {
  if (!tensor.defined()) return true;
  const bool begins = reinterpret_cast<uintptr_t>(tensor.raw_data()) % 16 == 0;
  return begins && (tensor.rows() <= 1 || tensor.pitch() * static_cast<int64_t>(size_of(tensor.dtype())) % 16 == 0);
}
template <class T>
inline constexpr int kVector = static_cast<int>(16 / sizeof(T));
// Calls f with the n to use, a constant: `most`, or 1 where one of the lengths (of the parts of a row, in elements)
// holds no whole number of vectors or one of the tensors has rows that are not aligned.
template <int most, class F>
void with_vectors(std::initializer_list<int64_t> lengths, std::initializer_list<const Tensor*> tensors, F&& f) {
  const bool whole =
      std::all_of(lengths.begin(), lengths.end(), [](int64_t length) { return length % most == 0; }) &&
      std::all_of(tensors.begin(), tensors.end(), [](const Tensor* tensor) { return aligned_rows(*tensor); });
  if (whole)
    f(std::integral_constant<int, most>{});
  else
    f(std::integral_constant<int, 1>{});
}

// One thread for each of `items` of each of `rows`: neighbours in a row are neighbours in a warp, short rows share one.
// f(row, item).
struct Threads {
  dim3 grid, block;
};
inline Threads threads_of(int64_t rows, int64_t items) {
  constexpr unsigned size = 256;
  const unsigned across =
      rows <= 1 ? size : static_cast<unsigned>(std::bit_ceil(static_cast<uint64_t>(std::clamp<int64_t>(items, 1, 32))));
  const unsigned down = size / across;
  return {dim3(static_cast<unsigned>(std::max<int64_t>(1, ceil_div(items, across))),
               static_cast<unsigned>(std::clamp<int64_t>(ceil_div(rows, down), 1, 65535))),
          dim3(across, down)};
}
template <class F>
__device__ __forceinline__ void for_items(int64_t rows, int64_t items, F&& f) {
  const int64_t item = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (item >= items) return;
  for (int64_t row = int64_t{blockIdx.y} * blockDim.y + threadIdx.y; row < rows; row += int64_t{gridDim.y} * blockDim.y)
    f(row, item);
}

// One warp for each row. f(row) is called by all 32 lanes; columns_of_lane(width, f) then gives each lane the vectors
// (first column) that are its own.
inline constexpr int kWarpsOfRows = 8;
inline Threads warps_of(int64_t rows) {
  return {dim3(static_cast<unsigned>(std::clamp<int64_t>(ceil_div(rows, kWarpsOfRows), 1, INT32_MAX))),
          dim3(32, kWarpsOfRows)};
}
template <class F>
__device__ __forceinline__ void for_rows(int64_t rows, F&& f) {
  for (int64_t row = int64_t{blockIdx.x} * kWarpsOfRows + threadIdx.y; row < rows;
       row += int64_t{gridDim.x} * kWarpsOfRows)
    f(row);
}
template <int n, class F>
__device__ __forceinline__ void columns_of_lane(int width, F&& f) {
#pragma unroll 4
  for (int column = static_cast<int>(threadIdx.x) * n; column < width; column += 32 * n) f(column);
}

}  // namespace gta::cuda
