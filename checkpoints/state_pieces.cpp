#include "checkpoints/state_pieces.h"

#include <algorithm>
#include <new>

#include "core/backends/memory_kernels.h"
#include "core/error.h"

namespace gta {

StatePieces::StatePieces(const std::vector<StateRange>& ranges, PieceOptions options) : options_(std::move(options)) {
  for (const StateRange& range : ranges)
    require(range.first >= 0 && range.count >= 0 && range.count <= range.elements() - range.first, "checkpoint",
            "{} {} has {} elements: cannot save {} from {}", range.part, range.parameter, range.elements(), range.count, range.first);
  for (size_t range = 0; range < ranges.size(); ++range)
    for (int64_t offset = 0; offset < ranges[range].bytes(); offset += options_.bytes)
      pieces_.push_back({range, offset, std::min(options_.bytes, ranges[range].bytes() - offset),
                         static_cast<const char*>(ranges[range].data) + offset, ranges[range].device, nullptr});
  staged_ = pieces_.size();
  // What a GPU is still to write belongs to the state.
  for (const StateRange& range : ranges)
    if (range.device.type != DeviceType::Cpu) {
      GTA_DISPATCH(range.device, synchronize, Stream{range.device});
      break;
    }
}

void StatePieces::read(size_t range, const Use& use) {
  // Only this thread changes next_.
  while (next_ < pieces_.size() && pieces_[next_].range == range) {
    if (options_.before_read) options_.before_read(static_cast<int64_t>(next_));
    Piece& piece = pieces_[next_];
    std::unique_ptr<char[]> copy, fetched;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return !(copying_ && next_ == staged_); });
      if (not_copied_ > 0)
        fail("checkpoint", "there was no memory for a copy of the {} bytes that were not written when the next update came", not_copied_);
      reading_in_place_ = next_ < staged_;
      copy = std::move(piece.copy);
    }
    try {
      if (options_.while_read) options_.while_read(static_cast<int64_t>(next_));
      if (!copy && piece.device.type != DeviceType::Cpu) fetched = copied(piece);
      use(copy ? copy.get() : fetched ? fetched.get() : piece.data, piece.offset, piece.bytes);
    } catch (...) {
      done(std::move(copy), piece.bytes);
      throw;
    }
    done(std::move(copy), piece.bytes);
  }
}

std::unique_ptr<char[]> StatePieces::copied(const Piece& piece) {
  auto copy = std::make_unique_for_overwrite<char[]>(static_cast<size_t>(piece.bytes));
  GTA_DISPATCH(piece.device, copy_to_host, piece.device, copy.get(), piece.data, piece.bytes, 1, piece.bytes);
  return copy;
}

void StatePieces::done(std::unique_ptr<char[]> copy, int64_t bytes) {
  const bool staged = copy != nullptr;
  copy.reset();
  {
    std::lock_guard lock(mutex_);
    if (staged) staged_bytes_ -= bytes;
    reading_in_place_ = false;
    ++next_;
  }
  changed_.notify_all();
}

void StatePieces::abandon() {
  std::lock_guard lock(mutex_);
  abandoned_ = true;
  free_copies();
}

void StatePieces::stage() {
  std::unique_lock lock(mutex_);
  while (!abandoned_ && staged_ > next_ + (reading_in_place_ ? 1 : 0)) {
    const size_t claimed = --staged_;
    Piece& piece = pieces_[claimed];
    copying_ = true;
    lock.unlock();
    std::unique_ptr<char[]> copy;
    try {
      if (options_.before_copy) options_.before_copy(static_cast<int64_t>(claimed));
      copy = copied(piece);
    } catch (const std::bad_alloc&) {  // copy is empty
    }
    lock.lock();
    copying_ = false;
    if (!copy) {
      for (size_t i = next_; i < pieces_.size(); ++i) not_copied_ += pieces_[i].bytes;
      abandoned_ = true;
      free_copies();
    } else if (!abandoned_) {
      piece.copy = std::move(copy);
      staged_bytes_ += piece.bytes;
    }
    changed_.notify_all();
  }
  changed_.wait(lock, [&] { return !reading_in_place_; });
}

int64_t StatePieces::staged_bytes() const {
  std::lock_guard lock(mutex_);
  return staged_bytes_;
}

// Under the lock. A copy that the writer holds is its own.
void StatePieces::free_copies() {
  for (Piece& piece : pieces_)
    if (piece.copy) {
      piece.copy.reset();
      staged_bytes_ -= piece.bytes;
    }
}

}  // namespace gta
