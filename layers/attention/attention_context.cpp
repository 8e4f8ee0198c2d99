#include "layers/attention/attention_context.h"

namespace gta {

void check_positions(const AttentionContext& context) {
  ensure(context.cache || context.first_position == 0, "attention",
         "earlier tokens without a cache: first_position is {}", context.first_position);
  ensure(!context.cache || context.batch == 1, "attention", "a cache serves one sequence, got a batch of {}",
         context.batch);
}

Tensor append_to_cache(const AttentionContext& context, const Tensor& cache, const Tensor& fresh) {
  const int64_t filled = context.first_position, rows = fresh.rows();
  ensure(filled + rows <= cache.rows(), "attention", "the cache holds {} tokens, cannot append {} to {}", cache.rows(),
         rows, filled);
  cache.row_slice(filled, rows).copy_from(fresh);
  return cache.row_slice(0, filled + rows);
}

std::array<Tensor, 2> extend_cache(const AttentionContext& context, const Tensor& k, const Tensor& v) {
  check_positions(context);
  if (!context.cache) return {k, v};
  return {append_to_cache(context, context.cache->keys, k), append_to_cache(context, context.cache->values, v)};
}

Tensor attend(Tape& tape, const AttentionContext& context, const AttentionShape& shape, const Tensor& q,
              const Tensor& k, const Tensor& v) {
  const SharedMapAttentionOp op{shape, context.document_starts};
  if (context.probe)
    context.probe->blocks.back().largest_score =
        GTA_DISPATCH(q.device(), shared_map_attention_largest_score,
                     AttentionForward{shape, q, k, v, context.document_starts, {}, {}});
  return tape.apply(op, q, k, v);
}

}  // namespace gta
