// The little-endian fields of one structure of a file, taken one after the other; beyond its end is an Error.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/io/file.h"

namespace gta::hdf5 {

class Fields {
 public:
  Fields(std::string bytes, const std::string& path, uint64_t at) : bytes_(std::move(bytes)), path_(path), place_(at) {}
  // The bytes [at, at + bytes) of a file. `most` bounds what a structure of this kind can be.
  static Fields read(const File& file, uint64_t at, uint64_t bytes, uint64_t most = uint64_t{1} << 24) {
    const auto size = static_cast<uint64_t>(file.size());
    if (at > size || bytes > size - at)
      bad_input(file.path(), "is damaged: a structure of {} bytes at {} leaves the file", bytes, at);
    if (bytes > most) bad_input(file.path(), "is damaged: a structure at {} has {} bytes", at, bytes);
    std::string read(bytes, '\0');
    file.read_at(read.data(), static_cast<int64_t>(bytes), static_cast<int64_t>(at));
    return {std::move(read), file.path(), at};
  }

  uint64_t left() const { return bytes_.size() - used_; }
  uint64_t place() const { return place_ + used_; }  // in the file

  // An unsigned number of 1 to 8 bytes.
  uint64_t number(uint64_t bytes) {
    uint64_t value = 0;
    const std::string raw = take(bytes);
    for (uint64_t i = std::min<uint64_t>(bytes, 8); i-- > 0;) value = value << 8 | static_cast<unsigned char>(raw[i]);
    return value;
  }
  std::string take(uint64_t bytes) {
    if (bytes > left()) damaged("a structure is too short");
    used_ += bytes;
    return bytes_.substr(used_ - bytes, bytes);
  }
  Fields part(uint64_t bytes) {
    const uint64_t at = place();
    return {take(bytes), path_, at};
  }
  void skip(uint64_t bytes) { take(bytes); }
  void expect(std::string_view signature) {
    if (take(signature.size()) != signature) damaged(fmt::format("expected {} there", signature));
  }
  [[noreturn]] void damaged(const std::string& what) const {
    bad_input(path_, "is damaged near byte {}: {}", place(), what);
  }

 private:
  std::string bytes_;
  const std::string& path_;
  uint64_t place_, used_ = 0;
};

}  // namespace gta::hdf5
