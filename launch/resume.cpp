#include "launch/resume.h"

#include <algorithm>
#include <iterator>

#include "core/error.h"
#include "core/io/hash.h"
#include "data/tokenizer.h"
#include "optim/schedule.h"

namespace gta {
namespace {

// Lists of shards can have thousands of names.
std::string line_of(const ConfigDifference& difference) {
  const auto shortened = [](const std::string& text) {
    return text.size() <= 120 ? text : text.substr(0, 100) + fmt::format(" ... ({} characters)", text.size());
  };
  return fmt::format("{}: {} -> {}", difference.key, shortened(difference.before), shortened(difference.after));
}

bool same_tokenizer(const Checkpoint& checkpoint, const Tokenizer& tokenizer) {
  return checkpoint.tokenizer() == tokenizer.bytes();
}

}  // namespace

std::vector<ConfigDifference> check_resume(const std::string& run_dir, const Checkpoint& checkpoint,
                                           const RunConfig& before, const RunConfig& now, const Tokenizer& tokenizer,
                                           uint64_t data_hash) {
  std::vector<ConfigDifference> changes;
  std::string refused, data;
  for (const ConfigDifference& difference : differences(before, now)) {
    if (difference.key == "train.init_from") continue;  // it had its effect
    if (difference.key == "data.train") data = "\n  " + line_of(difference);
    if (difference.on_resume == OnResume::Fixed)
      refused += "\n  " + line_of(difference);
    else
      changes.push_back(difference);
  }
  if (!same_tokenizer(checkpoint, tokenizer))
    refused +=
        fmt::format("\n  data.tokenizer: {} is not the tokenizer that {} holds", now.data.tokenizer, checkpoint.path());
  if (!refused.empty())
    bad_input(
        run_dir,
        "holds a run with another configuration; these keys say what was trained, and may not change on resume (use "
        "--fresh, or another name):{}",
        refused);
  require(checkpoint.position().data_hash == data_hash, "data",
          "the token shards, their order or their weights are not those that {} was trained on: restore them, or use "
          "--fresh{}",
          checkpoint.path(), data);
  return changes;
}

std::vector<std::string> describe_changes(const std::vector<ConfigDifference>& changes, const RunConfig& before,
                                          const RunConfig& now, const TrainingPosition& position) {
  std::vector<std::string> notes;
  for (const ConfigDifference& change : changes) {
    std::string note =
        (change.on_resume == OnResume::Place ? "the same, elsewhere: " : "changed since the checkpoint: ") +
        line_of(change);
    if (change.key == "train.micro_batch_size") note += " (sums round otherwise, all else stays)";
    if (change.key == "train.global_batch_size")
      note += fmt::format(" ({} tokens in all after the last step)",
                          position.tokens + std::max<int64_t>(0, now.train.steps - position.step) *
                                                now.train.global_batch_size * now.data.sequence_length);
    notes.push_back(note);
  }
  if (position.step >= now.train.steps) return notes;
  const auto rate = [&](const RunConfig& config) {
    return learning_rate(config.optimizer, position.step, config.train.steps);
  };
  if (const double old_rate = rate(before), new_rate = rate(now); old_rate != new_rate) {
    // Where the length alone changed it.
    const bool stretched =
        now.optimizer.schedule.steps == 0 &&
        std::none_of(changes.begin(), changes.end(), [](const ConfigDifference& change) {
          return change.key != "optimizer.schedule.steps" &&
                 (change.key == "optimizer.learning_rate" || change.key.starts_with("optimizer.schedule."));
        });
    notes.push_back(fmt::format(
        "the learning rate of step {} is {:.3g}; by the checkpoint's configuration it was {:.3g}{}", position.step + 1,
        new_rate, old_rate,
        stretched
            ? fmt::format(" (the schedule is as long as the run: --set optimizer.schedule.steps={} leaves it as "
                          "it was)",
                          before.optimizer.schedule.steps > 0 ? before.optimizer.schedule.steps : before.train.steps)
            : ""));
  }
  return notes;
}

std::vector<std::string> check_init_from(const Checkpoint& checkpoint, const RunConfig& now,
                                         const Tokenizer& tokenizer) {
  constexpr const char* kNoMatter[] = {"model.initializer_range", "model.vocab_multiple", "model.max_sequence_length"};
  constexpr const char* kMayBeMeant[] = {"model.rope_theta", "model.norm_eps"};
  const auto among = [](const auto& keys, const std::string& key) {
    return std::find(std::begin(keys), std::end(keys), key) != std::end(keys);
  };
  std::vector<std::string> notes;
  std::string refused;
  const RunConfig before = parse_trained_config(checkpoint.config_yaml(), checkpoint.path() + "/config");
  for (const ConfigDifference& difference : differences(before, now)) {
    if (!difference.key.starts_with("model.") || among(kNoMatter, difference.key)) continue;
    if (among(kMayBeMeant, difference.key))
      notes.push_back("the weights were trained with another " + line_of(difference));
    else
      refused += "\n  " + line_of(difference);
  }
  if (!same_tokenizer(checkpoint, tokenizer))
    refused += fmt::format(
        "\n  data.tokenizer: {} is not the tokenizer that {} holds: the same numbers are other pieces of text",
        now.data.tokenizer, checkpoint.path());
  const auto type_of = [](const RunConfig& config) { return name_of(config.model.attention.type); };
  if (!refused.empty() && before.model.attention.type != now.model.attention.type)
    bad_input("train.init_from",
              "the checkpoint is {}, the configuration {}: weights of another kind of attention are of no use ({}):{}",
              type_of(before), type_of(now), checkpoint.path(), refused);
  if (!refused.empty())
    bad_input("train.init_from",
              "the weights of {} mean something else in this model; these have to be as they were trained:{}",
              checkpoint.path(), refused);
  return notes;
}

}  // namespace gta
