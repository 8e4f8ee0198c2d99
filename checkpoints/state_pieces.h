// A training state's memory in pieces of bounded size, which a writer reads in order while another thread may be about
// to change it.
//
//   pieces     0 .. next | next .. staged | staged .. end
//              written   | read in place  | read from copies, each freed when written
//
// Until stage() is called everything is read in place (from a GPU by a copy of one piece at a time). stage() copies
// from the end towards the writer, who meanwhile goes on from the front, and waits for the piece that is being read in
// place: so it copies only what the writer would not have read by then.
//
// On a GPU, as far as a snapshot has room, copies are queued and the device's later work waits for them, not the host:
// neither in stage() nor for the piece that the writer has. Room is given from the end, since the writer is done with
// the front first.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "checkpoints/training_state.h"
#include "core/backends/snapshot.h"

namespace gta {

// What a test sets to stop either thread at a piece's boundaries. `piece` counts from 0 over all ranges.
struct PieceOptions {
  // at most: what is written is still in cache when it is hashed
  int64_t bytes = 4 << 20;
  // instead, on a GPU: a queue holds about a thousand copies before it stops the host
  int64_t bytes_on_gpu = 32 << 20;
  // bytes of a GPU's state, and never more than a quarter of the host's memory
  int64_t most_pinned = int64_t{16} << 30;
  // by the writer: before it has the piece, and when it has it
  std::function<void(int64_t piece)> before_read, while_read;
  std::function<void(int64_t piece)> before_copy;  // by stage()
};

int64_t bytes_of(const std::vector<StateRange>& ranges);

class StatePieces {
 public:
  // offset: in bytes from the range's start
  using Use = std::function<void(const char* data, int64_t offset, int64_t bytes)>;

  // Error when a range is not of its parameter. The state includes all work that is queued
  // for the device by now. snapshot: of the ranges' device, used by one StatePieces after the other; or nullptr.
  explicit StatePieces(const std::vector<StateRange>& ranges, PieceOptions options = {}, Snapshot* snapshot = nullptr);

  // The writer's side, for one range after the other, PieceOptions::bytes at a time: the bytes are those that lay there
  // before stage() returned. Error(Failed) when stage() could not copy all of them.
  void read(size_t range, const Use& use);
  void abandon();  // nothing more will be read: copies are freed

  // The other side. When it returns, the ranges' memory may change, on a GPU by what is queued for it from then on.
  // Does not throw: what cannot be copied, for lack of memory or because the device fails, gives the save up (read()
  // says why), and the copies are freed.
  void stage();
  int64_t staged_bytes() const;  // in copies now

 private:
  struct Piece {
    size_t range;
    int64_t offset, bytes;
    const char* data;
    Device device;
    int64_t place;  // in the snapshot; below 0: there is none
    std::unique_ptr<HostCopyInFlight> copy;
  };
  std::unique_ptr<HostCopyInFlight> copy_of(const Piece& piece);
  void give_up(const std::string& why);
  void free_copies();
  void done(std::unique_ptr<HostCopyInFlight> copy, int64_t staged_bytes);

  PieceOptions options_;
  Snapshot* snapshot_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Piece> pieces_;
  size_t next_ = 0;    // the first that is not written
  size_t staged_ = 0;  // the first that has, or is getting, a copy
  int64_t staged_bytes_ = 0;
  bool reading_ = false;  // next_, which has no copy of stage()'s
  // and which is read by the host itself, or by a copy that no later work of the device waits for
  bool holds_the_host_ = false;
  bool copying_ = false, abandoned_ = false;
  std::string given_up_;  // why
};

}  // namespace gta
