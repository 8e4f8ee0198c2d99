// What the CUDA kernels of the value decoder share: its gates.
#pragma once

#include "core/backends/cuda/device_math.h"
#include "core/backends/cuda/vectors.h"
#include "layers/attention/value_decoder/value_decoder.h"

namespace gta::cuda {

// f and f' of a gate
struct Slope {
  float value, slope;
};
template <GateType gate>
__device__ __forceinline__ Slope gate_of(float z) {
  if constexpr (gate == GateType::Relu2) {
    return {z < 0.0f ? 0.0f : z * z, z < 0.0f ? 0.0f : 2.0f * z};  // not max(z, 0)^2: that would turn a NaN into 0
  } else {
    const float s = sigmoid(z);
    if constexpr (gate == GateType::Sigmoid) return {s, s * (1.0f - s)};
    return {z * s, s * (1.0f + z * (1.0f - s))};
  }
}

template <class F>
void with_gate(GateType gate, F&& f) {
  switch (gate) {
    case GateType::Sigmoid:
      return f(std::integral_constant<GateType, GateType::Sigmoid>{});
    case GateType::Silu:
      return f(std::integral_constant<GateType, GateType::Silu>{});
    case GateType::Relu2:
      return f(std::integral_constant<GateType, GateType::Relu2>{});
  }
}

}  // namespace gta::cuda
