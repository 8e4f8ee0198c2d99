// Lines of a file or pipe that may be compressed (gzip or zstd: one stream or several, one after the other), in bounded
// memory.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace gta {

// A line with its end, or a part of a longer one.
struct LinePart {
  std::string text;
  bool begins = false, ends = false;  // is the line's first part, its last
};

class TextStream {
 public:
  // What is compressed tells so by its first bytes, whatever its name; a file that is called .gz or .zst must be.
  // most_bytes: a longer line comes in parts of about so many bytes, cut between characters.
  explicit TextStream(const std::string& path, int64_t most_bytes = int64_t{1} << 20);
  ~TextStream();
  // The text's first bytes, as many as asked for where there are so many; nothing is taken by it.
  std::string_view peek(size_t bytes);
  // False at the end of the file. Error(BadInput) when a compressed file is damaged or ends early, or there is no such
  // file.
  bool read(LinePart& part);

 private:
  struct Source;
  bool fill(size_t bytes);

  size_t most_bytes_;
  std::string buffer_;
  size_t begin_ = 0;
  bool in_line_ = false;
  std::unique_ptr<Source> source_;
};

}  // namespace gta
