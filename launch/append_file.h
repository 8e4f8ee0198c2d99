// A log that only grows and that training never waits for: what is added is buffered and handed to the system every few
// seconds. A disk error stops nothing and loses nothing while the process lives: one warning, and the bytes wait for
// the next try.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/io/file.h"

namespace gta {

class AppendFile {
 public:
  // Makes the file where absent and cuts it back to at most `bytes`; Error(Failed) when it cannot be opened.
  AppendFile(const std::string& path, int64_t bytes);
  ~AppendFile() { flush(); }
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;

  void add(std::string_view bytes);
  // Bytes in the file.
  int64_t flush();
  bool complete() const { return buffered_.empty(); }  // whether all that was added is in the file

 private:
  File file_;
  int64_t bytes_ = 0;
  std::string buffered_;
  std::chrono::steady_clock::time_point tried_ = std::chrono::steady_clock::now();
  bool warned_ = false;
};

}  // namespace gta
