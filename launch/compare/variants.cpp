#include "launch/compare/variants.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "launch/compare/text.h"
#include "launch/config/schema.h"

namespace gta {
namespace {

constexpr const char* kType = "model.attention.type";

}  // namespace

// Whatever is new counts, until it stands among the others.
bool changes_training(const std::string& key) {
  static const std::set<std::string> kOthers = {"name",
                                                "seed",
                                                "model.vocab_multiple",
                                                "data.tokenizer",
                                                "data.train",
                                                "data.validation",
                                                "train.tokens",
                                                "train.micro_batch_size",
                                                "train.sharding",
                                                "train.bucket_mib",
                                                "train.gpu_transport",
                                                "train.verify_replicas_every_steps",
                                                "train.on_damage",
                                                "train.hang_timeout_seconds",
                                                "train.watchdog_interface",
                                                "train.recompute",
                                                "train.evaluate_every_steps",
                                                "train.sample_every_steps",
                                                "train.diagnose_every_steps",
                                                "train.log_every_steps",
                                                "train.max_skipped_steps",
                                                "train.validation_tokens",
                                                "train.sample_prompts",
                                                "train.sample_tokens"};
  return !kOthers.count(key) && !key.starts_with("train.checkpoint.");
}

namespace {

std::string last_word(const std::string& key) { return key.substr(key.rfind('.') + 1); }

// Keys of attention first, then the model's, then as they stand in the table.
int rank_of(const std::string& key) {
  return key.starts_with("model.attention.") ? 0 : key.starts_with("model.") ? 1 : 2;
}

std::string value_in(const std::map<std::string, std::string>& settings, const std::string& key) {
  const auto found = settings.find(key);
  return found == settings.end() ? "" : found->second;
}

}  // namespace

std::map<std::string, std::string> settings_of(const RunConfig& config) {
  const std::string type = name_of(config.model.attention.type);
  std::map<std::string, std::string> settings;
  for (const ConfigKey& key : config_keys())
    if (changes_training(key.path) &&
        (key.used_by.empty() || std::find(key.used_by.begin(), key.used_by.end(), type) != key.used_by.end()))
      settings[key.path] = value_text(key, key.get(config));
  return settings;
}

std::vector<std::string> differing_keys(const std::vector<std::map<std::string, std::string>>& settings) {
  std::vector<std::string> keys;
  for (const ConfigKey& key : config_keys()) {
    std::set<std::string> values;
    for (const auto& of_one : settings) values.insert(value_in(of_one, key.path));
    if (values.size() > 1) keys.push_back(key.path);
  }
  return keys;
}

std::vector<std::string> variant_names(const std::vector<std::map<std::string, std::string>>& settings) {
  std::vector<std::string> keys = differing_keys(settings);
  const bool types_differ = std::find(keys.begin(), keys.end(), kType) != keys.end();
  std::erase(keys, kType);
  std::stable_sort(keys.begin(), keys.end(),
                   [](const std::string& a, const std::string& b) { return rank_of(a) < rank_of(b); });
  std::map<std::string, int> words;
  for (const std::string& key : keys) ++words[last_word(key)];

  std::vector<std::string> names(settings.size());
  const auto different = [&] { return std::set<std::string>(names.begin(), names.end()).size(); };
  if (types_differ || keys.empty())
    for (size_t i = 0; i < names.size(); ++i) names[i] = value_in(settings[i], kType);
  for (const std::string& key : keys) {
    const std::vector<std::string> before = names;
    const size_t so_far = different();
    if (so_far == names.size()) break;
    for (size_t i = 0; i < names.size(); ++i) {
      // Only where the name is not one variant's alone, and only among those that use the key.
      const bool shared =
          std::any_of(before.begin(), before.end(), [&, j = size_t{0}](const std::string& other) mutable {
            const size_t index = j++;
            return index != i && other == before[i] && value_in(settings[index], key) != value_in(settings[i], key);
          });
      if (!shared) continue;
      names[i] += fmt::format("{}{}={}", names[i].empty() ? "" : " ", words[last_word(key)] > 1 ? key : last_word(key),
                              without_directories(printable(value_in(settings[i], key), 60)));
    }
    if (different() == so_far) names = before;
  }
  return told_apart(std::move(names));
}

}  // namespace gta
