// Two tensors that one kernel reads or writes in dtypes of their own, of one arithmetic: float32 and bfloat16 in any
// pair, float64 beside itself alone.
#pragma once

#include "core/dtype.h"

namespace gta {

// Whether what is computed with both is of one type.
constexpr bool one_arithmetic(DType a, DType b) { return state_dtype(a) == state_dtype(b); }

namespace detail {

// A function of its own: within a second generic lambda GCC 12 takes no type for the same as another.
template <class A, class F>
void dispatch_beside(DType b, const char* where, F&& f) {
  dispatch_floating(b, where, [&](auto zero) {
    using B = decltype(zero);
    if constexpr (std::is_same_v<compute_type<A>, compute_type<B>>)
      f(A{}, B{});
    else
      internal_error(where, "has no kernel for {} beside {}", name_of(dtype_of<A>), name_of(b));
  });
}

}  // namespace detail

//   dispatch_pair(q.dtype(), k.dtype(), "attention", [&](auto q_zero, auto k_zero) { ... });
template <class F>
void dispatch_pair(DType a, DType b, const char* where, F&& f) {
  dispatch_floating(a, where, [&](auto zero) { detail::dispatch_beside<decltype(zero)>(b, where, f); });
}

}  // namespace gta
