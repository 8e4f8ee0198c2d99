#include "bench/products.h"

#include <algorithm>

#include "bench/model_shapes.h"
#include "layers/cross_entropy/linear_cross_entropy.h"

namespace gta {
namespace {

void add_linear(std::vector<Product>& products, const LinearShape& shape, int64_t tokens, int64_t calls) {
  const auto& [name, out, in, bias] = shape;
  products.push_back(
      {name + " forward", tokens, out, in, Transpose::No, Transpose::Yes, GradientMode::Overwrite, calls});
  products.push_back(
      {name + " d_input", tokens, in, out, Transpose::No, Transpose::No, GradientMode::Overwrite, calls});
  products.push_back(
      {name + " d_weight", out, in, tokens, Transpose::Yes, Transpose::No, GradientMode::Accumulate, calls});
}

void add_value_decoder(std::vector<Product>& products, const ModelConfig& config, int64_t tokens) {
  const AttentionConfig& a = config.attention;
  const int64_t latent = a.latent_dim, width = config.heads / a.query_heads * config.head_dim,
                calls = config.layers * a.query_heads;
  products.push_back({"value decoder forward", tokens, width, latent, Transpose::No, Transpose::No,
                      GradientMode::Overwrite, 2 * calls});
  products.push_back(
      {"value decoder d_input", tokens, latent, width, Transpose::No, Transpose::Yes, GradientMode::Accumulate, calls});
  products.push_back({"value decoder d_weight", latent, width, tokens, Transpose::Yes, Transpose::No,
                      GradientMode::Accumulate, calls});
}

}  // namespace

std::vector<Product> products_of_step(const ModelConfig& config, int64_t tokens, DeviceType device) {
  std::vector<Product> products;
  for (const LinearShape& shape : linear_shapes(config)) add_linear(products, shape, tokens, config.layers);
  if (has_learned_decoder(config)) add_value_decoder(products, config, tokens);
  const LinearShape head{"head", config.vocab_size, config.hidden_size, false};
  const int64_t chunk = std::min(tokens, LinearCrossEntropyOp::chunk_rows(tokens, config.vocab_size, device));
  add_linear(products, head, chunk, tokens / chunk);
  if (tokens % chunk) add_linear(products, {"head, last chunk", head.out, head.in, false}, tokens % chunk, 1);
  return products;
}

}  // namespace gta
