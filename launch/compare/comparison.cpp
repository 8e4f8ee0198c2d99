#include "launch/compare/comparison.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numbers>
#include <set>
#include <utility>

#include "core/error.h"
#include "launch/compare/curves.h"
#include "launch/compare/fairness.h"
#include "launch/compare/groups.h"
#include "launch/compare/variants.h"
#include "launch/suggestion.h"

namespace gta {
namespace {

constexpr size_t kFewestForDifferences = 3;  // validations of a curve of differences

std::string canonical(const std::string& folder) {
  std::error_code error;
  const std::filesystem::path path = std::filesystem::weakly_canonical(folder, error);
  return error ? folder : path.string();
}

std::string without_last_slashes(std::string folder) {
  while (folder.size() > 1 && folder.ends_with('/')) folder.pop_back();
  return folder;
}

// Of an absolute path, which other text does not happen to hold.
void replace_path(std::string& text, const std::string& from, const std::string& to) {
  if (!from.starts_with('/')) return;
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
}

// Runs by what they are called in the report, which says nothing of where they lie.
void label(std::vector<RunRecord>& runs) {
  std::vector<std::string> folders;
  for (const RunRecord& run : runs) folders.push_back(run.folder);
  const std::vector<std::string> labels = short_names(folders);
  for (size_t i = 0; i < runs.size(); ++i) {
    RunRecord& run = runs[i];
    run.label = labels[i];
    const auto relabel = [&](std::string& text) {
      replace_path(text, run.folder, run.label);
      text = without_directories(text);
    };
    relabel(run.reason);
    for (std::string& remark : run.remarks) relabel(remark);
  }
}

// Builds a comparison up, part by part.
class Comparing {
 public:
  Comparing(std::vector<RunRecord> runs, const CompareOptions& options) {
    c_.options = options;
    c_.options.name = printable(options.name);
    c_.runs = std::move(runs);
    label(c_.runs);
  }

  Comparison result() {
    group();
    make_cells();
    choose_runs();
    put_baseline_first();
    choose_measure();
    require_comparable(c_);
    for (Variant& variant : c_.variants) estimate(variant);
    compare_with_baseline();
    mark_best();
    for (Variant& variant : c_.variants) draw(variant);
    find_equal_budgets();
    check_fairness(c_);
    return std::move(c_);
  }

 private:
  struct Group {
    std::string name;
    std::map<std::string, std::string> settings;
    std::vector<size_t> runs;
  };

  bool is_readable(size_t run) const { return c_.runs[run].state != RunState::Unreadable; }
  const NamedCell* named(size_t run) const {
    const auto found = c_.options.cells.find(c_.runs[run].folder);
    return found == c_.options.cells.end() ? nullptr : &found->second;
  }

  // Runs of the same settings, and where there are several tokenizers of one, are a variant; in an ablation those
  // of a name.
  void group() {
    std::set<std::string> tokenizers;
    for (size_t run = 0; run < c_.runs.size(); ++run)
      if (is_readable(run))
        if (const auto tokenizer = tokenizer_of(c_.runs[run])) tokenizers.insert(*tokenizer);
    std::map<std::map<std::string, std::string>, size_t> found;
    for (size_t run = 0; run < c_.runs.size(); ++run) {
      if (!is_readable(run)) continue;
      std::map<std::string, std::string> settings = settings_of(c_.runs[run].config);
      std::map<std::string, std::string> key = settings;
      if (const NamedCell* cell = named(run)) key["variant"] = cell->variant;
      if (tokenizers.size() > 1)
        key["tokenizer"] = settings["data.tokenizer"] = tokenizer_of(c_.runs[run]).value_or("?");
      const auto [at, is_new] = found.emplace(std::move(key), groups_.size());
      if (is_new) groups_.push_back({"", std::move(settings), {}});
      groups_[at->second].runs.push_back(run);
    }
    std::vector<std::map<std::string, std::string>> settings;
    for (const Group& group : groups_) settings.push_back(group.settings);
    std::vector<std::string> names = variant_names(settings);
    for (size_t i = 0; i < groups_.size(); ++i)
      if (const NamedCell* cell = named(groups_[i].runs.front())) names[i] = printable(cell->variant);
    names = told_apart(std::move(names));
    for (size_t i = 0; i < groups_.size(); ++i) groups_[i].name = names[i];
  }

  void make_cells() {
    for (size_t run = 0; run < c_.runs.size(); ++run) {
      const RunRecord& record = c_.runs[run];
      Cell cell{"", std::nullopt, record.label, name_of(record.state), record.reason};
      if (is_readable(run)) cell.seed = record.config.seed;
      if (const NamedCell* known = named(run)) {
        cell.variant = printable(known->variant);
        if (known->seed) cell.seed = known->seed;
        if (!known->reason.empty()) cell.reason = without_directories(printable(known->reason, 1000));
      }
      c_.cells.push_back(std::move(cell));
    }
    for (const Group& group : groups_)
      for (const size_t run : group.runs) c_.cells[run].variant = group.name;
  }

