#include "launch/generation/interactive.h"

#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <iostream>
#include <optional>
#include <string>
#include <string_view>

#include "core/error.h"
#include "core/log.h"
#include "launch/generation/conversation.h"
#include "launch/standard_output.h"

namespace gta {
namespace {

constexpr std::string_view kMark = "> ";

std::atomic<bool> interrupted = false;
std::atomic<bool> waits_for_a_line = false;

// By what a handler may call.
void write_to_terminal(std::string_view text) { (void)!::write(STDERR_FILENO, text.data(), text.size()); }

void interrupt(int) {
  const int before = errno;
  interrupted = true;
  // The terminal has dropped what was typed.
  if (waits_for_a_line) {
    write_to_terminal("\n");
    write_to_terminal(kMark);
  }
  errno = before;
}

// Of this process, as long as the object lives.
class InterruptHandler {
 public:
  InterruptHandler() {
    struct sigaction action {};
    action.sa_handler = interrupt;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, &before_);
  }
  ~InterruptHandler() { sigaction(SIGINT, &before_, nullptr); }
  InterruptHandler(const InterruptHandler&) = delete;
  InterruptHandler& operator=(const InterruptHandler&) = delete;

 private:
  struct sigaction before_ {};
};

bool read_line(std::string& line, bool terminal) {
  if (terminal) {
    waits_for_a_line = true;
    write_to_terminal(kMark);
  }
  const bool read = static_cast<bool>(std::getline(std::cin, line));
  waits_for_a_line = false;
  if (terminal && !read) write_to_terminal("\n");
  return read;
}

}  // namespace

void converse(const CausalLm& model, const Tokenizer& tokenizer, const SamplingOptions& options,
              const CacheOptions& cached) {
  const bool terminal = ::isatty(STDIN_FILENO);
  const int64_t longest = model.config().max_sequence_length;
  Conversation conversation(model, tokenizer, options, cached);
  std::optional<InterruptHandler> handler;
  if (terminal) {
    handler.emplace();
    log::info("type a text; Ctrl-C stops an answer, Ctrl-D ends. The model sees {} tokens", longest);
  }
  for (std::string line; read_line(line, terminal);) {
    interrupted = false;
    try {
      const Conversation::Turn turn = conversation.answer(
          line,
          [](const std::string& piece) {
            fmt::print("{}", piece);
            flush_stdout();
          },
          [] { return interrupted.load(); });
      fmt::print("\n");
      flush_stdout();
      if (turn.outcome == Conversation::Outcome::Stopped) write_to_terminal("(stopped)\n");
      if (turn.began_anew) log::info("a new text began with this line: there was no room behind the one before");
      if (turn.outcome == Conversation::Outcome::Full)
        log::info("the context of {} tokens is full: the next line begins a new text", longest);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::BadInput) throw;
      // Each line has its answer, so that a program that reads them does not lose count.
      log::warning("{}", error.what());
      fmt::print("\n");
      flush_stdout();
    }
  }
}

}  // namespace gta
