// Ends a training of several ranks that cannot go on, and says why: a rank died, hangs, or met an error of its own.
//
// A thread of every rank tells rank 0's once a second, over TCP and not through the communicator's transport, what its
// rank does: step, phase, collective. Rank 0 judges (verdict.h) and shows the verdict, with a table of all; the others
// have it in their files alone, and all end with 1. A rank that loses rank 0 says what it did itself, and ends. Seconds
// count while the watching thread runs: a job that was stopped as a whole and goes on is not hung.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "core/comm/communicator.h"

namespace gta {

class Watchdog {
 public:
  struct Options {
    double timeout = 0;           // seconds; 0: nothing is called hung
    std::string interface = {};   // on which rank 0 listens: its name, or a name or an address of the host; empty: all
    double connect_seconds = 60;  // in which every rank has to reach rank 0
    // Ends the process; called once, by a thread of the watchdog, when the log is written or cannot be. Null: _exit.
    // Where it takes longer than a second, _exit does it; where it returns, the rank goes on unwatched. The locks of
    // the log and of stdio may be held for good.
    std::function<void(int exit_code)> end = {};
  };

  // A collective of all ranks. The same error on each where one cannot reach rank 0. Watches nothing where there is one
  // rank. The communicator outlives it.
  Watchdog(Communicator& communicator, Options options);
  // Without finish() or last_words() before: to the others this rank is lost.
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  // From any thread, at any time. What the rank does now, in a word or two ("forward"): a change is a move, and so is a
  // collective that is begun, entered or left.
  void at(int64_t step, std::string_view phase);
  void progress();  // a move within a phase that lasts

  // Before this rank ends by an error that not all ranks met alike: makes it the cause that all are told, and returns
  // when they are, after a few seconds at most. The caller ends this process.
  void last_words(const std::string& message);
  // Before this rank ends well, or like all others: nobody misses it afterwards. On rank 0 it waits for the others',
  // and watches them meanwhile.
  void finish();

 private:
  class Watch;
  class Leader;
  class Follower;
  void stop();

  std::unique_ptr<Watch> watch_;
};

}  // namespace gta
