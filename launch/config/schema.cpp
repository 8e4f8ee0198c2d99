#include "launch/config/schema.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "launch/config/file_pattern.h"
#include "optim/schedule.h"

namespace gta {
namespace {

constexpr double kMany = 1e15;

// Each helper binds a key to the field that `field` returns.
template <class T>
using Field = T& (*)(RunConfig&);

template <class T>
void bind(ConfigKey& key, Field<T> field) {
  key.set = [field](RunConfig& config, const ConfigValue& value) { field(config) = std::get<T>(value); };
  key.get = [field](const RunConfig& config) { return ConfigValue(field(const_cast<RunConfig&>(config))); };
}

ConfigKey integer(std::string path, std::string help, double least, double most, Field<int64_t> field,
                  OnResume resume = OnResume::Fixed) {
  ConfigKey key{std::move(path), KeyType::Integer, std::move(help), resume, least, most};
  bind(key, field);
  return key;
}
ConfigKey count(std::string path, std::string help, Field<int64_t> field, OnResume resume = OnResume::Fixed) {
  ConfigKey key = integer(std::move(path), std::move(help), 0, kMany, field, resume);
  key.type = KeyType::Count;
  return key;
}
enum class Lower : uint8_t { Included, Excluded };
ConfigKey real(std::string path, std::string help, double least, Lower lower, double most, Field<double> field,
               OnResume resume = OnResume::Fixed) {
  ConfigKey key{std::move(path), KeyType::Real, std::move(help), resume, least, most, lower == Lower::Excluded};
  bind(key, field);
  return key;
}
ConfigKey boolean(std::string path, std::string help, Field<bool> field, OnResume resume = OnResume::Fixed) {
  ConfigKey key{std::move(path), KeyType::Boolean, std::move(help), resume};
  bind(key, field);
  return key;
}
ConfigKey text(std::string path, KeyType type, std::string help, Field<std::string> field,
               OnResume resume = OnResume::Fixed) {
  ConfigKey key{std::move(path), type, std::move(help), resume};
  bind(key, field);
  return key;
}
ConfigKey list(std::string path, KeyType type, std::string help, Field<std::vector<std::string>> field,
               OnResume resume = OnResume::Fixed) {
  ConfigKey key{std::move(path), type, std::move(help), resume};
  bind(key, field);
  return key;
}
ConfigKey sources(std::string path, std::string help, Field<std::vector<DataSource>> field) {
  ConfigKey key{std::move(path), KeyType::SourceList, std::move(help), OnResume::Place};
  bind(key, field);
  return key;
}
// name_of() of the values is how they are spelt.
template <class E>
ConfigKey choice(std::string path, std::string help, std::vector<E> values, std::vector<std::string> known,
                 Field<E> field, OnResume on_resume = OnResume::Fixed) {
  ConfigKey key{std::move(path), KeyType::Choice, std::move(help), on_resume};
  for (E value : values) key.choices.push_back(name_of(value));
  key.known = std::move(known);
  key.set = [values, field](RunConfig& config, const ConfigValue& value) {
    for (E candidate : values)
      if (std::get<std::string>(value) == name_of(candidate)) field(config) = candidate;
  };
  key.get = [field](const RunConfig& config) {
    return ConfigValue(std::string(name_of(field(const_cast<RunConfig&>(config)))));
  };
  return key;
}
// A key with one possible value, which nothing has to remember.
ConfigKey only(std::string path, std::string help, std::string value, std::vector<std::string> known) {
  ConfigKey key{std::move(path), KeyType::Choice, std::move(help)};
  key.choices = {value};
  key.known = std::move(known);
  key.set = [](RunConfig&, const ConfigValue&) {};
  key.get = [value](const RunConfig&) { return ConfigValue(value); };
  return key;
}
ConfigKey used_by(std::vector<std::string> types, ConfigKey key) {
  key.used_by = std::move(types);
  return key;
}
// Of a type of attention: 0 is "not given".
ConfigKey of_attention(std::vector<std::string> types, std::string name, std::string help, double most,
                       Field<int64_t> field) {
  return used_by(std::move(types), integer("model.attention." + name, help + "; 0: not given", 0, most, field));
}

std::vector<ConfigKey> make_keys() {
  constexpr auto may = OnResume::MayChange;
  std::vector<ConfigKey> keys = {
      text(
          "name", KeyType::Text, "the run's name; its folder is runs/NAME",
          [](RunConfig& c) -> std::string& { return c.name; }, may),
      integer("seed", "of the initial weights, the order of the data and the samples", 0, 9e15,
              [](RunConfig& c) -> int64_t& { return c.seed; }),

      integer("model.hidden_size", "width of the residual stream", 1, 1 << 20,
              [](RunConfig& c) -> int64_t& { return c.model.hidden_size; }),
      integer("model.layers", "decoder blocks", 1, 10000, [](RunConfig& c) -> int64_t& { return c.model.layers; }),
      integer("model.intermediate_size", "width of the MLP", 1, 1 << 22,
              [](RunConfig& c) -> int64_t& { return c.model.intermediate_size; }),
      integer("model.heads", "attention heads", 1, 65536, [](RunConfig& c) -> int64_t& { return c.model.heads; }),
      used_by({"mha", "mqa", "gqa", "gva", "gha", "gta"},
              integer("model.head_dim", "width of a head; even; 0: not given", 0, 65536,
                      [](RunConfig& c) -> int64_t& { return c.model.head_dim; })),
      integer("model.vocab_size", "tokens the model knows; 0: the tokenizer's, rounded up to vocab_multiple", 0,
              1 << 24, [](RunConfig& c) -> int64_t& { return c.model.vocab_size; }),
      integer("model.vocab_multiple", "what a vocab_size of 0 is rounded up to", 1, 65536,
              [](RunConfig& c) -> int64_t& { return c.model.vocab_multiple; }),
      integer("model.max_sequence_length", "tokens the model can see; 0: data.sequence_length", 0, 1 << 24,
              [](RunConfig& c) -> int64_t& { return c.model.max_sequence_length; }),
      real("model.rope_theta", "base of the rotary position embedding", 1, Lower::Excluded, 1e12,
           [](RunConfig& c) -> double& { return c.model.rope_theta; }),
      // Its root's third power has to be a number in float32.
      real("model.norm_eps", "added to the mean square in RMSNorm", 1e-20, Lower::Included, 1,
           [](RunConfig& c) -> double& { return c.model.norm_eps; }),
      boolean("model.tie_embeddings", "the head is the embedding",
              [](RunConfig& c) -> bool& { return c.model.tie_embeddings; }),
      real("model.initializer_range", "standard deviation of the initial matrices", 0, Lower::Excluded, 10,
           [](RunConfig& c) -> double& { return c.model.initializer_range; }),

      choice<AttentionType>("model.attention.type", "the one key that an ablation changes",
                            {AttentionType::Mha, AttentionType::Mqa, AttentionType::Gqa, AttentionType::Mla,
                             AttentionType::Gva, AttentionType::Gha, AttentionType::Gta},
                            {}, [](RunConfig& c) -> AttentionType& { return c.model.attention.type; }),
      of_attention({"gta", "gva", "gha"}, "query_heads", "attention maps; divides heads", 65536,
                   [](RunConfig& c) -> int64_t& { return c.model.attention.query_heads; }),
      of_attention({"gta", "gva", "gha"}, "key_heads", "divides query_heads", 65536,
                   [](RunConfig& c) -> int64_t& { return c.model.attention.key_heads; }),
      of_attention({"gta"}, "latent_heads", "compressed value heads; divides query_heads", 65536,
                   [](RunConfig& c) -> int64_t& { return c.model.attention.latent_heads; }),
      of_attention({"gta"}, "latent_dim", "width of a latent head; divides heads / query_heads * head_dim", 1 << 20,
                   [](RunConfig& c) -> int64_t& { return c.model.attention.latent_dim; }),
      used_by({"gta"}, choice<ValueDecoderType>(
                           "model.attention.value_decoder", "copies of the latent with or without a learned part",
                           {ValueDecoderType::DirectLearned, ValueDecoderType::Direct}, {},
                           [](RunConfig& c) -> ValueDecoderType& { return c.model.attention.value_decoder; })),
      used_by({"gta"}, choice<GateType>("model.attention.gate", "what the decoded value is multiplied with",
                                        {GateType::Sigmoid, GateType::Silu, GateType::Relu2}, {},
                                        [](RunConfig& c) -> GateType& { return c.model.attention.gate; })),
      of_attention({"gqa"}, "kv_heads", "key and value heads; divides heads", 65536,
                   [](RunConfig& c) -> int64_t& { return c.model.attention.kv_heads; }),
      used_by({"mha", "mqa", "gqa", "gva", "gha", "gta"},
              boolean("model.attention.qkv_bias", "biases on q, k, v (and g)",
                      [](RunConfig& c) -> bool& { return c.model.attention.qkv_bias; })),
      of_attention({"gha"}, "value_heads", "values that the maps share; a multiple of heads / query_heads", 65536,
                   [](RunConfig& c) -> int64_t& { return c.model.attention.value_heads; }),
      of_attention({"mla"}, "kv_lora_rank", "width of the latent of keys and values", 1 << 20,
                   [](RunConfig& c) -> int64_t& { return c.model.attention.kv_lora_rank; }),
      of_attention({"mla"}, "nope_dim", "part of a head without position", 1 << 20,
                   [](RunConfig& c) -> int64_t& { return c.model.attention.nope_dim; }),
      of_attention({"mla"}, "rope_dim", "part of a head with position; even", 1 << 20,
                   [](RunConfig& c) -> int64_t& { return c.model.attention.rope_dim; }),
      of_attention({"mla"}, "value_dim", "width of a value head", 1 << 20,
                   [](RunConfig& c) -> int64_t& { return c.model.attention.value_dim; }),

      text(
          "data.tokenizer", KeyType::Path, "a sentencepiece model",
          [](RunConfig& c) -> std::string& { return c.data.tokenizer; }, OnResume::Place),
      sources("data.train",
              "token shards, globs (`*`, `?`, `[a-z]`; after a backslash the character itself) are expanded and "
              "sorted; or sources whose samples are mixed in the ratio of their weights, of any sum (shares in no "
              "simple ratio "
              "are rounded to 2^-20)",
              [](RunConfig& c) -> std::vector<DataSource>& { return c.data.train; }),
      list(
          "data.validation", KeyType::PathList, "token shards to evaluate on; may be empty",
          [](RunConfig& c) -> std::vector<std::string>& { return c.data.validation; }, may),
      integer("data.sequence_length", "tokens of a training sample's input", 1, 1 << 24,
              [](RunConfig& c) -> int64_t& { return c.data.sequence_length; }),
      boolean("data.windows_across_shards",
              "a sample may begin in one shard and end in the next of its source, so that no shard is too short; "
              "false: samples lie within shards",
              [](RunConfig& c) -> bool& { return c.data.windows_across_shards; }),
      boolean("data.document_mask",
              "tokens see their own document only, whose positions begin at 0; also in evaluation",
              [](RunConfig& c) -> bool& { return c.data.document_mask; }),

      only("optimizer.type", "AdamW, decoupled decay", "adamw", {}),
      real(
          "optimizer.learning_rate",
          "the largest one; lowered on resume, a run whose newest checkpoints are not sound goes back behind them", 0,
          Lower::Excluded, 100, [](RunConfig& c) -> double& { return c.optimizer.learning_rate; }, may),
      {"optimizer.betas", KeyType::RealPair, "decay of the two moments", may, 0, 0.9999999},
      // What no gradient has reached is divided by it, in float32.
      real(
          "optimizer.eps", "added to the root of the second moment", 1e-30, Lower::Included, 1,
          [](RunConfig& c) -> double& { return c.optimizer.eps; }, may),
      real(
          "optimizer.weight_decay", "matrices only: not norms, not biases", 0, Lower::Included, 10,
          [](RunConfig& c) -> double& { return c.optimizer.weight_decay; }, may),
      real(
          "optimizer.clip_norm", "largest global norm of the gradients; 0: no clipping", 0, Lower::Included, 1e6,
          [](RunConfig& c) -> double& { return c.optimizer.clip_norm; }, may),
      choice<ScheduleType>(
          "optimizer.schedule.type", "of the learning rate after warm-up",
          {ScheduleType::Cosine, ScheduleType::Linear, ScheduleType::Constant, ScheduleType::Wsd}, {},
          [](RunConfig& c) -> ScheduleType& { return c.optimizer.schedule.type; }, may),
      integer(
          "optimizer.schedule.steps",
          "length of the schedule, warm-up included; after it the learning rate stays at its last; 0: train.steps", 0,
          kMany, [](RunConfig& c) -> int64_t& { return c.optimizer.schedule.steps; }, may),
      integer(
          "optimizer.schedule.warmup_steps", "steps of linear warm-up; the last of them has the largest learning rate",
          0, kMany, [](RunConfig& c) -> int64_t& { return c.optimizer.schedule.warmup_steps; }, may),
      real(
          "optimizer.schedule.warmup_fraction",
          "warm-up as a part of the schedule's steps, rounded up, instead of warmup_steps; 0: not given", 0,
          Lower::Included, 1, [](RunConfig& c) -> double& { return c.optimizer.schedule.warmup_fraction; }, may),
      integer(
          "optimizer.schedule.decay_steps", "wsd: length of the final decay, the last step included", 0, kMany,
          [](RunConfig& c) -> int64_t& { return c.optimizer.schedule.decay_steps; }, may),
      real(
          "optimizer.schedule.final_ratio",
          "the learning rate of the last step over the largest, which the first step after warm-up has; a constant "
          "schedule has none",
          0, Lower::Included, 1, [](RunConfig& c) -> double& { return c.optimizer.schedule.final_ratio; }, may),

      integer(
          "train.steps", "length of the run; or tokens", 0, kMany,
          [](RunConfig& c) -> int64_t& { return c.train.steps; }, may),
      count(
          "train.tokens", "length of the run in tokens, instead of steps; 0: not given",
          [](RunConfig& c) -> int64_t& { return c.train.tokens; }, may),
      integer(
          "train.global_batch_size", "sequences of one step, over all ranks", 1, 1 << 24,
          [](RunConfig& c) -> int64_t& { return c.train.global_batch_size; }, may),
      integer(
          "train.micro_batch_size",
          "sequences that a rank computes at once; times the number of ranks it divides global_batch_size; auto: the "
          "largest that fits into memory, and on resume the one before where it fits",
          1, 1 << 20, [](RunConfig& c) -> int64_t& { return c.train.micro_batch_size; }, may),
      choice<DType>(
          "train.dtype",
          "of compute; bfloat16 keeps float32 masters, so a run may change between the two; float64 is for checking",
          {DType::F32, DType::BF16, DType::F64}, {}, [](RunConfig& c) -> DType& { return c.train.dtype; }, may),
      choice<Sharding>(
          "train.sharding",
          "which masters and moments each of several ranks keeps and updates: optimizer: its share; none: all",
          {Sharding::Optimizer, Sharding::None}, {}, [](RunConfig& c) -> Sharding& { return c.train.sharding; }, may),
      integer(
          "train.bucket_mib",
          "MiB of float32 gradient that ranks add up at once, while backward goes on; auto: 32, with more ranks a "
          "power of "
          "two with at least one for each (gta plan --gpus names the fastest)",
          1, kLargestBucketMib, [](RunConfig& c) -> int64_t& { return c.train.bucket_mib; }, may),
      choice<GpuTransport>(
          "train.gpu_transport",
          "how the GPUs of several ranks speak to each other; auto: by NCCL where each rank has a GPU of its own; "
          "host: "
          "through the memory of their hosts, slower; the bits are the same",
          {GpuTransport::Auto, GpuTransport::Nccl, GpuTransport::Host}, {},
          [](RunConfig& c) -> GpuTransport& { return c.train.gpu_transport; }, may),
      integer(
          "train.verify_replicas_every_steps",
          "compares the weights of all ranks, and masters and moments with what the update before left; 0: never", 0,
          kMany, [](RunConfig& c) -> int64_t& { return c.train.verify_replicas_every_steps; }, may),
      choice<OnDamage>(
          "train.on_damage",
          "where memory has changed by itself, what was saved since it was seen to be right is set aside; stop: and "
          "the "
          "run ends, restore: and goes on from the checkpoint before",
          {OnDamage::Stop, OnDamage::Restore}, {}, [](RunConfig& c) -> OnDamage& { return c.train.on_damage; }, may),
      integer(
          "train.hang_timeout_seconds",
          "when nothing has moved on several ranks for so long, it is said who hangs, and the job ends; 0: never", 0,
          1e6, [](RunConfig& c) -> int64_t& { return c.train.hang_timeout_seconds; }, may),
      text(
          "train.watchdog_interface", KeyType::Text,
          "network interface or address on which rank 0 hears from the others whether they live; all: on every one",
          [](RunConfig& c) -> std::string& { return c.train.watchdog_interface; }, may),
      only("train.deterministic", "the same configuration gives the same bits", "true", {"false"}),
      choice<Recompute>(
          "train.recompute",
          "what backward computes again instead of keeping: norms, SwiGLU and gates, or whole blocks",
          {Recompute::None, Recompute::Elementwise, Recompute::Block}, {},
          [](RunConfig& c) -> Recompute& { return c.train.recompute; }, may),
      integer(
          "train.evaluate_every_steps", "0: only at the end", 0, kMany,
          [](RunConfig& c) -> int64_t& { return c.train.evaluate_every_steps; }, may),
      integer(
          "train.sample_every_steps", "0: only before and after", 0, kMany,
          [](RunConfig& c) -> int64_t& { return c.train.sample_every_steps; }, may),
      integer(
          "train.checkpoint.every_steps", "0: only at the end and when stopped", 0, kMany,
          [](RunConfig& c) -> int64_t& { return c.train.checkpoint.every_steps; }, may),
      integer(
          "train.checkpoint.keep", "newest checkpoints that stay", 1, 1e6,
          [](RunConfig& c) -> int64_t& { return c.train.checkpoint.keep; }, may),
      integer(
          "train.checkpoint.keep_every_steps", "those at multiples of this stay for good; 0: none", 0, kMany,
          [](RunConfig& c) -> int64_t& { return c.train.checkpoint.keep_every_steps; }, may),
      boolean(
          "train.checkpoint.asynchronous", "write while training goes on",
          [](RunConfig& c) -> bool& { return c.train.checkpoint.asynchronous; }, may),
      real(
          "train.z_loss",
          "times the squared logsumexp of the logits, added to the loss that is minimised (not to the one reported)", 0,
          Lower::Included, 1, [](RunConfig& c) -> double& { return c.train.z_loss; }, may),
      integer(
          "train.diagnose_every_steps",
          "norms of gradients, weights and activations, what attention maps look like, ranks of keys and values, by "
          "layer "
          "(docs/metrics.md); 0: never",
          0, kMany, [](RunConfig& c) -> int64_t& { return c.train.diagnose_every_steps; }, may),
      integer(
          "train.log_every_steps", "lines without a terminal", 1, kMany,
          [](RunConfig& c) -> int64_t& { return c.train.log_every_steps; }, may),
      count(
          "train.validation_tokens",
          "scored at each evaluation, always the same: windows at equal distances all over the set; 0: all",
          [](RunConfig& c) -> int64_t& { return c.train.validation_tokens; }, may),
      list(
          "train.sample_prompts", KeyType::TextList, "continued before, during and after training",
          [](RunConfig& c) -> std::vector<std::string>& { return c.train.sample_prompts; }, may),
      integer(
          "train.sample_tokens", "tokens of one sample", 1, 1 << 20,
          [](RunConfig& c) -> int64_t& { return c.train.sample_tokens; }, may),
      integer(
          "train.max_skipped_steps", "steps in a row that may be skipped because they are not finite", 1, kMany,
          [](RunConfig& c) -> int64_t& { return c.train.max_skipped_steps; }, may),
      text(
          "train.init_from", KeyType::Path,
          "a checkpoint whose weights start this run, with a new optimizer and schedule; none: random",
          [](RunConfig& c) -> std::string& { return c.train.init_from; }, may),
  };
  for (ConfigKey& key : keys) {
    if (key.path == "train.micro_batch_size" || key.path == "train.bucket_mib") key.word = "auto";
    for (const char* required : {"name", "model.hidden_size", "model.layers", "model.intermediate_size", "model.heads",
                                 "data.tokenizer", "data.train", "data.sequence_length", "train.global_batch_size"})
      if (key.path == required) key.when_absent = "required";
    if (key.path == "train.steps") key.when_absent = "required, or train.tokens";
    if (key.path == "train.micro_batch_size") key.when_absent = "a rank's part of global_batch_size";
    if (key.path == "optimizer.betas") {
      key.set = [](RunConfig& c, const ConfigValue& value) {
        c.optimizer.beta1 = std::get<std::vector<double>>(value)[0];
        c.optimizer.beta2 = std::get<std::vector<double>>(value)[1];
      };
      key.get = [](const RunConfig& c) {
        return ConfigValue(std::vector<double>{c.optimizer.beta1, c.optimizer.beta2});
      };
    }
  }
  return keys;
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (c == '\n')
      out += "\\n";
    else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F)
      out += fmt::format("\\x{:02x}", static_cast<unsigned>(c));
    else
      out += c;
  }
  return out + "\"";
}

