#include "launch/training/agreement.h"

#include <algorithm>
#include <sstream>

#include "core/comm/verdict.h"
#include "core/error.h"
#include "core/io/hash.h"
#include "launch/environment.h"
#include "launch/signals.h"

namespace gta {

int StopSignal::now() const { return ranks_.alone() ? stop_requested() : agreed_; }

void StopSignal::agree() {
  const std::vector<int32_t> signals = ranks_.communicator.gather("signals", static_cast<int32_t>(stop_requested()));
  agreed_ = *std::max_element(signals.begin(), signals.end());
}

StepAgreement agree(Communicator& ranks, const StepVote& own) {
  const std::vector<StepVote> votes = ranks.gather("agreement on a step", own);
  StepAgreement all;
  all.files_ended = true;
  for (const StepVote& vote : votes) {
    all.signal = std::max(all.signal, static_cast<int>(vote.signal));
    all.failed |= vote.failed != 0;
    all.overtaken |= vote.overtaken != 0;
    all.files_ended &= vote.file == CheckpointSaver::OwnFile::Ended;
    all.computed_seconds.push_back(vote.computed_seconds);
  }
  return all;
}

namespace {

// A line for each.
std::string facts_of(const Training& t, const std::string& options) {
  std::string text;
  const auto add = [&](const std::string& name, const std::string& value) { text += name + ": " + value + '\n'; };
  for (const auto& [name, value] : program_facts(t.device)) add(name, value);
  add("tokenizer", hash_text(hash_bytes(t.tokenizer.bytes())));
  add("data", hash_text(t.data.hash()));
  if (t.validation) add("validation data", hash_text(t.validation->hash()));
  add("options", options);
  std::istringstream keys(to_yaml(t.config));
  for (std::string key; std::getline(keys, key);) add("configuration", key);
  return text;
}

// The first lines in which two texts differ; equal ones where there are none.
std::pair<std::string, std::string> difference(const std::string& a, const std::string& b) {
  std::istringstream lines_a(a), lines_b(b);
  std::string line_a, line_b;
  do {
    if (!std::getline(lines_a, line_a)) line_a.clear();
    if (!std::getline(lines_b, line_b)) line_b.clear();
  } while (line_a == line_b && (lines_a || lines_b));
  return {line_a, line_b};
}

}  // namespace

void compare_ranks(const Training& training, const std::string& options) {
  Communicator& ranks = training.ranks.communicator;
  if (training.ranks.alone()) return;
  const std::vector<std::string> all = ranks.gather_text("facts", facts_of(training, options));
  std::string differing;
  for (size_t rank = 1; rank < all.size(); ++rank)
    if (const auto [lead, other] = difference(all[0], all[rank]); lead != other)
      differing +=
          fmt::format("\n  {}: '{}'; rank 0: '{}'", rank_name(ranks.hosts(), static_cast<int64_t>(rank)), other, lead);
  if (!differing.empty())
    throw Error(ErrorKind::BadInput, "ranks",
                "all of them have to be the same program with the same configuration and data:" + differing)
        .as_agreed();
}

}  // namespace gta
