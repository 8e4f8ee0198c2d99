// What the ranks of a training tell each other once a step, and what they agree on by it: whether a signal stops all of
// them, whether one could not compute its share, whether one has seen that another start of the run has taken over,
// whether all files of a save are on disk, and who is slow.
#pragma once

#include <cstdint>
#include <vector>

#include "checkpoints/saver.h"
#include "launch/training/ranks.h"
#include "launch/training/training.h"

namespace gta {

// The signal that stops a training, 0 as long as there is none. Alone that is whatever has come by now; several ranks
// go by what they agreed on last, and so stop after the same step.
class StopSignal {
 public:
  explicit StopSignal(const Ranks& ranks) : ranks_(ranks) {}
  int now() const;
  bool asked() const { return now() != 0; }
  // In the middle of a step, where ranks agree on nothing.
  bool asked_midway() const { return ranks_.alone() && asked(); }
  void agree();  // all ranks
  void agree_on(int signal) { agreed_ = signal; }

 private:
  Ranks ranks_;
  int agreed_ = 0;
};

struct StepVote {
  int32_t signal = 0;     // that has come to this rank
  int32_t failed = 0;     // 1: it could not compute its share
  int32_t overtaken = 0;  // 1: a later start of the run was seen
  CheckpointSaver::OwnFile file = CheckpointSaver::OwnFile::None;
  double computed_seconds = 0;  // without waiting for others
};

struct StepAgreement {
  int signal = 0;
  bool failed = false;
  bool overtaken = false;
  bool files_ended = false;              // every rank's file of the save in flight
  std::vector<double> computed_seconds;  // of each rank
};
StepAgreement agree(Communicator& ranks, const StepVote& own);

// Error(BadInput) on every rank where one is another program, or has another configuration, tokenizer or data than rank
// 0, or another of these options: says which rank, and in what. All ranks.
void compare_ranks(const Training& training, const std::string& options);

}  // namespace gta
