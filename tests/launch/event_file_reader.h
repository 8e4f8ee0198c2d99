// Reads TensorBoard's event files as their format says, sharing no code with the writer. Anything unexpected is a
// failure of the test.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "core/io/file.h"

namespace gta {

struct ReadEvent {
  double wall_time = 0;
  int64_t step = 0;
  std::string file_version;
  int64_t session_status = 0;
  std::vector<std::pair<std::string, float>> scalars;
};

// step -> tag -> value
using ReadScalars = std::map<int64_t, std::map<std::string, float>>;

inline uint32_t bitwise_masked_crc(const std::string& bytes) {
  uint32_t crc = ~0u;
  for (const char c : bytes) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0x82f63b78u : 0u);
  }
  crc = ~crc;
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

class ProtobufFields {
 public:
  explicit ProtobufFields(std::string bytes) : bytes_(std::move(bytes)) {}
  // Next field; its content as a number (varint) or as bytes.
  bool next() {
    if (at_ >= bytes_.size()) return false;
    const uint64_t key = varint();
    number = static_cast<int>(key >> 3);
    const int wire = static_cast<int>(key & 7);
    if (wire == 0) {
      integer = static_cast<int64_t>(varint());
      return true;
    }
    const uint64_t size = wire == 1 ? 8 : wire == 5 ? 4 : wire == 2 ? varint() : ~0ull;
    if (size > bytes_.size() - at_) {
      ADD_FAILURE() << "field " << number << " of wire type " << wire << " leaves its message";
      return false;
    }
    content = bytes_.substr(at_, size);
    at_ += size;
    return true;
  }
  template <class T>
  T as() const {
    T value{};
    EXPECT_EQ(content.size(), sizeof value);
    std::memcpy(&value, content.data(), std::min(sizeof value, content.size()));
    return value;
  }

  int number = 0;
  int64_t integer = 0;
  std::string content;

 private:
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; at_ < bytes_.size(); shift += 7) {
      const auto byte = static_cast<unsigned char>(bytes_[at_++]);
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    ADD_FAILURE() << "a number does not end";
    return 0;
  }
  std::string bytes_;
  size_t at_ = 0;
};

inline ReadEvent parse_event(const std::string& data) {
  ReadEvent event;
  for (ProtobufFields field(data); field.next();) {
    if (field.number == 1) event.wall_time = field.as<double>();
    if (field.number == 2) event.step = field.integer;
    if (field.number == 3) event.file_version = field.content;
    if (field.number == 5)
      for (ProtobufFields value(field.content); value.next();) {
        EXPECT_EQ(value.number, 1);
        std::pair<std::string, float> scalar;
        for (ProtobufFields part(value.content); part.next();) {
          if (part.number == 1) scalar.first = part.content;
          if (part.number == 2) scalar.second = part.as<float>();
        }
        event.scalars.push_back(scalar);
      }
    if (field.number == 7)
      for (ProtobufFields log(field.content); log.next();)
        if (log.number == 1) event.session_status = log.integer;
  }
  return event;
}

inline std::vector<std::string> read_records(const std::string& path) {
  const std::string bytes = read_file(path);
  std::vector<std::string> records;
  for (size_t at = 0; at < bytes.size();) {
    const auto u32 = [&](size_t place) {
      uint32_t value = 0;
      std::memcpy(&value, bytes.data() + place, sizeof value);
      return value;
    };
    uint64_t length = 0;
    if (bytes.size() - at < 16) {
      ADD_FAILURE() << path << " ends in a record";
      break;
    }
    std::memcpy(&length, bytes.data() + at, sizeof length);
    if (length > bytes.size() - at - 16) {
      ADD_FAILURE() << path << " ends in a record";
      break;
    }
    EXPECT_EQ(u32(at + 8), bitwise_masked_crc(bytes.substr(at, 8))) << path << " at " << at;
    records.push_back(bytes.substr(at + 12, length));
    EXPECT_EQ(u32(at + 12 + length), bitwise_masked_crc(records.back())) << path << " at " << at;
    at += 16 + length;
  }
  return records;
}

inline std::vector<std::string> event_files(const std::string& folder) {
  std::vector<std::string> paths;
  for (const std::string& name : list_directory(folder))
    if (name.find("tfevents") != std::string::npos) paths.push_back(folder + "/" + name);
  return paths;
}

// Of all files; a tag twice at one step is a failure.
inline ReadScalars read_scalars(const std::string& folder) {
  ReadScalars scalars;
  for (const std::string& path : event_files(folder))
    for (const std::string& record : read_records(path)) {
      const ReadEvent event = parse_event(record);
      for (const auto& [tag, value] : event.scalars)
        EXPECT_TRUE(scalars[event.step].emplace(tag, value).second) << tag << " at step " << event.step << " twice";
    }
  return scalars;
}

}  // namespace gta
