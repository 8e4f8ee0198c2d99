#include "data/text_stream.h"

#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "core/error.h"
#include "core/io/file.h"
#include "data/input_file.h"

namespace gta {
namespace {

constexpr int64_t kChunk = 1 << 18;

}  // namespace

// Decompressed text, piece by piece.
struct TextStream::Source {
  explicit Source(const std::string& path) : file(path, File::Mode::Read), input(kChunk) {
    kind = path.ends_with(".gz") ? Kind::Gzip : path.ends_with(".zst") ? Kind::Zstd : Kind::Plain;
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
      const int64_t count = refill();
      to.append(input.data(), count);
      return count > 0;
    }
    const size_t before = to.size();
    while (to.size() == before) {
      if (available == 0 && !full) {
        available = refill();
        used = 0;
        if (available == 0 && !full) {
          if (!at_end) bad_input(file.path(), "ends in the middle of its compressed data: it was not copied to the end");
          return false;
        }
      }
      to.resize(before + kChunk);
      to.resize(before + (kind == Kind::Gzip ? inflate_some(&to[before]) : decompress_some(&to[before])));
    }
    return true;
  }

  // From where the last one ended, since a pipe has no offsets; 0 at the end.
  int64_t refill() {
    while (true) {
      const ssize_t count = ::read(file.descriptor(), input.data(), kChunk);
      if (count >= 0) return count;
      if (errno != EINTR) fail(file.path(), "cannot read: {}", std::strerror(errno));
    }
  }

  size_t inflate_some(char* to) {
    // A gzip file may be several streams one after the other.
    if (at_end) inflateReset(&gzip);
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
  bool full = false;    // the last output filled its room inside a stream: there may be more without new input
};

TextStream::TextStream(const std::string& path, int64_t longest_line) : path_(path), longest_line_(static_cast<size_t>(longest_line)) {
  require_input_file(path);
  source_ = std::make_unique<Source>(path);
}
TextStream::~TextStream() = default;

bool TextStream::read_line(std::string& line) {
  size_t searched = begin_;
  while (true) {
    const size_t end = buffer_.find('\n', searched);
    if (end != std::string::npos) {
      line.assign(buffer_, begin_, end + 1 - begin_);
      begin_ = end + 1;
      return true;
    }
    buffer_.erase(0, begin_);
    begin_ = 0;
    searched = buffer_.size();
    if (searched > longest_line_) bad_input(path_, "has a line of more than {} bytes: expected lines of text", longest_line_);
    if (!source_->read(buffer_)) {
      line = std::move(buffer_);
      buffer_.clear();
      return !line.empty();
    }
  }
}

}  // namespace gta
