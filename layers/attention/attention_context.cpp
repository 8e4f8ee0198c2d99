#include "layers/attention/attention_context.h"

namespace gta {

std::array<Tensor, 2> extend_cache(const AttentionContext& context, const Tensor& k, const Tensor& v) {
  ensure((context.cache != nullptr) == (context.place != nullptr), "attention",
         "a cache and a place in it go together");
  if (!context.cache) return {k, v};
  const auto& [keys, values] = *context.cache;
  GTA_DISPATCH(keys.device(), write_rows, keys, context.place->rows, k);
  GTA_DISPATCH(values.device(), write_rows, values, context.place->rows, v);
  return {keys, values};
}

Tensor attend(Tape& tape, const AttentionContext& context, const AttentionShape& shape, const Tensor& q,
              const Tensor& k, const Tensor& v) {
  const SharedMapAttentionOp op{shape, context.document_starts, context.place ? context.place->keys : CachedKeys{}};
  if (context.probe) look_at_core({shape, q, k, v, context.document_starts, {}, {}}, context.probe->blocks.back());
  return tape.apply(op, q, k, v);
}

}  // namespace gta
