#include "checkpoints/exports/gguf_sources.h"

#include <algorithm>
#include <utility>

namespace gta {

std::vector<float> rows_of(const std::vector<float>& values, const GgufRows& rows, int64_t columns) {
  std::vector<float> result;
  result.reserve(rows.size() * static_cast<size_t>(columns));
  for (int64_t row : rows) {
    const auto first = values.begin() + row * columns;
    result.insert(result.end(), first, first + columns);
  }
  return result;
}

GgufSource same_values(const std::string& name, std::vector<int64_t> shape, const std::string& parameter) {
  const GgufSource::Kind kind = shape.size() > 1 ? kMatrix : kVector;
  return {name, std::move(shape), kind, [parameter](const Masters& masters) { return masters.values(parameter); }};
}

GgufSource picked_rows(const std::string& name, const std::string& parameter, GgufRows rows, int64_t columns) {
  const auto count = static_cast<int64_t>(rows.size());
  return {name, {count, columns}, kMatrix, [parameter, rows = std::move(rows), columns](const Masters& masters) {
            return rows_of(masters.values(parameter), rows, columns);
          }};
}

GgufSource picked_entries(const std::string& name, const std::string& parameter, GgufRows rows) {
  GgufSource source = picked_rows(name, parameter, std::move(rows), 1);
  source.shape = {source.shape[0]};
  source.kind = kVector;
  return source;
}

GgufSource constant(const std::string& name, std::vector<int64_t> shape, float value, GgufSource::Kind kind) {
  int64_t elements = 1;
  for (int64_t size : shape) elements *= size;
  return {name, std::move(shape), kind,
          [elements, value](const Masters&) { return std::vector<float>(static_cast<size_t>(elements), value); }};
}

}  // namespace gta
