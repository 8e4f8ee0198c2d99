#include "layers/transformer/causal_lm.h"

#include <cmath>

#include "core/dtype_pair.h"
#include "core/elementwise.h"
#include "core/sum_of_squares.h"
#include "layers/cross_entropy/linear_cross_entropy.h"
#include "layers/embedding/embedding.h"
#include "layers/rope/rope.h"
#include "layers/swiglu/swiglu.h"

namespace gta {
namespace {

// Of the sum of both, computed where they are.
double root_mean_square(const Tensor& x, const Tensor& branch) {
  const Tensor sum = x.clone(Purpose::Workspace),
               squares = Tensor::empty({1}, DType::F64, x.device(), Purpose::Workspace);
  GTA_DISPATCH(sum.device(), add_into, sum, branch);
  GTA_DISPATCH(sum.device(), sum_of_squares, sum, squares, GradientMode::Overwrite);
  return std::sqrt(squares.to_vector<double>()[0] / static_cast<double>(std::max<int64_t>(sum.elements(), 1)));
}

const ModelConfig& checked(const ModelConfig& config) {
  std::string problems;
  for (const auto& [key, message] : problems_of(config))
    problems += (problems.empty() ? "model." : "; model.") + key + " " + message;
  require(problems.empty(), "model", "{}", problems);
  require(config.vocab_size > 0 && config.max_sequence_length > 0, "model",
          "vocab_size {} and max_sequence_length {} must be known", config.vocab_size, config.max_sequence_length);
  return config;
}

}  // namespace

DecoderBlock::DecoderBlock(ParameterSpace& space, const std::string& prefix, const ModelConfig& config)
    : input_norm_(space, prefix + "input_layernorm", config.hidden_size, config.norm_eps),
      attention_(make_attention(space, prefix + "self_attn.", config)),
      post_norm_(space, prefix + "post_attention_layernorm", config.hidden_size, config.norm_eps),
      gate_up_(space, prefix + "mlp.", {{"gate_proj", config.intermediate_size}, {"up_proj", config.intermediate_size}},
               config.hidden_size, Bias::None, config.initializer_range),
      down_(space, prefix + "mlp.", {{"down_proj", config.hidden_size}}, config.intermediate_size, Bias::None,
            config.initializer_range) {}

DecoderBlock::Stream DecoderBlock::forward(Tape& tape, const Stream& in, const AttentionContext& context) const {
  Tensor x = in.x, h;
  if (in.branch.defined()) {
    auto sum = input_norm_.forward(tape, in.x, in.branch);
    x = sum[0];
    h = sum[1];
  } else {
    h = input_norm_.forward(tape, x);
  }
  const Tensor attended =
      std::visit([&](const auto& attention) { return attention.forward(tape, h, context); }, attention_);
  const auto [stream, h2] = post_norm_.forward(tape, x, attended);
  return {stream, down_.forward(tape, tape.apply(SwigluOp{}, gate_up_.forward(tape, h2)))};
}

CausalLm::CausalLm(ParameterSpace& space, const ModelConfig& config)
    : config_(checked(config)),
      space_(space),
      embedding_(space.add({{"model.embed_tokens.weight",
                             {config.vocab_size, config.hidden_size},
                             Initializer::normal(config.initializer_range)}})),
      blocks_([&] {
        std::vector<DecoderBlock> blocks;
        for (int64_t i = 0; i < config.layers; ++i)
          blocks.emplace_back(space, fmt::format("model.layers.{}.", i), config);
        return blocks;
      }()),
      norm_(space, "model.norm", config.hidden_size, config.norm_eps) {
  if (!config.tie_embeddings)
    head_.emplace(space, "", std::vector<LinearPart>{{"lm_head", config.vocab_size}}, config.hidden_size, Bias::None,
                  config.initializer_range);
}

const Tensor& CausalLm::rope_table() const {
  if (!rope_table_.defined())
    rope_table_ = gta::rope_table(config_.max_sequence_length, config_.rope_dim(), config_.rope_theta, space_.dtype(),
                                  space_.device());
  return rope_table_;
}

Tensor CausalLm::hidden(Tape& tape, const Tensor& tokens, const Surroundings& surroundings) const {
  const auto& [document_starts, cache, place, probe] = surroundings;
  const Device device = space_.device();
  ensure(tokens.shape().rank() == 2 && tokens.dtype() == DType::I32, "model",
         "expected tokens int32 (batch, sequence), got {}", describe(tokens));
  const int64_t batch = tokens.shape()[0], sequence = tokens.shape()[1];
  const int64_t longest = place ? place->keys.most : sequence;
  require(longest <= config_.max_sequence_length, "model", "{} tokens are more than max_sequence_length {}", longest,
          config_.max_sequence_length);
  require_tokens(tokens, config_.vocab_size);
  DecoderBlock::Stream stream{tape.apply(EmbeddingOp{tokens.to(device, Purpose::Data)}, tape.use(*embedding_)), {}};
  const Tensor starts = document_starts.to(device, Purpose::Data);
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const AttentionContext context{
        batch, sequence, rope_table(), starts, cache ? &cache->layer(static_cast<int64_t>(i)) : nullptr, place, probe};
    if (probe) probe->blocks.emplace_back();
    if (tape.recompute() != Recompute::Block) {
      stream = blocks_[i].forward(tape, stream, context);
      if (probe) probe->blocks.back().stream_rms = root_mean_square(stream.x, stream.branch);
      continue;
    }
    std::vector<Tensor> in = {stream.x};
    if (stream.branch.defined()) in.push_back(stream.branch);
    const auto block = [&block = blocks_[i], context](Tape& inner, const std::vector<Tensor>& x) {
      const DecoderBlock::Stream out = block.forward(inner, {x[0], x.size() > 1 ? x[1] : Tensor{}}, context);
      return std::vector<Tensor>{out.x, out.branch};
    };
    const std::vector<Tensor> out = tape.checkpoint("block", block, in);
    stream = {out[0], out[1]};
  }
  return norm_.forward(tape, stream.x, stream.branch)[1];
}

