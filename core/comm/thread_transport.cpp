#include "core/comm/thread_transport.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <vector>

#include "core/error.h"

namespace gta {

struct Meeting::State {
  State(int64_t count, std::function<void(int64_t, int64_t)> call)
      : ranks(count), offered(static_cast<size_t>(count)), before_call(std::move(call)) {}

  // Returns when all have come; what they wrote before is seen by all behind it.
  void meet() {
    std::unique_lock lock(mutex);
    const int64_t round = rounds;
    if (++arrived == ranks) {
      arrived = 0;
      ++rounds;
      changed.notify_all();
      return;
    }
    changed.wait(lock, [&] { return rounds != round || gone >= 0; });
    if (rounds == round) fail("ranks", "rank {} is gone", gone);
  }

  const int64_t ranks;
  std::mutex mutex;
  std::condition_variable changed;
  int64_t arrived = 0, rounds = 0, gone = -1;
  std::vector<const void*> offered;  // by rank: what the others may read until they meet again
  const std::function<void(int64_t rank, int64_t call)> before_call;
};

class ThreadTransport : public Transport {
 public:
  ThreadTransport(std::shared_ptr<Meeting::State> state, int64_t rank) : state_(std::move(state)), rank_(rank) {}

  int64_t rank() const override { return rank_; }
  int64_t ranks() const override { return state_->ranks; }
  std::string name() const override { return "threads"; }

  void all_to_all(const void* send, void* receive, int64_t bytes) override {
    exchange(send, [&](int64_t other, const char* data) {
      std::memcpy(static_cast<char*>(receive) + other * bytes, data + rank_ * bytes, static_cast<size_t>(bytes));
    });
  }
  void all_gather(void* data, int64_t bytes) override {
    exchange(data, [&](int64_t other, const char* from) {
      if (other == rank_) return;
      std::memcpy(static_cast<char*>(data) + other * bytes, from + other * bytes, static_cast<size_t>(bytes));
    });
  }
  void broadcast(void* data, int64_t bytes, int64_t root) override {
    exchange(data, [&](int64_t other, const char* from) {
      if (other == root && other != rank_) std::memcpy(data, from, static_cast<size_t>(bytes));
    });
  }
  void close() override { state_->meet(); }

 private:
  template <class Take>
  void exchange(const void* offer, Take take) {
    if (state_->before_call) state_->before_call(rank_, calls_);
    ++calls_;
    state_->offered[static_cast<size_t>(rank_)] = offer;
    state_->meet();
    for (int64_t other = 0; other < state_->ranks; ++other)
      take(other, static_cast<const char*>(state_->offered[static_cast<size_t>(other)]));
    state_->meet();
  }

  std::shared_ptr<Meeting::State> state_;
  int64_t rank_, calls_ = 0;
};

Meeting::Meeting(int64_t ranks, std::function<void(int64_t rank, int64_t call)> before_call)
    : state_(std::make_shared<State>(ranks, std::move(before_call))) {}

OpenTransport Meeting::join(int64_t rank) const {
  return [state = state_, rank] { return std::make_unique<ThreadTransport>(state, rank); };
}

void Meeting::leave(int64_t rank) {
  {
    const std::lock_guard lock(state_->mutex);
    if (state_->gone < 0) state_->gone = rank;
  }
  state_->changed.notify_all();
}

}  // namespace gta
