// Signals are taken by a thread that computes nothing (core/signal_mask.h says why). In a training SIGINT, SIGTERM,
// SIGHUP, SIGUSR1, SIGUSR2 and SIGXCPU ask for a save, between two micro-batches at the latest; a second SIGINT ends
// the program at once with code 130. Any other command they end, and what it had not finished goes with it.
#pragma once

namespace gta {

// At the start of the program, before it has other threads: from here on all of them, this one too, leave signals to
// one that only waits for them. Other libraries' handlers (profilers, MPI) run there as well.
void take_signals_aside();

// A training's. SIGINT and SIGHUP stay ignored where they were when the program began (nohup, background jobs); SIGPIPE
// is ignored: that no one reads what is printed any more is no reason to end.
void install_signal_handlers();
// Any other command's: before SIGINT, SIGHUP, SIGTERM or SIGXCPU ends it as it ends any program, what is unfinished
// (core/io/unfinished.h) is removed; a second one does not wait for that. What was ignored stays so.
void install_removal_of_unfinished();
// Whether the first one is answered on the terminal, as it is unless this says otherwise: not by ranks beside the lead,
// nor where nothing is left to save.
void acknowledge_stops(bool yes);
// What a command ends with that saved and stopped at a signal.
inline constexpr int kExitInterrupted = 75;
// The signal that asked to stop, or 0.
int stop_requested();
void forget_stop_request();  // once it has been answered: another training may follow in this process

}  // namespace gta