CausalLm::Losses CausalLm::losses(Tape& tape, const Tensor& tokens, const Tensor& labels,
                                  const LossOptions& options) const {
  const Tensor h = hidden(tape, tokens, {.document_starts = options.document_starts});
  ensure(labels.dtype() == DType::I32, "model", "expected int32 labels, got {}", describe(labels));
  require_labels(labels, config_.vocab_size);
  const LinearCrossEntropyOp op{labels.to(space_.device(), Purpose::Data), options.label_weight, options.z_loss,
                                options.token_losses};
  const auto [total, cross_entropy] = tape.apply(op, h, tape.use(head()));
  return {total, cross_entropy};
}

Tensor CausalLm::loss(Tape& tape, const Tensor& tokens, const Tensor& labels, double label_weight,
                      const Tensor& document_starts) const {
  return losses(tape, tokens, labels, {.label_weight = label_weight, .document_starts = document_starts}).total;
}

Probe CausalLm::probe(const Tensor& tokens, const Tensor& document_starts) const {
  Probe probe;
  Tape tape(TapeMode::Inference);
  hidden(tape, tokens, {.document_starts = document_starts, .probe = &probe});
  return probe;
}

Tensor CausalLm::logits(const Tensor& tokens) const {
  Tape tape(TapeMode::Inference);
  return head_logits(hidden(tape, tokens, {}));
}

Tensor CausalLm::logits(const Tensor& tokens, std::span<const Rows> rows) const {
  int64_t count = 0, at = 0;
  for (const Rows& range : rows) count += range.count;
  Tape tape(TapeMode::Inference);
  const Tensor all = hidden(tape, tokens, {});
  const Tensor wanted = Tensor::empty({count, all.columns()}, all.dtype(), all.device());
  for (const Rows& range : rows) {
    wanted.row_slice(at, range.count).copy_from(all.row_slice(range.first, range.count));
    at += range.count;
  }
  return head_logits(wanted);
}

DecodingCache CausalLm::make_cache(int64_t sequences, int64_t capacity, DType dtype) const {
  ensure(one_arithmetic(dtype, space_.dtype()), "model", "a cache of {} does not go with compute in {}", name_of(dtype),
         name_of(space_.dtype()));
  return {cache_widths(config_), config_.layers, sequences, capacity, dtype, space_.device()};
}

Tensor CausalLm::decode(const Tensor& tokens, std::span<const int64_t> sequences, DecodingCache& cache) const {
  ensure(tokens.shape().rank() == 2 && tokens.shape()[0] == static_cast<int64_t>(sequences.size()), "model",
         "expected tokens ({}, count), got {}", sequences.size(), describe(tokens));
  const int64_t batch = tokens.shape()[0], count = tokens.shape()[1];
  const CachePlace place = cache.place(sequences, count);
  Tape tape(TapeMode::Inference);
  const Tensor h = hidden(tape, tokens, {.cache = &cache, .place = &place});
  cache.append(sequences, count);
  const int64_t width = h.columns();
  return head_logits(h.reshape({batch, count * width}).column_slice((count - 1) * width, width));
}

Tensor CausalLm::head_logits(const Tensor& hidden) const {
  Tensor logits = Tensor::empty({hidden.rows(), config_.vocab_size}, state_dtype(hidden.dtype()), hidden.device());
  if (head().int8) {
    Tensor x = hidden;
    if (x.dtype() != logits.dtype()) {
      x = Tensor::empty({hidden.rows(), hidden.columns()}, logits.dtype(), hidden.device());
      GTA_DISPATCH(x.device(), convert, x, hidden);
    }
    multiply(x, *head().int8, {}, logits);
    return logits;
  }
  gemm({.a = hidden, .b = head().value, .transpose_b = Transpose::Yes, .c = logits});
  return logits;
}

}  // namespace gta
