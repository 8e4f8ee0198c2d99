#include "layers/attention/probe/effective_rank.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/gemm.h"
#include "core/parallel.h"
#include "layers/attention/probe/transposed.h"

namespace gta {
namespace {

constexpr double kEpsilon = std::numeric_limits<double>::epsilon();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr int64_t kRowsAtOnce = 64;

// d (n) and e (n - 1): the diagonal, and what stands beside it.
struct Tridiagonal {
  std::vector<double> d, e;
};

double dot(const double* a, const double* b, int64_t count) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

// By a Householder reflection for each column (Golub and Van Loan, Matrix Computations, 8.3.1):
//   x = A[k + 1.., k]     v = x + sign(x_0) |x| e_0     p = 2 / |v|^2 A' v     w = p - (p v / |v|^2) v
//   A' -= v w^T + w v^T   of the rest A', of which both halves are kept, so that rows lie in memory as they are read
Tridiagonal to_tridiagonal(double* a, int64_t n) {
  Tridiagonal t{std::vector<double>(n), std::vector<double>(n > 0 ? n - 1 : 0)};
  std::vector<double> v(n), w(n);
  for (int64_t k = 0; k < n; ++k) {
    t.d[k] = a[k * n + k];
    const int64_t left = n - k - 1;
    if (left == 0) break;
    double* const rest = a + (k + 1) * n + k + 1;
    std::copy_n(a + k * n + k + 1, left, v.begin());
    const double norm = std::sqrt(dot(v.data(), v.data(), left));
    if (left == 1 || norm == 0) {
      t.e[k] = v[0];
      continue;
    }
    t.e[k] = v[0] > 0 ? -norm : norm;
    v[0] -= t.e[k];
    const double square = dot(v.data(), v.data(), left);
    parallel_ranges(left, kRowsAtOnce, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) w[i] = 2 / square * dot(rest + i * n, v.data(), left);
    });
    const double along = dot(w.data(), v.data(), left) / square;
    for (int64_t i = 0; i < left; ++i) w[i] -= along * v[i];
    parallel_ranges(left, kRowsAtOnce, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        double* const row = rest + i * n;
        const double v_i = v[i], w_i = w[i];
#pragma omp simd
        for (int64_t j = 0; j < left; ++j) row[j] -= v_i * w[j] + w_i * v[j];
      }
    });
  }
  return t;
}

// The eigenvalue of [[a, b], [b, c]] that is nearer to c.
double wilkinson_shift(double a, double b, double c) {
  const double half = (a - c) / 2, root = std::hypot(half, b);
  return root == 0 ? c : c - b * (b / (half + std::copysign(root, half)));
}

// One step of QR with a shift on the rows [low, high], whose e are not zero: a rotation that begins it, and others that
// chase what it leaves outside of the three diagonals down (Golub and Van Loan, 8.3.5).
void qr_step(Tridiagonal& t, int64_t low, int64_t high) {
  auto& [d, e] = t;
  double x = d[low] - wilkinson_shift(d[high - 1], e[high - 1], d[high]), z = e[low];
  for (int64_t k = low; k < high; ++k) {
    const double r = std::hypot(x, z), c = r == 0 ? 1 : x / r, s = r == 0 ? 0 : z / r;
    if (k > low) e[k - 1] = r;
    const double upper = d[k], lower = d[k + 1], beside = e[k];
    d[k] = c * c * upper + 2 * c * s * beside + s * s * lower;
    d[k + 1] = s * s * upper - 2 * c * s * beside + c * c * lower;
    e[k] = c * s * (lower - upper) + (c * c - s * s) * beside;
    if (k + 1 == high) break;
    x = e[k];
    z = s * e[k + 1];
    e[k + 1] *= c;
  }
}

}  // namespace

std::vector<double> symmetric_eigenvalues(const Tensor& matrix) {
  const int64_t n = matrix.rows();
  ensure(matrix.contiguous() && matrix.columns() == n, "eigenvalues", "expected a square matrix without gaps, got {}",
         describe(matrix));
  auto t = to_tridiagonal(matrix.data<double>(), n);
  double largest = 0;
  bool finite = true;
  for (const std::vector<double>* part : {&t.d, &t.e})
    for (const double x : *part) {
      finite = finite && std::isfinite(x);
      largest = std::max(largest, std::abs(x));
    }
  const std::vector<double> none(n, kNaN);
  if (!finite) return none;
  // An eigenvalue takes two or three steps; a limit, so that a loop ends whatever comes.
  int64_t steps = 60 * n;
  for (int64_t high = n - 1; high > 0;) {
    if (std::abs(t.e[high - 1]) <= kEpsilon * largest) {
      --high;
      continue;
    }
    int64_t low = high - 1;
    while (low > 0 && std::abs(t.e[low - 1]) > kEpsilon * largest) --low;
    if (steps-- == 0) return none;
    qr_step(t, low, high);
  }
  return t.d;
}

double effective_rank(const Tensor& x) {
  const Tensor tall = x.columns() > x.rows() ? transposed(x) : x;
  const int64_t n = tall.columns();
  const Tensor gram = Tensor::empty({n, n}, DType::F64, x.device(), Purpose::Workspace);
  gemm({.a = tall, .transpose_a = Transpose::Yes, .b = tall, .c = gram});
  std::vector<double> values = symmetric_eigenvalues(gram);
  double largest = 0, sum = 0;
  for (const double value : values) {
    if (!std::isfinite(value)) return kNaN;
    largest = std::max(largest, value);
  }
  for (double& value : values) {
    value = value > static_cast<double>(n) * kEpsilon * largest ? std::sqrt(value) : 0;
    sum += value;
  }
  if (sum == 0) return 0;
  double entropy = 0;
  for (const double value : values)
    if (value > 0) entropy -= value / sum * std::log(value / sum);
  return std::exp(entropy);
}

}  // namespace gta
