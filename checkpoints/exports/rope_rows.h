// RoPE pairs columns (j, j + d/2) of a head here, columns (2j, 2j + 1) in some other programs: then the rows of the
// matrix that makes the head change places.
#pragma once

#include <cstdint>
#include <vector>

#include "layers/transformer/model_config.h"

namespace gta {

// Appends our rows of one head, `dim` of them from `first` on, in the order that puts pairs next to each other.
void add_interleaved(std::vector<int64_t>& rows, int64_t first, int64_t dim);
void add_plain(std::vector<int64_t>& rows, int64_t first, int64_t count);

// Of MLA's q_proj, whose heads end with the columns that are rotated, and of kv_a_proj_with_mqa, whose last rows are.
std::vector<int64_t> mla_query_rows(const ModelConfig& config);
std::vector<int64_t> mla_latent_rows(const ModelConfig& config);

}  // namespace gta
