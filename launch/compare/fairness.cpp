#include "launch/compare/fairness.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <sstream>

#include "core/error.h"
#include "core/io/hash.h"
#include "launch/compare/groups.h"
#include "launch/compare/variants.h"

namespace gta {
namespace {

// Two quotients of the same counts differ by the rounding of doubles alone.
constexpr double kSameRatio = 1e-9;
constexpr const char* kTokenizer = "data.tokenizer";  // its content has a check of its own
constexpr const char* kLearningRate = "optimizer.learning_rate";
constexpr double kNoCorrelation = 0.2;

class Fairness {
 public:
  explicit Fairness(Comparison& comparison) : c_(comparison) {
    for (const Variant& variant : c_.variants)
      for (const size_t run : variant.runs) counted_.push_back(&c_.runs[run]);
  }

  void check() {
    check_configurations();
    check_data();
    check_order();
    check_initial_parameters();
    check_program();
    check_changes();
    check_missing();
    check_budget();
    check_pairing();
    std::map<std::string, std::vector<std::string>> remarks;
    for (const RunRecord& run : c_.runs)
      for (const std::string& remark : run.remarks) remarks[remark].push_back(run.label);
    for (const auto& [remark, runs] : remarks) note("files", fmt::format("{} ({})", remark, shortened(runs)));
  }

 private:
  void problem(const char* kind, std::string text) { c_.problems.push_back({kind, std::move(text)}); }
  void note(const char* kind, std::string text) { c_.notes.push_back({kind, std::move(text)}); }

  // value(run): nothing where its files do not say it.
  Groups grouped(const std::function<std::optional<std::string>(const RunRecord&)>& value) const {
    return Groups(counted_, value);
  }
  // What should be one value for all; and a note where some do not say it.
  void expect_one(const char* kind, const std::string& what, const Groups& groups) {
    if (groups.values() > 1) problem(kind, what + " differs: " + groups.text());
    if (groups.values() > 0 && !groups.silent().empty())
      note(kind, fmt::format("{} is not recorded of {}", what, groups.silent()));
  }

  bool is_searched(const std::string& key) const {
    return std::find(c_.options.searched.begin(), c_.options.searched.end(), key) != c_.options.searched.end();
  }

  bool is_varied(const std::string& key, bool models_differ) const {
    if (is_searched(key)) return true;
    if (!c_.options.varied.empty())
      return std::any_of(c_.options.varied.begin(), c_.options.varied.end(), [&](const std::string& varied) {
        return key == varied || (varied.ends_with('.') && key.starts_with(varied));
      });
    return !models_differ || key.starts_with("model.");
  }

  // Of a schedule that is as long as its run, whose length is not meant to be one: steps in proportion, to a whole one.
  bool is_in_proportion(const std::string& key) const {
    if (c_.options.equal != Budget::Flops) return false;
    if (key == "train.steps") return true;
    const auto steps_of = [&](const RunConfig& config) -> double {
      const ScheduleConfig& schedule = config.optimizer.schedule;
      const int64_t steps = key == "optimizer.schedule.steps"          ? schedule.steps
                            : key == "optimizer.schedule.warmup_steps" ? schedule.warmup_steps
                            : key == "optimizer.schedule.decay_steps"  ? schedule.decay_steps
                                                                       : -1;
      return static_cast<double>(steps);
    };
    const RunConfig& first = c_.baseline().config;
    if (steps_of(first) < 0) return false;
    return std::all_of(c_.variants.begin(), c_.variants.end(), [&](const Variant& variant) {
      const double ratio = static_cast<double>(variant.config.train.steps) / static_cast<double>(first.train.steps);
      return std::fabs(steps_of(variant.config) - steps_of(first) * ratio) <= std::max(1.0, ratio);
    });
  }

