// Tensors of a GGUF file, each made from our parameters when it is written.
#pragma once

#include <string>
#include <vector>

#include "checkpoints/exports/gguf_model.h"

namespace gta {

using GgufRows = std::vector<int64_t>;

inline constexpr auto kMatrix = GgufSource::Kind::Matrix;
inline constexpr auto kVector = GgufSource::Kind::Vector;

// Row r is our row rows[r]; a vector has rows of one number.
std::vector<float> rows_of(const std::vector<float>& values, const GgufRows& rows, int64_t columns);

// A parameter as it is.
GgufSource same_values(const std::string& name, std::vector<int64_t> shape, const std::string& parameter);
// A matrix (rows, columns) of a parameter's rows, and a vector of its entries.
GgufSource picked_rows(const std::string& name, const std::string& parameter, GgufRows rows, int64_t columns);
GgufSource picked_entries(const std::string& name, const std::string& parameter, GgufRows rows);
// One number throughout.
GgufSource constant(const std::string& name, std::vector<int64_t> shape, float value, GgufSource::Kind kind = kMatrix);

}  // namespace gta
