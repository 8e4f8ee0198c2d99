// The core of every attention variant: causal attention whose maps may share keys and values.
//
//   A_g = softmax(scale * Q_g K_{g / (nq/nk)}^T)  over the visible keys,    U_g = A_g V_{g / (nq/nv)},    g = 0 .. nq-1
//   Q (batch * queries, nq * dk)   K (batch * keys, nk * dk)   V (batch * keys, nv * dv)   U (batch * queries, nq * dv)
//
// nq % nk == 0, nq % nv == 0, dk and dv independent. Query i of a sequence stands at position keys - queries + i (so
// that a cache of earlier keys fits) and sees the keys from document_starts[i] (0 without them) to its own position.
//
// In a cache (CachedKeys) every sequence has its own number of keys, wherever in K and V they begin: forward alone, and
// without documents. K and V may be float32 beside bfloat16 queries and the other way round there; U is as Q is.
//
// forward saves L = logsumexp of the scaled scores (batch * queries, nq); backward computes the maps again, with
//   delta = rowsum(dU * U)     A = exp(scale Q K^T - L)     dS = A * (dU V^T - delta)
//   dQ = scale dS K     dK = scale sum over the maps sharing K of dS^T Q     dV = sum over the maps sharing V of A^T dU
// Sums over maps are made in a fixed order, without atomics. No N x N map is ever stored.
#pragma once

#include "core/tape.h"

namespace gta {

struct AttentionShape {
  int64_t batch = 1;
  int64_t query_heads, key_heads, value_heads;  // nq, nk, nv
  int64_t head_dim, value_dim;                  // dk, dv
  double scale;
};

// Where the keys and values of each sequence are when K and V are a cache of more rows than these.
struct CachedKeys {
  Tensor first;                 // int32 (batch): row of the sequence's first key
  Tensor count;                 // int32 (batch): its keys; the queries stand at the last of them
  int64_t most = 0, total = 0;  // the largest count, and the sum
  bool defined() const { return first.defined(); }
};

struct AttentionForward {
  AttentionShape shape;
  Tensor q, k, v;
  Tensor document_starts;  // int32 (batch * queries): the first visible key; undefined: 0
  Tensor u;
  Tensor logsumexp;  // (batch * queries, nq), float32 beside bfloat16; undefined when nobody needs it
  CachedKeys keys = {};

  int64_t queries() const { return q.rows() / shape.batch; }
  // Of the sequence that has most.
  int64_t most_keys() const { return keys.defined() ? keys.most : k.rows() / shape.batch; }
};

struct AttentionBackward {
  AttentionForward forward;
  Tensor d_u;
  Tensor d_q, d_k, d_v;  // undefined when not wanted
  GradientMode mode_q, mode_k, mode_v;
};

// How many scores the causal maps have, documents not counted: what FLOPs are counted by.
double visible_pairs(const AttentionForward& arguments);

GTA_KERNEL(void shared_map_attention_forward(const AttentionForward& arguments))
// The largest scaled score of a visible pair; reads q, k and document_starts alone. NaN when a score is.
GTA_KERNEL(double shared_map_attention_largest_score(const AttentionForward& arguments))
GTA_KERNEL(void shared_map_attention_backward(const AttentionBackward& arguments))

struct SharedMapAttentionOp {
  static constexpr const char* name = "shared_map_attention";
  AttentionShape shape;
  Tensor document_starts;
  CachedKeys keys = {};

  void check(const Tensor& q, const Tensor& k, const Tensor& v) const;
  Tensor forward(Saved& saved, const Tensor& q, const Tensor& k, const Tensor& v) const;
  void backward(const Saved& saved, std::span<Tensor> d_outputs, std::span<GradientSlot> d_inputs) const;
};

}  // namespace gta
