// Sixteen bytes at a time: how the memory-bound kernels read and write, and how their threads share the work.
//
// A vector is n neighbouring elements of one row. n is 16 bytes' worth where rows begin at multiples of 16 bytes and hold whole vectors, which
// is so for every model worth training, and 1 where not. Arithmetic is float32.
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

template <class T, int n>
struct alignas(std::min<size_t>(16, n * sizeof(T))) Vector {
  T elements[n];
};

template <int n, class T>
__device__ __forceinline__ void load_vector(float (&to)[n], const T* from) {
  const Vector<T, n> vector = *reinterpret_cast<const Vector<T, n>*>(from);
#pragma unroll
  for (int i = 0; i < n; ++i) to[i] = to_float(vector.elements[i]);
}
template <int n, class T>
__device__ __forceinline__ void store_vector(T* to, const float (&from)[n]) {
  Vector<T, n> vector;
#pragma unroll
  for (int i = 0; i < n; ++i) store(vector.elements[i], from[i]);
  *reinterpret_cast<Vector<T, n>*>(to) = vector;
}
template <int n, class T>
__device__ __forceinline__ void copy_vector(T* to, const T* from) {
  *reinterpret_cast<Vector<T, n>*>(to) = *reinterpret_cast<const Vector<T, n>*>(from);
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
// Calls f with the n to use, a constant: `most`, or 1 where one of the lengths (of the parts of a row, in elements) holds no whole number of
// vectors or one of the tensors has rows that are not aligned.
template <int most, class F>
void with_vectors(std::initializer_list<int64_t> lengths, std::initializer_list<const Tensor*> tensors, F&& f) {
  const bool whole = std::all_of(lengths.begin(), lengths.end(), [](int64_t length) { return length % most == 0; }) &&
                     std::all_of(tensors.begin(), tensors.end(), [](const Tensor* tensor) { return aligned_rows(*tensor); });
  if (whole)
    f(std::integral_constant<int, most>{});
  else
    f(std::integral_constant<int, 1>{});
}

// One thread for each of `items` of each of `rows`: neighbours in a row are neighbours in a warp, short rows share one. f(row, item).
struct Threads {
  dim3 grid, block;
};
inline Threads threads_of(int64_t rows, int64_t items) {
  constexpr unsigned size = 256;
  const unsigned across = rows <= 1 ? size : static_cast<unsigned>(std::bit_ceil(static_cast<uint64_t>(std::clamp<int64_t>(items, 1, 32))));
  const unsigned down = size / across;
  return {dim3(static_cast<unsigned>(std::max<int64_t>(1, ceil_div(items, across))), static_cast<unsigned>(std::clamp<int64_t>(ceil_div(rows, down), 1, 65535))),
          dim3(across, down)};
}
template <class F>
__device__ __forceinline__ void for_items(int64_t rows, int64_t items, F&& f) {
  const int64_t item = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (item >= items) return;
  for (int64_t row = int64_t{blockIdx.y} * blockDim.y + threadIdx.y; row < rows; row += int64_t{gridDim.y} * blockDim.y) f(row, item);
}

// One warp for each row. f(row) is called by all 32 lanes; columns_of_lane(width, f) then gives each lane the vectors (first column) that are its own.
inline constexpr int kWarpsOfRows = 8;
inline Threads warps_of(int64_t rows) {
  return {dim3(static_cast<unsigned>(std::clamp<int64_t>(ceil_div(rows, kWarpsOfRows), 1, INT32_MAX))), dim3(32, kWarpsOfRows)};
}
template <class F>
__device__ __forceinline__ void for_rows(int64_t rows, F&& f) {
  for (int64_t row = int64_t{blockIdx.x} * kWarpsOfRows + threadIdx.y; row < rows; row += int64_t{gridDim.x} * kWarpsOfRows) f(row);
}
template <int n, class F>
__device__ __forceinline__ void columns_of_lane(int width, F&& f) {
#pragma unroll 4
  for (int column = static_cast<int>(threadIdx.x) * n; column < width; column += 32 * n) f(column);
}

}  // namespace gta::cuda
