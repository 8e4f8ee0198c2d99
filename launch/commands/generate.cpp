// gta generate: a text that is continued, many at once, or in turn with a person.
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "core/error.h"
#include "core/io/file.h"
#include "core/log.h"
#include "data/input_file.h"
#include "launch/commands/commands.h"
#include "launch/generation/batch.h"
#include "launch/generation/interactive.h"
#include "launch/loaded_model.h"
#include "launch/sampling.h"
#include "launch/standard_output.h"

namespace gta {
namespace {

constexpr int64_t kBatchSize = 8;

// Options that would change nothing are mistakes.
void check_options(const GenerateCommand& command) {
  const int given = command.prompt.has_value() + !command.batch.empty() + command.interactive;
  require(given > 0, "", "'gta generate' needs --prompt (text to continue), --batch FILE or --interactive");
  require(given == 1, "generate", "expected one of --prompt TEXT, --batch FILE, --interactive, not several");
  const bool batch = !command.batch.empty();
  require(batch || command.out.empty(), "generate", "--out is for --batch FILE: leave it out");
  require(batch || !command.batch_size, "generate", "--batch-size is for --batch FILE: leave it out");
  require(command.prompt || command.samples == 1, "generate",
          "--samples is for --prompt; in a file of prompts give one several times, with the seeds wanted");
  require(command.samples == 1 || command.temperature > 0, "generate",
          "--samples {} at --temperature 0 would be the same text {} times: give a temperature", command.samples,
          command.samples);
  require(command.output == Output::Text || command.prompt, "generate",
          "--json is for --prompt; --batch always answers in JSON: leave it out");
  require(!command.log_probabilities || batch || command.output == Output::Json, "generate",
          "--logprobs is for --json or --batch FILE, where there is a place for them");
  refuse_override(command.overrides, "data.document_mask",
                  "changes nothing: the prompt and what follows are one document");
}

// Nothing is written over.
void check_new_file(const std::string& path) {
  require(!exists(path), "--out", "{} is there already: expected the name of a new file", path);
  output_file(path);
}

SamplingOptions sampling_of(const GenerateCommand& command) {
  SamplingOptions options;
  options.temperature = command.temperature;
  options.top_k = command.top_k;
  options.top_p = command.top_p;
  options.min_p = command.min_p;
  options.repetition_penalty = command.repetition_penalty;
  options.max_tokens = command.max_tokens;
  options.seed = static_cast<uint64_t>(command.seed);
  options.stop = command.stop;
  options.log_probabilities = command.log_probabilities ? LogProbabilities::OfPicked : LogProbabilities::None;
  return options;
}

void continue_prompt(const LoadedModel& loaded, const GenerateCommand& command, const CacheOptions& cached) {
  const SamplingOptions options = sampling_of(command);
  const std::string& prompt = *command.prompt;
  if (const std::string seen = loaded.tokenizer.decode(loaded.tokenizer.encode(prompt)); seen != prompt)
    log::warning("the tokenizer cannot give this prompt back: the model sees '{}'", seen);
  GenerationRequest request{prompt, {}, options};
  const auto generate = [&](const SampleListener& listener) {
    generate_samples(*loaded.model, loaded.tokenizer, prompt, options, command.samples, cached, listener);
  };
  if (command.output == Output::Json) {
    generate({.ends = [&](const Continuation& answer) {
      fmt::print("{}\n", answer_json(request, answer).dump());
      flush_stdout();
      ++request.options.seed;
    }});
    return;
  }
  generate({.begins =
                [&](int64_t sample) {
                  if (command.samples > 1)
                    fmt::print("--- sample {}, seed {}\n", sample + 1, options.seed + static_cast<uint64_t>(sample));
                  fmt::print("{}", prompt);
                },
            .emits =
                [](const std::string& piece) {
                  fmt::print("{}", piece);
                  flush_stdout();
                },
            .ends = [](const Continuation&) { fmt::print("\n"); }});
}

// Answers in the order of the prompts: those that end before an earlier one wait for it.
class Answers {
 public:
  // to_stdout: each is printed as soon as those before it are; else they are kept.
  Answers(const std::vector<GenerationRequest>& requests, bool to_stdout)
      : requests_(requests), lines_(requests.size()), to_stdout_(to_stdout) {}
  void add(size_t index, const Continuation& answer) {
    lines_[index] = answer_json(requests_[index], answer).dump() + "\n";
    for (; next_ < lines_.size() && lines_[next_]; ++next_) {
      if (to_stdout_)
        fmt::print("{}", *lines_[next_]);
      else
        text_ += *lines_[next_];
      lines_[next_]->clear();
    }
    if (to_stdout_) flush_stdout();
  }
  const std::string& text() const { return text_; }

 private:
  const std::vector<GenerationRequest>& requests_;
  std::vector<std::optional<std::string>> lines_;
  bool to_stdout_;
  size_t next_ = 0;
  std::string text_;
};

double rate(int64_t tokens, double seconds) { return seconds > 0 ? static_cast<double>(tokens) / seconds : 0; }

void answer_batch(const LoadedModel& loaded, const GenerateCommand& command, const CacheOptions& cached) {
  const std::vector<GenerationRequest> requests =
      read_requests(command.batch, sampling_of(command), loaded.config.model, loaded.tokenizer);
  const auto lost = std::count_if(requests.begin(), requests.end(), [&](const GenerationRequest& request) {
    return loaded.tokenizer.decode(loaded.tokenizer.encode(request.prompt)) != request.prompt;
  });
  if (lost > 0) log::warning("the tokenizer cannot give {} of {} prompts back as they are", lost, requests.size());
  Answers answers(requests, command.out.empty());
  const BatchReport report =
      generate_batch(*loaded.model, loaded.tokenizer, requests,
                     {.batch_size = command.batch_size.value_or(kBatchSize), .cache = cached},
                     [&](size_t index, const Continuation& answer) { answers.add(index, answer); });
  if (!command.out.empty()) {
    check_new_file(command.out);  // it may have come meanwhile
    publish_text(command.out, answers.text());
  }
  log::info(
      "{} prompts of {} tokens at {:.0f} tokens/s, {} tokens generated at {:.0f} tokens/s, {} at once at most, cache "
      "{:.1f} MiB ({} bytes)",
      report.prompts, report.prompt_tokens, rate(report.prompt_tokens, report.prompt_seconds), report.generated_tokens,
      rate(report.generated_tokens, report.generation_seconds), report.most_at_once,
      static_cast<double>(report.cache_bytes) / (1 << 20), report.cache_bytes);
}

}  // namespace

int run_generate(const GenerateCommand& command) {
  check_options(command);
  if (!command.batch.empty()) require_input_file(command.batch);
  if (!command.out.empty()) check_new_file(command.out);
  LoadedModel loaded = load_model(command.checkpoint, command.device, command.overrides);
  const CacheOptions cached{cache_dtype(command.cache, loaded.model->dtype()), command.prefill_chunk};
  use_weights(loaded, command.weights);
  if (command.interactive)
    converse(*loaded.model, loaded.tokenizer, sampling_of(command), cached);
  else if (!command.batch.empty())
    answer_batch(loaded, command, cached);
  else
    continue_prompt(loaded, command, cached);
  return 0;
}

}  // namespace gta
