// What a run's folder says of the run, for whoever compares runs: its configuration, where it ran, what it was trained
// on, how its losses came out. The folder may come from anywhere and be damaged: what cannot be read leaves the run out
// of a comparison, with the reason, and ends nothing.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "data/sampler.h"
#include "launch/compare/initial_parameters.h"
#include "launch/compare/last_rows.h"
#include "launch/compare/text.h"
#include "launch/config/run_config.h"

namespace gta {

enum class RunState : uint8_t {
  Done,
  Unfinished,         // its last step is not the configuration's
  Diverged,           // the validation loss of its last step is no number
  WithoutValidation,  // done, and nothing was validated at its end
  Unreadable
};
const char* name_of(RunState state);  // "done", "unfinished", "diverged", "without validation", "unreadable"

struct ValidationPoint {
  int64_t step = 0, tokens = 0;
  double seconds = 0;  // that all steps until then took
  double loss = 0, bits_per_byte = 0, perplexity = 0;
};

// The mean over some steps in a row, the same steps in every run of so many steps.
struct TrainingPoint {
  int64_t step = 0, tokens = 0;  // the last of them
  double seconds = 0;            // until then
  double loss = 0;
};

struct RunRecord {
  std::string folder;  // as it was given
  std::string label;   // what a comparison calls it: short, printable, no other run's
  RunState state = RunState::Unreadable;
  std::string reason;  // why it is not compared; "" where it is done

  RunConfig config;     // not of an unreadable one
  std::string changes;  // while it trained, as launch/config/history.h keeps them
  // environment.json, as far as it says them: gta, commit, compiler, vector_width, products, device, processor,
  // processors, threads, system, memory_bytes, schedule_version, started, command (without folders).
  std::map<std::string, std::string> environment;
  // Of the newest checkpoint whose manifest is whole.
  std::optional<uint64_t> data_hash, tokenizer_hash;
  std::optional<SampleOrder> order;
  int64_t checkpoint_step = 0, next_sample = 0, skipped_steps = 0;
  std::vector<std::string> edited;  // keys that have another value in its configuration
  std::optional<InitialParameters> initial;

  int64_t last_step = 0;
  std::optional<ValidationPoint> final;  // of the configuration's last step
  // Every validation whose loss is a number, where there are more than kMostPoints those at steps of a grid; and the
  // training loss.
  std::vector<ValidationPoint> validation;
  std::vector<TrainingPoint> training;
  LastRows last_rows;
  // Of all steps; NaN where there are none.
  double seconds_per_step = 0;       // the median
  double tokens_per_second = 0;      // of such a step
  double memory_bytes = 0;           // the most
  double seconds = 0;                // all together
  std::vector<std::string> remarks;  // what was odd about its files
};

inline constexpr size_t kMostPoints = 512;  // of a curve

RunRecord read_run(const std::string& folder);
// All of them, several at once, in their order.
std::vector<RunRecord> read_runs(const std::vector<std::string>& folders);

}  // namespace gta