  void check_configurations() {
    std::vector<std::map<std::string, std::string>> settings;
    for (const Variant& variant : c_.variants) settings.push_back(variant.settings);
    const std::vector<std::string> keys = differing_keys(settings);
    const bool models_differ =
        std::any_of(keys.begin(), keys.end(), [](const std::string& key) { return key.starts_with("model."); });
    bool rates_differ = false;
    for (const std::string& key : keys) {
      rates_differ = rates_differ || key == kLearningRate;
      if (key == kTokenizer || is_varied(key, models_differ) || is_in_proportion(key)) continue;
      std::map<std::string, std::vector<std::string>> by_value;
      for (const Variant& variant : c_.variants) {
        const auto found = variant.settings.find(key);
        by_value[found == variant.settings.end() ? "not used" : shown(found->second)].push_back(variant.name);
      }
      problem("configuration", fmt::format("{} differs: {}", key, listed(by_value)));
    }
    for (const RunRecord* run : counted_)
      if (!run->edited.empty())
        problem("configuration", fmt::format("{}: config.yaml has other values than the newest checkpoint of {}",
                                             run->label, shortened(run->edited)));
    if (c_.variants.size() > 1 && !rates_differ && !is_searched(kLearningRate))
      note("learning rate",
           "one learning rate served all variants: one that would do better with another is at a disadvantage");
  }

  void check_data() {
    const Groups tokenizers = grouped(tokenizer_of);
    if (tokenizers.values() > 1)
      problem("tokenizer",
              fmt::format("tokenizers differ, so only bits per byte are compared, and whether the texts are "
                          "the same is not known: {}",
                          tokenizers.text()));
    if (!tokenizers.silent().empty())
      note("tokenizer", "the tokenizer's hash is not recorded of " + tokenizers.silent());
    const Groups data = grouped(data_of);
    if (!data.silent().empty()) note("data", "the hash of the training data is not recorded of " + data.silent());
    const Groups lengths =
        grouped([](const RunRecord& run) { return std::to_string(run.config.data.sequence_length); });
    if (lengths.values() > 1)
      note("data",
           "sequence lengths differ, and with them the hashes of the data: whether it is the same is not known");
    const Groups files = grouped(validation_files);
    if (files.values() > 1 && tokenizers.values() < 2) {
      const bool known = std::all_of(counted_.begin(), counted_.end(),
                                     [](const RunRecord* run) { return bytes_per_token(*run).has_value(); });
      const std::string text = "files of the validation set have other names: " + files.text();
      known ? note("validation", text + "; they score as many bytes per token to nine digits, and count as one set")
            : problem("validation", text);
    } else if (files.values() > 1) {
      problem("validation", "files of the validation set have other names: " + files.text());
    }
  }

  void check_order() {
    expect_one("sample order", "the rule of the order of samples",
               grouped([](const RunRecord& run) -> std::optional<std::string> {
                 if (!run.order) return std::nullopt;
                 return name_of(*run.order);
               }));
    // What the sampler has given by a checkpoint's step, less what that many batches are.
    const Groups positions = grouped([](const RunRecord& run) -> std::optional<std::string> {
      if (!run.order) return std::nullopt;
      int64_t expected = 0;
      if (__builtin_mul_overflow(run.checkpoint_step, run.config.train.global_batch_size, &expected))
        return fmt::format("{} at step {}, which no training reaches", run.next_sample, run.checkpoint_step);
      return run.next_sample == expected
                 ? "as many as its steps took"
                 : fmt::format("{} at step {}, where {} are expected", run.next_sample, run.checkpoint_step, expected);
    });
    if (positions.values() > 1 || (positions.values() == 1 && !positions.has("as many as its steps took")))
      problem("sample order", "samples that were taken differ: " + positions.text());
    const Groups tokens = grouped([](const RunRecord& run) {
      return fmt::format("{} tokens in {} steps of {} sequences of {}", run.final->tokens, run.config.train.steps,
                         run.config.train.global_batch_size, run.config.data.sequence_length);
    });
    std::map<std::string, std::set<int64_t>> by_length;
    for (const RunRecord* run : counted_)
      by_length[fmt::format("{} {} {}", run->config.train.steps, run->config.train.global_batch_size,
                            run->config.data.sequence_length)]
          .insert(run->final->tokens);
    if (std::any_of(by_length.begin(), by_length.end(), [](const auto& length) { return length.second.size() > 1; }))
      problem("sample order", "tokens that were seen differ: " + tokens.text());
    std::vector<std::string> skipped;
    for (const RunRecord* run : counted_)
      if (run->skipped_steps > 0) skipped.push_back(fmt::format("{} ({})", run->label, run->skipped_steps));
    if (!skipped.empty())
      note("sample order", "steps were skipped because they were not finite: " + shortened(skipped));
  }

