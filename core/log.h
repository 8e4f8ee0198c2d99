// Progress and warnings go to stderr (and to a run's log.txt when one is attached), results to stdout. Safe from any
// thread.
#pragma once

#include <fmt/format.h>

#include <functional>
#include <string>
#include <string_view>
#include <utility>

namespace gta::log {

enum class Level { Debug, Info, Warning, Error };

void write(Level level, std::string_view message);
void set_level(Level level);
// Of what is shown on stderr, beside that of set_level.
void set_console_level(Level level);
// Appends messages, from `least` on, to this file too, until detached; a file that cannot be opened is an Error. One
// file at a time. may_write: asked before each message, under the log's lock; where it says no, the file stays as it
// is.
void attach_file(const std::string& path, Level least = Level::Debug, std::function<bool()> may_write = {});
void detach_file();
// One line at the end of a file that is there and not attached; what cannot be written is lost.
void append_to(const std::string& path, Level level, std::string_view message);

// To the file that is attached alone, if there is one: what a terminal that is everybody's need not show again.
void write_to_file(Level level, std::string_view message);

template <class... A>
void debug(fmt::format_string<A...> format, A&&... a) {
  write(Level::Debug, fmt::format(format, std::forward<A>(a)...));
}
template <class... A>
void info(fmt::format_string<A...> format, A&&... a) {
  write(Level::Info, fmt::format(format, std::forward<A>(a)...));
}
template <class... A>
void warning(fmt::format_string<A...> format, A&&... a) {
  write(Level::Warning, fmt::format(format, std::forward<A>(a)...));
}

}  // namespace gta::log
