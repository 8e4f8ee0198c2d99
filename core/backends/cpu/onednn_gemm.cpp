// The single-threaded products that oneDNN makes: float32 by its gemm, bfloat16 by matmul primitives kept by shape.
#include <oneapi/dnnl/dnnl.hpp>

#include <array>
#include <atomic>
#include <map>
#include <vector>

#include "core/backends/cpu/bfloat16_gemm.h"
#include "core/backends/cpu/openmp_runtime.h"

namespace gta::cpu {
namespace {

std::atomic<bool> use_instructions{true};

// Whether the CPU has the instructions, and oneDNN may use them (DNNL_MAX_CPU_ISA).
bool can_multiply_bfloat16() {
#if defined(__x86_64__)
  static const bool can = [] {
    const auto allowed = static_cast<unsigned>(dnnl::get_effective_cpu_isa()),
               needed = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_bf16);
    return __builtin_cpu_supports("avx512bf16") != 0 && (allowed & needed) == needed;
  }();
  return can;
#else
  return false;
#endif
}

// A thread's primitives: making one costs as much as a small product, and oneDNN's own cache takes a lock.
class Products {
 public:
  void run(Transpose transpose_a, Transpose transpose_b, int64_t m, int64_t n, int64_t k, const bfloat16* a,
           int64_t pitch_a, const bfloat16* b, int64_t pitch_b, float* c, int64_t pitch_c, GradientMode mode) {
    const Key key = {transpose_a == Transpose::Yes,
                     transpose_b == Transpose::Yes,
                     mode == GradientMode::Accumulate,
                     m,
                     n,
                     k,
                     pitch_a,
                     pitch_b,
                     pitch_c};
    auto found = primitives_.find(key);
    if (found == primitives_.end()) found = primitives_.emplace(key, make(key)).first;
    Primitive& p = found->second;
    p.a.set_data_handle(const_cast<bfloat16*>(a));
    p.b.set_data_handle(const_cast<bfloat16*>(b));
    p.c.set_data_handle(c);
    p.product.execute(stream_, {{DNNL_ARG_SRC, p.a}, {DNNL_ARG_WEIGHTS, p.b}, {DNNL_ARG_DST, p.c}});
    stream_.wait();
  }

 private:
  using Key = std::array<int64_t, 9>;
  struct Primitive {
    dnnl::matmul product;
    dnnl::memory a, b, c;
  };

  // oneDNN 2 and 3 differ here alone.
  dnnl::matmul::primitive_desc describe(const dnnl::memory::desc& a, const dnnl::memory::desc& b,
                                        const dnnl::memory::desc& c, const dnnl::primitive_attr& attributes) {
#if DNNL_VERSION_MAJOR >= 3
    return {engine_, a, b, c, attributes};
#else
    return {dnnl::matmul::desc(a, b, c), attributes, engine_};
#endif
  }

  Primitive make(const Key& key) {
    using dnnl::memory;
    const auto [transpose_a, transpose_b, accumulate, m, n, k, pitch_a, pitch_b, pitch_c] = key;
    const memory::desc a({m, k}, memory::data_type::bf16,
                         transpose_a ? memory::dims{1, pitch_a} : memory::dims{pitch_a, 1});
    const memory::desc b({k, n}, memory::data_type::bf16,
                         transpose_b ? memory::dims{1, pitch_b} : memory::dims{pitch_b, 1});
    const memory::desc c({m, n}, memory::data_type::f32, memory::dims{pitch_c, 1});
    dnnl::primitive_attr attributes;
    if (accumulate) {
      dnnl::post_ops sum;
      sum.append_sum(1.0f);
      attributes.set_post_ops(sum);
    }
    return {dnnl::matmul(describe(a, b, c, attributes)), memory(a, engine_, nullptr), memory(b, engine_, nullptr),
            memory(c, engine_, nullptr)};
  }

  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_{engine_};
  std::map<Key, Primitive> primitives_;
};

// Rows of bfloat16 as contiguous rows of float.
const float* widened(std::vector<float>& buffer, const bfloat16* from, int64_t rows, int64_t columns, int64_t pitch) {
  buffer.resize(static_cast<size_t>(rows * columns));
  for (int64_t r = 0; r < rows; ++r) {
    float* const to = buffer.data() + r * columns;
    const bfloat16* const row = from + r * pitch;
#pragma omp simd
    for (int64_t c = 0; c < columns; ++c) to[c] = row[c];
  }
  return buffer.data();
}

}  // namespace

bool has_bfloat16_products() { return can_multiply_bfloat16() && use_instructions; }
void use_bfloat16_instructions(bool use) { use_instructions = use; }

template <>
void block_gemm<float>(Transpose transpose_a, Transpose transpose_b, int64_t m, int64_t n, int64_t k, const float* a,
                       int64_t pitch_a, const float* b, int64_t pitch_b, float* c, int64_t pitch_c, GradientMode mode) {
  use_one_openmp_thread();
  const auto status =
      dnnl_sgemm(transpose_a == Transpose::Yes ? 'T' : 'N', transpose_b == Transpose::Yes ? 'T' : 'N', m, n, k, 1.0f, a,
                 pitch_a, b, pitch_b, mode == GradientMode::Accumulate ? 1.0f : 0.0f, c, pitch_c);
  if (status != dnnl_success)
    fail("gemm", "oneDNN refused a ({}, {}) x ({}, {}) product: status {}", m, k, k, n, static_cast<int>(status));
}

void bfloat16_block_gemm(Transpose transpose_a, Transpose transpose_b, int64_t m, int64_t n, int64_t k,
                         const bfloat16* a, int64_t pitch_a, const bfloat16* b, int64_t pitch_b, float* c,
                         int64_t pitch_c, GradientMode mode) {
  if (has_bfloat16_products()) {
    use_one_openmp_thread();  // before a primitive is made: it is planned for the threads that there are
    thread_local Products products;
    try {
      products.run(transpose_a, transpose_b, m, n, k, a, pitch_a, b, pitch_b, c, pitch_c, mode);
    } catch (const dnnl::error& error) {
      fail("gemm", "oneDNN refused a bfloat16 ({}, {}) x ({}, {}) product: {}", m, k, k, n, error.what());
    }
    return;
  }
  thread_local std::vector<float> wide_a, wide_b;
  const int64_t rows_a = transpose_a == Transpose::No ? m : k, rows_b = transpose_b == Transpose::No ? k : n;
  const int64_t columns_a = m + k - rows_a, columns_b = k + n - rows_b;
  block_gemm<float>(transpose_a, transpose_b, m, n, k, widened(wide_a, a, rows_a, columns_a, pitch_a), columns_a,
                    widened(wide_b, b, rows_b, columns_b, pitch_b), columns_b, c, pitch_c, mode);
}

std::string product_library() {
  const dnnl_version_t& version = *dnnl::version();
  return fmt::format("oneDNN {}.{}.{}", version.major, version.minor, version.patch);
}

}  // namespace gta::cpu
