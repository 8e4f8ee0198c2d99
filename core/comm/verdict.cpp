#include "core/comm/verdict.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <utility>

namespace gta {
namespace {

constexpr double kLostTogether = 0.5;  // seconds
constexpr size_t kRows = 64;           // of a table
constexpr size_t kNames = 8;           // of ranks in a sentence

std::string collective_of(const RankReport& report) {
  return report.number == 0 ? "none" : fmt::format("{} '{}'", report.number, report.collective.data());
}

template <class Text>
std::string list(const std::vector<int64_t>& ranks, Text text) {
  std::string all;
  for (size_t i = 0; i < std::min(ranks.size(), kNames); ++i) all += (i > 0 ? ", " : "") + text(ranks[i]);
  return ranks.size() > kNames ? all + fmt::format(" and {} more", ranks.size() - kNames) : all;
}

}  // namespace

static_assert(std::has_unique_object_representations_v<RankReport>);

Judge::Judge(std::vector<std::string> hosts, double timeout, double mute_after)
    : hosts_(std::move(hosts)), timeout_(timeout), mute_after_(mute_after), ranks_(hosts_.size()) {}

std::string what_it_does(const RankReport& r) {
  return fmt::format("in '{}' of step {}, {} collective {}", r.phase.data(), r.step, r.inside != 0 ? "inside" : "after",
                     collective_of(r));
}

std::string rank_name(const std::vector<std::string>& hosts, int64_t rank) {
  return fmt::format("rank {} ({})", rank, hosts[static_cast<size_t>(rank)]);
}

void Judge::start(double now) {
  for (Rank& rank : ranks_) rank.moved = rank.heard = now;
}

void Judge::report(int64_t rank, const RankReport& report, double now) {
  at(rank).heard = now;
  if (std::memcmp(&report, &at(rank).report, sizeof report) == 0) return;
  at(rank).report = report;
  at(rank).report.phase.back() = at(rank).report.collective.back() = '\0';
  at(rank).moved = now;
}

void Judge::lose(int64_t rank, const std::string& why, double now) {
  if (at(rank).finished || std::exchange(at(rank).lost, true)) return;
  if (lost_.empty()) {
    why_lost_ = why;
    lost_since_ = now;
  }
  lost_.push_back(rank);
}

void Judge::last_words(int64_t rank, const std::string& message) {
  if (words_.empty()) words_ = fmt::format("{}: {}", name(rank), message);
}

bool Judge::all_finished() const {
  return std::all_of(ranks_.begin(), ranks_.end(), [](const Rank& rank) { return rank.finished; });
}

std::optional<Judge::Verdict> Judge::verdict(double now) {
  now_ = now;
  latest_ = 0;
  for (const Rank& rank : ranks_)
    if (!rank.finished && rank.report.inside != 0) latest_ = std::max(latest_, rank.report.number);
  if (!words_.empty()) return Verdict{lost_.empty() ? words_ : words_ + "\nlost: " + names(lost_), ""};
  if (!lost_.empty()) {
    if (now - lost_since_ < kLostTogether) return {};
    return Verdict{loss(), table()};
  }
  if (hung()) return Verdict{hang(), table()};
  return {};
}

template <class Is>
Judge::Ranks Judge::ranks_that(Is is) const {
  Ranks ranks;
  for (int64_t r = 0; r < static_cast<int64_t>(ranks_.size()); ++r)
    if (is(r)) ranks.push_back(r);
  return ranks;
}

bool Judge::mute(int64_t rank) const { return !at(rank).finished && unheard(rank) >= std::min(timeout_, mute_after_); }

bool Judge::waits(int64_t rank) const {
  const Rank& r = at(rank);
  return !r.finished && r.report.inside != 0 && r.report.number == latest_;
}

bool Judge::hung() const {
  if (timeout_ <= 0 || all_finished()) return false;
  bool all_stand = true, all_stand_or_wait = true, one_is_missing = false;
  for (int64_t r = 0; r < static_cast<int64_t>(ranks_.size()); ++r) {
    if (at(r).finished) continue;
    if (unheard(r) >= timeout_) return true;
    const bool stands = unmoved(r) >= timeout_;
    all_stand &= stands;
    all_stand_or_wait &= stands || waits(r);
    one_is_missing |= stands && !waits(r);
  }
  return all_stand || (all_stand_or_wait && one_is_missing);
}

std::string Judge::did(int64_t rank) const { return what_it_does(at(rank).report); }

std::string Judge::names(const Ranks& ranks) const {
  return list(ranks, [&](int64_t r) { return name(r); });
}

std::string Judge::names_and_deeds(const Ranks& ranks) const {
  return list(ranks, [&](int64_t r) {
    return fmt::format("{} (last seen {}, unmoved for {:.0f} s)", name(r), did(r), unmoved(r));
  });
}

std::string Judge::loss() const {
  const std::string text = fmt::format(
      "lost {}, last seen {}: {}", name(lost_[0]), did(lost_[0]),
      why_lost_.empty() ? "its process ended without a word (killed, out of memory, crashed?); its host may say more"
                        : "its connection failed: " + why_lost_);
  return lost_.size() == 1 ? text : text + "; also " + names(Ranks(lost_.begin() + 1, lost_.end()));
}

std::string Judge::hang() const {
  const std::string head = fmt::format("the training hangs (timeout {:.4g} s): ", timeout_);
  const Ranks mutes = ranks_that([&](int64_t r) { return mute(r); });
  if (!mutes.empty())
    return fmt::format("{}{} send{} no reports: stopped, or cut off by its host or network", head,
                       names_and_deeds(mutes), mutes.size() == 1 ? "s" : "");
  const Ranks waiting = ranks_that([&](int64_t r) { return waits(r); });
  const Ranks absent = ranks_that([&](int64_t r) { return !at(r).finished && !waits(r); });
  if (waiting.empty()) return head + "no rank waits for another, each stands where it is: " + names_and_deeds(absent);
  const std::string collective = "collective " + collective_of(at(waiting[0]).report);
  if (absent.empty())
    return head + "all ranks entered " + collective + " and none comes out: look at the network between their hosts";
  return fmt::format("{}{} never came to {}, where {} wait{}", head, names_and_deeds(absent), collective,
                     names(waiting), waiting.size() == 1 ? "s" : "");
}

std::string Judge::note(int64_t rank) const {
  if (at(rank).finished) return "finished";
  if (at(rank).lost) return "lost";
  if (timeout_ > 0 && mute(rank)) return fmt::format("no report for {:.1f} s", unheard(rank));
  if (waits(rank)) return "waits";
  return latest_ > 0 ? "has not come" : "";
}

// Who does not wait comes first.
std::string Judge::table() const {
  Ranks order = ranks_that([](int64_t) { return true; });
  std::stable_partition(order.begin(), order.end(), [&](int64_t r) { return !at(r).finished && !waits(r); });
  size_t width = 4;
  for (const std::string& host : hosts_) width = std::max(width, host.size());
  const auto row = [&](const auto& rank, const std::string& host, const auto& step, const std::string& unmoved,
                       const std::string& phase, const std::string& collective, const std::string& note) {
    const std::string line = fmt::format("{:>6}  {:{}}  {:>8}  {:>9}  {:<16}  {:<32}  {}", rank, host, width, step,
                                         unmoved, phase, collective, note);
    return line.substr(0, line.find_last_not_of(' ') + 1);
  };
  std::string text = row("rank", "host", "step", "unmoved", "phase", "collective", "");
  for (size_t i = 0; i < std::min(order.size(), kRows); ++i) {
    const RankReport& report = at(order[i]).report;
    text +=
        '\n' + row(order[i], hosts_[static_cast<size_t>(order[i])], report.step,
                   fmt::format("{:.1f} s", unmoved(order[i])), report.phase.data(),
                   report.number == 0 ? "none" : collective_of(report) + (report.inside != 0 ? ", inside" : ", left"),
                   note(order[i]));
  }
  if (order.size() > kRows) text += fmt::format("\n{:>6} more", order.size() - kRows);
  return text;
}

}  // namespace gta
