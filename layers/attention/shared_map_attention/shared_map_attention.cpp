#include "layers/attention/shared_map_attention/shared_map_attention.h"

#include "core/dtype_pair.h"

namespace gta {
namespace {

// The meta device that stands for a CPU: there the CPU's kernels count the memory that they take inside themselves,
// which in long sequences is much.
bool counts_for_cpu(const Device& device) {
  return device.type == DeviceType::Meta && memory_type(device) == DeviceType::Cpu;
}

}  // namespace

double visible_pairs(const AttentionForward& a) {
  const auto batch = static_cast<double>(a.shape.batch), queries = static_cast<double>(a.queries()),
             keys = static_cast<double>(a.keys.defined() ? a.keys.total : a.k.rows());
  return static_cast<double>(a.shape.query_heads) * queries * (keys - batch * queries + batch * 0.5 * (queries + 1));
}

void SharedMapAttentionOp::check(const Tensor& q, const Tensor& k, const Tensor& v) const {
  const auto& [batch, nq, nk, nv, dk, dv, scale] = shape;
  ensure(nq > 0 && nk > 0 && nv > 0 && nq % nk == 0 && nq % nv == 0, name,
         "{} maps cannot share {} key heads and {} value heads evenly", nq, nk, nv);
  ensure(q.columns() == nq * dk && k.columns() == nk * dk && v.columns() == nv * dv, name,
         "expected q (tokens, {} x {}), k (tokens, {} x {}), v (tokens, {} x {}), got {}, {}, {}", nq, dk, nk, dk, nv,
         dv, describe(q), describe(k), describe(v));
  ensure(batch > 0 && q.rows() % batch == 0 && (keys.defined() || k.rows() % batch == 0) && k.rows() == v.rows(), name,
         "{} query rows, {} key rows and {} value rows do not fit a batch of {}", q.rows(), k.rows(), v.rows(), batch);
  const bool fits = keys.defined() ? one_arithmetic(k.dtype(), q.dtype()) : k.dtype() == q.dtype();
  ensure(k.dtype() == v.dtype() && fits, name, "expected q, k and v of one dtype{}, got {}, {}, {}",
         keys.defined() ? ", or k and v of float32 beside bfloat16 or the other way round" : "", describe(q),
         describe(k), describe(v));
  if (keys.defined()) {
    ensure(!document_starts.defined(), name, "documents within a cache are not known");
    for (const Tensor& of_sequences : {keys.first, keys.count})
      ensure(of_sequences.dtype() == DType::I32 && of_sequences.elements() == batch, name,
             "expected int32 first keys and counts of {} sequences, got {}", batch, describe(of_sequences));
    ensure(keys.most >= q.rows() / batch && keys.total <= k.rows(), name,
           "{} queries and {} keys, {} at most, do not fit a cache of {} rows", q.rows() / batch, keys.total, keys.most,
           k.rows());
  }
  ensure(k.rows() >= q.rows(), name, "{} queries cannot end at the last of {} keys", q.rows() / batch,
         k.rows() / batch);
  if (document_starts.defined())
    ensure(document_starts.dtype() == DType::I32 && document_starts.elements() == q.rows(), name,
           "expected int32 document_starts for {} queries, got {}", q.rows(), describe(document_starts));
}

Tensor SharedMapAttentionOp::forward(Saved& saved, const Tensor& q, const Tensor& k, const Tensor& v) const {
  Tensor u = Tensor::empty({q.rows(), shape.query_heads * shape.value_dim}, q.dtype(), q.device());
  Tensor logsumexp =
      saved.recording() ? Tensor::empty({q.rows(), shape.query_heads}, state_dtype(q.dtype()), q.device()) : Tensor{};
  ensure(!keys.defined() || !saved.recording(), name, "there is no backward through a cache");
  const AttentionForward arguments{shape, q, k, v, document_starts, u, logsumexp, keys};
  if (counts_for_cpu(q.device()))
    cpu::shared_map_attention_forward(arguments);
  else
    GTA_DISPATCH(q.device(), shared_map_attention_forward, arguments);
  for (const Tensor& tensor : {q, k, v, u, logsumexp}) saved.keep(tensor);
  return u;
}

void SharedMapAttentionOp::backward(const Saved& saved, std::span<Tensor> d_outputs,
                                    std::span<GradientSlot> d_inputs) const {
  const auto destination = [](GradientSlot& slot) { return slot.wanted() ? slot.destination() : Tensor{}; };
  const AttentionBackward arguments{{shape, saved[0], saved[1], saved[2], document_starts, saved[3], saved[4]},
                                    d_outputs[0],
                                    destination(d_inputs[0]),
                                    destination(d_inputs[1]),
                                    destination(d_inputs[2]),
                                    d_inputs[0].mode(),
                                    d_inputs[1].mode(),
                                    d_inputs[2].mode()};
  if (counts_for_cpu(saved[0].device()))
    cpu::shared_map_attention_backward(arguments);
  else
    GTA_DISPATCH(saved[0].device(), shared_map_attention_backward, arguments);
}

}  // namespace gta
