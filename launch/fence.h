// Which start of a run may write into its folder: the newest.
//
// A scheduler may start a run again while ranks of the start before live on (their host lost its network, and comes
// back), and a lock may not reach from host to host. So every start takes a number, and looks before each write whether
// there is a higher one; an older start then ends without writing.
//
//   RUN/run.fence/7   who took the number 7: {"number", "host", "pid", "time", "slurm_job", "slurm_restarts"}
//
// A number is taken by link(2): of two starts one gets the name, with all that the file says, on NFS too. Looking is a
// listing of the folder that is opened anew, for which a client of NFS asks its server; that a name was absent it may
// believe for half a minute. Between a look and what is written after it a start may still be overtaken: whatever is
// written has to bear that (checkpoints/writer.h, keep_beginning() in append_file.h).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace gta {

// Who took a number. Empty where it is not known: what the file holds is not what a start wrote.
struct FenceHolder {
  std::string host, pid, time, slurm_job, slurm_restarts;
};

class Fence {
 public:
  // Takes the next number for a start. Error(Failed) where it cannot be written down, as on a full disk;
  // Error(BadInput) where something else has the folder's name.
  explicit Fence(const std::string& run);
  // Another rank of the start that took `number`.
  Fence(const std::string& run, int64_t number);
  ~Fence();
  Fence(const Fence&) = delete;
  Fence& operator=(const Fence&) = delete;

  int64_t number() const { return number_; }

  // From any thread. False once a later start has been seen. Error(Failed) where it cannot be known now. Where the
  // fence alone was removed, the start that took the number puts it back.
  bool may_write();
  // The same as an error: "another start of this run, number 7 on node1 (pid 123), has taken over: ..."
  void check();
  // Whether a later start has been seen, now or before; no where that cannot be known now. For the log, which loses no
  // line because a disk is away for a moment.
  bool overtaken();
  // The sentence of check(), "" as long as no later start has been seen.
  std::string taken_over() const;
  // What another rank has seen.
  void believe(const std::string& taken_over);

  // The run's folder has another name now. The fence itself stays open under any.
  void moved_to(const std::string& run);

  // What a test does before the fence is looked at for a write, in the thread that is about to write.
  std::function<void()> before_look;

 private:
  bool look();
  void open();
  void make_folder() const;
  void take();
  bool try_number(int64_t number) const;
  std::optional<std::vector<int64_t>> numbers() const;
  std::vector<int64_t> numbers_now();
  FenceHolder holder(int64_t number) const;

  std::string path_;
  const bool takes_;
  int folder_ = -1;  // open
  int64_t number_ = 0;
  mutable std::mutex mutex_;
  std::string taken_over_;
};

}  // namespace gta
