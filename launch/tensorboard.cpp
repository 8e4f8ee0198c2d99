#include "launch/tensorboard.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/io/crc32c.h"
#include "core/io/file.h"
#include "core/io/varint.h"
#include "core/log.h"

namespace gta {
namespace {

constexpr std::string_view kName = "events.out.tfevents.";
constexpr int64_t kHeaderBytes = 12, kFooterBytes = 4;
constexpr uint64_t kLargestRecord = 1 << 20;  // a row has a few hundred bytes

uint32_t masked(uint32_t crc) { return (crc >> 15 | crc << 17) + 0xa282ead8u; }

template <class T>
void put(std::string& to, T value) {
  char bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  to.append(bytes, sizeof value);
}

template <class T>
T get(const std::string& from, size_t at) {
  T value;
  std::memcpy(&value, from.data() + at, sizeof value);
  return value;
}

enum class Wire : uint8_t { Varint = 0, Fixed64 = 1, Bytes = 2, Fixed32 = 5 };

void put_field(std::string& to, int number, Wire wire) {
  put_varint(to, static_cast<uint64_t>(number) << 3 | static_cast<uint64_t>(wire));
}

void put_bytes(std::string& to, int number, std::string_view bytes) {
  put_field(to, number, Wire::Bytes);
  put_varint(to, bytes.size());
  to += bytes;
}

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// An Event without its content, which the caller appends.
std::string event_at(int64_t step) {
  std::string event;
  put_field(event, 1, Wire::Fixed64);
  put(event, seconds_now());
  put_field(event, 2, Wire::Varint);
  put_varint(event, static_cast<uint64_t>(step));
  return event;
}

std::string value_of(std::string_view tag, double number) {
  std::string value;
  put_bytes(value, 1, tag);
  put_field(value, 2, Wire::Fixed32);
  put(value, static_cast<float>(number));
  return value;
}

std::string record_of(const std::string& data) {
  std::string record;
  put<uint64_t>(record, data.size());
  put(record, masked(crc32c(record)));
  record += data;
  put(record, masked(crc32c(data)));
  return record;
}

std::string tag_of(const std::string& key, const char* row_kind) {
  for (const std::string_view group : {"validation", "memory"})
    if (key.starts_with(group) && key.substr(group.size(), 1) == "_")
      return fmt::format("{}/{}", group, key.substr(group.size() + 1));
  return fmt::format("{}/{}", row_kind, key);
}

struct EventHead {
  int64_t step = 0;
  bool scalars = false;
};

// nullopt when the data is no Event.
std::optional<EventHead> parse_head(std::string_view data) {
  EventHead head;
  while (!data.empty()) {
    const auto field = take_varint(data);
    if (!field) return std::nullopt;
    const uint64_t number = *field >> 3;
    uint64_t skip = 0;
    switch (static_cast<Wire>(*field & 7)) {
      case Wire::Varint:
      case Wire::Bytes: {
        const auto value = take_varint(data);
        if (!value) return std::nullopt;
        if (static_cast<Wire>(*field & 7) == Wire::Bytes)
          skip = *value;
        else if (number == 2)
          head.step = static_cast<int64_t>(*value);
        break;
      }
      case Wire::Fixed64:
        skip = 8;
        break;
      case Wire::Fixed32:
        skip = 4;
        break;
      default:
        return std::nullopt;
    }
    if (skip > data.size()) return std::nullopt;
    data.remove_prefix(skip);
    head.scalars |= number == 5;
  }
  return head;
}

struct Kept {
  int64_t bytes = 0;
  bool scalars = false;
};

// How much of a file is whole records up to `step`.
Kept find_end(const File& file, int64_t step) {
  const int64_t size = file.size();
  Kept kept;
  const auto damaged = [&] {
    log::warning("{} is damaged at byte {}: its scalars after that are removed; metrics.jsonl has them", file.path(),
                 kept.bytes);
    return kept;
  };
  std::string header(kHeaderBytes, '\0'), data;
  while (size - kept.bytes >= kHeaderBytes) {
    file.read_at(header.data(), kHeaderBytes, kept.bytes);
    const auto length = get<uint64_t>(header, 0);
    if (get<uint32_t>(header, 8) != masked(crc32c(std::string_view(header).substr(0, 8))) || length > kLargestRecord)
      return damaged();
    const int64_t end = kept.bytes + kHeaderBytes + static_cast<int64_t>(length) + kFooterBytes;
    if (end > size) break;  // what a kill in the middle of a write leaves
    data.resize(length + kFooterBytes);
    file.read_at(data.data(), static_cast<int64_t>(data.size()), kept.bytes + kHeaderBytes);
    const auto crc = get<uint32_t>(data, length);
    data.resize(length);
    const std::optional<EventHead> head = parse_head(data);
    if (crc != masked(crc32c(data)) || !head) return damaged();
    if (head->scalars && head->step > step) break;
    kept.scalars |= head->scalars;
    kept.bytes = end;
  }
  return kept;
}

// Of a file's name, or 0.
int64_t number_of(const std::string& name) {
  if (!name.starts_with(kName)) return 0;
  const std::string digits = name.substr(kName.size());
  if (digits.empty() || digits.size() > 18 || digits.find_first_not_of("0123456789") != std::string::npos) return 0;
  return std::stoll(digits);
}

// Returns the number of the last file there was.
int64_t cut_back(const std::string& folder, int64_t step) {
  const std::vector<std::string> names = list_directory(folder);
  int64_t last = 0;
  for (const std::string& name : names) last = std::max(last, number_of(name));
  for (const std::string& name : names) {
    const int64_t number = number_of(name);
    if (number == 0) continue;
    const std::string path = folder + "/" + name;
    require_file(path);
    const File file(path, File::Mode::Read);
    const Kept kept = find_end(file, step);
    if (!kept.scalars)
      remove_tree(path);
    else if (kept.bytes < file.size() || number == last)  // the start before may live on, and have the last one open
      keep_beginning(path, kept.bytes);
  }
  return last;
}

}  // namespace

TensorBoard::TensorBoard(const std::string& folder, int64_t step, MayWrite may_write) {
  make_directories(folder);
  const int64_t number = cut_back(folder, step) + 1;
  file_ = std::make_unique<AppendFile>(fmt::format("{}/{}{:06}", folder, kName, number), 0, std::move(may_write));
  std::string version = event_at(0), start = event_at(step + 1);
  put_bytes(version, 3, "brain.Event:2");
  put_bytes(start, 7, "\x08\x01");
  file_->add(record_of(version) + record_of(start));
}

void TensorBoard::add(const MetricsRow& row) {
  const bool of_validation = std::holds_alternative<ValidationRow>(row) || std::holds_alternative<BreakdownRow>(row);
  const char* const kind = of_validation ? "validation" : "train";
  std::string summary;
  each_number(row, [&](const std::string& name, double number) {
    put_bytes(summary, 1, value_of(tag_of(name, kind), number));
  });
  std::string event = event_at(step_of(row));
  put_bytes(event, 5, summary);
  file_->add(record_of(event));
}

void write_hyperparameters(const std::string& folder, const std::string& group,
                           const std::map<std::string, std::string>& values) {
  std::string info;
  for (const auto& [key, text] : values) {
    double number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    std::string value;
    if (error == std::errc() && end == text.data() + text.size()) {
      put_field(value, 2, Wire::Fixed64);
      put(value, number);
    } else {
      put_bytes(value, 3, text);
    }
    std::string entry;
    put_bytes(entry, 1, key);
    put_bytes(entry, 2, value);
    put_bytes(info, 1, entry);
  }
  put_bytes(info, 4, group);
  put_field(info, 5, Wire::Fixed64);
  put(info, seconds_now());
  std::string content, plugin, metadata, value, summary;
  put_bytes(content, 3, info);
  put_bytes(plugin, 1, "hparams");
  put_bytes(plugin, 2, content);
  put_bytes(metadata, 1, plugin);
  put_bytes(value, 1, "_hparams_/session_start_info");
  put_bytes(value, 8, std::string_view("\x08\x01\x12\x04\x12\x02\x08\x01\x2a\x04\0\0\0\0", 14));  // float32 (1): 0
  put_bytes(value, 9, metadata);
  put_bytes(summary, 1, value);
  std::string version = event_at(0), event = event_at(0);
  put_bytes(version, 3, "brain.Event:2");
  put_bytes(event, 5, summary);
  publish_text(fmt::format("{}/{}000000", folder, kName), record_of(version) + record_of(event));
}

}  // namespace gta
