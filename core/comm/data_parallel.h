// What ranks do together in a step, bucket by bucket of the flat space (core/shard_map.h):
//
//   backward        a bucket whose gradients are complete is added up over the ranks, while backward goes on
//   update          each rank its own part (optim/)
//   forward         new weights come to all, in the order in which forward needs them, while it begins
//
// Afterwards a rank has the sums of what it updates: of a bucket of matrices its slice, or, where nothing is sharded,
// all of it; of the vectors all. With one rank nothing happens.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "core/backends/stream_mark.h"
#include "core/comm/communicator.h"
#include "core/parameter_space.h"
#include "core/tape.h"

namespace gta {

// When a device's stream began to wait for a collective, and when it went on.
class DeviceWaits {
 public:
  void add(std::unique_ptr<StreamMark> begin, std::unique_ptr<StreamMark> end) {
    waits_.emplace_back(std::move(begin), std::move(end));
  }
  double seconds() const;  // returns when the device has gone on from the last one

 private:
  std::vector<std::pair<std::unique_ptr<StreamMark>, std::unique_ptr<StreamMark>>> waits_;
};

class DataParallel {
 public:
  // Both stay where they are; the space has its memory.
  DataParallel(ParameterSpace& space, Communicator& communicator);

  // For the tape of a step's last micro-batch.
  GradientListener gradients_complete();
  // Sends what backward has not completed (weights that nothing used, or of a step that could not be computed), and
  // waits for all of it.
  void finish_gradients();

  // After the update.
  void begin_weights();
  // For the tape of the next forward.
  WeightUse weights_needed();
  // Before anything else reads or writes weights.
  void finish_weights();

  // That this thread waited in the functions above, since this was last asked.
  double take_seconds_waited();
  // Of the device's stream, since this was last asked.
  DeviceWaits take_device_waits() { return std::exchange(device_waits_, {}); }

 private:
  size_t bucket_of(const Weight& weight) const;
  void send(size_t bucket);
  void wait(std::vector<Pending>& pending);

  ParameterSpace& space_;
  Communicator& communicator_;
  std::vector<int64_t> groups_;                // of each bucket
  std::vector<int64_t> left_;                  // of each bucket, groups that are not complete
  size_t next_ = 0;                            // the first bucket that has not been sent
  std::vector<std::vector<Pending>> pending_;  // of each bucket: its gradients, then its weights
  double seconds_waited_ = 0;
  DeviceWaits device_waits_;
};

}  // namespace gta
