// x . w where w comes from memory: one stream from front to back, which is what memory gives soonest, and sums enough
// that none waits for the one before.
#pragma once

#include <cstdint>

namespace gta::cpu {

// The order of the sums depends on the count alone.
template <class C, class T>
C dot(const C* x, const T* w, int64_t count) {
  constexpr int64_t kLanes = 16, kBlock = 4 * kLanes;
  C a[kLanes] = {}, b[kLanes] = {}, c[kLanes] = {}, d[kLanes] = {};
  int64_t at = 0;
  for (; at + kBlock <= count; at += kBlock) {
    const C *const x0 = x + at, *const x1 = x0 + kLanes, *const x2 = x1 + kLanes, *const x3 = x2 + kLanes;
    const T *const w0 = w + at, *const w1 = w0 + kLanes, *const w2 = w1 + kLanes, *const w3 = w2 + kLanes;
#pragma omp simd
    for (int64_t i = 0; i < kLanes; ++i) {
      a[i] += x0[i] * static_cast<C>(w0[i]);
      b[i] += x1[i] * static_cast<C>(w1[i]);
      c[i] += x2[i] * static_cast<C>(w2[i]);
      d[i] += x3[i] * static_cast<C>(w3[i]);
    }
  }
  C sum = 0;
  for (; at < count; ++at) sum += x[at] * static_cast<C>(w[at]);
  for (int64_t i = 0; i < kLanes; ++i) sum += (a[i] + b[i]) + (c[i] + d[i]);
  return sum;
}

}  // namespace gta::cpu
