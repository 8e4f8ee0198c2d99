#include "layers/attention/attention_context.h"

namespace gta {

std::array<Tensor, 2> extend_cache(const AttentionContext& context, const Tensor& k, const Tensor& v) {
  if (!context.cache) {
    if (context.first_position != 0) fail("attention", "earlier tokens without a cache: first_position is {}", context.first_position);
    return {k, v};
  }
  if (context.batch != 1) fail("attention", "a cache serves one sequence, got a batch of {}", context.batch);
  const int64_t filled = context.first_position, rows = k.rows();
  const auto append = [&](const Tensor& cache, const Tensor& fresh) {
    require(filled + rows <= cache.rows(), "attention", "the cache holds {} tokens, cannot append {} to {}", cache.rows(), rows, filled);
    cache.row_slice(filled, rows).copy_from(fresh);
    return cache.row_slice(0, filled + rows);
  };
  return {append(context.cache->keys, k), append(context.cache->values, v)};
}

}  // namespace gta
