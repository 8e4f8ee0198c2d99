#include "launch/evaluate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "core/io/file.h"
#include "core/log.h"
#include "data/input_file.h"
#include "data/shards.h"
#include "launch/commands/commands.h"
#include "launch/config/config.h"
#include "launch/loaded_model.h"
#include "launch/npy.h"
#include "launch/tasks/few_shot.h"
#include "launch/tasks/task_scores.h"

namespace gta {
namespace {

// Sequences that are computed at once.
constexpr int64_t kBatch = 8;

// Options that would change nothing are mistakes.
void check_options(const EvalCommand& command) {
  const int given = !command.text.empty() + !command.data.empty() + !command.tokens.empty() + !command.task.empty();
  require(given <= 1, "eval", "expected one of --text FILE, --data SHARDS, --tokens IN.npy, --task FILE, not several");
  require(!command.task.empty() || (command.task_type.empty() && command.task_fields.empty()), "eval",
          "--task-type and --task-fields are for --task FILE: leave them out");
  require(!command.task.empty() || (command.few_shot == 0 && command.few_shot_from.empty()), "eval",
          "--few-shot and --few-shot-from are for --task FILE: leave them out");
  require((command.few_shot == 0) == command.few_shot_from.empty(), "eval",
          "--few-shot N and --few-shot-from FILE go together");
  require(command.task.empty() || (command.window == 0 && command.stride == 0), "eval",
          "--window and --stride are for --text and --data: an item of --task sees as much as the model does");
  require(command.stride == 0 || command.tokens.empty(), "eval", "--stride is for --text and --data: leave it out");
  require(command.stride == 0 || !command.has_most_tokens, "eval",
          "--stride scores all there is: leave --max-tokens out, whose windows have gaps between them");
  require(!command.by_position || (command.task.empty() && command.tokens.empty()), "eval",
          "--by-position is for --text and --data: leave it out");
  require(command.tokens.empty() == command.logits_out.empty(), "eval",
          "--tokens IN.npy and --logits-out OUT.npy go together");
  require(!command.has_most_tokens || (command.text.empty() && command.tokens.empty()), "eval",
          "--max-tokens is for --data SHARDS, or the validation set: leave it out");
  if (!command.task.empty()) {
    require(!command.has_most_tokens, "eval", "--max-tokens is for --data SHARDS, or the validation set: leave it out");
    refuse_override(command.overrides, "data.document_mask", "changes nothing of --task: every item is one document");
    return;
  }
  if (command.tokens.empty()) {
    if (command.window == 0)
      refuse_override(command.overrides, "model.max_sequence_length",
                      "changes nothing: a window has data.sequence_length tokens; give --window N for longer ones");
    return;
  }
  require(command.window == 0, "eval",
          "--window is for --text and --data: the rows of {} are what --logits-out sees at once", command.tokens);
  require(command.output == Output::Text, "eval", "--json says nothing beside --logits-out: leave it out");
  refuse_override(command.overrides, "data.document_mask",
                  "changes nothing of --logits-out: every row is one document");
}

// Tokens that are scored with one context.
int64_t window_of(const EvalCommand& command, const RunConfig& config) {
  if (command.window == 0) return config.data.sequence_length;
  require(command.window <= config.model.max_sequence_length, "eval",
          "--window {} is more than model.max_sequence_length {}: raise that with --set model.max_sequence_length={}",
          command.window, config.model.max_sequence_length, command.window);
  return command.window;
}

// Without --data: what the run itself was validated on, whole.
std::vector<std::string> shards_of(const EvalCommand& command, const RunConfig& config) {
  if (!command.data.empty()) {
    warn_of_missing_shards(command.data);
    return command.data;
  }
  require(!config.data.validation.empty(), "eval",
          "the run has no validation set (data.validation): expected --data SHARDS or --text FILE");
  for (const std::string& path : config.data.validation)
    require(exists(path), "eval", "the run's validation set is not there any more: {}; say where it is with --data",
            path);
  return config.data.validation;
}

void write_logits(const LoadedModel& loaded, const EvalCommand& command) {
  const NpyArray<int32_t> tokens = read_npy_int32(command.tokens);
  require(tokens.shape.size() == 2, "eval", "{} has {} dimensions: expected (batch, sequence)", command.tokens,
          tokens.shape.size());
  const int64_t batch = tokens.shape[0], sequence = tokens.shape[1], vocab = loaded.config.model.vocab_size;
  NpyArray<float> logits{{batch, sequence, vocab}, {}};
  for (int64_t b = 0; b < batch; ++b) {
    const std::vector<int32_t> row(tokens.values.begin() + b * sequence, tokens.values.begin() + (b + 1) * sequence);
    const Tensor out = loaded.model->logits(Tensor::from<int32_t>({1, sequence}, row));
    for (double value : to_doubles(out)) logits.values.push_back(static_cast<float>(value));
  }
  write_npy(command.logits_out, logits);
}

// What of --task-fields and --task-type contradicts each other, or the file.
void check_task(const EvalCommand& command, TaskFields fields) {
  require(command.task_type.empty() || command.task_type == name_of(type_of(fields)), "eval",
          "--task-type {} does not go with the fields of {}, whose type is {}", command.task_type, name_of(fields),
          name_of(type_of(fields)));
}

void add_mean(nlohmann::ordered_json& json, const std::string& name, const Mean& mean) {
  json[name] = mean.value;
  json[name + "_stderr"] = nullptr;
  if (!std::isnan(mean.standard_error)) json[name + "_stderr"] = mean.standard_error;
}

std::string mean_text(const char* name, const Mean& mean) {
  return fmt::format("{} {:.4f}{}", name, mean.value,
                     std::isnan(mean.standard_error) ? "" : fmt::format(" +- {:.4f}", mean.standard_error));
}

void evaluate_task(const EvalCommand& command) {
  const std::optional<TaskFields> named =
      command.task_fields.empty() ? std::nullopt : task_fields_named(command.task_fields);
  if (named) check_task(command, *named);
  Task task = read_task(command.task, named);
  check_task(command, task.fields);
  if (command.few_shot > 0)
    add_examples(task, read_task(command.few_shot_from, task.fields), command.few_shot, command.few_shot_from);
  const LoadedModel loaded = load_model(command.checkpoint, command.device, command.overrides);
  if (!loaded.tokenizer.gives_text_back())
    log::warning(
        "this tokenizer may lose text (characters without a piece, or normalised): choices may look alike to the "
        "model");
  const TaskResult result = evaluate_task(*loaded.model, loaded.tokenizer, task);
  if (result.cut > 0)
    log::warning("{} texts are longer than the model's {} tokens: their beginning was cut off", result.cut,
                 loaded.config.model.max_sequence_length);
  const bool last_word = type_of(task.fields) == TaskType::LastWord;
  std::vector<std::pair<const char*, Mean>> means = {{"acc", result.acc}};
  if (last_word)
    means.emplace_back("perplexity", result.perplexity);
  else
    means.insert(means.end(),
                 {{"acc_norm", result.acc_norm}, {"acc_bytes", result.acc_bytes}, {"acc_tokens", result.acc_tokens}});
  if (command.output == Output::Json) {
    nlohmann::ordered_json json = {
        {"fields", name_of(task.fields)}, {"type", name_of(type_of(task.fields))}, {"items", result.items}};
    for (const auto& [name, mean] : means) add_mean(json, name, mean);
    fmt::print("{}\n", json.dump());
    return;
  }
  std::string text;
  for (const auto& [name, mean] : means) text += ", " + mean_text(name, mean);
  fmt::print("{} of {} items{}\n", name_of(task.fields), result.items, text);
}

void print_json(const EvaluationResult& result, const EvaluationSet& set, const EvalCommand& command) {
  nlohmann::ordered_json json = {
      {"loss", result.loss},     {"perplexity", result.perplexity()},    {"bits_per_byte", result.bits_per_byte()},
      {"tokens", result.tokens}, {"tokens_in_all", set.tokens_in_all()}, {"bytes", result.bytes}};
  if (command.by_position)
    for (const LossBreakdown::Bucket& bucket : result.breakdown.buckets())
      json["by_position"].push_back({{"name", bucket.name()}, {"tokens", bucket.tokens}, {"loss", bucket.loss}});
  fmt::print("{}\n", json.dump());
}

void print_text(const EvaluationResult& result, const EvaluationSet& set, const EvalCommand& command) {
  fmt::print(
      "loss {:.5f} nats a token, perplexity {:.3f}, {:.5f} bits per byte ({} tokens{}, {} bytes)\n", result.loss,
      result.perplexity(), result.bits_per_byte(), result.tokens,
      set.tokens_in_all() > result.tokens ? fmt::format(" of {}, in windows all over them", set.tokens_in_all()) : "",
      result.bytes);
  if (!command.by_position) return;
  fmt::print("{:<24} {:>10} {:>12}\n", "", "loss", "tokens");
  for (const LossBreakdown::Bucket& bucket : result.breakdown.buckets())
    fmt::print("{:<24} {:>10.5f} {:>12}\n", bucket.name(), bucket.loss, bucket.tokens);
}

}  // namespace

int run_eval(const EvalCommand& command) {
  check_options(command);
  if (!command.logits_out.empty()) output_file(command.logits_out, {command.tokens, command.checkpoint});
  for (const std::string& path : {command.text, command.tokens, command.task, command.few_shot_from})
    if (!path.empty()) require_input_file(path);
  if (!command.task.empty()) {
    evaluate_task(command);
    return 0;
  }
  const LoadedModel loaded = load_model(command.checkpoint, command.device, command.overrides);
  if (!command.tokens.empty()) {
    write_logits(loaded, command);
    return 0;
  }
  const int64_t sequence = window_of(command, loaded.config),
                batch = std::clamp<int64_t>(kBatch * loaded.config.data.sequence_length / sequence, 1, kBatch);
  require(command.stride <= sequence, "eval", "--stride {} is more than a window's {} tokens: some would not be scored",
          command.stride, sequence);
  EvaluationSet set = command.text.empty() ? EvaluationSet::from_shards(shards_of(command, loaded.config),
                                                                        loaded.tokenizer, sequence, command.most_tokens)
                                           : EvaluationSet::from_files({command.text}, {}, loaded.tokenizer, sequence);
  if (command.stride > 0) set = set.with_stride(std::min(command.stride, set.sequence_length()));
  require(set.scored_tokens() > 0, "eval", "there is no text to score");
  if (!set.lost_text().empty())
    log::warning("{}; the loss knows nothing of what is lost, bits per byte count all bytes", set.lost_text());
  else if (command.text.empty() && !loaded.tokenizer.gives_text_back())
    log::warning(
        "this tokenizer may lose text (characters without a piece, or normalised): the loss knows nothing of it, bits "
        "per byte count all bytes");
  const EvaluationResult result =
      evaluate(*loaded.model, set, batch, loaded.config.data.document_mask ? DocumentMask::On : DocumentMask::Off);
  (command.output == Output::Json ? print_json : print_text)(result, set, command);
  return 0;
}

}  // namespace gta
