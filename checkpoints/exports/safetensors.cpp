#include "checkpoints/exports/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "checkpoints/exports/json_check.h"
#include "core/error.h"
#include "core/io/file.h"

namespace gta {
namespace {

using Json = nlohmann::ordered_json;
using Parsed = nlohmann::json;  // which finds a name among millions without asking each

static_assert(std::endian::native == std::endian::little, "numbers are written as they lie in memory");

constexpr int64_t kLargestHeader = 100'000'000;  // the format's own limit
constexpr int64_t kAlignment = 8;
constexpr int kDeepest = 3;  // {NAME: {"shape": [

const char* code_of(NumberFormat format) {
  return format == NumberFormat::F32 ? "F32" : format == NumberFormat::BF16 ? "BF16" : "F16";
}

NumberFormat format_of(const std::string& name, const std::string& code) {
  for (NumberFormat format : kNumberFormats)
    if (code == code_of(format)) return format;
  throw std::invalid_argument(fmt::format("{} is {}: expected F32, BF16 or F16", name, code));
}

int64_t natural(const Parsed& json, const char* what) {
  if (!json.is_number_unsigned() || json.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX))
    throw std::invalid_argument(fmt::format("{} is no count", what));
  return json.get<int64_t>();
}

SafeTensor parse_tensor(const std::string& name, const Parsed& json) {
  SafeTensor tensor{name, format_of(name, json.at("dtype").get<std::string>()), {}, 0, 0};
  if (!json.at("shape").is_array()) throw std::invalid_argument("a shape is no list");
  for (const Parsed& size : json.at("shape")) tensor.shape.push_back(natural(size, "a size"));
  const Parsed& offsets = json.at("data_offsets");
  if (!offsets.is_array() || offsets.size() != 2) throw std::invalid_argument("data_offsets are not two numbers");
  tensor.begin = natural(offsets[0], "an offset");
  tensor.end = natural(offsets[1], "an offset");
  int64_t bytes = bytes_of(tensor.format);
  for (int64_t size : tensor.shape)
    if (__builtin_mul_overflow(bytes, size, &bytes))
      throw std::invalid_argument(fmt::format("{} has an impossible shape", name));
  if (tensor.end - tensor.begin != bytes)  // neither is negative
    throw std::invalid_argument(
        fmt::format("{} has {} bytes of data, its shape says {}", name, tensor.end - tensor.begin, bytes));
  return tensor;
}

Parsed parse_header(const std::string& text) {
  const JsonProblem problem = check_json(text, kDeepest).problem;
  if (problem == JsonProblem::TooDeep) throw std::invalid_argument("its header has a tensor that is none");
  if (problem == JsonProblem::NameTwice)
    throw std::invalid_argument("its header names a tensor twice, or what is said of one");
  return Parsed::parse(text);
}

std::vector<SafeTensor> parse_tensors(const std::string& header, int64_t data_bytes) {
  const Parsed json = parse_header(header);
  if (!json.is_object()) throw std::invalid_argument("its header is no JSON object");
  std::vector<SafeTensor> tensors;
  for (const auto& [name, value] : json.items())
    if (name != "__metadata__") tensors.push_back(parse_tensor(name, value));
  std::stable_sort(tensors.begin(), tensors.end(), [](const SafeTensor& a, const SafeTensor& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  int64_t end = 0;
  for (const SafeTensor& tensor : tensors) {
    if (tensor.begin != end)
      throw std::invalid_argument(fmt::format("{} does not begin where the one before ends", tensor.name));
    end = tensor.end;
  }
  if (end != data_bytes)
    throw std::invalid_argument(fmt::format("its tensors have {} bytes, behind the header it has {}", end, data_bytes));
  return tensors;
}

}  // namespace

int64_t SafeTensor::elements() const { return (end - begin) / bytes_of(format); }

SafetensorsFile SafetensorsFile::open(const std::string& path) {
  require_file(path);
  const File file(path, File::Mode::Read);
  const int64_t size = file.size();
  uint64_t length = 0;
  if (size < static_cast<int64_t>(sizeof length)) bad_input(path, "is no safetensors file: it has {} bytes", size);
  file.read_at(&length, sizeof length, 0);
  const int64_t room = size - static_cast<int64_t>(sizeof length);
  if (length > static_cast<uint64_t>(std::min(room, kLargestHeader)))
    bad_input(path, "is no safetensors file, or is cut off: its header would have {} bytes, the file has {}", length,
              size);
  std::string header(length, '\0');
  file.read_at(header.data(), static_cast<int64_t>(length), sizeof length);
  if (!header.starts_with('{')) bad_input(path, "is no safetensors file: its header does not begin with {{");
  SafetensorsFile opened;
  opened.path_ = path;
  opened.data_ = static_cast<int64_t>(sizeof length + length);
  try {
    opened.tensors_ = parse_tensors(header, size - opened.data_);
  } catch (const nlohmann::json::exception&) {
    bad_input(path, "is damaged: its header is not what the format says");
  } catch (const std::invalid_argument& error) {
    bad_input(path, "is damaged: {}", error.what());
  }
  return opened;
}

std::vector<float> SafetensorsFile::read(const SafeTensor& tensor) const {
  const File file(path_, File::Mode::Read);
  std::string bytes(static_cast<size_t>(tensor.end - tensor.begin), '\0');
  file.read_at(bytes.data(), static_cast<int64_t>(bytes.size()), data_ + tensor.begin);
  return decode(tensor.format, bytes);
}

void write_safetensors(const std::string& path, std::vector<SafeTensor> tensors,
                       const std::function<std::vector<float>(size_t)>& values) {
  Json json;
  json["__metadata__"] = {{"format", "pt"}};
  int64_t end = 0;
  for (SafeTensor& tensor : tensors) {
    tensor.begin = end;
    int64_t elements = 1;
    for (int64_t size : tensor.shape) elements *= size;
    end = tensor.end = tensor.begin + elements * bytes_of(tensor.format);
    json[tensor.name] = {
        {"dtype", code_of(tensor.format)}, {"shape", tensor.shape}, {"data_offsets", {tensor.begin, tensor.end}}};
  }
  std::string header = json.dump();
  const auto length_bytes = static_cast<int64_t>(sizeof(uint64_t));
  header.resize((header.size() + kAlignment - 1) / kAlignment * kAlignment, ' ');
  const auto length = static_cast<uint64_t>(header.size());
  File file(path, File::Mode::Create);
  file.write_at(&length, length_bytes, 0);
  file.write_at(header.data(), static_cast<int64_t>(header.size()), length_bytes);
  const int64_t data = length_bytes + static_cast<int64_t>(header.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    const std::string bytes = encode(tensors[i].format, values(i));
    ensure(static_cast<int64_t>(bytes.size()) == tensors[i].end - tensors[i].begin, "safetensors",
           "{} has {} bytes, its shape says {}", tensors[i].name, bytes.size(), tensors[i].end - tensors[i].begin);
    file.write_at(bytes.data(), static_cast<int64_t>(bytes.size()), data + tensors[i].begin);
  }
  file.sync();
  file.close();
}

}  // namespace gta
