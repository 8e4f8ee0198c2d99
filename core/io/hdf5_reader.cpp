// Reading: what the parser found, converted.
#include <cstring>
#include <filesystem>

#include "core/error.h"
#include "core/io/hdf5.h"
#include "core/io/hdf5_parser.h"

namespace gta::hdf5 {
namespace {

// f(T{}) with the type that the dataset's elements have in the file.
template <class F>
void with_element_type(const Dataset& dataset, F&& f) {
  switch (dataset.dtype) {
    case DType::F32:
      return f(float{});
    case DType::F64:
      return f(double{});
    case DType::I32:
      return f(int32_t{});
    case DType::U8:
      return f(uint8_t{});
    case DType::U16:
    case DType::BF16:
      return f(uint16_t{});
    case DType::U32:
      return f(uint32_t{});
    case DType::U64:
      return dataset.stored_signed ? f(int64_t{}) : f(uint64_t{});
  }
}

File open_regular(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error))
    bad_input(path, "{}", exists(path) ? "is not a regular file" : "does not exist");
  return File(path, File::Mode::Read);
}

}  // namespace

struct Reader::State {
  explicit State(const std::string& path) : file(open_regular(path)), contents(parse(file)) {}
  File file;
  Contents contents;
};

Reader::Reader(const std::string& path) : state_(std::make_unique<State>(path)) {}
Reader::~Reader() = default;

const std::string& Reader::path() const { return state_->file.path(); }
const std::map<std::string, Dataset>& Reader::datasets() const { return state_->contents.datasets; }

const Dataset& Reader::dataset(const std::string& name) const {
  const auto found = datasets().find(name);
  if (found == datasets().end()) bad_input(path(), "has no dataset {}", name);
  return found->second;
}

template <class T>
std::vector<T> Reader::read(const Dataset& dataset) const {
  std::vector<T> values(static_cast<size_t>(dataset.elements()));
  if (values.empty()) return values;
  with_element_type(dataset, [&](auto zero) {
    using Stored = decltype(zero);
    std::vector<Stored> stored(values.size());
    state_->file.read_at(stored.data(), dataset.bytes(), dataset.offset);
    for (size_t i = 0; i < stored.size(); ++i) {
      if constexpr (std::is_signed_v<Stored> && std::is_unsigned_v<T>)
        if (stored[i] < 0) bad_input(path(), "{} holds the negative number {}", dataset.name, stored[i]);
      values[i] = static_cast<T>(stored[i]);
    }
  });
  return values;
}

std::vector<double> Reader::read_double(const std::string& name) const { return read<double>(dataset(name)); }

std::vector<int32_t> Reader::read_int32(const std::string& name) const {
  const Dataset& found = dataset(name);
  if (found.dtype != DType::I32 && found.dtype != DType::U16 && found.dtype != DType::U8)
    bad_input(path(), "{} is {}: expected int32", name, name_of(found.dtype));
  return read<int32_t>(found);
}

std::vector<uint64_t> Reader::read_uint64(const std::string& name) const {
  const Dataset& found = dataset(name);
  if (found.dtype == DType::F32 || found.dtype == DType::F64)
    bad_input(path(), "{} is {}: expected unsigned integers", name, name_of(found.dtype));
  return read<uint64_t>(found);
}

bool Reader::has_attribute(const std::string& name) const { return state_->contents.attributes.count(name) > 0; }

const Attribute& Reader::attribute(const std::string& name) const {
  const auto found = state_->contents.attributes.find(name);
  if (found == state_->contents.attributes.end()) bad_input(path(), "has no attribute {}", name);
  return found->second;
}

int64_t Reader::integer(const std::string& name) const {
  const Attribute& found = attribute(name);
  const bool is_signed = found.type.kind == ElementClass::Signed;
  uint64_t value = 0;
  if ((!is_signed && found.type.kind != ElementClass::Unsigned) || found.elements != 1)
    bad_input(path(), "attribute {} is not an integer", name);
  std::memcpy(&value, found.bytes.data(), found.type.size);
  const auto unused = static_cast<int>(64 - 8 * found.type.size);
  if (is_signed) return static_cast<int64_t>(value << unused) >> unused;
  if (value > static_cast<uint64_t>(INT64_MAX))
    bad_input(path(), "attribute {} is {}: more than a signed integer holds", name, value);
  return static_cast<int64_t>(value);
}

double Reader::real(const std::string& name) const {
  const Attribute& found = attribute(name);
  if (found.type.kind == ElementClass::Signed || found.type.kind == ElementClass::Unsigned)
    return static_cast<double>(integer(name));
  if (found.type.kind != ElementClass::Real || found.elements != 1)
    bad_input(path(), "attribute {} is not a number", name);
  float single = 0;
  double value = 0;
  if (found.type.size == sizeof value)
    std::memcpy(&value, found.bytes.data(), sizeof value);
  else
    std::memcpy(&single, found.bytes.data(), sizeof single);
  return found.type.size == sizeof value ? value : single;
}

std::string Reader::text(const std::string& name) const {
  const Attribute& found = attribute(name);
  const bool variable = found.type.kind == ElementClass::VariableText;
  if ((!variable && found.type.kind != ElementClass::Text) || found.elements != 1)
    bad_input(path(), "attribute {} is not a text", name);
  const std::string text = variable ? read_variable_text(state_->file, found) : found.bytes;
  return text.substr(0, text.find('\0'));
}

}  // namespace gta::hdf5
