// What only looks at the weights: validation, samples, diagnoses. None of it is worth the run: what goes wrong there is
// a warning, and training goes on.
#pragma once

#include <exception>
#include <functional>
#include <optional>

#include "core/error.h"
#include "core/log.h"
#include "launch/run_folder.h"
#include "launch/training/training.h"

namespace gta {

// Runs f; what it throws is a warning. Of several ranks' only what each of them met alike: with any other error they
// are not at the same place any more.
template <class F>
void look(const Ranks& ranks, const char* what, int64_t step, F&& f) {
  const auto warn = [&](const std::exception& error) {
    log::warning("no {} after step {}: {}", what, step, error.what());
  };
  try {
    f();
  } catch (const Error& error) {
    if (!ranks.alone() && !error.agreed()) throw;
    warn(error);
  } catch (const std::exception& error) {
    if (!ranks.alone()) throw;
    warn(error);
  }
}

// What a step is followed by.
struct Looks {
  bool validation = false, sample = false;
  bool any() const { return validation || sample; }
};

// After the step of now.
Looks looks_due(const Training& training);
// The due looks that the run had not finished when it ended.
Looks looks_owed(const Training& training, const RunFolder& folder);
// Whether the step after the one of now is diagnosed.
bool diagnosis_follows(const Training& training);

// Error(BadInput) names a prompt of train.sample_prompts that cannot be continued: said at the start, not after days.
void check_prompts(const Training& training);

struct ValidationResult {
  double loss, bits_per_byte;
};
// All ranks look together, `folder` being the lead's and nullptr elsewhere; the weights have come to each of them.
// Over the validation set; the row and a message. Nothing where `stop` of any rank ended it.
std::optional<ValidationResult> validate(const Training& training, RunFolder* folder,
                                         const std::function<bool()>& stop);
// The lead continues the prompts; the file and a message, unless another start of the run has taken over. False where
// its `stop` ended it.
bool sample(const Training& training, const RunFolder* folder, const std::function<bool()>& stop);

}  // namespace gta
