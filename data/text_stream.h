// Lines of a file or pipe that may be compressed (.gz, .zst: one stream or several, one after the other), in the memory of a line.
#pragma once

#include <memory>
#include <string>

namespace gta {

class TextStream {
 public:
  // longest_line: bytes that a line may have at most; a small compressed file can hold one that no memory does.
  explicit TextStream(const std::string& path, int64_t longest_line = int64_t{1} << 30);
  ~TextStream();
  // The next line with its end; false at the end of the file. Error(BadInput) when a compressed file is damaged or ends early, a line is
  // too long, or there is no such file.
  bool read_line(std::string& line);

 private:
  struct Source;
  std::string path_, buffer_;
  size_t longest_line_;
  size_t begin_ = 0;
  std::unique_ptr<Source> source_;
};

}  // namespace gta