  // Of each variant one run of each seed: the first that is done.
  void choose_runs() {
    std::map<std::string, size_t> folders;
    for (size_t run = 0; run < c_.runs.size(); ++run) {
      const auto [first, is_new] = folders.emplace(canonical(c_.runs[run].folder), run);
      if (!is_new && c_.cells[run].reason.empty())
        c_.cells[run].reason = fmt::format("is the same folder as {}", c_.runs[first->second].label);
    }
    for (const Group& group : groups_) {
      std::map<int64_t, size_t> by_seed;
      for (const size_t run : group.runs) {
        if (!c_.cells[run].reason.empty()) continue;
        const auto [first, is_new] = by_seed.emplace(c_.runs[run].config.seed, run);
        if (!is_new) leave_out(run, first->second);
      }
      if (by_seed.empty()) continue;
      Variant variant;
      variant.name = group.name;
      variant.settings = group.settings;
      for (const auto& [seed, run] : by_seed) variant.runs.push_back(run);
      variant.config = c_.runs[variant.runs.front()].config;
      try {
        variant.cost = cost_of(variant.config);
      } catch (const Error& error) {
        for (const size_t run : variant.runs) c_.cells[run].reason = printable(one_line(error.what()), 1000);
        continue;
      }
      c_.variants.push_back(std::move(variant));
    }
    if (!c_.variants.empty()) return;
    std::string reasons;
    for (size_t i = 0; i < c_.cells.size() && i < 5; ++i)
      reasons += fmt::format("\n{}: {}", c_.cells[i].folder, c_.cells[i].reason);
    if (c_.cells.size() > 5) reasons += fmt::format("\nand {} more", c_.cells.size() - 5);
    bad_input("compare", "expected folders of runs that are done, and none is{}", reasons);
  }

  void leave_out(size_t run, size_t first) {
    const RunRecord &taken = c_.runs[first], &other = c_.runs[run];
    c_.cells[run].reason = fmt::format("seed {} is there already, by {}", other.config.seed, taken.label);
    const bool same = taken.final->loss == other.final->loss;
    const std::string text =
        fmt::format("{} and {} are of one configuration and seed, and the first counts: {}", taken.label, other.label,
                    same ? "they ended with the same loss"
                         : fmt::format("they ended with losses {:.9g} and {:.9g}, where the same "
                                       "program on the same machine gives the same bits",
                                       taken.final->loss, other.final->loss));
    (same ? c_.notes : c_.problems).push_back({"duplicate", text});
  }

  void put_baseline_first() {
    const std::string& wanted = c_.options.baseline;
    auto found = c_.variants.begin();
    if (!wanted.empty()) {
      found = std::find_if(c_.variants.begin(), c_.variants.end(), [&](const Variant& v) { return v.name == wanted; });
      if (found == c_.variants.end()) {
        const std::string folder = without_last_slashes(wanted), there = canonical(wanted);
        for (size_t run = 0; run < c_.runs.size(); ++run)
          if (c_.runs[run].folder == folder || canonical(c_.runs[run].folder) == there)
            found = std::find_if(c_.variants.begin(), c_.variants.end(),
                                 [&](const Variant& v) { return v.name == c_.cells[run].variant; });
      }
    }
    if (found == c_.variants.end()) {
      std::vector<std::string> names;
      for (const Variant& variant : c_.variants) names.push_back(variant.name);
      bad_input("--baseline", "expected one of {}, or the folder of one of their runs, got '{}'{}",
                fmt::join(names, ", "), printable(wanted), did_you_mean(nearest_word(wanted, names)));
    }
    std::rotate(c_.variants.begin(), found, found + 1);
    c_.options.baseline = c_.variants.front().name;
    for (Variant& variant : c_.variants)
      for (const auto& [key, value] : variant.settings) {
        const auto at = c_.baseline().settings.find(key);
        if (!key.starts_with("model.attention.") && at != c_.baseline().settings.end() && at->second != value)
          variant.adjusted[key] = shown(value);
      }
  }