  void check_initial_parameters() {
    std::map<int64_t, std::vector<const RunRecord*>> by_seed;
    std::vector<std::string> silent;
    for (const RunRecord* run : counted_) {
      if (!run->initial) {
        silent.push_back(run->label);
        continue;
      }
      by_seed[run->config.seed].push_back(run);
      if (run->initial->seed != run->config.seed)
        problem("initial parameters",
                fmt::format("{} began with the parameters of seed {}, and its configuration has {}", run->label,
                            run->initial->seed, run->config.seed));
    }
    for (const auto& [seed, runs] : by_seed) check_initial_parameters(seed, runs);
    if (!silent.empty())
      note("initial parameters", "hashes of initial parameters are not recorded of " + shortened(silent));
  }

  // Of each parameter that another run of the seed has in the same shape.
  void check_initial_parameters(int64_t seed, const std::vector<const RunRecord*>& runs) {
    std::map<std::string, const RunRecord*> first;  // that has a parameter
    std::map<std::pair<const RunRecord*, const RunRecord*>, std::vector<std::string>> unequal;
    for (const RunRecord* run : runs)
      for (const auto& [parameter, hash] : run->initial->hashes) {
        const RunRecord* other = first.emplace(parameter, run).first->second;
        if (other->initial->hashes.at(parameter) != hash) unequal[{other, run}].push_back(parameter);
      }
    for (const auto& [pair, parameters] : unequal) {
      const auto& [one, other] = pair;
      const std::string& parameter = parameters.front();
      problem("initial parameters",
              fmt::format("of seed {} {} and {} began with other values of {}{}: {} and {}", seed, one->label,
                          other->label, parameter,
                          parameters.size() > 1 ? fmt::format(" and {} more parameters", parameters.size() - 1) : "",
                          one->initial->hashes.at(parameter), other->initial->hashes.at(parameter)));
    }
  }

  void check_program() {
    const auto said = [this](const char* key) {
      return grouped([key](const RunRecord& run) -> std::optional<std::string> {
        const auto found = run.environment.find(key);
        if (found == run.environment.end()) return std::nullopt;
        return found->second;
      });
    };
    expect_one("program", "the version of gta", said("gta"));
    expect_one("program", "the commit", said("commit"));
    expect_one("program", "the compiler", said("compiler"));
    expect_one("program", "the rule of schedules", said("schedule_version"));
    expect_one("device", "the device", said("device"));
    expect_one("device", "the vector width", said("vector_width"));
    expect_one("device", "the library of products", said("products"));
    expect_one("device", "the processor", said("processor"));
    if (const Groups commits = said("commit");
        commits.values() == 1 && commits.text().find("-dirty") != std::string::npos)
      note("program", "the program was built from a tree with changes that no commit names");
    for (const char* key : {"threads", "processors"})
      if (const Groups groups = said(key); groups.values() > 1)
        note("speed", fmt::format("{} differ, so times are not comparable: {}", key, groups.text()));
  }

  // "# from step 51 on, optimizer.learning_rate: 0.003 -> 0.001"
  void check_changes() {
    for (const RunRecord* run : counted_) {
      std::istringstream lines(run->changes);
      for (std::string line; std::getline(lines, line);) {
        const size_t begin = line.find(" on, "), end = line.find(": ", begin == std::string::npos ? 0 : begin);
        if (!line.starts_with("# from step ") || begin == std::string::npos || end == std::string::npos) continue;
        const std::string key = line.substr(begin + 5, end - begin - 5);
        const std::string text = run->label + ": " + without_directories(printable(line.substr(2)));
        changes_training(key) ? problem("changed midway", text) : note("changed midway", text);
      }
    }
  }

  void check_missing() {
    std::set<int64_t> seeds;
    for (const RunRecord* run : counted_) seeds.insert(run->config.seed);
    std::set<std::string> without_any;
    for (const Cell& cell : c_.cells)
      if (!cell.reason.empty() && !cell.variant.empty()) without_any.insert(cell.variant);
    for (const Variant& variant : c_.variants) {
      without_any.erase(variant.name);
      for (const int64_t seed : seeds)
        if (!variant.validation_loss.values.count(seed))
          problem("missing runs", fmt::format("{} has no run of seed {} that counts{}", variant.name, seed,
                                              reason_of(variant.name, seed)));
    }
    for (const std::string& name : without_any)
      problem("missing runs", fmt::format("{} has no run that counts{}", name, reason_of(name, std::nullopt)));
  }

