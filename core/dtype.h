// Element types, spelt everywhere as in configurations: float32, float64, bfloat16, int32, uint16, uint32, uint64,
// uint8.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "core/bfloat16.h"
#include "core/error.h"

namespace gta {

enum class DType : uint8_t { F32, F64, BF16, I32, U8, U16, U32, U64 };

constexpr size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::F64:
    case DType::U64:
      return 8;
    case DType::F32:
    case DType::I32:
    case DType::U32:
      return 4;
    case DType::BF16:
    case DType::U16:
      return 2;
    case DType::U8:
      return 1;
  }
  return 0;
}

constexpr const char* name_of(DType dtype) {
  switch (dtype) {
    case DType::F32:
      return "float32";
    case DType::F64:
      return "float64";
    case DType::BF16:
      return "bfloat16";
    case DType::I32:
      return "int32";
    case DType::U8:
      return "uint8";
    case DType::U16:
      return "uint16";
    case DType::U32:
      return "uint32";
    case DType::U64:
      return "uint64";
  }
  return "?";
}

// The dtype of that name; Error(BadInput) naming the known ones.
DType dtype_from_name(std::string_view name);

template <class T>
struct dtype_of_type;
template <>
struct dtype_of_type<float> : std::integral_constant<DType, DType::F32> {};
template <>
struct dtype_of_type<double> : std::integral_constant<DType, DType::F64> {};
template <>
struct dtype_of_type<bfloat16> : std::integral_constant<DType, DType::BF16> {};
template <>
struct dtype_of_type<int32_t> : std::integral_constant<DType, DType::I32> {};
template <>
struct dtype_of_type<uint8_t> : std::integral_constant<DType, DType::U8> {};
template <>
struct dtype_of_type<uint16_t> : std::integral_constant<DType, DType::U16> {};
template <>
struct dtype_of_type<uint32_t> : std::integral_constant<DType, DType::U32> {};
template <>
struct dtype_of_type<uint64_t> : std::integral_constant<DType, DType::U64> {};
template <class T>
inline constexpr DType dtype_of = dtype_of_type<T>::value;

// What arithmetic on elements of T happens in, and what its sums, norms and biases are kept in: float32 for bfloat16,
// else T itself.
template <class T>
struct compute_type_of {
  using type = T;
};
template <>
struct compute_type_of<bfloat16> {
  using type = float;
};
template <class T>
using compute_type = typename compute_type_of<T>::type;
// The same for dtypes: masters, gradients of parameters, moments, norms and biases of a model that computes in `dtype`.
constexpr DType state_dtype(DType dtype) { return dtype == DType::BF16 ? DType::F32 : dtype; }

// Calls f with a value of the C++ type behind a dtype: the one place where a dtype becomes a template argument.
//   dispatch_floating(x.dtype(), "swiglu", [&](auto zero) { using T = decltype(zero); ... });  float, double, bfloat16
//   dispatch_state(w.dtype(), "adamw", [&](auto zero) { ... });                                float, double
template <class F>
auto dispatch_state(DType dtype, const char* where, F&& f) {
  switch (dtype) {
    case DType::F32:
      return f(float{});
    case DType::F64:
      return f(double{});
    default:
      internal_error(where, "has no kernel for {}: expected float32 or float64", name_of(dtype));
  }
}
template <class F>
auto dispatch_floating(DType dtype, const char* where, F&& f) {
  switch (dtype) {
    case DType::F32:
      return f(float{});
    case DType::F64:
      return f(double{});
    case DType::BF16:
      return f(bfloat16{});
    default:
      internal_error(where, "has no kernel for {}: expected float32, float64 or bfloat16", name_of(dtype));
  }
}

}  // namespace gta
