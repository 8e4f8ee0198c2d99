#include "launch/training/agreement.h"

#include <algorithm>

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
  using OwnFile = CheckpointSaver::OwnFile;
  const std::vector<StepVote> votes = ranks.gather("agreement on a step", own);
  StepAgreement all;
  all.files_ended = std::all_of(votes.begin(), votes.end(), [](const StepVote& v) { return v.file == OwnFile::Ended; });
  for (const StepVote& vote : votes) {
    all.signal = std::max(all.signal, static_cast<int>(vote.signal));
    all.failed |= vote.failed != 0;
    all.computed_seconds.push_back(vote.computed_seconds);
  }
  all.slowest_rank =
      std::max_element(all.computed_seconds.begin(), all.computed_seconds.end()) - all.computed_seconds.begin();
  return all;
}

namespace {

using Facts = std::vector<std::pair<std::string, std::string>>;

Facts facts_of(const Training& t) {
  Facts facts = program_facts(t.device);
  facts.emplace_back("tokenizer", hash_text(hash_bytes(t.tokenizer.bytes())));
  facts.emplace_back("data", hash_text(t.data.hash()));
  // A line for each key.
  const std::string config = to_yaml(t.config);
  for (size_t begin = 0; begin < config.size();) {
    const size_t end = std::min(config.find('\n', begin), config.size());
    facts.emplace_back("configuration", config.substr(begin, end - begin));
    begin = end + 1;
  }
  return facts;
}

std::string text_of(const Facts& facts) {
  std::string text;
  for (const auto& [name, value] : facts) text += fmt::format("{}: {}\n", name, value);
  return text;
}

// The first lines in which two texts differ.
std::pair<std::string, std::string> difference(const std::string& a, const std::string& b) {
  for (size_t from_a = 0, from_b = 0; from_a < a.size() || from_b < b.size();) {
    const size_t to_a = std::min(a.find('\n', from_a), a.size()), to_b = std::min(b.find('\n', from_b), b.size());
    const std::string line_a = from_a < a.size() ? a.substr(from_a, to_a - from_a) : "",
                      line_b = from_b < b.size() ? b.substr(from_b, to_b - from_b) : "";
    if (line_a != line_b) return {line_a, line_b};
    from_a = to_a + 1;
    from_b = to_b + 1;
  }
  return {};
}

}  // namespace

void compare_ranks(const Training& training) {
  Communicator& ranks = training.ranks.communicator;
  if (training.ranks.alone()) return;
  const std::vector<std::string> all = ranks.gather_text("facts", text_of(facts_of(training)));
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
