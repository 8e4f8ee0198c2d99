// By the SDPA graphs of NVIDIA's cudnn-frontend. cudnn_attention_absent.cpp takes this file's place in a build without
// it.
#include "bench/cudnn_attention.h"

#include <cudnn_frontend.h>
#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <optional>

#include "core/backends/cuda/runtime.h"

// Where the frontend looks cuDNN's functions up.
void* cudnn_frontend::cudnn_dlhandle = nullptr;

namespace gta {
namespace {

namespace fe = cudnn_frontend;
using fe::graph::Graph;
using fe::graph::SDPA_attributes;
using fe::graph::SDPA_backward_attributes;
using fe::graph::Tensor_attributes;

constexpr const char* kName = "cudnn_attention";

// What cuDNN said, on one line and no longer than one reads.
void check(fe::error_t status) {
  if (status.is_good()) return;
  std::string said = status.get_message().substr(0, 500);
  std::replace(said.begin(), said.end(), '\n', ' ');
  fail(kName, "{}", said);
}
void check(cudnnStatus_t status) {
  if (status != CUDNN_STATUS_SUCCESS) fail(kName, "{}", fe::detail::get_error_string(status));
}

void require_library() {
  if (const std::string absence = cudnn_absence(); !absence.empty()) fail(kName, "{}", absence);
}

// ---- a pass and its tensors ----

enum class Id : int64_t { Q, K, V, U, Logsumexp, DU, DQ, DK, DV };

struct Operand {
  Id id;
  Tensor tensor;
  int64_t heads;
};

struct Pass {
  AttentionForward forward;
  std::vector<Operand> operands;  // in the order of Id, without the logsumexp
  bool backward = false;
};

Operand operand(Id id, const char* name, const Tensor& x, int64_t rows, int64_t heads, int64_t width) {
  ensure(x.defined() && x.dtype() == DType::BF16 && x.rows() == rows && x.columns() == heads * width, kName,
         "expected {} bfloat16 ({}, {}), got {}", name, rows, heads * width, x.defined() ? describe(x) : "none");
  return {id, x, heads};
}

Pass pass_of(const AttentionForward& a) {
  const auto& [batch, nq, nk, nv, dk, dv, scale] = a.shape;
  SharedMapAttentionOp{a.shape, a.document_starts}.check(a.q, a.k, a.v);
  ensure(!a.document_starts.defined(), kName, "is given no document masks");
  const int64_t queries = a.q.rows(), keys = a.k.rows();
  const Tensor& logsumexp = a.logsumexp;
  ensure(logsumexp.defined() && logsumexp.dtype() == DType::F32 && logsumexp.contiguous() &&
             logsumexp.rows() == batch * nq && logsumexp.columns() == queries / batch,
         kName, "expected logsumexp float32 ({}, {}), got {}", batch * nq, queries / batch,
         logsumexp.defined() ? describe(logsumexp) : "none");
  return {a,
          {operand(Id::Q, "q", a.q, queries, nq, dk), operand(Id::K, "k", a.k, keys, nk, dk),
           operand(Id::V, "v", a.v, keys, nv, dv), operand(Id::U, "u", a.u, queries, nq, dv)}};
}

Pass pass_of(const AttentionBackward& a) {
  const auto& [batch, nq, nk, nv, dk, dv, scale] = a.forward.shape;
  Pass pass = pass_of(a.forward);
  const int64_t queries = a.forward.q.rows(), keys = a.forward.k.rows();
  for (const Operand& x :
       {operand(Id::DU, "d_u", a.d_u, queries, nq, dv), operand(Id::DQ, "d_q", a.d_q, queries, nq, dk),
        operand(Id::DK, "d_k", a.d_k, keys, nk, dk), operand(Id::DV, "d_v", a.d_v, keys, nv, dv)})
    pass.operands.push_back(x);
  for (const GradientMode mode : {a.mode_q, a.mode_k, a.mode_v})
    ensure(mode == GradientMode::Overwrite, kName, "overwrites every gradient: it cannot add to one or leave one out");
  pass.backward = true;
  return pass;
}

// ---- its graph ----

// Rows as they lie: (batch * positions, heads * width) is cuDNN's (batch, heads, positions, width) with strides.
void place(Tensor_attributes& attributes, const Pass& pass, const Operand& x) {
  const int64_t batch = pass.forward.shape.batch, positions = x.tensor.rows() / batch, pitch = x.tensor.pitch();
  const int64_t width = x.tensor.columns() / x.heads;
  attributes.set_uid(static_cast<int64_t>(x.id))
      .set_dim({batch, x.heads, positions, width})
      .set_stride({positions * pitch, width, pitch, 1})
      .set_data_type(fe::DataType_t::BFLOAT16);
}
void place_logsumexp(Tensor_attributes& attributes, const Pass& pass) {
  const int64_t batch = pass.forward.shape.batch, maps = pass.forward.shape.query_heads,
                queries = pass.forward.q.rows() / batch;
  attributes.set_uid(static_cast<int64_t>(Id::Logsumexp))
      .set_dim({batch, maps, queries, 1})
      .set_stride({maps * queries, queries, 1, 1})
      .set_data_type(fe::DataType_t::FLOAT);
}

// The core's mask: the last query sees every key, each one before it a key less. With as many queries as keys that
// begins at the upper left corner too, which is cuDNN's common case.
template <class Attributes>
Attributes causal(const Pass& pass, const char* name) {
  Attributes attributes;
  attributes.set_name(name)
      .set_attn_scale(static_cast<float>(pass.forward.shape.scale))
      .set_diagonal_alignment(pass.forward.q.rows() == pass.forward.k.rows() ? fe::DiagonalAlignment_t::TOP_LEFT
                                                                             : fe::DiagonalAlignment_t::BOTTOM_RIGHT)
      .set_diagonal_band_right_bound(0);
  return attributes;
}

void describe_pass(Graph& graph, const Pass& pass) {
  graph.set_io_data_type(fe::DataType_t::BFLOAT16)
      .set_intermediate_data_type(fe::DataType_t::FLOAT)
      .set_compute_data_type(fe::DataType_t::FLOAT);
  const auto input = [&](const Operand& x) {
    Tensor_attributes attributes;
    place(attributes, pass, x);
    return graph.tensor(attributes);
  };
  const auto q = input(pass.operands[0]), k = input(pass.operands[1]), v = input(pass.operands[2]);
  if (!pass.backward) {
    const auto [u, logsumexp] = graph.sdpa(q, k, v, causal<SDPA_attributes>(pass, "forward").set_generate_stats(true));
    place(u->set_output(true), pass, pass.operands[3]);
    place_logsumexp(logsumexp->set_output(true), pass);
    return;
  }
  const auto u = input(pass.operands[3]), d_u = input(pass.operands[4]);
  Tensor_attributes logsumexp;
  place_logsumexp(logsumexp, pass);
  const auto gradients =
      graph.sdpa_backward(q, k, v, u, d_u, graph.tensor(logsumexp),
                          causal<SDPA_backward_attributes>(pass, "backward").set_deterministic_algorithm(true));
  for (size_t i = 0; i < gradients.size(); ++i) place(gradients[i]->set_output(true), pass, pass.operands[5 + i]);
}

// As far as cuDNN promises support; without a handle, for the GPU that the graph was told of.
void plan_graph(Graph& graph, cudnnHandle_t handle) {
  check(graph.validate());
  check(handle ? graph.build_operation_graph(handle) : graph.build_operation_graph());
  check(graph.create_execution_plans({fe::HeurMode_t::A}));
  check(graph.check_support());
}

class Handle {
 public:
  explicit Handle(Device device) {
    ensure(device.type == DeviceType::Cuda, kName, "runs on a CUDA device, not on {}", name_of(device));
    require_library();
    stream_ = cuda::stream_of(device);  // makes the device current
    check(fe::detail::create_handle(&handle_));
    check(fe::detail::set_stream(handle_, stream_));
  }
  ~Handle() { fe::detail::destroy_handle(handle_); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  operator cudnnHandle_t() const { return handle_; }
  cudaStream_t stream() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
  cudnnHandle_t handle_ = nullptr;
};

template <class Arguments>
std::string refusal(const Arguments& arguments, const CudnnGpu* gpu) {
  try {
    const Pass pass = pass_of(arguments);
    require_library();
    std::optional<Handle> handle;  // outlives the graph
    Graph graph;
    if (gpu) {
      const auto properties = std::make_shared<fe::DeviceProperties>();
      check(properties->deserialize({gpu->properties.begin(), gpu->properties.end()}));
      graph.set_device_properties(properties).set_sm_version(gpu->compute_capability);
    } else {
      handle.emplace(pass.forward.q.device());
    }
    describe_pass(graph, pass);
    plan_graph(graph, gpu ? nullptr : cudnnHandle_t{*handle});
    return {};
  } catch (const std::exception& error) {  // ours, and the frontend's when a library lacks a function
    return error.what();
  }
}

}  // namespace

std::string cudnn_absence() {
  static const std::string absence = []() -> std::string {
    // The frontend opens the CUDA runtime too, the oldest major version that it finds: let it be the one that this
    // program is linked with.
    setenv("CUDNN_FRONTEND_CUDART_LIB_NAME", fmt::format("libcudart.so.{}", CUDART_VERSION / 1000).c_str(), 0);
    fe::cudnn_dlhandle = dlopen(fmt::format("libcudnn.so.{}", CUDNN_MAJOR).c_str(), RTLD_NOW);
    return fe::cudnn_dlhandle ? ""
                              : fmt::format("cuDNN {} is not installed, or its folder not in LD_LIBRARY_PATH: {}",
                                            CUDNN_MAJOR, dlerror());
  }();
  return absence;
}

std::string cudnn_refusal(const AttentionForward& arguments, const CudnnGpu* gpu) { return refusal(arguments, gpu); }
std::string cudnn_refusal(const AttentionBackward& arguments, const CudnnGpu* gpu) { return refusal(arguments, gpu); }

struct CudnnAttention::Plan {
  explicit Plan(Pass of) : pass(std::move(of)), handle(pass.forward.q.device()) {
    describe_pass(graph, pass);
    plan_graph(graph, handle);
    check(graph.build_plans());
    for (const Operand& x : pass.operands) addresses[static_cast<int64_t>(x.id)] = x.tensor.raw_data();
    addresses[static_cast<int64_t>(Id::Logsumexp)] = pass.forward.logsumexp.raw_data();
    int64_t bytes = 0;
    check(graph.get_workspace_size(bytes));
    workspace = Tensor::empty({bytes / 4 + 1}, DType::F32, pass.forward.q.device(), Purpose::Workspace);
  }

  // Its kernels are unloaded with the graph: not while they run.
  ~Plan() { cudaStreamSynchronize(handle.stream()); }

  Pass pass;
  Handle handle;  // outlives the graph
  Graph graph;
  std::unordered_map<int64_t, void*> addresses;
  Tensor workspace;
};

CudnnAttention::CudnnAttention(const AttentionForward& arguments) : plan_(std::make_unique<Plan>(pass_of(arguments))) {}
CudnnAttention::CudnnAttention(const AttentionBackward& arguments)
    : plan_(std::make_unique<Plan>(pass_of(arguments))) {}
CudnnAttention::~CudnnAttention() = default;

void CudnnAttention::run() {
  check(plan_->graph.execute(plan_->handle, plan_->addresses, plan_->workspace.raw_data()));
}

}  // namespace gta
