// Vectors as wide as the machine's registers, by the compiler's own types: for loops whose sums the vectoriser would
// take apart, and for numbers that are widened as they are read.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "core/dtype.h"

namespace gta::cpu {

#if defined(__AVX512F__)
inline constexpr int kVectorBytes = 64, kVectorRegisters = 32;
#elif defined(__AVX__)
inline constexpr int kVectorBytes = 32, kVectorRegisters = 16;
#else
inline constexpr int kVectorBytes = 16, kVectorRegisters = 16;
#endif

template <class C>
struct VectorOf {
  typedef C type __attribute__((vector_size(kVectorBytes)));
};
template <class C>
using Vector = typename VectorOf<C>::type;
template <class C>
inline constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(C));

template <class C>
inline Vector<C> load_vector(const void* from) {
  Vector<C> v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
template <class C>
inline void store_vector(C* to, const Vector<C>& v) {
  std::memcpy(to, &v, sizeof v);
}

// f(i) for i < n, of which the compiler knows each: what arrays of vectors need to stay in registers.
template <int n, class F>
[[gnu::always_inline]] inline void unrolled(F&& f) {
  [&]<int... i>(std::integer_sequence<int, i...>) __attribute__((always_inline)) {
    (f(std::integral_constant<int, i>{}), ...);
  }
  (std::make_integer_sequence<int, n>{});
}

// Numbers of type T in memory as vectors of what is computed with: kStep of them make kParts vectors. Two bfloat16 lie
// in 32 bits, whose upper half is the second one's float: a step's even numbers are its first vector, its odd ones the
// second, and whatever meets them has to be in that order (place).
template <class T>
struct Widened {
  using C = compute_type<T>;
  static constexpr int kParts = sizeof(C) / sizeof(T);
  static constexpr int64_t kStep = int64_t{kParts} * kLanes<C>;
  static_assert(kParts == 1 || std::is_same_v<T, bfloat16>);

  // Where number i is, of numbers in the order of their vectors.
  static constexpr int64_t place(int64_t i) { return i / kStep * kStep + i % kParts * kLanes<C> + i % kStep / kParts; }
  // So many and the rest of a step.
  static constexpr int64_t padded(int64_t count) { return (count + kStep - 1) / kStep * kStep; }

  static void load(const T* from, Vector<C> (&to)[kParts]) {
    if constexpr (kParts == 1) {
      to[0] = load_vector<C>(from);
    } else {
      const Vector<uint32_t> pairs = load_vector<uint32_t>(from);
      to[0] = reinterpret_cast<Vector<C>>(pairs << 16);
      to[1] = reinterpret_cast<Vector<C>>(pairs & 0xffff0000u);
    }
  }
};

namespace detail {

// Of the 2n numbers of a and b those that a level of reduce_lanes puts together: groups of `group` numbers within 128
// bits, a's and b's in turn, of either the first or the second half of them; and where a group is 128 bits, every
// second one.
template <class C, int group, int half, int... i>
inline Vector<C> groups_of(const Vector<C>& a, const Vector<C>& b, std::integer_sequence<int, i...>) {
  constexpr int n = kLanes<C>, unit = 16 / static_cast<int>(sizeof(C));
  if constexpr (group == unit)
    return __builtin_shufflevector(a, b, ((i / unit * 2 + half) * unit + i % unit)...);
  else
    return __builtin_shufflevector(
        a, b,
        (i % unit / group % 2 * n + i / unit * unit + half * (unit / 2) + i % unit / group / 2 * group + i % group)...);
}

template <class C, int group, int count, class F>
inline Vector<C> reduce_lanes_from(const Vector<C>* v, F&& f) {
  constexpr int n = kLanes<C>, unit = 16 / static_cast<int>(sizeof(C));
  constexpr auto lanes = std::make_integer_sequence<int, n>{};
  if constexpr (count == 1) {
    return v[0];
  } else {
    Vector<C> reduced[count / 2];
    unrolled<count / 2>([&](auto i) {
      reduced[i] = f(groups_of<C, group, 0>(v[2 * i], v[2 * i + 1], lanes),
                     groups_of<C, group, 1>(v[2 * i], v[2 * i + 1], lanes));
    });
    return reduce_lanes_from < C, group == unit ? unit : 2 * group, count / 2 > (reduced, f);
  }
}

}  // namespace detail

// Lane i of the result is f of v[i]'s lanes, of as many vectors as a vector has lanes: in two shuffles and one f for
// each, where one reduction alone takes as many as there are levels. Every lane's order is the same.
template <class C, class F>
inline Vector<C> reduce_lanes(const Vector<C> (&v)[kLanes<C>], F&& f) {
  return detail::reduce_lanes_from<C, 1, kLanes<C>>(v, f);
}
template <class C>
inline Vector<C> sum_lanes(const Vector<C> (&v)[kLanes<C>]) {
  return reduce_lanes<C>(v, [](const Vector<C>& a, const Vector<C>& b) { return a + b; });
}
template <class C>
inline Vector<C> largest_lanes(const Vector<C> (&v)[kLanes<C>]) {
  return reduce_lanes<C>(v, [](const Vector<C>& a, const Vector<C>& b) { return a > b ? a : b; });
}

}  // namespace gta::cpu
