#include "launch/signals.h"

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <ctime>
#include <initializer_list>
#include <string_view>

#include "core/io/unfinished.h"
#include "core/signal_mask.h"
#include "core/thread.h"

namespace gta {
namespace {

std::atomic<int> requested = 0;
std::atomic<bool> acknowledges = true;
std::atomic<int> ending = 0;  // the signal that ends a command which does not save

// ns between two Ctrl-C that are meant as two: one may be delivered twice, by the terminal and by what started the
// program (mpirun, make, a script), and what is trained is worth more than a second.
constexpr int64_t kBetweenTwo = 1'000'000'000;
std::atomic<int64_t> interrupted_at = 0;

// At once: what is in hand may take minutes. By what a handler may call.
void acknowledge(int signal) {
  const auto say = [](std::string_view text) { (void)!::write(STDERR_FILENO, text.data(), text.size()); };
  const int before = errno;
  if (::isatty(STDERR_FILENO)) say("\n");  // below the live line
  say("gta: stopping after what is in hand, and saving");
  if (signal == SIGINT) say("; Ctrl-C again, a second later, ends without saving");
  say("\n");
  errno = before;
}

void handle(int signal) {
  const bool first = requested == 0;
  if (signal == SIGINT) {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    const int64_t at = int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
    if (requested == SIGINT && at - interrupted_at > kBetweenTwo) _exit(130);
    if (requested != SIGINT) interrupted_at = at;
  }
  requested = signal;
  if (first && acknowledges) acknowledge(signal);
}

void end(int signal) {
  if (ending.exchange(signal) != 0) _exit(128 + signal);
}

// Removing is more than a handler may do.
[[noreturn]] void end_now(int signal) {
  const auto let = [&](int how) {
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, signal);
    pthread_sigmask(how, &one, nullptr);
  };
  let(SIG_UNBLOCK);  // a second one
  remove_unfinished();
  let(SIG_BLOCK);
  std::signal(signal, SIG_DFL);
  ::kill(::getpid(), signal);
  let(SIG_UNBLOCK);
  _exit(128 + signal);
}

// Of a signal that is not ignored.
void answer(int signal, void (*handler)(int)) {
  struct sigaction action {
  }, before{};
  if (sigaction(signal, nullptr, &before) == 0 && before.sa_handler == SIG_IGN &&
      (signal == SIGINT || signal == SIGHUP))
    return;
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(signal, &action, nullptr);
}

}  // namespace

void take_signals_aside() {
  const sigset_t all = asynchronous_signals();
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  start_thread("takes signals", [all] {
    sigset_t open;  // also for what whoever started this program has left blocked
    pthread_sigmask(SIG_SETMASK, nullptr, &open);
    for (int signal = 1; signal < NSIG; ++signal)
      if (sigismember(&all, signal) == 1) sigdelset(&open, signal);
    while (true) {
      // Blocked but here: none comes between the look and the wait.
      if (const int signal = ending) end_now(signal);
      sigsuspend(&open);
    }
  }).detach();
}

void install_removal_of_unfinished() {
  for (int signal : {SIGINT, SIGHUP, SIGTERM, SIGXCPU}) answer(signal, end);
}

void install_signal_handlers() {
  // Batch systems send the last two as warnings, too.
  for (int signal : {SIGINT, SIGHUP, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU}) answer(signal, handle);
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a write beyond the limit fails, and says so
}

void acknowledge_stops(bool yes) { acknowledges = yes; }

int stop_requested() { return requested; }

void forget_stop_request() { requested = 0; }

}  // namespace gta
