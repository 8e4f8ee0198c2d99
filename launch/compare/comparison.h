// Runs side by side: which of them are the same variant, what each variant reached over its seeds, how far it is from
// the baseline and how sure that is, and whether the comparison is fair.
//
// Runs whose configurations differ in nothing but the seed, and keys that change no training, are one variant. Of two
// variants the runs of one seed are a pair: they saw the same batches in the same order. What is said of a difference
// rests on the differences within pairs (launch/statistics/paired.h).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "launch/ablate/cost.h"
#include "launch/compare/difference.h"
#include "launch/compare/run_record.h"

namespace gta {

// What an ablation knows of one of its runs, whatever its folder says.
struct NamedCell {
  std::string variant;
  std::optional<int64_t> seed;
  std::string reason;  // why it does not count, instead of what its folder says; "" where the folder says it
};

struct CompareOptions {
  std::string name = "comparison";
  std::string baseline;         // a variant's name, or the folder of one of its runs; "": the first run's variant
  Budget equal = Budget::None;  // what has to be equal for a fair comparison
  double tolerance = 0.005;     // of it
  double practical_difference = kPracticalDifference;
  // Keys that are meant to differ, or their sections ("optimizer."); without any, those below "model." where one of
  // them differs, else all that differ. Where FLOPs have to be equal, train.steps and a schedule that is as long may.
  std::vector<std::string> varied;
  // Keys whose value each variant took from a search of its own: they may differ too.
  std::vector<std::string> searched;
  std::map<std::string, NamedCell> cells;  // by the folder of a run
};

// What ends of runs are compared by. Losses per token of two tokenizers are no numbers of one kind; bits per byte are.
enum class Measure : uint8_t { LossPerToken, BitsPerByte };
const char* name_of(Measure measure);  // "validation_loss", "bits_per_byte"
const char* unit_of(Measure measure);  // "nats per token", "bits per byte"

// A curve's point: over the seeds the mean, and the lowest and the highest; of a difference its 95% interval, which of
// one pair is the difference itself.
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
  // Validation losses per token, or bits per byte where they are what is compared; training losses per token.
  std::vector<CurvePoint> validation, training;
  std::vector<CurvePoint>
      difference_over_training;  // of validations where there are three or more, else of training losses
};

// What makes a comparison unfair, or (a note) what a reader should know. kind: "configuration", "data", "tokenizer",
// "validation", "sample order", "initial parameters", "program", "device", "speed", "changed midway", "missing runs",
// "duplicate", "budget", "learning rate", "pairing", "files".
struct Remark {
  std::string kind, text;
};

struct Cell {
  std::string variant;  // "" where its configuration cannot be read
  std::optional<int64_t> seed;
  std::string folder, state, reason;  // its label; reason: why it does not count, "" where it does
};

struct Comparison {
  CompareOptions options;
  Measure measure = Measure::LossPerToken;
  double practical_difference = 0;  // of that measure
  std::vector<RunRecord> runs;
  std::vector<Variant> variants;  // those with a run that counts: the baseline first, then in the order of the runs
  std::vector<Cell> cells;        // of each run, in their order
  std::vector<Remark> problems, notes;
  std::vector<Budget> equal_budgets;  // which are, within the tolerance

  bool fair() const { return problems.empty(); }
  const Variant& baseline() const { return variants.front(); }
  // What is compared, of a variant.
  const Estimate& measured(const Variant& variant) const {
    return measure == Measure::BitsPerByte ? variant.bits_per_byte : variant.validation_loss;
  }
};

// Error(BadInput) where no run counts, there is no such baseline, and where runs cannot be compared: of other data
// with the same tokenizer, or scored on other tokens.
Comparison compare(std::vector<RunRecord> runs, const CompareOptions& options);

}  // namespace gta
