#include "core/gemm.h"

#include "core/profiler.h"

namespace gta {

void gemm(const Gemm& product) {
  const auto& [a, transpose_a, b, transpose_b, c, mode, bias] = product;
  const int64_t m = transpose_a == Transpose::No ? a.rows() : a.columns(),
                k = transpose_a == Transpose::No ? a.columns() : a.rows();
  const int64_t k_b = transpose_b == Transpose::No ? b.rows() : b.columns(),
                n = transpose_b == Transpose::No ? b.columns() : b.rows();
  ensure(k == k_b && c.rows() == m && c.columns() == n, "gemm", "({}, {}) times ({}, {}) does not give {}", m, k, k_b,
         n, describe(c));
  ensure(a.dtype() == b.dtype() && (c.dtype() == a.dtype() || c.dtype() == state_dtype(a.dtype())), "gemm",
         "expected one dtype (or bfloat16 to float32), got {} times {} to {}", name_of(a.dtype()), name_of(b.dtype()),
         name_of(c.dtype()));
  ensure(!bias.defined() || (bias.elements() == n && bias.dtype() == state_dtype(a.dtype())), "gemm",
         "expected a {} bias of {}, got {}", name_of(state_dtype(a.dtype())), n, describe(bias));
  ensure(a.device() == b.device() && a.device() == c.device(), "gemm", "expected one device, got {}, {}, {}",
         name_of(a.device()), name_of(b.device()), name_of(c.device()));
  if (mode == GradientMode::Ignore) return;
  if (m == 0 || n == 0) return;
  if (k == 0) {
    ensure(!bias.defined(), "gemm", "a product of no terms takes no bias");
    if (mode == GradientMode::Overwrite) c.fill_zero();
    return;
  }
  ProfilerRange::add_flops(2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k));
  GTA_DISPATCH(c.device(), gemm_kernel, product, m, n, k);
}

}  // namespace gta
