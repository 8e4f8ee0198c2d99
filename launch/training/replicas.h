// Whether memory still holds what training put there: a flipped bit of a weight, a master or a moment would change a
// model without a word. Every train.verify_replicas_every_steps
//
//   weights            all ranks have the same, which their hashes show
//   masters, moments   what a rank updates is before the next update what it was after the one before
//
// What is found names the rank, the parameter and the elements.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "launch/training/training.h"

namespace gta {

class ReplicaCheck {
 public:
  // All ranks. The training's state of now is taken for right.
  explicit ReplicaCheck(const Training& training) : training_(training), sound_step_(training.position.step) {}

  // After an update and its step's count; the weights have come to all (finish_weights).
  void after_update();
  // Before the next one.
  void before_update();

  // The last step whose state was seen to be right: what was saved later may hold what was found.
  int64_t sound_step() const { return sound_step_; }
  // What an error of the functions above was about: memory that has changed by itself.
  bool found_damage() const { return found_damage_; }

 private:
  void compare_weights();
  [[noreturn]] void fail_of(const std::string& what);

  const Training& training_;
  int64_t sound_step_;
  std::optional<std::vector<std::vector<uint64_t>>> state_;  // of each range, the hashes of its blocks
  bool found_damage_ = false;
};

}  // namespace gta
