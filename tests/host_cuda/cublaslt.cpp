// What cuBLASLt offers, as far as the framework uses it, on the host: float32 and bfloat16 products with float32 sums. Every combination that is
// not known to exist on a GPU is refused, so that no call passes here that would fail there.
#include <cublasLt.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <vector>

#include "tests/host_cuda/engine.h"

namespace {

using host_cuda::fail;

// What the library's opaque handles point to here.
struct Description {
  cublasOperation_t a, b;
  cublasLtEpilogue_t epilogue;
  cudaDataType_t bias_type;
  const void* bias;
};
struct Layout {
  cudaDataType_t type;
  uint64_t rows, columns;
  int64_t pitch;
};

Description& in(cublasLtMatmulDesc_t handle) { return *reinterpret_cast<Description*>(handle); }
Layout& in(cublasLtMatrixLayout_t handle) { return *reinterpret_cast<Layout*>(handle); }

size_t size_of(cudaDataType_t type) { return type == CUDA_R_16BF ? 2 : 4; }

float load(cudaDataType_t type, const void* data, int64_t i) {
  if (type == CUDA_R_32F) return static_cast<const float*>(data)[i];
  return std::bit_cast<float>(static_cast<uint32_t>(static_cast<const uint16_t*>(data)[i]) << 16);
}
void store(cudaDataType_t type, void* data, int64_t i, float x) {
  if (type == CUDA_R_32F) {
    static_cast<float*>(data)[i] = x;
    return;
  }
  const auto bits = std::bit_cast<uint32_t>(x);
  static_cast<uint16_t*>(data)[i] = static_cast<uint16_t>((x == x ? bits + 0x7fffu + (bits >> 16 & 1u) : bits | 0x400000u) >> 16);
}

struct Product {
  Description description;
  Layout a, b, c;
  const void *a_data, *b_data;
  void* c_data;
  float beta;
};

bool known(const Description& d, const Layout& a, const Layout& b, const Layout& c) {
  const bool types = a.type == b.type && ((a.type == CUDA_R_32F && c.type == CUDA_R_32F) || (a.type == CUDA_R_16BF && (c.type == CUDA_R_16BF || c.type == CUDA_R_32F)));
  const bool bias = d.epilogue == CUBLASLT_EPILOGUE_DEFAULT || (d.epilogue == CUBLASLT_EPILOGUE_BIAS && d.bias_type == c.type);
  const uint64_t m = d.a == CUBLAS_OP_N ? a.rows : a.columns, k = d.a == CUBLAS_OP_N ? a.columns : a.rows;
  const uint64_t k_b = d.b == CUBLAS_OP_N ? b.rows : b.columns, n = d.b == CUBLAS_OP_N ? b.columns : b.rows;
  const auto wide = [](const Layout& x) { return x.pitch >= static_cast<int64_t>(x.rows); };
  return types && bias && k == k_b && m == c.rows && n == c.columns && m && n && k && wide(a) && wide(b) && wide(c);
}

// Column-major: element (r, c) at data[c * pitch + r].   C (m, n) = op(A) op(B) + beta C (+ bias, along m)
void multiply(const Product& p) {
  const auto m = static_cast<int64_t>(p.c.rows), n = static_cast<int64_t>(p.c.columns);
  const auto k = static_cast<int64_t>(p.description.a == CUBLAS_OP_N ? p.a.columns : p.a.rows);
  std::vector<float> a(static_cast<size_t>(m * k));  // op(A), columns of m
  const bool turned = p.description.a == CUBLAS_OP_T;
#pragma omp parallel for
  for (int64_t j = 0; j < k; ++j)
    for (int64_t i = 0; i < m; ++i) a[j * m + i] = load(p.a.type, p.a_data, turned ? i * p.a.pitch + j : j * p.a.pitch + i);
  const bool b_turned = p.description.b == CUBLAS_OP_T;
  constexpr int64_t kRows = 256;
#pragma omp parallel for
  for (int64_t column = 0; column < n; ++column) {
    float sums[kRows];
    for (int64_t first = 0; first < m; first += kRows) {
      const int64_t rows = std::min(kRows, m - first);
      std::fill_n(sums, rows, 0.0f);
      for (int64_t j = 0; j < k; ++j) {
        const float factor = load(p.b.type, p.b_data, b_turned ? j * p.b.pitch + column : column * p.b.pitch + j);
        const float* const from = a.data() + j * m + first;
        for (int64_t i = 0; i < rows; ++i) sums[i] += from[i] * factor;
      }
      for (int64_t i = 0; i < rows; ++i) {
        const int64_t at = column * p.c.pitch + first + i;
        float x = sums[i];
        if (p.beta != 0) x += load(p.c.type, p.c_data, at);
        if (p.description.epilogue == CUBLASLT_EPILOGUE_BIAS) x += load(p.description.bias_type, p.description.bias, first + i);
        store(p.c.type, p.c_data, at, x);
      }
    }
  }
}

}  // namespace

