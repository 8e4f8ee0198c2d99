// cuBLASLt by itself, in every combination that tests/host_cuda has on its list: the same file runs on a GPU, which is
// what confirms the list. Without kernels of its own, but only builds with CUDA compile .cu files.
#include <cublasLt.h>
#include <gtest/gtest.h>

#include <vector>

#include "core/backends/cuda/runtime.h"
#include "core/tensor.h"
#include "tests/cuda_device.h"

namespace gta::cuda {
namespace {

struct Case {
  DType operands, result;
  cublasLtOrder_t order = CUBLASLT_ORDER_COL;
  cublasOperation_t a = CUBLAS_OP_N, b = CUBLAS_OP_N;
  int m = 37, n = 21, k = 50, batches = 1;
  bool accumulate = false, bias = false;
};

// A matrix inside memory: rows or columns are longer than they need to be, and so are the distances between matrices.
struct Matrix {
  Matrix(const Case& c, DType dtype, int rows, int columns)
      : dtype(dtype),
        rows(rows),
        columns(columns),
        by_columns(c.order == CUBLASLT_ORDER_COL),
        pitch((by_columns ? rows : columns) + 8),
        stride(int64_t{pitch} * (by_columns ? columns : rows) + 16),
        values(static_cast<size_t>(stride * c.batches)) {
    // exact in bfloat16
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(static_cast<int>(i * 7919 % 15) - 7);
  }
  float& at(int batch, int r, int c) {
    return values[static_cast<size_t>(batch * stride + (by_columns ? c * pitch + r : r * pitch + c))];
  }
  Tensor on(const Device& device) const {
    const auto count = static_cast<int64_t>(values.size());
    if (dtype == DType::F32) return Tensor::from<float>({count}, values).to(device, Purpose::Data);
    return Tensor::from<bfloat16>({count}, std::vector<bfloat16>(values.begin(), values.end()))
        .to(device, Purpose::Data);
  }

