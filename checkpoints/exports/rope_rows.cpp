#include "checkpoints/exports/rope_rows.h"

namespace gta {

void add_interleaved(std::vector<int64_t>& rows, int64_t first, int64_t dim) {
  for (int64_t j = 0; j < dim / 2; ++j) {
    rows.push_back(first + j);
    rows.push_back(first + j + dim / 2);
  }
}

void add_plain(std::vector<int64_t>& rows, int64_t first, int64_t count) {
  for (int64_t row = 0; row < count; ++row) rows.push_back(first + row);
}

std::vector<int64_t> mla_query_rows(const ModelConfig& config) {
  const AttentionConfig& a = config.attention;
  std::vector<int64_t> rows;
  for (int64_t head = 0; head < config.heads; ++head) {
    const int64_t first = head * (a.nope_dim + a.rope_dim);
    add_plain(rows, first, a.nope_dim);
    add_interleaved(rows, first + a.nope_dim, a.rope_dim);
  }
  return rows;
}

std::vector<int64_t> mla_latent_rows(const ModelConfig& config) {
  std::vector<int64_t> rows;
  add_plain(rows, 0, config.attention.kv_lora_rank);
  add_interleaved(rows, config.attention.kv_lora_rank, config.attention.rope_dim);
  return rows;
}

}  // namespace gta
