// How many tokens a run's model knows.
#pragma once

#include <string>

#include "data/tokenizer.h"
#include "launch/config/run_config.h"

namespace gta {

// A model.vocab_size of 0 becomes the tokenizer's, rounded up to model.vocab_multiple. Error(BadInput) where the one
// given is smaller than the tokenizer's.
RunConfig with_vocabulary(RunConfig config, const Tokenizer& tokenizer);

// For whoever only counts: where the tokenizer's file is not there, a vocab_size of 0 becomes one that is common. What
// was taken, for the user; "" where the configuration says it.
std::string take_vocabulary(RunConfig& config);

}  // namespace gta
