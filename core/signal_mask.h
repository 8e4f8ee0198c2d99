// Threads that compute take no signals. oneDNN's float32 products let the stack pointer walk through the matrices (2.6,
// and newer: uxlfoundation/oneDNN issue 4845); the kernel writes a handler's frame there, into the heap. So what starts
// such threads blocks signals first, and a thread that never computes takes them (launch/signals.h).
#pragma once

#include <csignal>
#include <initializer_list>

namespace gta {

// Those that come at any moment. What a thread causes by itself (faults, SIGPIPE, SIGXFSZ) comes where it is caused,
// and not inside of a product; job control (SIGTSTP, SIGTTIN, SIGTTOU) has no handler.
inline sigset_t asynchronous_signals() {
  sigset_t set;
  sigfillset(&set);
  for (int signal :
       {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT, SIGPIPE, SIGXFSZ, SIGTSTP, SIGTTIN, SIGTTOU})
    sigdelset(&set, signal);
  return set;
}

// Blocks them in this thread, and so in the threads that it starts meanwhile.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    const sigset_t set = asynchronous_signals();
    pthread_sigmask(SIG_BLOCK, &set, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

}  // namespace gta
