#include "data/text_stream.h"

#include <unistd.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/io/file.h"
#include "data/input_file.h"

namespace gta {
namespace {

constexpr int64_t kChunk = 1 << 18;

std::string lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

}  // namespace

// Decompressed text, piece by piece.
struct TextStream::Source {
  explicit Source(const std::string& path) : file(path, File::Mode::Read), input(kChunk) {
    // A pipe may give less than it was asked for.
    for (int64_t more = 1; more > 0 && available < 4; available += more) more = refill(available);
    const std::string_view first(input.data(), static_cast<size_t>(available));
    const std::string name = lower(path);
    kind = first.starts_with("\x1f\x8b") || name.ends_with(".gz")            ? Kind::Gzip
           : first.starts_with("\x28\xb5\x2f\xfd") || name.ends_with(".zst") ? Kind::Zstd
                                                                             : Kind::Plain;
    if (kind == Kind::Gzip && inflateInit2(&gzip, 15 + 16) != Z_OK) fail(path, "zlib has no memory");
    if (kind == Kind::Zstd && !(zstd = ZSTD_createDStream())) fail(path, "zstd has no memory");
  }
  ~Source() {
    if (kind == Kind::Gzip) inflateEnd(&gzip);
    ZSTD_freeDStream(zstd);
  }

  // Appends some text; false when there is no more.
  bool read(std::string& to) {
    if (kind == Kind::Plain) {
      if (available == 0) available = refill(0);
      to.append(input.data(), static_cast<size_t>(available));
      return std::exchange(available, 0) > 0;
    }
    const size_t before = to.size();
    while (to.size() == before) {
      if (available == 0 && !full) {
        available = refill(0);
        used = 0;
        if (available == 0 && !full) {
          if (!at_end)
            bad_input(file.path(), "ends in the middle of its compressed data: it was not copied to the end");
          return false;
        }
      }
      to.resize(before + kChunk);
      to.resize(before + (kind == Kind::Gzip ? inflate_some(&to[before]) : decompress_some(&to[before])));
    }
    return true;
  }

  // Into input from `at` on; from where the last one ended, since a pipe has no offsets; 0 at the end.
  int64_t refill(int64_t at) {
    while (true) {
      const ssize_t count = ::read(file.descriptor(), input.data() + at, static_cast<size_t>(kChunk - at));
      if (count >= 0) return count;
      if (errno != EINTR) fail(file.path(), "cannot read: {}", std::strerror(errno));
    }
  }

  size_t inflate_some(char* to) {
    // A gzip file may be several streams one after the other; tapes and block devices fill its end with zeros.
    if (at_end) {
      for (; available > 0 && input[static_cast<size_t>(used)] == 0; ++used, --available) zeros = true;
      if (available == 0) return 0;
      if (zeros) bad_input(file.path(), "has something after its gzip data, and zeros between: cut it there");
      inflateReset(&gzip);
    }
    at_end = false;
    gzip.next_in = reinterpret_cast<unsigned char*>(input.data() + used);
    gzip.avail_in = static_cast<unsigned>(available);
    gzip.next_out = reinterpret_cast<unsigned char*>(to);
    gzip.avail_out = kChunk;
    const int status = inflate(&gzip, Z_NO_FLUSH);
    if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR)
      bad_input(file.path(), "is damaged: its gzip data cannot be unpacked; copy it again");
    at_end = status == Z_STREAM_END;
    used += available - gzip.avail_in;
    available = gzip.avail_in;
    full = !at_end && gzip.avail_out == 0;
    return kChunk - gzip.avail_out;
  }

  size_t decompress_some(char* to) {
    ZSTD_inBuffer in{input.data() + used, static_cast<size_t>(available), 0};
    ZSTD_outBuffer out{to, kChunk, 0};
    const size_t status = ZSTD_decompressStream(zstd, &out, &in);
    if (ZSTD_getErrorCode(status) == ZSTD_error_frameParameter_windowTooLarge)
      bad_input(file.path(),
                "was compressed with a window of more than 128 MiB (zstd --long), which takes as much memory to read: "
                "compress it again, by zstd -d --long=31 -c FILE | zstd -o NEW.zst");
    if (ZSTD_isError(status)) bad_input(file.path(), "is damaged: its zstd data cannot be unpacked; copy it again");
    at_end = status == 0;
    used += static_cast<int64_t>(in.pos);
    available -= static_cast<int64_t>(in.pos);
    full = !at_end && out.pos == out.size;
    return out.pos;
  }

  enum class Kind : uint8_t { Plain, Gzip, Zstd } kind = Kind::Plain;
  File file;
  int64_t available = 0, used = 0;
  std::vector<char> input;
  z_stream gzip{};
  ZSTD_DStream* zstd = nullptr;
  bool at_end = false;  // of a compressed stream
  bool zeros = false;   // were seen after one
  bool full = false;    // the last output filled its room inside a stream: there may be more without new input
};

TextStream::TextStream(const std::string& path, int64_t most_bytes) : most_bytes_(static_cast<size_t>(most_bytes)) {
  require_input_file(path);
  source_ = std::make_unique<Source>(path);
}
TextStream::~TextStream() = default;

// So many bytes from begin_ on; false when there are fewer.
bool TextStream::fill(size_t bytes) {
  if (buffer_.size() - begin_ >= bytes) return true;
  buffer_.erase(0, begin_);
  begin_ = 0;
  while (buffer_.size() < bytes)
    if (!source_->read(buffer_)) return false;
  return true;
}

std::string_view TextStream::peek(size_t bytes) {
  fill(bytes);
  return std::string_view(buffer_).substr(begin_, bytes);
}

bool TextStream::read(LinePart& part) {
  // A character has at most 4 bytes: the part's last one is whole or begins within it.
  for (size_t searched = 0, count = 0;; searched = count) {
    const bool more = fill(searched + 1);
    count = buffer_.size() - begin_;
    if (count == 0) return false;
    const size_t end = buffer_.find('\n', begin_ + searched);
    const bool found = end != std::string::npos && end - begin_ < most_bytes_;
    if (!found && more && count < most_bytes_ + 4) continue;
    size_t bytes = found ? end + 1 - begin_ : std::min(count, most_bytes_);
    if (bytes < count && !found)
      for (size_t back = 0;
           back < 3 && bytes > 1 && (static_cast<unsigned char>(buffer_[begin_ + bytes]) & 0xc0) == 0x80; ++back)
        --bytes;
    part.text.assign(buffer_, begin_, bytes);
    part.begins = !in_line_;
    part.ends = found || bytes == count;
    in_line_ = !part.ends;
    begin_ += bytes;
    return true;
  }
}

}  // namespace gta
