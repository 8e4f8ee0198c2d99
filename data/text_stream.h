// Lines of a file that may be compressed (.gz, .zst), read in constant memory.
#pragma once

#include <memory>
#include <string>

namespace gta {

class TextStream {
 public:
  explicit TextStream(const std::string& path);
  ~TextStream();
  // The next line with its end; false at the end of the file. Error(BadInput) when a compressed file is damaged or ends early.
  bool read_line(std::string& line);

 private:
  struct Source;
  std::string path_, buffer_;
  size_t begin_ = 0;
  std::unique_ptr<Source> source_;
};

}  // namespace gta
