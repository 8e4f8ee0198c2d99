#include "checkpoints/state_pieces.h"

#include <algorithm>
#include <exception>
#include <new>

#include "core/backends/memory_kernels.h"
#include "core/error.h"

namespace gta {
namespace {

// In the host's ordinary memory, and there already.
struct Copied : HostCopyInFlight {
  explicit Copied(int64_t bytes) : data(std::make_unique_for_overwrite<char[]>(static_cast<size_t>(bytes))) {}
  const void* wait() override { return data.get(); }
  std::unique_ptr<char[]> data;
};

}  // namespace

int64_t bytes_of(const std::vector<StateRange>& ranges) {
  int64_t bytes = 0;
  for (const StateRange& range : ranges) bytes += range.bytes();
  return bytes;
}

StatePieces::StatePieces(const std::vector<StateRange>& ranges, PieceOptions options, Snapshot* snapshot)
    : options_(std::move(options)), snapshot_(snapshot) {
  for (const StateRange& range : ranges)
    ensure(range.first >= 0 && range.count >= 0 && range.count <= range.elements() - range.first, "checkpoint",
           "{} {} has {} elements: cannot save {} from {}", range.part, range.parameter, range.elements(), range.count,
           range.first);
  int64_t place = (snapshot_ ? snapshot_->bytes() : 0) - bytes_of(ranges);
  for (size_t range = 0; range < ranges.size(); ++range) {
    const int64_t most = ranges[range].device.type == DeviceType::Cpu ? options_.bytes : options_.bytes_on_gpu;
    for (int64_t offset = 0; offset < ranges[range].bytes(); offset += most) {
      const int64_t bytes = std::min(most, ranges[range].bytes() - offset);
      pieces_.push_back({range, offset, bytes, static_cast<const char*>(ranges[range].data) + offset,
                         ranges[range].device, place, nullptr});
      place += bytes;
    }
  }
  staged_ = pieces_.size();
  // What a GPU is still to write belongs to the state. Copies that are not the snapshot's come behind nothing.
  if (snapshot_) snapshot_->follow_compute();
  const auto waits = [&](const Piece& piece) { return piece.device.type != DeviceType::Cpu && piece.place < 0; };
  if (const auto first = std::find_if(pieces_.begin(), pieces_.end(), waits); first != pieces_.end())
    GTA_DISPATCH(first->device, synchronize, Stream{first->device});
}

void StatePieces::read(size_t range, const Use& use) {
  // Only this thread changes next_.
  while (next_ < pieces_.size() && pieces_[next_].range == range) {
    if (options_.before_read) options_.before_read(static_cast<int64_t>(next_));
    Piece& piece = pieces_[next_];
    std::unique_ptr<HostCopyInFlight> copy;
    int64_t staged_bytes = 0;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return !(copying_ && next_ == staged_); });
      if (!given_up_.empty()) fail("checkpoint", "{}", given_up_);
      if (next_ < staged_) {
        if (piece.place >= 0) copy = copy_of(piece);  // before stage() can hold what is queued later
        reading_ = true;
        holds_the_host_ = !copy;
      } else {
        copy = std::move(piece.copy);
        staged_bytes = piece.bytes;
      }
    }
    try {
      if (options_.while_read) options_.while_read(static_cast<int64_t>(next_));
      if (!copy && piece.device.type != DeviceType::Cpu) copy = copy_of(piece);
      const char* const data = copy ? static_cast<const char*>(copy->wait()) : piece.data;
      for (int64_t begin = 0; begin < piece.bytes; begin += options_.bytes)
        use(data + begin, piece.offset + begin, std::min(options_.bytes, piece.bytes - begin));
    } catch (...) {
      done(std::move(copy), staged_bytes);
      throw;
    }
    done(std::move(copy), staged_bytes);
  }
}

std::unique_ptr<HostCopyInFlight> StatePieces::copy_of(const Piece& piece) {
  if (piece.place >= 0) return snapshot_->begin(piece.data, piece.place, piece.bytes);
  auto copy = std::make_unique<Copied>(piece.bytes);
  GTA_DISPATCH(piece.device, copy_to_host, piece.device, copy->data.get(), piece.data, piece.bytes, 1, piece.bytes);
  return copy;
}

void StatePieces::done(std::unique_ptr<HostCopyInFlight> copy, int64_t staged_bytes) {
  copy.reset();
  {
    std::lock_guard lock(mutex_);
    staged_bytes_ -= staged_bytes;
    reading_ = holds_the_host_ = false;
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
  while (!abandoned_ && staged_ > next_ + (reading_ ? 1 : 0)) {
    const size_t claimed = --staged_;
    Piece& piece = pieces_[claimed];
    copying_ = true;
    lock.unlock();
    std::unique_ptr<HostCopyInFlight> copy;
    std::string failure;
    try {
      if (options_.before_copy) options_.before_copy(static_cast<int64_t>(claimed));
      copy = copy_of(piece);
    } catch (const std::bad_alloc&) {
      failure = "there was no memory for a copy";
    } catch (const std::exception& error) {
      failure = error.what();
    }
    lock.lock();
    copying_ = false;
    if (!copy) {
      give_up(failure);
    } else if (!abandoned_) {
      piece.copy = std::move(copy);
      staged_bytes_ += piece.bytes;
    }
    changed_.notify_all();
  }
  try {
    if (snapshot_) snapshot_->hold_compute();
  } catch (const std::exception& error) {
    give_up(error.what());
    holds_the_host_ = reading_;
    changed_.notify_all();
  }
  changed_.wait(lock, [&] { return !holds_the_host_; });
}

int64_t StatePieces::staged_bytes() const {
  std::lock_guard lock(mutex_);
  return staged_bytes_;
}

// Under the lock.
void StatePieces::give_up(const std::string& why) {
  int64_t bytes = 0;
  for (size_t i = next_; i < pieces_.size(); ++i) bytes += pieces_[i].bytes;
  given_up_ = fmt::format("{}: {} bytes were not written when the next update came", why, bytes);
  abandoned_ = true;
  free_copies();
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