extern "C" {

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  static char object;
  *handle = reinterpret_cast<cublasLtHandle_t>(&object);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t) { return CUBLAS_STATUS_SUCCESS; }
const char* cublasLtGetStatusString(cublasStatus_t status) { return status == CUBLAS_STATUS_SUCCESS ? "success" : "not supported"; }

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* description, cublasComputeType_t compute, cudaDataType_t scale) {
  if (compute != CUBLAS_COMPUTE_32F || scale != CUDA_R_32F) fail("cublasLtMatmulDescCreate: expected sums and factors in float32");
  *description = reinterpret_cast<cublasLtMatmulDesc_t>(new Description{CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT, CUDA_R_32F, nullptr});
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t description) {
  delete &in(description);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t description, cublasLtMatmulDescAttributes_t attribute, const void* value, size_t bytes) {
  Description& d = in(description);
  const auto set = [&](auto& field) {
    if (bytes != sizeof field) fail("cublasLtMatmulDescSetAttribute: attribute %d has %zu bytes, got %zu", static_cast<int>(attribute), sizeof field, bytes);
    std::memcpy(&field, value, bytes);
  };
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
      set(d.a);
      return CUBLAS_STATUS_SUCCESS;
    case CUBLASLT_MATMUL_DESC_TRANSB:
      set(d.b);
      return CUBLAS_STATUS_SUCCESS;
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      set(d.epilogue);
      return CUBLAS_STATUS_SUCCESS;
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
      set(d.bias_type);
      return CUBLAS_STATUS_SUCCESS;
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      set(d.bias);
      return CUBLAS_STATUS_SUCCESS;
    default:
      fail("cublasLtMatmulDescSetAttribute: the host has no attribute %d", static_cast<int>(attribute));
  }
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType_t type, uint64_t rows, uint64_t columns, int64_t pitch) {
  *layout = reinterpret_cast<cublasLtMatrixLayout_t>(new Layout{type, rows, columns, pitch});
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  delete &in(layout);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  *preference = new cublasLtMatmulPreferenceOpaque_t{};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  delete preference;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t, cublasLtMatmulPreferenceAttributes_t, const void*, size_t) {
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t description, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t, cublasLtMatmulPreference_t, int requested,
                                              cublasLtMatmulHeuristicResult_t* results, int* count) {
  *count = 0;
  if (requested < 1 || !known(in(description), in(a), in(b), in(c))) return CUBLAS_STATUS_NOT_SUPPORTED;
  results[0] = {};
  results[0].state = CUBLAS_STATUS_SUCCESS;
  *count = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t description, const void* alpha, const void* a, cublasLtMatrixLayout_t a_layout,
                              const void* b, cublasLtMatrixLayout_t b_layout, const void* beta, const void* c, cublasLtMatrixLayout_t c_layout, void* d,
                              cublasLtMatrixLayout_t, const cublasLtMatmulAlgo_t*, void*, size_t, cudaStream_t stream) {
  const float factor = *static_cast<const float*>(alpha), keep = *static_cast<const float*>(beta);
  if (factor != 1 || (keep != 0 && keep != 1) || c != d) fail("cublasLtMatmul: expected alpha 1, beta 0 or 1 and C in place, got %g and %g", factor, keep);
  if (!known(in(description), in(a_layout), in(b_layout), in(c_layout))) return CUBLAS_STATUS_NOT_SUPPORTED;
  for (const auto& [data, type] : {std::pair{a, in(a_layout).type}, {b, in(b_layout).type}, {static_cast<const void*>(d), in(c_layout).type}})
    if (reinterpret_cast<uintptr_t>(data) % size_of(type) != 0) return CUBLAS_STATUS_NOT_SUPPORTED;
  host_cuda::enqueue(stream, "a product", [p = Product{in(description), in(a_layout), in(b_layout), in(c_layout), a, b, d, keep}] { multiply(p); });
  return CUBLAS_STATUS_SUCCESS;
}

}  // extern "C"