std::string quoted_pattern(const std::string& path) { return quoted(pattern_of(path)); }

std::string number(double value) {
  std::string text = fmt::format("{}", value);
  return text.find_first_of(".e") == std::string::npos ? text + ".0" : text;
}

template <class T, class F>
std::string listed(const std::vector<T>& items, F&& show) {
  std::string text = "[";
  for (size_t i = 0; i < items.size(); ++i) text += (i ? ", " : "") + show(items[i]);
  return text + "]";
}

}  // namespace

const std::vector<ConfigKey>& config_keys() {
  static const std::vector<ConfigKey> keys = make_keys();
  return keys;
}

const ConfigKey* find_config_key(const std::string& path) {
  for (const ConfigKey& key : config_keys())
    if (key.path == path) return &key;
  return nullptr;
}

std::string type_text(const ConfigKey& key) {
  switch (key.type) {
    case KeyType::Boolean:
      return "true or false";
    case KeyType::Integer:
      return fmt::format("integer, {:.0f} to {:.0f}{}", key.least, key.most,
                         key.word.empty() ? "" : ", or " + key.word);
    case KeyType::Count:
      return "count of tokens: an integer, 1.5e9, 20k, 1.5M or 220B";
    case KeyType::Real:
      return fmt::format("number, {} {} to {}", key.above_least ? "above" : "from", key.least, key.most);
    case KeyType::Text:
      return "text";
    case KeyType::Choice:
      return fmt::format("one of {}", fmt::join(key.choices, ", "));
    case KeyType::Path:
      return "path";
    case KeyType::RealPair:
      return fmt::format("two numbers, from {} to {}", key.least, key.most);
    case KeyType::TextList:
      return "list of texts";
    case KeyType::PathList:
      return "list of paths";
    case KeyType::SourceList:
      return "list of paths, or of {shards: path or list of paths, weight: number above 0}";
  }
  return "";
}

std::string value_text(const ConfigKey& key, const ConfigValue& value) {
  if (key.type == KeyType::Choice) return std::get<std::string>(value);
  if (const auto* b = std::get_if<bool>(&value)) return *b ? "true" : "false";
  if (const auto* i = std::get_if<int64_t>(&value))
    return *i == -1 && !key.word.empty() ? key.word : std::to_string(*i);
  if (const auto* d = std::get_if<double>(&value)) return number(*d);
  if (const auto* s = std::get_if<std::string>(&value))
    return s->empty() && key.type == KeyType::Path ? "none" : quoted(*s);
  if (const auto* pair = std::get_if<std::vector<double>>(&value)) return listed(*pair, number);
  if (const auto* sources = std::get_if<std::vector<DataSource>>(&value)) {
    if (sources->empty()) return "[]";
    if (sources->size() == 1 && sources->front().weight == 1) return listed(sources->front().shards, quoted_pattern);
    return listed(*sources, [](const DataSource& s) {
      return fmt::format("{{shards: {}, weight: {}}}", listed(s.shards, quoted_pattern), number(s.weight));
    });
  }
  return listed(std::get<std::vector<std::string>>(value), key.type == KeyType::PathList ? quoted_pattern : quoted);
}

}  // namespace gta
