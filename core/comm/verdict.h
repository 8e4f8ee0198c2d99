// Whether ranks that report what they do can go on, and whose fault it is if not. Times are seconds of one clock.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace gta {

// Compared and sent as bytes: no gaps. The last byte of a text is 0.
struct RankReport {
  int64_t step = 0;
  int64_t moves = 0;                  // grows while a phase gets on
  int64_t number = 0;                 // of the collective that was entered last, from 1
  int64_t inside = 0;                 // 1: it has not been left
  int64_t begun = 0;                  // collectives
  std::array<char, 32> phase{};       // longer ones are cut
  std::array<char, 48> collective{};  // the name of `number`
};

// "in 'forward' of step 7, inside collective 5 'loss'"
std::string what_it_does(const RankReport& report);
std::string rank_name(const std::vector<std::string>& hosts, int64_t rank);  // "rank 3 (node1)"

class Judge {
 public:
  // timeout: seconds without a move; 0: nothing is called hung. mute_after: seconds without a report after which a rank
  // that hangs is said to send none.
  Judge(std::vector<std::string> hosts, double timeout, double mute_after);

  void start(double now);  // all ranks are here
  void report(int64_t rank, const RankReport& report, double now);
  void finish(int64_t rank) { at(rank).finished = true; }
  void lose(int64_t rank, const std::string& why, double now);  // nothing where it finished
  void last_words(int64_t rank, const std::string& message);    // the first count
  bool all_finished() const;

  struct Verdict {
    std::string sentence, table;  // no table where a rank said itself what the cause is
  };
  // In this order of causes. For half a second after a loss it waits: who is left may know why.
  //   last words    said by any rank
  //   lost          a rank that had not finished
  //   hung          for `timeout` a rank sent no report, or no rank moved, or some did not while all others wait in a
  //                 collective that these have not entered
  std::optional<Verdict> verdict(double now);

 private:
  struct Rank {
    RankReport report;
    double moved = 0, heard = 0;
    bool finished = false, lost = false;
  };
  using Ranks = std::vector<int64_t>;

  Rank& at(int64_t rank) { return ranks_[static_cast<size_t>(rank)]; }
  const Rank& at(int64_t rank) const { return ranks_[static_cast<size_t>(rank)]; }
  template <class Is>
  Ranks ranks_that(Is is) const;
  double unmoved(int64_t rank) const { return now_ - at(rank).moved; }
  double unheard(int64_t rank) const { return now_ - at(rank).heard; }
  bool mute(int64_t rank) const;
  bool waits(int64_t rank) const;
  bool hung() const;

  std::string name(int64_t rank) const { return rank_name(hosts_, rank); }
  std::string did(int64_t rank) const;
  std::string names(const Ranks& ranks) const;
  std::string names_and_deeds(const Ranks& ranks) const;
  std::string loss() const;
  std::string hang() const;
  std::string note(int64_t rank) const;
  std::string table() const;

  const std::vector<std::string> hosts_;
  const double timeout_, mute_after_;
  std::vector<Rank> ranks_;
  double now_ = 0;
  int64_t latest_ = 0;  // the collective that ranks wait in; 0: none
  std::string words_, why_lost_;
  Ranks lost_;  // in the order in which they were
  double lost_since_ = 0;
};

}  // namespace gta
