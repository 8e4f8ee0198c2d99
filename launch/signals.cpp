#include "launch/signals.h"

#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <ctime>
#include <initializer_list>

#include "core/signal_mask.h"
#include "core/thread.h"

namespace gta {
namespace {

std::atomic<int> requested = 0;

constexpr int64_t kAgain = 1'000'000'000;  // ns between two Ctrl-C that are meant as two: one may be delivered twice
std::atomic<int64_t> interrupted_at = 0;

void handle(int signal) {
  if (signal == SIGINT) {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    const int64_t at = int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
    if (requested == SIGINT && at - interrupted_at > kAgain) _exit(130);
    if (requested != SIGINT) interrupted_at = at;
  }
  requested = signal;
}

}  // namespace

void take_signals_aside() {
  const sigset_t all = asynchronous_signals();
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  start_thread("takes signals", [all] {
    pthread_sigmask(SIG_UNBLOCK, &all, nullptr);  // also what whoever started this program has left blocked
    while (true) ::pause();
  }).detach();
}

void install_signal_handlers() {
  // Batch systems send the last two as warnings, too.
  for (int signal : {SIGINT, SIGHUP, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU}) {
    struct sigaction action {
    }, before{};
    if (sigaction(signal, nullptr, &before) == 0 && before.sa_handler == SIG_IGN &&
        (signal == SIGINT || signal == SIGHUP))
      continue;
    action.sa_handler = handle;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    sigaction(signal, &action, nullptr);
  }
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a write beyond the limit fails, and says so
}

int stop_requested() { return requested; }

void forget_stop_request() { requested = 0; }

}  // namespace gta