  void choose_measure() {
    std::set<std::string> tokenizers;
    for (const Variant& variant : c_.variants)
      for (const size_t run : variant.runs)
        if (const auto tokenizer = tokenizer_of(c_.runs[run])) tokenizers.insert(*tokenizer);
    c_.practical_difference = c_.options.practical_difference;
    if (tokenizers.size() < 2) return;
    c_.measure = Measure::BitsPerByte;
    for (const Variant& variant : c_.variants)
      for (const size_t run : variant.runs)
        require(bytes_per_token(c_.runs[run]).has_value(), "compare",
                "runs have other tokenizers than each other, so only bits per byte can be compared, and {} has none",
                c_.runs[run].label);
    // So many nats of a token of the baseline, in bits of a byte.
    c_.practical_difference /= std::numbers::ln2 * *bytes_per_token(c_.runs[c_.baseline().runs.front()]);
  }

  template <class F>
  Estimate over_seeds(const Variant& variant, F&& value) const {
    std::map<int64_t, double> values;
    for (const size_t run : variant.runs) values[c_.runs[run].config.seed] = value(c_.runs[run]);
    return Estimate(std::move(values));
  }

  void estimate(Variant& v) const {
    v.validation_loss = over_seeds(v, [](const RunRecord& run) { return run.final->loss; });
    v.bits_per_byte = over_seeds(v, [](const RunRecord& run) { return run.final->bits_per_byte; });
    v.perplexity = over_seeds(v, [](const RunRecord& run) { return run.final->perplexity; });
    v.seconds_per_step = over_seeds(v, [](const RunRecord& run) { return run.seconds_per_step; });
    v.tokens_per_second = over_seeds(v, [](const RunRecord& run) { return run.tokens_per_second; });
    v.memory_bytes = over_seeds(v, [](const RunRecord& run) { return run.memory_bytes; });
  }

  void compare_with_baseline() {
    std::vector<Difference*> all;
    for (size_t i = 1; i < c_.variants.size(); ++i) {
      Variant& variant = c_.variants[i];
      variant.difference = difference_between(c_.measured(variant), c_.measured(c_.baseline()));
      all.push_back(&*variant.difference);
    }
    conclude(all, c_.practical_difference);
    add_power(all);
  }

  // Against the lowest mean, corrected for as many comparisons.
  void mark_best() {
    Variant& best = *std::min_element(c_.variants.begin(), c_.variants.end(), [&](const Variant& a, const Variant& b) {
      return c_.measured(a).mean < c_.measured(b).mean;
    });
    best.best = best.as_good_as_best = true;
    std::vector<std::pair<Variant*, Difference>> others;
    for (Variant& variant : c_.variants)
      if (&variant != &best) others.emplace_back(&variant, difference_between(c_.measured(variant), c_.measured(best)));
    std::vector<Difference*> all;
    for (auto& [variant, difference] : others) all.push_back(&difference);
    conclude(all, c_.practical_difference);
    for (const auto& [variant, difference] : others) variant->as_good_as_best = !is_shown(difference.finding);
  }

  void draw(Variant& variant) const {
    const double flops = variant.cost.flops_per_token_training;
    std::vector<const RunRecord*> runs;
    for (const size_t run : variant.runs) runs.push_back(&c_.runs[run]);
    const bool per_token = c_.measure == Measure::LossPerToken;
    const Curve validation = per_token ? Curve::ValidationLoss : Curve::ValidationBitsPerByte;
    variant.validation = curve_of(runs, validation, flops);
    variant.training = curve_of(runs, Curve::TrainingLoss, flops);
    if (!variant.difference) return;
    std::vector<std::pair<const RunRecord*, const RunRecord*>> pairs;
    for (const RunRecord* run : runs)
      for (const size_t other : c_.baseline().runs)
        if (c_.runs[other].config.seed == run->config.seed) pairs.emplace_back(run, &c_.runs[other]);
    variant.difference_over_training = difference_curve(pairs, validation, flops);
    if (variant.difference_over_training.size() < kFewestForDifferences && per_token)
      variant.difference_over_training = difference_curve(pairs, Curve::TrainingLoss, flops);
  }

  void find_equal_budgets() {
    for (const Budget budget : {Budget::Parameters, Budget::Flops, Budget::AttentionFlops, Budget::CacheBytes}) {
      const double base = c_.baseline().cost.of(budget);
      if (std::all_of(c_.variants.begin(), c_.variants.end(), [&](const Variant& variant) {
            return std::fabs(variant.cost.of(budget) - base) <= c_.options.tolerance * base;
          }))
        c_.equal_budgets.push_back(budget);
    }
  }

  Comparison c_;
  std::vector<Group> groups_;
};

}  // namespace

const char* name_of(Measure measure) { return measure == Measure::BitsPerByte ? "bits_per_byte" : "validation_loss"; }
const char* unit_of(Measure measure) { return measure == Measure::BitsPerByte ? "bits per byte" : "nats per token"; }

Comparison compare(std::vector<RunRecord> runs, const CompareOptions& options) {
  return Comparing(std::move(runs), options).result();
}

}  // namespace gta
