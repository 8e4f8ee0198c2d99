// The causal language model: embedding, pre-norm decoder blocks, final norm, head (tied to the embedding or its own).
//
//   x_0 = embed(tokens)
//   per block:   h = norm(x);  x' = x + attention(h);  h' = norm(x');  x'' = x' + down(silu(gate(h')) * up(h'))
//   logits = norm(x) W_head^T
//
// The residual addition of each branch is fused into the norm that follows it, so a block takes the stream and the last
// branch's output apart and gives them back apart.
#pragma once

#include <optional>
#include <span>

#include "layers/attention/attention.h"
#include "layers/linear/linear.h"
#include "layers/rms_norm/rms_norm.h"
#include "layers/transformer/model_config.h"

namespace gta {

class DecoderBlock {
 public:
  DecoderBlock(ParameterSpace& space, const std::string& prefix, const ModelConfig& config);
  struct Stream {
    Tensor x, branch;  // branch undefined before the first block: nothing to add yet
  };
  Stream forward(Tape& tape, const Stream& in, const AttentionContext& context) const;

 private:
  RmsNorm input_norm_;
  Attention attention_;
  RmsNorm post_norm_;
  Linear gate_up_, down_;
};

class CausalLm {
 public:
  // Declares the parameters; they get memory with space.allocate(). Error(BadInput) when the configuration has
  // problems.
  CausalLm(ParameterSpace& space, const ModelConfig& config);

  const ModelConfig& config() const { return config_; }
  Device device() const { return space_.device(); }
  DType dtype() const { return space_.dtype(); }  // of compute
  // The embedding where the head has a matrix of its own: no product reads it. Else nullptr.
  const Weight* only_looked_up() const { return head_ ? embedding_ : nullptr; }

  // Inputs may lie on the host, where they are checked, or on the model's device, where they are not.
  // tokens int32 (batch, sequence), labels the same (kIgnoredLabel: no loss), document_starts int32 (batch * sequence)
  // or undefined. total float64 (1): cross_entropy plus the z-loss term. cross_entropy float64 (1): label_weight times
  // the sum over labels, in nats. With a recording tape the gradient of the head is already added; tape.backward(total)
  // makes the others.
  struct Losses {
    Tensor total, cross_entropy;
  };
  struct LossOptions {
    double label_weight = 1;  // 1 / labels of the whole global batch
    double z_loss = 0;
    Tensor document_starts = {};
    // float64 (batch * sequence, 2) on the model's device: receives what total and cross_entropy are the sums of, 0
    // where a token has no label; or undefined
    Tensor token_losses = {};
  };
  Losses losses(Tape& tape, const Tensor& tokens, const Tensor& labels, const LossOptions& options) const;
  // Without z-loss: total and cross-entropy are one.
  Tensor loss(Tape& tape, const Tensor& tokens, const Tensor& labels, double label_weight,
              const Tensor& document_starts = {}) const;
  // What the forward pass of some tokens looks like inside.
  Probe probe(const Tensor& tokens, const Tensor& document_starts = {}) const;
  // (batch * sequence, vocab) without a cache; float32 from a bfloat16 model.
  Tensor logits(const Tensor& tokens) const;
  // Of these rows alone, range after range; no others are computed.
  struct Rows {
    int64_t first, count;
  };
  Tensor logits(const Tensor& tokens, std::span<const Rows> rows) const;
  // With room for `capacity` tokens of each of `sequences` sequences, where the model is, in the dtype of compute, or
  // in float32 beside bfloat16 and the other way round.
  DecodingCache make_cache(int64_t sequences, int64_t capacity, DType dtype) const;
  // Appends tokens (batch, count) to these sequences of the cache, one row to each, and gives the logits of the last
  // token of each (batch, vocab). Other sequences are left alone.
  Tensor decode(const Tensor& tokens, std::span<const int64_t> sequences, DecodingCache& cache) const;

 private:
  // Of a forward pass: documents, or a cache and the place of the tokens there, or what looks inside.
  struct Surroundings {
    Tensor document_starts = {};
    const DecodingCache* cache = nullptr;
    const CachePlace* place = nullptr;
    Probe* probe = nullptr;
  };
  Tensor hidden(Tape& tape, const Tensor& tokens, const Surroundings& surroundings) const;
  Tensor head_logits(const Tensor& hidden) const;
  const Weight& head() const { return head_ ? head_->weight() : *embedding_; }
  const Tensor& rope_table() const;

  ModelConfig config_;
  const ParameterSpace& space_;
  const Weight* embedding_;
  std::vector<DecoderBlock> blocks_;
  RmsNorm norm_;
  std::optional<Linear> head_;
  mutable Tensor rope_table_;
};

}  // namespace gta
