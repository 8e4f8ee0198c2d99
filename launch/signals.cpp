#include "launch/signals.h"

#include <unistd.h>

#include <csignal>
#include <initializer_list>

namespace gta {
namespace {

volatile std::sig_atomic_t requested = 0;

void handle(int signal) {
  if (signal == SIGINT && requested == SIGINT) _exit(130);
  requested = signal;
}

}  // namespace

void install_signal_handlers() {
  struct sigaction action {};
  action.sa_handler = handle;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (int signal : {SIGINT, SIGTERM, SIGUSR1}) sigaction(signal, &action, nullptr);
}

int stop_requested() { return requested; }

}  // namespace gta
