// The matrix product by cuBLASLt.
//
// cuBLASLt is column-major: C = op(A) op(B) of row-major tensors is C' = op(B)' op(A)', where X' is the same memory
// read by columns; so the operands change places, and a bias along C's columns is one along the rows of C', which the
// library adds for free.
//
// The algorithm is the first that the library's heuristic names among those that sum in a fixed order; it depends on
// the shapes, pitches, types and alignments alone, so that a run and its continuation choose the same.
#include <cublasLt.h>

#include <map>
#include <memory>
#include <mutex>

#include "core/backends/cuda/runtime.h"
#include "core/elementwise.h"
#include "core/gemm.h"

namespace gta::cuda {
namespace {

void check(cublasStatus_t status, const char* call) {
  if (status != CUBLAS_STATUS_SUCCESS) fail("gemm", "{}: {}", call, cublasLtGetStatusString(status));
}
#define GTA_CUBLAS_CHECK(call) check((call), #call)

cudaDataType_t type_of(DType dtype) {
  switch (dtype) {
    case DType::F32:
      return CUDA_R_32F;
    case DType::BF16:
      return CUDA_R_16BF;
    default:
      bad_input("gemm", "has no CUDA product of {}: use float32 or bfloat16", name_of(dtype));
  }
}

// The largest power of two, up to 16, that divides an address and the distance between rows.
uint32_t alignment_of(const Tensor& tensor) {
  const uint64_t bits = reinterpret_cast<uint64_t>(tensor.raw_data()) |
                        static_cast<uint64_t>(tensor.pitch()) * size_of(tensor.dtype()) | 16;
  return static_cast<uint32_t>(bits & (~bits + 1));
}

struct Operand {
  uint64_t rows, columns;  // of the memory as cuBLASLt reads it, by columns
  int64_t pitch;
  DType dtype;
  uint32_t alignment;
  auto operator<=>(const Operand&) const = default;
};

Operand operand_of(const Tensor& x) {
  return {static_cast<uint64_t>(x.columns()), static_cast<uint64_t>(x.rows()), x.pitch(), x.dtype(), alignment_of(x)};
}

struct Shape {
  int device;
  Operand a, b, c;
  Transpose transpose_a, transpose_b;
  bool bias;
  auto operator<=>(const Shape&) const = default;
};

class Layout {
 public:
  explicit Layout(const Operand& x) {
    GTA_CUBLAS_CHECK(cublasLtMatrixLayoutCreate(&layout_, type_of(x.dtype), x.rows, x.columns, x.pitch));
  }
  ~Layout() { cublasLtMatrixLayoutDestroy(layout_); }
  Layout(const Layout&) = delete;
  Layout& operator=(const Layout&) = delete;
  operator cublasLtMatrixLayout_t() const { return layout_; }

