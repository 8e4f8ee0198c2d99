#include "launch/npy.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "core/error.h"
#include "core/io/file.h"

namespace gta {
namespace {

const std::string kMagic = std::string("\x93NUMPY\x01\x00", 8);

// The text between `before` and `after` in the header, or "".
std::string between(const std::string& header, const std::string& before, const std::string& after) {
  const size_t begin = header.find(before);
  if (begin == std::string::npos) return "";
  const size_t end = header.find(after, begin + before.size());
  return end == std::string::npos ? "" : header.substr(begin + before.size(), end - begin - before.size());
}

}  // namespace

NpyArray<int32_t> read_npy_int32(const std::string& path) {
  const std::string file = read_file(path, int64_t{1} << 32);
  if (file.size() < 10 || file.compare(0, 8, kMagic) != 0) bad_input(path, "is no .npy file of version 1");
  const size_t header_bytes =
      static_cast<unsigned char>(file[8]) | static_cast<size_t>(static_cast<unsigned char>(file[9])) << 8;
  if (file.size() < 10 + header_bytes) bad_input(path, "ends in its header");
  const std::string header = file.substr(10, header_bytes), kind = between(header, "'descr': '", "'");
  const int64_t size = kind == "<i4" ? 4 : kind == "<i8" ? 8 : 0;
  if (size == 0) bad_input(path, "holds '{}': expected int32 or int64", kind);
  if (header.find("'fortran_order': False") == std::string::npos)
    bad_input(path, "is in Fortran order: expected C order");
  NpyArray<int32_t> array;
  int64_t elements = 1;
  const std::string shape = between(header, "'shape': (", ")");
  for (size_t at = 0; at < shape.size();) {
    const size_t comma = std::min(shape.find(',', at), shape.size());
    const std::string word = shape.substr(at, comma - at);
    at = comma + 1;
    if (word.find_first_not_of(' ') == std::string::npos) continue;
    const int64_t dimension = std::strtoll(word.c_str(), nullptr, 10);
    if (dimension < 0 || __builtin_mul_overflow(elements, dimension, &elements))
      bad_input(path, "has the shape ({})", shape);
    array.shape.push_back(dimension);
  }
  const auto available = static_cast<int64_t>(file.size() - 10 - header_bytes);
  if (elements > available / size || elements * size != available)
    bad_input(path, "has {} bytes of data, its shape ({}) needs {} elements of {}", available, shape, elements, size);
  array.values.resize(elements);
  for (int64_t i = 0; i < elements; ++i) {
    int64_t value = 0;
    std::memcpy(&value, file.data() + 10 + header_bytes + i * size, size);
    if (size == 4) value = static_cast<int32_t>(value);
    if (value < INT32_MIN || value > INT32_MAX) bad_input(path, "element {} is {}: no token", i, value);
    array.values[i] = static_cast<int32_t>(value);
  }
  return array;
}

void write_npy(const std::string& path, const NpyArray<float>& array) {
  std::string shape;
  for (int64_t size : array.shape) shape += std::to_string(size) + ", ";
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (" + shape + "), }";
  header.append(63 - (10 + header.size()) % 64, ' ');
  header += '\n';
  std::string file = kMagic;
  file += static_cast<char>(header.size() & 0xff);
  file += static_cast<char>(header.size() >> 8);
  file += header;
  file.append(reinterpret_cast<const char*>(array.values.data()), array.values.size() * sizeof(float));
  publish_text(path, file);
}

}  // namespace gta
