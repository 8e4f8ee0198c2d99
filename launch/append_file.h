// A log that only grows and that training never waits for: what is added is buffered and handed to the system every few
// seconds. A disk error stops nothing and loses nothing while the process lives: one warning, and the bytes wait for
// the next try.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "core/io/file.h"

namespace gta {

// Whether this process may write a file still; an Error where it cannot know now.
using MayWrite = std::function<bool()>;

// Puts a copy of the file's first bytes in its place: whoever has it open, and may not write it any more, writes into
// what no name leads to, whenever the system gets round to that. Does nothing where there is no such file.
void keep_beginning(const std::string& path, int64_t bytes);

class AppendFile {
 public:
  // Makes the file where absent, and keeps its first `bytes`; Error(Failed) when it cannot be opened. may_write: what
  // is added once it has said no is lost, as it is another's to write.
  AppendFile(const std::string& path, int64_t bytes, MayWrite may_write = {});
  ~AppendFile() { flush(); }
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;

  void add(std::string_view bytes);
  // Bytes in the file.
  int64_t flush();
  bool complete() const { return buffered_.empty(); }  // whether all that was added is in the file

 private:
  MayWrite may_write_;
  File file_;
  int64_t bytes_ = 0;
  std::string buffered_;
  std::chrono::steady_clock::time_point tried_ = std::chrono::steady_clock::now();
  bool warned_ = false;
};

}  // namespace gta
