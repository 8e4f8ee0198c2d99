// What the ranks of a training say to each other. Every rank begins the same collectives in the same order; a thread
// of the communicator's own works on them one after the other, while the caller computes.
//
//   reduce_scatter   parts (ranks x n): part `rank` becomes the sum of all ranks' such parts; the others stay
//   all_reduce       every element becomes the sum over the ranks, the same bits on each
//   all_gather       parts (ranks x n): each rank's own part comes to all
//
// Sums are made here, in the order of ranks and in the tensors' own dtype: their bits depend on the number of ranks
// alone, not on a library, a length or who came first. Each collective has a name and a number. Before it begins, the
// ranks compare them: where a rank is in another one, all say which.
//
// Tensors of a device go through a transport of their own (use()), queued on the device, or without one through the
// host's memory. A communicator of one rank has no thread, and its collectives do nothing.
#pragma once

#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "core/backends/stream_event.h"
#include "core/comm/device_lane.h"
#include "core/comm/transport.h"
#include "core/error.h"
#include "core/tensor.h"

namespace gta {

// A collective that was begun.
class Pending {
 public:
  Pending() = default;  // nothing to wait for
  explicit Pending(std::shared_future<void> done) : done_(std::move(done)) {}
  Pending(std::shared_ptr<StreamEvent> reached, Device device) : reached_(std::move(reached)), device_(device) {}
  // Afterwards tensors may be read and written again: returns when this rank's part in the collective is done, or,
  // where it was queued on a device, at once, and what the device is given from now on comes behind it. Throws what
  // went wrong, also in a collective before it.
  void wait() const {
    if (done_.valid()) done_.get();
    if (reached_) reached_->hold(Stream{device_});
  }

 private:
  std::shared_future<void> done_;
  std::shared_ptr<StreamEvent> reached_;
  Device device_;
};

class Communicator {
 public:
  Communicator();  // of one rank
  // open: called by the thread that makes all of the transport's calls. Waits until the ranks know each other's hosts.
  explicit Communicator(OpenTransport open);
  // After finish(), or when this rank is about to end by an error: then its thread may be waiting for others for good,
  // and is left behind.
  ~Communicator();
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int64_t rank() const { return rank_; }
  int64_t ranks() const { return ranks_; }
  bool leads() const { return rank_ == 0; }  // writes what there is one of
  // The ranks' hosts, by rank; of one rank its own.
  const std::vector<std::string>& hosts() const { return hosts_; }
  int64_t local_rank() const;  // among those on this host
  int64_t local_ranks() const;
  const std::string& transport() const { return transport_; }  // its library, for people

  // Tensors of this device go through this transport from now on. All ranks.
  void use(Device device, std::unique_ptr<Transport> of_device);
  std::string transport_of(const Device& device) const;  // for people

  // The tensors are rows without gaps. Do not touch them until wait().
  Pending reduce_scatter(std::string name, const Tensor& parts);
  Pending all_reduce(std::string name, const Tensor& values);
  Pending all_gather(std::string name, const Tensor& parts);

  // Bytes that a rank works in on a tensor of so many, of the memory that it lies in. The most is kept.
  static int64_t reduce_scatter_scratch(int64_t bytes) { return bytes; }
  static int64_t all_reduce_scratch(int64_t bytes, int64_t ranks);

  // Of tensors so far: the bytes that this rank sent to others, and the seconds that its thread was at it, waiting for
  // others included; of a device's own transport there are none.
  struct Traffic {
    int64_t bytes = 0;
    double seconds = 0;
  };
  Traffic traffic() const;

  // These wait. Every rank's text, by rank; the text of one rank.
  std::vector<std::string> gather_text(std::string name, const std::string& text);
  std::string broadcast_text(std::string name, const std::string& text, int64_t root = 0);
  // Every rank's values, by rank.
  template <class T>
  std::vector<T> gather(std::string name, const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    std::vector<T> values(static_cast<size_t>(ranks_));
    values[static_cast<size_t>(rank_)] = value;
    all_gather_bytes(std::move(name), values.data(), sizeof(T)).wait();
    return values;
  }
  // Every rank does its part; where one could not, each throws the Error of the lowest such rank, which names it and is
  // agreed(). So all ranks end alike, and nobody waits for one that has left.
  void together(const std::string& name, const std::function<void()>& part);
  // The same for what may fail: the Error that each would throw, or nothing.
  std::optional<Error> attempt(const std::string& name, const std::function<void()>& part);

  // The last goodbye: every rank calls it when it is done. Collectives cannot be begun any more.
  void finish();

  // What this rank's thread, or its device, is doing, for whoever watches it.
  struct Whereabouts {
    int64_t number = 0;   // of the collective that was entered last, from 1 in the order in which they are begun
    std::string name;     // its name
    bool inside = false;  // whether it has not been left
    int64_t begun = 0;    // how many the caller has begun
  };
  Whereabouts whereabouts() const;
  // From any thread: what went wrong on the device, or "".
  std::string failure_of_device() const;
  // Before this process ends: devices of other ranks wait for none of its collectives.
  void abort_device() const noexcept;

 private:
  struct Worker;
  using Run = std::function<void(Transport&, Scratch&)>;
  // On a tensor, or on its copy in the host's memory.
  using RunOn = std::function<void(Transport&, Scratch&, char* data)>;
  // What of a tensor a collective reads, and what it writes.
  enum class Part : uint8_t { Own, All };
  struct Access {
    Part reads, writes;
  };
  enum class Of : uint8_t { Tensor, Text };
  Pending begin(std::string name, Of of, int64_t bytes, Run run);
  // part_bytes: that ranks compare. sent_bytes: to each other rank. scratch_bytes: that it works in.
  Pending begin_on(std::string name, const Tensor& tensor, int64_t part_bytes, int64_t sent_bytes,
                   int64_t scratch_bytes, Access access, RunOn run);
  Pending all_gather_bytes(std::string name, void* data, int64_t bytes);
  std::shared_ptr<DeviceLane> lane() const;

  int64_t rank_ = 0, ranks_ = 1;
  std::vector<std::string> hosts_;
  std::string transport_ = "none";
  std::shared_ptr<Worker> worker_;  // shared with its thread, which may outlive this object
  std::shared_ptr<Scratch> staging_ = std::make_shared<Scratch>();  // the thread's: copies of a device's tensors
  int64_t sent_bytes_ = 0;                                          // of tensors
  std::shared_ptr<DeviceLane> lane_;  // under the worker's mutex for other threads than the caller's
};

}  // namespace gta
