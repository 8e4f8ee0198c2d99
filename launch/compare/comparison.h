// Runs side by side: which of them are the same variant, what each variant reached over its seeds, how far it is from
// the baseline and how sure that is, and whether the comparison is fair.
//
// Runs whose configurations differ in nothing but the seed, and in keys that change no training, are one variant. Of two
// variants the runs of one seed are a pair: they saw the same batches in the same order. What is said of a difference
// rests on the differences within pairs (launch/statistics/paired.h).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "launch/ablation/cost.h"
#include "launch/compare/run_record.h"
#include "launch/statistics/sample.h"

namespace gta {

inline constexpr double kPracticalDifference = 0.005;  // nats

struct CompareOptions {
  std::string name = "comparison";
  std::string baseline;  // a variant's name, or the folder of one of its runs; "": the first run's variant
  Budget equal = Budget::None;  // what has to be equal for a fair comparison
  double tolerance = 0.005;     // of it
  double practical_difference = kPracticalDifference;
  // Keys that are meant to differ, or their sections ("optimizer."); without any, those below "model." where one of
  // them differs, else all that differ.
  std::vector<std::string> varied;
};

// A number over the seeds of a variant.
struct Estimate {
  std::map<int64_t, double> values;              // by seed; those that are numbers
  double mean = 0, deviation = 0;                // NaN of too few
  std::optional<statistics::Interval> interval;  // of the mean, 95%

  explicit Estimate(std::map<int64_t, double> by_seed = {});
  std::vector<double> list() const;
};

enum class Finding : uint8_t {
  NoPair,            // no seed in common
  OneSeed,           // nothing can be shown
  NotShown,          // the interval holds 0, or does after Holm's correction
  PracticallyEqual,  // the whole interval is closer to 0 than practical_difference
  ShownButSmall,     // shown, and smaller than practical_difference
  Lower,
  Higher
};
const char* name_of(Finding finding);  // "no pair", "one seed", "not shown", "practically equal", "shown but small", ...
bool is_shown(Finding finding);

// Of validation losses: a variant's less the reference's.
struct Difference {
  Estimate of_pairs;
  double p_sign_flip = 1, p_holm = 1;        // the second: sign flips, after Holm's correction
  std::optional<double> p_t, p_t_holm;       // Student's t, on which the finding rests
  std::optional<double> correlation;         // of the two losses over seeds
  std::optional<double> smallest_shown;      // with 80% power
  std::optional<int64_t> seeds_needed;       // to show the difference seen, with 80% power
  Finding finding = Finding::NoPair;
};

// A curve's point: over the seeds the mean, and the lowest and the highest; of a difference its 95% interval.
struct CurvePoint {
  int64_t step = 0;
  double tokens = 0, flops = 0, seconds = 0;
  double mean = 0, low = 0, high = 0;
};

struct Variant {
  std::string name;
  std::map<std::string, std::string> settings;  // every key that counts, as YAML
  std::map<std::string, std::string> adjusted;  // outside of model.attention, where it is not the baseline's
  RunConfig config;                             // of one of its runs
  Cost cost;
  std::vector<size_t> runs;  // that are done, one for each seed, by rising seed: indices of Comparison::runs
  Estimate validation_loss, bits_per_byte, perplexity, seconds_per_step, tokens_per_second, memory_bytes;
  std::optional<Difference> difference;  // none for the baseline
  // The variant of the lowest mean, and those of which it is not shown that they differ from it.
  bool best = false, as_good_as_best = false;
  std::vector<CurvePoint> validation, training;
  std::vector<CurvePoint> difference_over_training;  // of validation losses where there are three or more, else of training losses
};

// What makes a comparison unfair, or (a note) what a reader should know. kind: "configuration", "data", "tokenizer",
// "validation", "sample order", "program", "device", "changed midway", "missing runs", "budget".
struct Remark {
  std::string kind, text;
};

struct Cell {
  std::string variant;  // "" where its configuration cannot be read
  std::optional<int64_t> seed;
  std::string folder, state, reason;  // reason: why it does not count; "" where it does
};

struct Comparison {
  CompareOptions options;
  std::vector<RunRecord> runs;
  std::vector<Variant> variants;  // the baseline first, then in the order of the runs
  std::vector<Cell> cells;        // in the order of the runs
  std::vector<Remark> problems, notes;
  std::vector<Budget> equal_budgets;  // which are, within the tolerance

  bool fair() const { return problems.empty(); }
  const Variant& baseline() const { return variants.front(); }
};

// Error(BadInput) where no run counts, or there is no such baseline.
Comparison compare(std::vector<RunRecord> runs, const CompareOptions& options);

}  // namespace gta
