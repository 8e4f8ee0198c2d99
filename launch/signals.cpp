#include "launch/signals.h"

#include <unistd.h>

#include <atomic>
#include <csignal>
#include <initializer_list>
#include <system_error>
#include <thread>

#include "core/error.h"
#include "core/signal_mask.h"

namespace gta {
namespace {

std::atomic<int> requested = 0;

void handle(int signal) {
  if (signal == SIGINT && requested == SIGINT) _exit(130);
  requested = signal;
}

}  // namespace

void take_signals_aside() {
  const sigset_t all = asynchronous_signals();
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  try {
    std::thread([all] {
      pthread_sigmask(SIG_UNBLOCK, &all, nullptr);  // also what whoever started this program has left blocked
      while (true) ::pause();
    }).detach();
  } catch (const std::system_error& error) {
    fail("signals", "cannot start a thread for them: {}", error.what());
  }
}

void install_signal_handlers() {
  for (int signal : {SIGINT, SIGHUP, SIGTERM, SIGUSR1}) {
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
}

int stop_requested() { return requested; }

}  // namespace gta
