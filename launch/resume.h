// What a run may go on from, or begin with: a checkpoint beside the configuration, the tokenizer and the data of now.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoints/reader.h"
#include "launch/config/config.h"

namespace gta {

class Tokenizer;

// A run goes on from its own checkpoint: the same keys (those aside that may change, and those that the type of
// attention does not use), the same tokenizer and the same data wherever they lie. Returns what has changed;
// Error(BadInput) with all that may not.
std::vector<ConfigDifference> check_resume(const std::string& run_dir, const Checkpoint& checkpoint,
                                           const RunConfig& before, const RunConfig& now, const Tokenizer& tokenizer,
                                           uint64_t data_hash);

// The same for whoever reads the log, a line each, and what follows from it for the steps after `position`: another
// learning rate than they would have had, another number of tokens in all.
std::vector<std::string> describe_changes(const std::vector<ConfigDifference>& changes, const RunConfig& before,
                                          const RunConfig& now, const TrainingPosition& position);

// A run begins with another one's weights: what gives them their meaning has to be the same, the tokenizer and the
// model's keys, not their shapes alone. Returns the changes that can be meant (rope_theta for longer contexts), a line
// each; Error(BadInput) with all others.
std::vector<std::string> check_init_from(const Checkpoint& checkpoint, const RunConfig& now,
                                         const Tokenizer& tokenizer);

}  // namespace gta
