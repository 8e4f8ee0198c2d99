// One exception type for the whole program. `where` is the op, file or configuration key that speaks; the message says
// what was expected, what came and what to do. Nothing below launch/ prints or exits: launch/ turns the kind into an
// exit code.
#pragma once

#include <fmt/format.h>

#include <exception>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

namespace gta {

enum class ErrorKind {
  BadInput,  // wrong usage, configuration or file from outside: nothing was started or written (exit code 2)
  // could not be done here and now: a full disk, a lost file, one that was damaged in the middle of the work (exit code
  // 1)
  Failed,
  Internal,     // gta broke a promise of its own: no input is at fault (exit code 1, and launch/ says so)
  CheckFailed,  // a comparison that the user asked for did not hold (exit code 3)
  OutOfMemory,  // exit code 1, after launch/ has added which configuration key to lower
};

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, std::string where, const std::string& message)
      : std::runtime_error(where.empty() ? message : "[" + where + "] " + message),
        kind_(kind),
        where_(std::move(where)) {}

  ErrorKind kind() const { return kind_; }
  const std::string& where() const { return where_; }

  // Whether every rank of a training throws it (Communicator::together): the one that leads tells the user.
  bool agreed() const { return agreed_; }
  Error as_agreed() const {
    Error error = *this;
    error.agreed_ = true;
    return error;
  }

  // The same, met when work was under way: what should have been refused before it is a failure by then.
  Error underway() const {
    Error error = *this;
    if (kind_ == ErrorKind::BadInput) error.kind_ = ErrorKind::Failed;
    return error;
  }

 private:
  ErrorKind kind_;
  std::string where_;
  bool agreed_ = false;
};

template <class... Arguments>
[[noreturn]] void fail(std::string where, fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  throw Error(ErrorKind::Failed, std::move(where), fmt::format(format, std::forward<Arguments>(arguments)...));
}

// The same on every rank, each of which has come to it.
template <class... Arguments>
[[noreturn]] void fail_alike(std::string where, fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  throw Error(ErrorKind::Failed, std::move(where), fmt::format(format, std::forward<Arguments>(arguments)...))
      .as_agreed();
}

template <class... Arguments>
[[noreturn]] void bad_input(std::string where, fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  throw Error(ErrorKind::BadInput, std::move(where), fmt::format(format, std::forward<Arguments>(arguments)...));
}

template <class... Arguments>
[[noreturn]] void internal_error(std::string where, fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  throw Error(ErrorKind::Internal, std::move(where), fmt::format(format, std::forward<Arguments>(arguments)...));
}

// Within a catch: what it caught, in words.
inline std::string what_was_thrown() try { throw; } catch (const std::bad_alloc&) {
  return "the system has no memory left";
} catch (const std::exception& error) {
  return error.what();
} catch (...) {
  return "something that is no error";
}

// Both are checked always, not only in debug builds; the arguments are formatted only when the condition does not hold.
// What the user gave: Error(BadInput).
template <class... Arguments>
void require(bool condition, const char* where, fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  if (!condition) [[unlikely]]
    bad_input(where, format, std::forward<Arguments>(arguments)...);
}

// What gta's own code gave, an op's shapes for example: Error(Internal).
template <class... Arguments>
void ensure(bool condition, const char* where, fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  if (!condition) [[unlikely]]
    internal_error(where, format, std::forward<Arguments>(arguments)...);
}

}  // namespace gta
