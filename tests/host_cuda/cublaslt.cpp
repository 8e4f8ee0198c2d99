// What cuBLASLt offers, as far as the framework uses it, on the host: float32 and bfloat16 products with float32 sums.
// Every combination that is not known to exist on a GPU is refused, so that no call passes here that would fail there.
#include <cublasLt.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <vector>

#include "core/parallel.h"
#include "tests/host_cuda/engine.h"

namespace {

using host_cuda::fail;

// What the library's opaque handles point to here.
struct Description {
  cublasOperation_t a = CUBLAS_OP_N, b = CUBLAS_OP_N;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  cudaDataType_t bias_type = CUDA_R_32F;
  const void* bias = nullptr;
};
struct Layout {
  cudaDataType_t type;
  uint64_t rows, columns;
  int64_t pitch;
  cublasLtOrder_t order = CUBLASLT_ORDER_COL;
  int32_t batches = 1;
  int64_t batch_stride = 0;
  bool operator==(const Layout&) const = default;
};

Description& in(cublasLtMatmulDesc_t handle) { return *reinterpret_cast<Description*>(handle); }
Layout& in(cublasLtMatrixLayout_t handle) { return *reinterpret_cast<Layout*>(handle); }

// Sets one attribute, whose size the caller has to know as well.
template <class T>
cublasStatus_t set(T& field, const char* call, int attribute, const void* value, size_t bytes) {
  if (bytes != sizeof field)
    fail("%s: expected %zu bytes for attribute %d, got %zu", call, sizeof field, attribute, bytes);
  std::memcpy(&field, value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

size_t size_of(cudaDataType_t type) { return type == CUDA_R_16BF ? 2 : 4; }

// A matrix whose element (r, c) is data[r * row_stride + c * column_stride]: any order, turned or not.
struct View {
  cudaDataType_t type;
  char* data;
  int64_t row_stride, column_stride;

  float load(int64_t r, int64_t c) const {
    const int64_t i = r * row_stride + c * column_stride;
    if (type == CUDA_R_32F) return reinterpret_cast<const float*>(data)[i];
    return std::bit_cast<float>(static_cast<uint32_t>(reinterpret_cast<const uint16_t*>(data)[i]) << 16);
  }
  void store(int64_t r, int64_t c, float x) const {
    const int64_t i = r * row_stride + c * column_stride;
    if (type == CUDA_R_32F) {
      reinterpret_cast<float*>(data)[i] = x;
      return;
    }
    const auto bits = std::bit_cast<uint32_t>(x);
    reinterpret_cast<uint16_t*>(data)[i] =
        static_cast<uint16_t>((x == x ? bits + 0x7fffu + (bits >> 16 & 1u) : bits | 0x400000u) >> 16);
  }
};

View view_of(const Layout& x, cublasOperation_t operation, const void* data, int64_t batch) {
  char* const first =
      static_cast<char*>(const_cast<void*>(data)) + batch * x.batch_stride * static_cast<int64_t>(size_of(x.type));
  return (x.order == CUBLASLT_ORDER_COL) == (operation == CUBLAS_OP_N) ? View{x.type, first, 1, x.pitch}
                                                                       : View{x.type, first, x.pitch, 1};
}

bool known(const Description& d, const Layout& a, const Layout& b, const Layout& c) {
  const bool types = a.type == b.type && ((a.type == CUDA_R_32F && c.type == CUDA_R_32F) ||
                                          (a.type == CUDA_R_16BF && (c.type == CUDA_R_16BF || c.type == CUDA_R_32F)));
  const bool operations = (d.a == CUBLAS_OP_N || d.a == CUBLAS_OP_T) && (d.b == CUBLAS_OP_N || d.b == CUBLAS_OP_T);
  const bool orders = a.order == b.order && b.order == c.order &&
                      (a.order == CUBLASLT_ORDER_COL || (a.order == CUBLASLT_ORDER_ROW && a.type == CUDA_R_32F));
  const bool bias =
      d.epilogue == CUBLASLT_EPILOGUE_DEFAULT || (d.epilogue == CUBLASLT_EPILOGUE_BIAS && d.bias_type == c.type &&
                                                  c.order == CUBLASLT_ORDER_COL && c.batches == 1);
  const uint64_t m = d.a == CUBLAS_OP_N ? a.rows : a.columns, k = d.a == CUBLAS_OP_N ? a.columns : a.rows;
  const uint64_t k_b = d.b == CUBLAS_OP_N ? b.rows : b.columns, n = d.b == CUBLAS_OP_N ? b.columns : b.rows;
  const bool shapes = k == k_b && m == c.rows && n == c.columns && m && n && k;
  const bool batches = a.batches == b.batches && b.batches == c.batches && c.batches >= 1;
  const auto wide = [](const Layout& x) {
    return x.pitch >= static_cast<int64_t>(x.order == CUBLASLT_ORDER_COL ? x.rows : x.columns);
  };
  return types && operations && orders && bias && shapes && batches && wide(a) && wide(b) && wide(c);
}

struct Product {
  Description description;
  Layout a, b, c;
  const void *a_data, *b_data;
  void* c_data;
  float beta;
};

// C (m, n) = op(A) (m, k) op(B) (k, n) + beta C (+ bias, along m). A tile of C is kHeight x kWidth sums in vector
// registers, each in the order of k, whatever the number of threads.
using Vector = float __attribute__((vector_size(64)));
constexpr int64_t kLanes = sizeof(Vector) / sizeof(float), kVectors = 2, kHeight = kVectors * kLanes, kWidth = 4;

void multiply(const Product& p, int64_t batch) {
  const View a = view_of(p.a, p.description.a, p.a_data, batch), b = view_of(p.b, p.description.b, p.b_data, batch);
  const View c = view_of(p.c, CUBLAS_OP_N, p.c_data, batch);
  const auto m = static_cast<int64_t>(p.c.rows), n = static_cast<int64_t>(p.c.columns);
  const auto k = static_cast<int64_t>(p.description.a == CUBLAS_OP_N ? p.a.columns : p.a.rows);
  const int64_t bands = (n + kWidth - 1) / kWidth;
  std::vector<float> b_packed(static_cast<size_t>(bands * k * kWidth));  // (bands, k, kWidth), zero beyond n
  gta::parallel_for(bands, [&](int64_t band) {
    for (int64_t w = 0; w < std::min(kWidth, n - band * kWidth); ++w)
      for (int64_t j = 0; j < k; ++j) b_packed[(band * k + j) * kWidth + w] = b.load(j, band * kWidth + w);
  });
  gta::parallel_for((m + kHeight - 1) / kHeight, [&](int64_t strip) {
    const int64_t top = strip * kHeight, height = std::min(kHeight, m - top);
    std::vector<float> a_packed(static_cast<size_t>(k * kHeight));  // (k, kHeight), zero beyond m
    for (int64_t i = 0; i < height; ++i)
      for (int64_t j = 0; j < k; ++j) a_packed[j * kHeight + i] = a.load(top + i, j);
    for (int64_t band = 0; band < bands; ++band) {
      Vector sums[kWidth][kVectors] = {};
      for (int64_t j = 0; j < k; ++j) {
        Vector column[kVectors];
        std::memcpy(column, &a_packed[j * kHeight], sizeof column);
        const float* const factors = &b_packed[(band * k + j) * kWidth];
        for (int64_t w = 0; w < kWidth; ++w)
          for (int64_t v = 0; v < kVectors; ++v) sums[w][v] += column[v] * factors[w];
      }
      for (int64_t w = 0; w < std::min(kWidth, n - band * kWidth); ++w)
        for (int64_t i = 0; i < height; ++i) {
          const int64_t row = top + i, to = band * kWidth + w;
          float x = sums[w][i / kLanes][i % kLanes];
          if (p.beta != 0) x += c.load(row, to);
          if (p.description.epilogue == CUBLASLT_EPILOGUE_BIAS)
            x += View{p.description.bias_type, static_cast<char*>(const_cast<void*>(p.description.bias)), 1, 0}.load(
                row, 0);
          c.store(row, to, x);
        }
    }
  });
}

}  // namespace

extern "C" {

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  static char object;
  *handle = reinterpret_cast<cublasLtHandle_t>(&object);
  return CUBLAS_STATUS_SUCCESS;
}
size_t cublasLtGetVersion() { return 130000; }  // as CUDA 13.0's
cublasStatus_t cublasLtDestroy(cublasLtHandle_t) { return CUBLAS_STATUS_SUCCESS; }
const char* cublasLtGetStatusString(cublasStatus_t status) {
  return status == CUBLAS_STATUS_SUCCESS ? "success" : "not supported";
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* description, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
  if (compute != CUBLAS_COMPUTE_32F || scale != CUDA_R_32F)
    fail("cublasLtMatmulDescCreate: expected sums and factors in float32");
  *description = reinterpret_cast<cublasLtMatmulDesc_t>(new Description);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t description) {
  delete &in(description);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t description,
                                              cublasLtMatmulDescAttributes_t attribute, const void* value,
                                              size_t bytes) {
  Description& d = in(description);
  const char* const call = "cublasLtMatmulDescSetAttribute";
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
      return set(d.a, call, attribute, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB:
      return set(d.b, call, attribute, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      return set(d.epilogue, call, attribute, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
      return set(d.bias_type, call, attribute, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      return set(d.bias, call, attribute, value, bytes);
    default:
      fail("%s: the host has no attribute %d", call, static_cast<int>(attribute));
  }
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType_t type, uint64_t rows,
                                          uint64_t columns, int64_t pitch) {
  *layout = reinterpret_cast<cublasLtMatrixLayout_t>(new Layout{type, rows, columns, pitch});
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t attribute, const void* value,
                                                size_t bytes) {
  Layout& x = in(layout);
  const char* const call = "cublasLtMatrixLayoutSetAttribute";
  switch (attribute) {
    case CUBLASLT_MATRIX_LAYOUT_ORDER:
      return set(x.order, call, attribute, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT:
      return set(x.batches, call, attribute, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET:
      return set(x.batch_stride, call, attribute, value, bytes);
    default:
      fail("%s: the host has no attribute %d", call, static_cast<int>(attribute));
  }
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
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t, cublasLtMatmulPreferenceAttributes_t,
                                                    const void*, size_t) {
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t description,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t,
                                              cublasLtMatmulPreference_t, int requested,
                                              cublasLtMatmulHeuristicResult_t* results, int* count) {
  *count = 0;
  if (requested < 1 || !known(in(description), in(a), in(b), in(c))) return CUBLAS_STATUS_NOT_SUPPORTED;
  results[0] = {};
  results[0].state = CUBLAS_STATUS_SUCCESS;
  *count = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t description, const void* alpha, const void* a,
                              cublasLtMatrixLayout_t a_layout, const void* b, cublasLtMatrixLayout_t b_layout,
                              const void* beta, const void* c, cublasLtMatrixLayout_t c_layout, void* d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t*, void*, size_t,
                              cudaStream_t stream) {
  const float factor = *static_cast<const float*>(alpha), keep = *static_cast<const float*>(beta);
  if (factor != 1 || (keep != 0 && keep != 1))
    fail("cublasLtMatmul: expected alpha 1 and beta 0 or 1, got %g and %g", factor, keep);
  if (c != d || in(c_layout) != in(d_layout))
    fail("cublasLtMatmul: expected C and D to be the same matrix, got %p and %p", c, d);
  if (!known(in(description), in(a_layout), in(b_layout), in(c_layout))) return CUBLAS_STATUS_NOT_SUPPORTED;
  for (const auto& [data, type] :
       {std::pair{a, in(a_layout).type}, {b, in(b_layout).type}, {static_cast<const void*>(d), in(c_layout).type}})
    if (reinterpret_cast<uintptr_t>(data) % size_of(type) != 0) return CUBLAS_STATUS_NOT_SUPPORTED;
  host_cuda::enqueue(stream, "a product",
                     [p = Product{in(description), in(a_layout), in(b_layout), in(c_layout), a, b, d, keep}] {
                       for (int64_t batch = 0; batch < p.c.batches; ++batch) multiply(p, batch);
                     });
  return CUBLAS_STATUS_SUCCESS;
}

}  // extern "C"
