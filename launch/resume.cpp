#include "launch/resume.h"

#include <algorithm>
#include <iterator>

#include "core/error.h"
#include "core/io/hash.h"
#include "data/tokenizer.h"

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

std::vector<std::string> check_resume(const std::string& run_dir, const Checkpoint& checkpoint, const RunConfig& before,
                                      const RunConfig& now, const Tokenizer& tokenizer, uint64_t data_hash) {
  std::vector<std::string> notes;
  std::string refused, data;
  for (const ConfigDifference& difference : differences(before, now)) {
    if (difference.key == "train.init_from") continue;  // it had its effect
    if (difference.key == "data.train") data = "\n  " + line_of(difference);
    if (difference.on_resume == OnResume::Fixed)
      refused += "\n  " + line_of(difference);
    else
      notes.push_back(
          (difference.on_resume == OnResume::Place ? "the same, elsewhere: " : "changed since the checkpoint: ") +
          line_of(difference));
  }
  if (!same_tokenizer(checkpoint, tokenizer))
    refused +=
        fmt::format("\n  data.tokenizer: {} is not the tokenizer that {} holds", now.data.tokenizer, checkpoint.path());
  if (!refused.empty())
    bad_input(
        run_dir,
        "holds a run with another configuration; these keys may not change on resume (use --fresh, or another name):{}",
        refused);
  require(checkpoint.position().data_hash == data_hash, "data",
          "the token shards, their order or their weights are not those that {} was trained on: restore them, or use "
          "--fresh{}",
          checkpoint.path(), data);
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
  for (const ConfigDifference& difference :
       differences(parse_trained_config(checkpoint.config_yaml(), checkpoint.path() + "/config"), now)) {
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
  if (!refused.empty())
    bad_input("train.init_from",
              "the weights of {} mean something else in this model; these have to be as they were trained:{}",
              checkpoint.path(), refused);
  return notes;
}

}  // namespace gta
