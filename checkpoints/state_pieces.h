// A training state's memory in pieces of bounded size, which a writer reads in order while another thread may be about to change it.
//
//   pieces     0 .. next | next .. staged | staged .. end
//              written   | read in place  | read from copies, each freed when written
//
// Until stage() is called everything is read in place (from a GPU by a copy of one piece at a time). stage() copies from the end towards the writer, who meanwhile goes on from the
// front, and waits for the piece that is being read in place: so it copies only what the writer would not have read by then.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "checkpoints/training_state.h"

namespace gta {

// What a test sets to stop either thread at a piece's boundaries. `piece` counts from 0 over all ranges.
struct PieceOptions {
  int64_t bytes = 4 << 20;                                     // at most: what is written is still in cache when it is hashed
  std::function<void(int64_t piece)> before_read, while_read;  // by the writer: before it has the piece, and when it has it
  std::function<void(int64_t piece)> before_copy;              // by stage()
};

class StatePieces {
 public:
  using Use = std::function<void(const char* data, int64_t offset, int64_t bytes)>;  // offset: in bytes from the range's start

  // Error when a range is not of its parameter.
  explicit StatePieces(const std::vector<StateRange>& ranges, PieceOptions options = {});

  // The writer's side, for one range after the other: the bytes are those that lay there before stage() returned. Error(Failed) when
  // stage() had no memory for its copies.
  void read(size_t range, const Use& use);
  void abandon();  // nothing more will be read: copies are freed

  // The other side. When it returns, the ranges' memory is not read any more and may change. Does not throw: without memory for the copies
  // the save is given up (read() says so) and they are freed.
  void stage();
  int64_t staged_bytes() const;  // in copies now

 private:
  struct Piece {
    size_t range;
    int64_t offset, bytes;
    const char* data;
    Device device;
    std::unique_ptr<char[]> copy;
  };
  static std::unique_ptr<char[]> copied(const Piece& piece);
  void free_copies();
  void done(std::unique_ptr<char[]> copy, int64_t bytes);

  PieceOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Piece> pieces_;
  size_t next_ = 0;    // the first that is not written
  size_t staged_ = 0;  // the first that has, or is getting, a copy
  int64_t staged_bytes_ = 0;
  bool reading_in_place_ = false, copying_ = false, abandoned_ = false;
  int64_t not_copied_ = 0;  // bytes for which there was no memory: the save is given up
};

}  // namespace gta