 private:
  cublasLtMatrixLayout_t layout_ = nullptr;
};

// All of a product that does not change from call to call.
class Plan {
 public:
  Plan(cublasLtHandle_t handle, const Shape& shape) : first_(shape.b), second_(shape.a), result_(shape.c) {
    GTA_CUBLAS_CHECK(cublasLtMatmulDescCreate(&product_, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    set(CUBLASLT_MATMUL_DESC_TRANSA, shape.transpose_b == Transpose::Yes ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_TRANSB, shape.transpose_a == Transpose::Yes ? CUBLAS_OP_T : CUBLAS_OP_N);
    if (shape.bias) {
      set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
      set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, type_of(shape.c.dtype));
    }
    cublasLtMatmulPreference_t preference = nullptr;
    GTA_CUBLAS_CHECK(cublasLtMatmulPreferenceCreate(&preference));
    const std::unique_ptr<cublasLtMatmulPreferenceOpaque_t, cublasStatus_t (*)(cublasLtMatmulPreference_t)> owner(
        preference, cublasLtMatmulPreferenceDestroy);
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
      GTA_CUBLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value));
    };
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<uint64_t>(kCudaGemmWorkspaceBytes));
    prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, static_cast<uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, shape.b.alignment);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, shape.a.alignment);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, shape.c.alignment);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, shape.c.alignment);
    cublasLtMatmulHeuristicResult_t found = {};
    int count = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(handle, product_, first_, second_, result_, result_,
                                                                 preference, 1, &found, &count);
    if (status != CUBLAS_STATUS_SUCCESS || count == 0)
      fail("gemm", "cuBLASLt has no product ({}, {}){} times ({}, {}){} of {} to {}: {}", shape.a.columns, shape.a.rows,
           shape.transpose_a == Transpose::Yes ? "^T" : "", shape.b.columns, shape.b.rows,
           shape.transpose_b == Transpose::Yes ? "^T" : "", name_of(shape.a.dtype), name_of(shape.c.dtype),
           cublasLtGetStatusString(status));
    algorithm_ = found.algo;
  }
  ~Plan() { cublasLtMatmulDescDestroy(product_); }
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  void run(cublasLtHandle_t handle, const Gemm& product, const void* bias, void* workspace, cudaStream_t stream) {
    if (bias) set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
    const float one = 1, beta = product.mode == GradientMode::Accumulate ? 1 : 0;
    GTA_CUBLAS_CHECK(cublasLtMatmul(handle, product_, &one, product.b.raw_data(), first_, product.a.raw_data(), second_,
                                    &beta, product.c.raw_data(), result_, product.c.raw_data(), result_, &algorithm_,
                                    workspace, kCudaGemmWorkspaceBytes, stream));
  }

 private:
  template <class T>
  void set(cublasLtMatmulDescAttributes_t attribute, T value) {
    GTA_CUBLAS_CHECK(cublasLtMatmulDescSetAttribute(product_, attribute, &value, sizeof value));
  }

  cublasLtMatmulDesc_t product_ = nullptr;
  Layout first_, second_, result_;
  cublasLtMatmulAlgo_t algorithm_ = {};
};

// The library's handle, its workspace (one, since there is one compute stream) and the plans of a device.
struct Library {
  std::mutex mutex;
  cublasLtHandle_t handle = nullptr;
  Tensor workspace;
  std::map<Shape, std::unique_ptr<Plan>> plans;
};

Library& library_of(const Device& device) {
  static std::mutex mutex;
  // never destroyed: at the process's end CUDA may be gone before it
  static auto& libraries = *new std::map<int, Library>;
  std::lock_guard lock(mutex);
  Library& library = libraries[device.index];
  if (!library.handle) {
    GTA_CUBLAS_CHECK(cublasLtCreate(&library.handle));
    library.workspace = Tensor::empty({kCudaGemmWorkspaceBytes}, DType::U8, device, Purpose::Workspace);
  }
  return library;
}

}  // namespace

void gemm_kernel(const Gemm& product, int64_t, int64_t, int64_t) {
  const Device device = product.c.device();
  const cudaStream_t stream = stream_of(device);
  Library& library = library_of(device);
  // The library wants a bias in the result's dtype. Rounding it costs less than the second rounding of an addition
  // afterwards.
  Tensor bias = product.bias;
  if (bias.defined() && bias.dtype() != product.c.dtype()) {
    bias = Tensor::empty(bias.shape(), product.c.dtype(), device, Purpose::Workspace);
    convert(bias, product.bias);
  }
  const Shape shape{device.index,        operand_of(product.a), operand_of(product.b), operand_of(product.c),
                    product.transpose_a, product.transpose_b,   bias.defined()};
  std::lock_guard lock(library.mutex);
  std::unique_ptr<Plan>& plan = library.plans[shape];
  if (!plan) plan = std::make_unique<Plan>(library.handle, shape);
  plan->run(library.handle, product, bias.raw_data(), library.workspace.raw_data(), stream);
}

std::string product_library() {
  const size_t version = cublasLtGetVersion();
  return fmt::format("cuBLASLt {}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

}  // namespace gta::cuda
