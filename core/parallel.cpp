#include "core/parallel.h"

#include <pthread.h>

#include <atomic>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "core/log.h"
#include "core/processors.h"
#include "core/signal_mask.h"

namespace gta {
namespace {

// A thread that has nothing to do looks again this often, about a tenth of a millisecond, before it sleeps: longer than
// what lies between two loops of a step (a quarter of it cost 8% of one), shorter than what a neighbour on the same
// processor would notice.
constexpr int kSpins = 4000;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

thread_local bool in_item = false;

class Pool {
 public:
  explicit Pool(int threads) : threads_(threads) {}

  int threads() const { return threads_.load(std::memory_order_relaxed); }

  void resize(int threads) {
    const std::lock_guard owner(owner_);
    if (threads == this->threads()) return;
    stop_workers();
    threads_.store(threads, std::memory_order_relaxed);
  }

  void run(int64_t items, ItemBody body) {
    const std::unique_lock owner(owner_, std::try_to_lock);
    if (!owner) {
      for (int64_t i = 0; i < items; ++i) body.call(body.body, i);
      return;
    }
    start_workers();
    body_ = body;
    items_.store(items, std::memory_order_relaxed);
    next_.store(0, std::memory_order_relaxed);
    failed_.store(false, std::memory_order_relaxed);
    state_.fetch_or(kOpen, std::memory_order_release);
    round_.fetch_add(1);
    round_.notify_all();
    do_items();
    // No one may enter any more; who is inside is waited for, who has not come (another program has its processor) is
    // not.
    state_.fetch_and(~kOpen, std::memory_order_acq_rel);
    wait_while_inside();
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  }

 private:
  static constexpr uint32_t kOpen = 1, kOneInside = 2;

  template <class Condition>
  bool spin_until(Condition condition) const {
    for (int i = 0; i < spins_; ++i) {
      if (condition()) return true;
      pause();
    }
    return condition();
  }

  void wait_while_inside() {
    if (spin_until([&] { return state_.load(std::memory_order_acquire) == 0; })) return;
    for (uint32_t state; (state = state_.load(std::memory_order_acquire)) != 0;)
      state_.wait(state, std::memory_order_acquire);
  }

  void do_items() {
    in_item = true;
    const int64_t items = items_.load(std::memory_order_relaxed);
    for (int64_t i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < items;) {
      try {
        body_.call(body_.body, i);
      } catch (...) {
        if (!failed_.exchange(true)) error_ = std::current_exception();
        next_.store(items, std::memory_order_relaxed);
      }
    }
    in_item = false;
  }

  void work(uint32_t round) {
    run_on_available_processors();
    while (true) {
      if (!spin_until([&] { return round_.load(std::memory_order_acquire) != round; }))
        round_.wait(round, std::memory_order_acquire);
      round = round_.load(std::memory_order_acquire);
      if (stop_.load(std::memory_order_relaxed)) return;
      // A look without entering: of many threads most come too late for a loop of few items.
      if (next_.load(std::memory_order_relaxed) >= items_.load(std::memory_order_relaxed)) continue;
      if (state_.fetch_add(kOneInside, std::memory_order_acquire) & kOpen) do_items();
      if (state_.fetch_sub(kOneInside, std::memory_order_release) == kOneInside) state_.notify_all();
    }
  }

  void start_workers() {
    if (started_) return;
    started_ = true;
    const int threads = this->threads();
    spins_ = threads <= available_processors() ? kSpins : 0;
    const SignalsBlocked blocked;
    try {
      while (static_cast<int>(workers_.size()) + 1 < threads)
        workers_.emplace_back([this, round = round_.load()] { work(round); });
    } catch (const std::system_error& error) {
      log::warning("only {} of {} threads could be started ({}); results are the same, later", workers_.size() + 1,
                   threads, error.what());
    }
  }

  void stop_workers() {
    stop_.store(true, std::memory_order_relaxed);
    round_.fetch_add(1);
    round_.notify_all();
    for (std::thread& worker : workers_) worker.join();
    workers_.clear();
    stop_.store(false, std::memory_order_relaxed);
    started_ = false;
  }

  std::mutex owner_;  // of the workers: held by the thread whose loop they work on
  std::atomic<int> threads_;
  bool started_ = false;
  int spins_ = 0;
  std::vector<std::thread> workers_;

  // The loop. Written while it is closed and no one is inside.
  ItemBody body_ = {};
  std::exception_ptr error_;
  std::atomic<bool> failed_{false}, stop_{false};
  std::atomic<int64_t> items_{0};
  alignas(64) std::atomic<int64_t> next_{0};    // item to be done
  alignas(64) std::atomic<uint32_t> state_{0};  // whether the loop is open, and how many workers are inside
  alignas(64) std::atomic<uint32_t> round_{0};  // one more with each loop: what workers wait for
};

// Never destroyed: its threads wait for work until the process ends. A forked child has none of them, and begins with a
// pool of its own.
Pool*& pool() {
  static Pool* instance = [] {
    pthread_atfork(nullptr, nullptr, [] { pool() = new Pool(pool()->threads()); });
    return new Pool(available_processors());
  }();
  return instance;
}

std::atomic<bool> threads_chosen = false;

}  // namespace

void set_threads(int threads) {
  threads_chosen = true;
  pool()->resize(threads);
}
void set_default_threads(int threads) {
  if (!threads_chosen) pool()->resize(threads);
}
int threads() { return pool()->threads(); }

void run_items(int64_t items, ItemBody body) {
  if (items <= 1 || in_item || threads() == 1) {
    for (int64_t i = 0; i < items; ++i) body.call(body.body, i);
    return;
  }
  pool()->run(items, body);
}

}  // namespace gta
