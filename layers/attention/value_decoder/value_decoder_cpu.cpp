#include <algorithm>
#include <vector>

#include "core/backends/cpu/vector_math.h"
#include "core/parallel.h"
#include "layers/attention/value_decoder/value_decoder.h"

namespace gta::cpu {
namespace {

constexpr int64_t kRowGrain = 16;

template <class T>
struct SigmoidGate {
  static T value(T z) { return sigmoid(z); }
  static T slope(T z) {
    const T s = sigmoid(z);
    return s * (T{1} - s);
  }
};
template <class T>
struct SiluGate {
  static T value(T z) { return z * sigmoid(z); }
  static T slope(T z) {
    const T s = sigmoid(z);
    return s * (T{1} + z * (T{1} - s));
  }
};
template <class T>
struct Relu2Gate {
  // Not max(z, 0)^2: that would turn a NaN into 0.
  static T value(T z) { return z < T{0} ? T{0} : z * z; }
  static T slope(T z) { return z < T{0} ? T{0} : T{2} * z; }
};

template <class T, class F>
void with_gate(GateType gate, F&& f) {
  switch (gate) {
    case GateType::Sigmoid:
      return f(SigmoidGate<T>{});
    case GateType::Silu:
      return f(SiluGate<T>{});
    case GateType::Relu2:
      return f(Relu2Gate<T>{});
  }
}

}  // namespace

// A product and what follows it meet in the cache anyway: a chunk of tokens is small beside it.
bool value_decoder_forward_tiles(const ValueDecoderForward&) { return false; }
bool value_decoder_backward_tiles(const ValueDecoderBackward&, const Tensor&, const Tensor&, GradientMode) {
  return false;
}

void value_decoder_combine(GateType gate, LearnedPart learned, const Tensor& u, const Tensor& z, int64_t query_heads,
                           const Tensor& o) {
  dispatch_floating(o.dtype(), "value_decoder", [&](auto zero) {
    using T = decltype(zero);
    using C = compute_type<T>;
    with_gate<C>(gate, [&](auto f) {
      using Gate = decltype(f);
      const int64_t latent = u.columns() / query_heads, pieces = o.columns() / latent, copies = pieces / query_heads;
      parallel_ranges(o.rows(), kRowGrain, [&](int64_t first, int64_t last) {
        for (int64_t t = first; t < last; ++t)
          for (int64_t piece = 0; piece < pieces; ++piece) {
            const T* const from = u.template data<T>() + t * u.pitch() + piece / copies * latent;
            const T* const gates = z.template data<T>() + t * z.pitch() + piece * latent;
            T* const out = o.template data<T>() + t * o.pitch() + piece * latent;
            if (learned == LearnedPart::Present) {
#pragma omp simd
              for (int64_t c = 0; c < latent; ++c) store(out[c], Gate::value(gates[c]) * (from[c] + out[c]));
            } else {
#pragma omp simd
              for (int64_t c = 0; c < latent; ++c) store(out[c], Gate::value(gates[c]) * from[c]);
            }
          }
      });
    });
  });
}

void value_decoder_split(const ValueDecoderBackward& b) {
  dispatch_floating(b.y.dtype(), "value_decoder", [&](auto zero) {
    using T = decltype(zero);
    using C = compute_type<T>;
    with_gate<C>(b.gate, [&](auto f) {
      using Gate = decltype(f);
      const int64_t latent = b.u.columns() / b.query_heads, copies = b.y.columns() / b.u.columns();
      parallel_ranges(b.y.rows(), kRowGrain, [&](int64_t first, int64_t last) {
        std::vector<C> sums(latent);  // over the copies of one map
        for (int64_t t = first; t < last; ++t)
          for (int64_t map = 0; map < b.query_heads; ++map) {
            const T* const from = b.u.template data<T>() + t * b.u.pitch() + map * latent;
            C* const sum = sums.data();
            std::fill_n(sum, latent, C{0});
            for (int64_t piece = map * copies; piece < (map + 1) * copies; ++piece) {
              const T* const gates = b.z.template data<T>() + t * b.z.pitch() + piece * latent;
              const T* const d_o = b.d_o.template data<T>() + t * b.d_o.pitch() + piece * latent;
              T* const y = b.y.template data<T>() + t * b.y.pitch() + piece * latent;
              if (b.learned == LearnedPart::Absent) std::fill_n(y, latent, T{});
              if (b.d_z.defined()) {
                T* const d_z = b.d_z.template data<T>() + t * b.d_z.pitch() + piece * latent;
                if (b.mode_z == GradientMode::Overwrite) {
#pragma omp simd
                  for (int64_t c = 0; c < latent; ++c) store(d_z[c], d_o[c] * (from[c] + y[c]) * Gate::slope(gates[c]));
                } else {
#pragma omp simd
                  for (int64_t c = 0; c < latent; ++c)
                    store(d_z[c], d_z[c] + d_o[c] * (from[c] + y[c]) * Gate::slope(gates[c]));
                }
              }
#pragma omp simd
              for (int64_t c = 0; c < latent; ++c) {
                const C d_y = d_o[c] * Gate::value(gates[c]);
                store(y[c], d_y);
                sum[c] += d_y;
              }
            }
            if (!b.d_u.defined()) continue;
            T* const d_u = b.d_u.template data<T>() + t * b.d_u.pitch() + map * latent;
            if (b.mode_u == GradientMode::Overwrite) {
#pragma omp simd
              for (int64_t c = 0; c < latent; ++c) store(d_u[c], sum[c]);
            } else {
#pragma omp simd
              for (int64_t c = 0; c < latent; ++c) store(d_u[c], d_u[c] + sum[c]);
            }
          }
      });
    });
  });
}

}  // namespace gta::cpu
