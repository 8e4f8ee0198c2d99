#include "checkpoints/exports/gguf.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <set>
#include <stdexcept>
#include <type_traits>

#include "core/error.h"
#include "core/io/file.h"

namespace gta {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are written as they lie in memory");

constexpr char kMagic[] = {'G', 'G', 'U', 'F'};
constexpr uint32_t kVersion = 3;
constexpr int64_t kAlignment = 32;
constexpr uint64_t kMostNameBytes = 63, kMostDimensions = 4;
constexpr int64_t kMostHeaderBytes = int64_t{1} << 30;

enum ValueType : uint32_t { Uint32 = 4, Int32 = 5, Float32 = 6, Bool = 7, String = 8, List = 9, Uint64 = 10 };

int64_t aligned(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

class Header {
 public:
  template <class T>
  void number(T value) {
    static_assert(std::is_trivially_copyable_v<T>);
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void text(const std::string& text) {
    number<uint64_t>(text.size());
    bytes_ += text;
  }
  template <class T>
  void list(ValueType type, const std::vector<T>& values) {
    number<uint32_t>(List);
    number<uint32_t>(type);
    number<uint64_t>(values.size());
    for (const T& value : values) item(value);
  }
  void value(const GgufValue& value) {
    std::visit([this](const auto& v) { put(v); }, value);
  }
  std::string take() {
    bytes_.resize(static_cast<size_t>(aligned(static_cast<int64_t>(bytes_.size()))), '\0');
    return std::move(bytes_);
  }

 private:
  template <class T>
  void item(const T& value) {
    if constexpr (std::is_same_v<T, std::string>)
      text(value);
    else
      number(value);
  }
  template <class T>
  void single(ValueType type, const T& value) {
    number<uint32_t>(type);
    item(value);
  }
  void put(uint32_t value) { single(Uint32, value); }
  void put(int32_t value) { single(Int32, value); }
  void put(float value) { single(Float32, value); }
  void put(bool value) { single(Bool, static_cast<uint8_t>(value)); }
  void put(uint64_t value) { single(Uint64, value); }
  void put(const std::string& value) { single(String, value); }
  void put(const std::vector<int32_t>& values) { list(Int32, values); }
  void put(const std::vector<float>& values) { list(Float32, values); }
  void put(const std::vector<uint8_t>& values) { list(Bool, values); }
  void put(const std::vector<std::string>& values) { list(String, values); }

  std::string bytes_;
};

// Reads a header from front to back; throws std::invalid_argument at what cannot be.
class Cursor {
 public:
  explicit Cursor(const File& file) : file_(file), size_(file.size()) {}

  int64_t at() const { return at_; }
  void bytes(void* to, int64_t count) {
    if (count > size_ - at_) throw std::invalid_argument("it is cut off");
    if (at_ + count > kMostHeaderBytes) throw std::invalid_argument("its header has more than a GiB");
    auto* out = static_cast<char*>(to);
    while (count > 0) {
      if (at_ >= buffered_end() || at_ < buffer_at_) fill();
      const int64_t part = std::min(count, buffered_end() - at_);
      std::memcpy(out, buffer_.data() + (at_ - buffer_at_), static_cast<size_t>(part));
      out += part;
      at_ += part;
      count -= part;
    }
  }
  template <class T>
  T number() {
    T value;
    bytes(&value, sizeof value);
    return value;
  }
  // How many follow, each of which takes `least` bytes: no more than a header of this file has room for.
  uint64_t count(int64_t least) {
    const auto value = number<uint64_t>();
    if (value > static_cast<uint64_t>((std::min(size_, kMostHeaderBytes) - at_) / least))
      throw std::invalid_argument("it is cut off, or a count is wrong");
    return value;
  }
  std::string text() {
    std::string text(count(1), '\0');
    bytes(text.data(), static_cast<int64_t>(text.size()));
    return text;
  }
  template <class T>
  std::vector<T> list() {
    std::vector<T> values(count(sizeof(T)));
    bytes(values.data(), static_cast<int64_t>(values.size() * sizeof(T)));
    return values;
  }
  std::vector<std::string> texts() {
    std::vector<std::string> values;
    for (uint64_t left = count(sizeof(uint64_t)); left > 0; --left) values.push_back(text());
    return values;
  }

 private:
  int64_t buffered_end() const { return buffer_at_ + static_cast<int64_t>(buffer_.size()); }
  void fill() {
    constexpr int64_t kPiece = 1 << 16;
    buffer_at_ = at_;
    buffer_.resize(static_cast<size_t>(std::min(kPiece, size_ - at_)));
    file_.read_at(buffer_.data(), static_cast<int64_t>(buffer_.size()), at_);
  }

  const File& file_;
  int64_t size_, at_ = 0, buffer_at_ = 0;
  std::string buffer_;
};

GgufValue read_list(Cursor& cursor) {
  switch (const auto type = cursor.number<uint32_t>()) {
    case Int32:
      return cursor.list<int32_t>();
    case Float32:
      return cursor.list<float>();
    case Bool:
      return cursor.list<uint8_t>();
    case String:
      return cursor.texts();
    default:
      throw std::invalid_argument(fmt::format("it has a list of type {}, which no file of ours has", type));
  }
}

GgufValue read_value(Cursor& cursor) {
  switch (const auto type = cursor.number<uint32_t>()) {
    case Uint32:
      return cursor.number<uint32_t>();
    case Int32:
      return cursor.number<int32_t>();
    case Float32:
      return cursor.number<float>();
    case Bool:
      return cursor.number<uint8_t>() != 0;
    case String:
      return cursor.text();
    case Uint64:
      return cursor.number<uint64_t>();
    case List:
      return read_list(cursor);
    default:
      throw std::invalid_argument(fmt::format("it has a key of type {}, which no file of ours has", type));
  }
}

GgufType type_of(uint32_t number, const std::string& name) {
  for (GgufType type : {GgufType::F32, GgufType::F16, GgufType::BF16, GgufType::Q8_0})
    if (number == static_cast<uint32_t>(type)) return type;
  throw std::invalid_argument(fmt::format("{} has type {}, which no file of ours has", name, number));
}

GgufTensor read_tensor(Cursor& cursor) {
  GgufTensor tensor;
  tensor.name = cursor.text();
  const auto dimensions = cursor.number<uint32_t>();
  if (dimensions == 0 || dimensions > kMostDimensions)
    throw std::invalid_argument(fmt::format("{} has {} dimensions", tensor.name, dimensions));
  int64_t elements = 1;
  for (uint32_t d = 0; d < dimensions; ++d) {
    const auto size = cursor.number<uint64_t>();
    constexpr uint64_t kMost = int64_t{1} << 48;  // times 4 bytes it still fits
    if (size == 0 || size > kMost || __builtin_mul_overflow(elements, static_cast<int64_t>(size), &elements) ||
        elements > static_cast<int64_t>(kMost))
      throw std::invalid_argument(fmt::format("{} has an impossible shape", tensor.name));
    tensor.shape.insert(tensor.shape.begin(), static_cast<int64_t>(size));
  }
  tensor.type = type_of(cursor.number<uint32_t>(), tensor.name);
  if (tensor.shape.back() % block_of(tensor.type) != 0)
    throw std::invalid_argument(
        fmt::format("{} has rows of {} numbers, which are not whole blocks", tensor.name, tensor.shape.back()));
  const auto offset = cursor.number<uint64_t>();
  if (offset > static_cast<uint64_t>(INT64_MAX) || offset % kAlignment != 0)
    throw std::invalid_argument(fmt::format("{} has an impossible offset", tensor.name));
  tensor.offset = static_cast<int64_t>(offset);
  return tensor;
}

// No two of them share a byte, and none lies outside.
void check_places(const std::vector<GgufTensor>& tensors, int64_t data_bytes) {
  std::vector<const GgufTensor*> order;
  for (const GgufTensor& tensor : tensors) order.push_back(&tensor);
  std::sort(order.begin(), order.end(), [](const GgufTensor* a, const GgufTensor* b) { return a->offset < b->offset; });
  int64_t end = 0;
  for (const GgufTensor* tensor : order) {
    if (tensor->offset < end || tensor->bytes() > data_bytes - tensor->offset)
      throw std::invalid_argument(fmt::format("{} lies in another tensor, or outside of the file", tensor->name));
    end = tensor->offset + tensor->bytes();
  }
}

}  // namespace

int64_t GgufTensor::elements() const {
  int64_t elements = 1;
  for (int64_t size : shape) elements *= size;
  return elements;
}

GgufFile GgufFile::open(const std::string& path) {
  require_file(path);
  const File file(path, File::Mode::Read);
  GgufFile opened;
  opened.path_ = path;
  try {
    Cursor cursor(file);
    char magic[sizeof kMagic];
    cursor.bytes(magic, sizeof magic);
    if (std::memcmp(magic, kMagic, sizeof magic) != 0) bad_input(path, "is no GGUF file: it does not begin with GGUF");
    if (const auto version = cursor.number<uint32_t>(); version != kVersion)
      bad_input(path, "is GGUF of version {}: expected {}", version, kVersion);
    constexpr int64_t kLeastTensor = 8 + 4 + 8 + 4 + 8, kLeastKey = 8 + 4 + 1;
    const uint64_t tensors = cursor.count(kLeastTensor), keys = cursor.count(kLeastKey);
    std::set<std::string> names;
    for (uint64_t i = 0; i < keys; ++i) {
      std::string name = cursor.text();
      if (!names.insert(name).second) throw std::invalid_argument("it has a key twice: " + name);
      GgufValue value = read_value(cursor);
      opened.keys_.emplace_back(std::move(name), std::move(value));
    }
    names.clear();
    for (uint64_t i = 0; i < tensors; ++i) {
      opened.tensors_.push_back(read_tensor(cursor));
      if (!names.insert(opened.tensors_.back().name).second)
        throw std::invalid_argument("it has a tensor twice: " + opened.tensors_.back().name);
    }
    opened.data_ = aligned(cursor.at());
    check_places(opened.tensors_, file.size() - opened.data_);
  } catch (const std::invalid_argument& error) {
    bad_input(path, "is no GGUF file that can be read: {}", error.what());
  }
  return opened;
}

const GgufTensor* GgufFile::find(const std::string& name) const {
  for (const GgufTensor& tensor : tensors_)
    if (tensor.name == name) return &tensor;
  return nullptr;
}

std::vector<float> GgufFile::read(const GgufTensor& tensor) const {
  return read_rows(tensor, 0, tensor.elements() / tensor.shape.back());
}

std::vector<float> GgufFile::read_rows(const GgufTensor& tensor, int64_t first, int64_t count) const {
  const File file(path_, File::Mode::Read);
  const int64_t row = bytes_of(tensor.type, tensor.shape.back());
  std::string bytes(static_cast<size_t>(count * row), '\0');
  file.read_at(bytes.data(), count * row, data_ + tensor.offset + first * row);
  return decode(tensor.type, bytes);
}

void write_gguf(const std::string& path, const GgufKeys& keys, std::vector<GgufTensor> tensors,
                const std::function<std::vector<float>(size_t)>& values) {
  Header header;
  for (char c : kMagic) header.number(c);
  header.number(kVersion);
  header.number<uint64_t>(tensors.size());
  header.number<uint64_t>(keys.size());
  for (const auto& [name, value] : keys) {
    header.text(name);
    header.value(value);
  }
  int64_t end = 0;
  for (GgufTensor& tensor : tensors) {
    ensure(tensor.name.size() <= kMostNameBytes && tensor.shape.size() <= kMostDimensions, "gguf",
           "{} has a name or a shape that the format has no room for", tensor.name);
    tensor.offset = end;
    end += aligned(tensor.bytes());
    header.text(tensor.name);
    header.number(static_cast<uint32_t>(tensor.shape.size()));
    for (size_t d = tensor.shape.size(); d-- > 0;) header.number(static_cast<uint64_t>(tensor.shape[d]));
    header.number(static_cast<uint32_t>(tensor.type));
    header.number(static_cast<uint64_t>(tensor.offset));
  }
  const std::string front = header.take();
  const auto data = static_cast<int64_t>(front.size());
  File file(path, File::Mode::Create);
  file.write_at(front.data(), data, 0);
  for (size_t i = 0; i < tensors.size(); ++i) {
    std::string bytes = encode(tensors[i].type, values(i));
    ensure(static_cast<int64_t>(bytes.size()) == tensors[i].bytes(), "gguf", "{} has {} bytes, its shape says {}",
           tensors[i].name, bytes.size(), tensors[i].bytes());
    bytes.resize(static_cast<size_t>(aligned(tensors[i].bytes())), '\0');
    file.write_at(bytes.data(), static_cast<int64_t>(bytes.size()), data + tensors[i].offset);
  }
  file.sync();
  file.close();
}

}  // namespace gta
