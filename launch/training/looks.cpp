#include "launch/training/looks.h"

#include <string>

#include "core/error.h"
#include "core/io/file.h"
#include "core/profiler.h"
#include "launch/evaluate.h"
#include "launch/sampling.h"

namespace gta {

Looks looks_due(const Training& t) {
  const TrainConfig& train = t.config.train;
  return {t.validation && t.position.step > 0 && (t.at_end() || t.due(train.evaluate_every_steps)),
          !train.sample_prompts.empty() && (t.at_end() || t.position.step == 0 || t.due(train.sample_every_steps))};
}

Looks looks_owed(const Training& t, const RunFolder& folder) {
  const Looks due = looks_due(t);
  return {due.validation && !has_validation(folder.metrics_file(), t.position.step),
          due.sample && !exists(folder.sample_file(t.position.step))};
}

bool diagnosis_follows(const Training& t) {
  const int64_t every = t.config.train.diagnose_every_steps;
  return every > 0 && (t.position.step + 1) % every == 0;
}

void check_prompts(const Training& t) {
  for (const std::string& prompt : t.config.train.sample_prompts) try {
      prompt_tokens(t.config.model, t.tokenizer, prompt);
    } catch (const Error& error) {
      bad_input("train.sample_prompts", "'{}' cannot be continued: {}", prompt.substr(0, 60), error.what());
    }
}

std::optional<ValidationResult> validate(const Training& t, RunFolder* folder, const std::function<bool()>& stop) {
  ProfilerRange range("evaluate");
  t.ranks.watchdog.at(t.position.step, "validates");
  const EvaluationResult e = evaluate(t.model, *t.validation, t.config.train.micro_batch_size, t.data.document_mask,
                                      stop, t.ranks.communicator);
  if (!e.complete) return std::nullopt;
  if (folder) {
    // The row of the validation last: where it is missing, a run that goes on validates again.
    folder->add_metrics(BreakdownRow{t.position.step, e.breakdown.values()});
    folder->add_metrics(ValidationRow{t.position.step, t.position.tokens, e.loss, e.perplexity(), e.bits_per_byte()});
  }
  log::info("validation after step {}: loss {:.4f}, perplexity {:.2f}, {:.4f} bits per byte", t.position.step, e.loss,
            e.perplexity(), e.bits_per_byte());
  return ValidationResult{e.loss, e.bits_per_byte()};
}

namespace {

// Nothing where `stop` ended it.
std::optional<std::string> continued_prompts(const Training& t, const std::function<bool()>& stop) {
  struct Stopped {};
  std::string text;
  for (const std::string& prompt : t.config.train.sample_prompts) {
    SamplingOptions sampling;
    sampling.max_tokens = t.config.train.sample_tokens;
    sampling.seed = static_cast<uint64_t>(t.config.seed);
    text += prompt;
    try {
      generate(t.model, t.tokenizer, prompt, sampling, [&](const std::string& piece) {
        if (stop()) throw Stopped{};
        t.ranks.watchdog.progress();
        text += piece;
      });
    } catch (const Stopped&) {
      return std::nullopt;
    }
    text += "\n---\n";
  }
  return text;
}

}  // namespace

bool sample(const Training& t, const RunFolder* folder, const std::function<bool()>& stop) {
  t.ranks.watchdog.at(t.position.step, "samples");
  int64_t complete = 1;
  t.ranks.communicator.together("sample", [&] {
    if (!folder) return;
    const std::optional<std::string> text = continued_prompts(t, stop);
    complete = text ? 1 : 0;
    if (!text || !folder->fence()->may_write()) return;
    publish_text(folder->sample_file(t.position.step), *text);
    log::info("sample after step {}: {}", t.position.step, text->substr(0, text->find("\n---\n")));
  });
  return t.ranks.communicator.gather("sample's end", complete)[0] == 1;
}

}  // namespace gta