  DType dtype;
  int rows, columns;
  bool by_columns;
  int pitch;
  int64_t stride;
  std::vector<float> values;
};

void expect_success(cublasStatus_t status) {
  ASSERT_EQ(status, CUBLAS_STATUS_SUCCESS) << cublasLtGetStatusString(status);
}

cublasLtMatrixLayout_t layout_of(const Matrix& x, const Case& c) {
  cublasLtMatrixLayout_t layout = nullptr;
  expect_success(cublasLtMatrixLayoutCreate(&layout, x.dtype == DType::F32 ? CUDA_R_32F : CUDA_R_16BF,
                                            static_cast<uint64_t>(x.rows), static_cast<uint64_t>(x.columns), x.pitch));
  const auto set = [&](cublasLtMatrixLayoutAttribute_t attribute, auto value) {
    expect_success(cublasLtMatrixLayoutSetAttribute(layout, attribute, &value, sizeof value));
  };
  set(CUBLASLT_MATRIX_LAYOUT_ORDER, c.order);
  set(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, int32_t{c.batches});
  set(CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, x.stride);
  return layout;
}

void expect_product(const Device& device, const Case& c) {
  SCOPED_TRACE(testing::Message() << name_of(c.operands) << " to " << name_of(c.result)
                                  << (c.order == CUBLASLT_ORDER_ROW ? ", by rows" : "")
                                  << (c.a == CUBLAS_OP_T ? ", A turned" : "")
                                  << (c.b == CUBLAS_OP_T ? ", B turned" : "") << ", " << c.batches << " of " << c.m
                                  << " x " << c.n << " x " << c.k << (c.accumulate ? ", added" : "")
                                  << (c.bias ? ", with a bias" : ""));
  const bool turned_a = c.a == CUBLAS_OP_T, turned_b = c.b == CUBLAS_OP_T;
  Matrix a(c, c.operands, turned_a ? c.k : c.m, turned_a ? c.m : c.k),
      b(c, c.operands, turned_b ? c.n : c.k, turned_b ? c.k : c.n), d(c, c.result, c.m, c.n);
  const Tensor on_a = a.on(device), on_b = b.on(device), on_d = d.on(device);
  std::vector<float> bias(static_cast<size_t>(c.m));
  for (int i = 0; i < c.m; ++i) bias[i] = static_cast<float>(i % 5);
  const Tensor on_bias =
      c.result == DType::F32
          ? Tensor::from<float>({c.m}, bias).to(device, Purpose::Data)
          : Tensor::from<bfloat16>({c.m}, std::vector<bfloat16>(bias.begin(), bias.end())).to(device, Purpose::Data);
  for (int batch = 0; batch < c.batches; ++batch)
    for (int i = 0; i < c.m; ++i)
      for (int j = 0; j < c.n; ++j) {
        float sum = c.accumulate ? d.at(batch, i, j) : 0;
        if (c.bias) sum += bias[i];
        for (int k = 0; k < c.k; ++k)
          sum +=
              (turned_a ? a.at(batch, k, i) : a.at(batch, i, k)) * (turned_b ? b.at(batch, j, k) : b.at(batch, k, j));
        d.at(batch, i, j) = c.result == DType::F32 ? sum : static_cast<float>(bfloat16(sum));
      }

  cublasLtHandle_t handle = nullptr;
  cublasLtMatmulDesc_t product = nullptr;
  cublasLtMatmulPreference_t preference = nullptr;
  expect_success(cublasLtCreate(&handle));
  expect_success(cublasLtMatmulDescCreate(&product, CUBLAS_COMPUTE_32F, CUDA_R_32F));
  const auto set = [&](cublasLtMatmulDescAttributes_t attribute, auto value) {
    expect_success(cublasLtMatmulDescSetAttribute(product, attribute, &value, sizeof value));
  };
  set(CUBLASLT_MATMUL_DESC_TRANSA, c.a);
  set(CUBLASLT_MATMUL_DESC_TRANSB, c.b);
  if (c.bias) {
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, c.result == DType::F32 ? CUDA_R_32F : CUDA_R_16BF);
    set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, static_cast<const void*>(on_bias.raw_data()));
  }
  const cublasLtMatrixLayout_t layout_a = layout_of(a, c), layout_b = layout_of(b, c), layout_d = layout_of(d, c);
  expect_success(cublasLtMatmulPreferenceCreate(&preference));
  cublasLtMatmulHeuristicResult_t found = {};
  int count = 0;
  expect_success(cublasLtMatmulAlgoGetHeuristic(handle, product, layout_a, layout_b, layout_d, layout_d, preference, 1,
                                                &found, &count));
  ASSERT_EQ(count, 1);
  const float one = 1, beta = c.accumulate ? 1 : 0;
  expect_success(cublasLtMatmul(handle, product, &one, on_a.raw_data(), layout_a, on_b.raw_data(), layout_b, &beta,
                                on_d.raw_data(), layout_d, on_d.raw_data(), layout_d, &found.algo, nullptr, 0,
                                stream_of(device)));
  std::vector<float> got;
  if (c.result == DType::F32) {
    got = on_d.to_vector<float>();
  } else {
    for (bfloat16 x : on_d.to_vector<bfloat16>()) got.push_back(static_cast<float>(x));
  }
  EXPECT_TRUE(got == d.values) << "sums of small integers are exact; what lies between the matrices stays";
  cublasLtMatmulPreferenceDestroy(preference);
  for (cublasLtMatrixLayout_t layout : {layout_a, layout_b, layout_d}) cublasLtMatrixLayoutDestroy(layout);
  cublasLtMatmulDescDestroy(product);
  cublasLtDestroy(handle);
}

TEST(CudaLibraryProducts, EveryCombinationOnTheList) {
  GTA_NEEDS_CUDA();
  const Device device = *cuda_device();
  for (const auto& [operands, result] :
       {std::pair{DType::F32, DType::F32}, {DType::BF16, DType::BF16}, {DType::BF16, DType::F32}})
    for (cublasOperation_t a : {CUBLAS_OP_N, CUBLAS_OP_T})
      for (cublasOperation_t b : {CUBLAS_OP_N, CUBLAS_OP_T})
        for (bool accumulate : {false, true}) {
          expect_product(device, {.operands = operands, .result = result, .a = a, .b = b, .accumulate = accumulate});
          expect_product(device, {.operands = operands,
                                  .result = result,
                                  .a = a,
                                  .b = b,
                                  .m = 1,
                                  .n = 65,
                                  .k = 3,
                                  .batches = 3,
                                  .accumulate = accumulate});
          expect_product(device, {.operands = operands,
                                  .result = result,
                                  .a = a,
                                  .b = b,
                                  .m = 64,
                                  .n = 1,
                                  .k = 1,
                                  .accumulate = accumulate,
                                  .bias = true});
          if (operands == DType::F32)
            expect_product(device, {.operands = operands,
                                    .result = result,
                                    .order = CUBLASLT_ORDER_ROW,
                                    .a = a,
                                    .b = b,
                                    .accumulate = accumulate});
        }
}

}  // namespace
}  // namespace gta::cuda