  // Of the first run of this variant (and seed) that does not count.
  std::string reason_of(const std::string& variant, std::optional<int64_t> seed) const {
    for (const Cell& cell : c_.cells)
      if (cell.variant == variant && !cell.reason.empty() && (!seed || cell.seed == seed))
        return fmt::format(": {} ({})", cell.reason, cell.folder);
    return "";
  }

  void check_budget() {
    if (c_.variants.size() < 2) return;
    const Cost& base = c_.baseline().cost;
    const auto off = [&](const Variant& variant, Budget budget) {
      return 100 * (variant.cost.of(budget) / base.of(budget) - 1);
    };
    const Budget asked = c_.options.equal;
    const auto is_equal = [&](Budget budget) {
      return std::find(c_.equal_budgets.begin(), c_.equal_budgets.end(), budget) != c_.equal_budgets.end();
    };
    if (asked != Budget::None && !is_equal(asked)) {
      for (const Variant& variant : c_.variants)
        if (std::fabs(off(variant, asked)) > 100 * c_.options.tolerance)
          problem("budget", fmt::format("{} of {} are {:+.2f}% of {}'s, where {:g}% are allowed: {:.6g} and {:.6g}",
                                        name_of(asked), variant.name, off(variant, asked), c_.baseline().name,
                                        100 * c_.options.tolerance, variant.cost.of(asked), base.of(asked)));
    }
    if (asked == Budget::None && !is_equal(Budget::Parameters)) {
      double least = 0, most = 0;
      for (const Variant& variant : c_.variants) {
        least = std::min(least, off(variant, Budget::Parameters));
        most = std::max(most, off(variant, Budget::Parameters));
      }
      note("budget", fmt::format("variants have other numbers of parameters than {}: {:+.1f}% to {:+.1f}%",
                                 c_.baseline().name, least, most));
    }
  }

  void check_pairing() {
    for (const Variant& variant : c_.variants)
      if (variant.difference && variant.difference->correlation.value_or(1) < kNoCorrelation)
        note("pairing",
             fmt::format("{} and {} correlate by {:.2f} over seeds: pairs have taken little noise away, or none",
                         variant.name, c_.baseline().name, *variant.difference->correlation));
  }

  Comparison& c_;
  std::vector<const RunRecord*> counted_;
};

}  // namespace

void require_comparable(const Comparison& comparison) {
  std::map<std::string, std::vector<const RunRecord*>> by_tokenizer;
  for (const Variant& variant : comparison.variants)
    for (const size_t run : variant.runs)
      by_tokenizer[tokenizer_of(comparison.runs[run]).value_or("")].push_back(&comparison.runs[run]);
  for (const auto& [tokenizer, runs] : by_tokenizer) {
    // A hash of the data has the length of samples in it.
    std::map<std::string, std::vector<const RunRecord*>> by_length;
    for (const RunRecord* run : runs)
      by_length[fmt::format("{} {}", run->config.data.sequence_length, run->config.data.windows_across_shards)]
          .push_back(run);
    for (const auto& [length, of_length] : by_length)
      if (const Groups data(of_length, data_of); data.values() > 1)
        bad_input("compare",
                  "runs were trained on other data than each other: {}; compare those of the same data (hashes of the "
                  "newest checkpoints)",
                  data.text());
    std::optional<double> least, most;
    for (const RunRecord* run : runs)
      if (const std::optional<double> bytes = bytes_per_token(*run)) {
        least = std::min(least.value_or(*bytes), *bytes);
        most = std::max(most.value_or(*bytes), *bytes);
      }
    if (least && *most - *least > kSameRatio * *most)
      bad_input("compare",
                "runs were scored on other text than each other: what was scored has {} bytes per token; compare those "
                "of the same data.validation and train.validation_tokens",
                Groups(runs, [](const RunRecord& run) -> std::optional<std::string> {
                  const std::optional<double> bytes = bytes_per_token(run);
                  if (!bytes) return std::nullopt;
                  return fmt::format("{:.6f}", *bytes);
                }).text());
  }
}

void check_fairness(Comparison& comparison) { Fairness(comparison).check(); }

}  // namespace gta
