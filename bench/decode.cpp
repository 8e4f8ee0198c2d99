#include "bench/decode.h"

#include <numeric>
#include <span>
#include <vector>

#include "core/allocator.h"
#include "core/measure/peak.h"
#include "core/measure/random_tensor.h"
#include "layers/attention/attention.h"

namespace gta {
namespace {

int64_t bytes_in_use(Device device) { return memory_report(device).total_in_use(); }

// Those that hold something: MLA's values are its keys.
std::vector<Tensor> tensors_of(const DecodingCache& cache, int64_t layers) {
  std::vector<Tensor> tensors;
  for (int64_t layer = 0; layer < layers; ++layer)
    for (const Tensor& tensor : {cache.layer(layer).keys, cache.layer(layer).values})
      if (tensor.columns() > 0) tensors.push_back(tensor);
  return tensors;
}

// Rows of the first tokens of every sequence, as decoding has left them.
void fill(const DecodingCache& cache, std::span<const Tensor> tensors, int64_t context) {
  for (const Tensor& tensor : tensors) {
    const Tensor numbers = random_tensor("cache", {context, tensor.columns()}, tensor.dtype(), tensor.device());
    for (int64_t s = 0; s < cache.sequences(); ++s) tensor.row_slice(s * cache.capacity(), context).copy_from(numbers);
  }
}

std::vector<int64_t> all(int64_t sequences) {
  std::vector<int64_t> ids(static_cast<size_t>(sequences));
  std::iota(ids.begin(), ids.end(), 0);
  return ids;
}

}  // namespace

DecodeBenchmark::DecodeBenchmark(const ModelConfig& model, const DecodeFormats& formats, Device device)
    : config_(model), space_(std::make_unique<ParameterSpace>()), formats_(formats), device_(device) {
  model_ = std::make_unique<CausalLm>(*space_, config_);
  space_->allocate(formats.compute, device, SpaceUse::Inference);
  space_->initialize(1234);
  // The table of the embedding is looked up, not multiplied with, unless it is the head as well.
  for (const Parameter& parameter : space_->parameters())
    if (config_.tie_embeddings || parameter.name != "model.embed_tokens.weight") multiplying_ += parameter.elements();
  weight_bytes_ =
      multiplying_ * (formats.weights == WeightFormat::Int8 ? 1 : static_cast<int64_t>(size_of(formats.compute)));
  if (formats.weights == WeightFormat::Int8) space_->use_int8(model_->only_looked_up());
}

DecodeMeasurement DecodeBenchmark::measure(const DecodePoint& at, int64_t tokens, MemoryLimits limits) const {
  DecodeMeasurement measured{};
  measured.at = at;
  const int64_t before = bytes_in_use(device_), capacity = at.context + decoded(tokens);
  DecodingCache cache = model_->make_cache(at.sequences, capacity, formats_.cache);
  measured.cache_bytes = (bytes_in_use(device_) - before) / capacity * at.context;
  const std::vector<Tensor> tensors = tensors_of(cache, config_.layers);
  fill(cache, tensors, at.context);
  const std::vector<int64_t> sequences = all(at.sequences);
  cache.append(sequences, at.context);
  const Tensor next = random_tokens("next", {at.sequences, 1}, config_.vocab_size);
  std::vector<double> seconds;
  for (int64_t i = 0; i <= tokens; ++i) {
    const double took = time_once(device_, [&] { model_->decode(next, sequences, cache); });
    if (i > 0) seconds.push_back(took);  // the first one warms up
  }
  measured.step = timing_of(seconds);
  const double cached = static_cast<double>(at.sequences * at.context);
  measured.bytes = static_cast<double>(weight_bytes_) + static_cast<double>(measured.cache_bytes);
  measured.flops = 2.0 * static_cast<double>(multiplying_ * at.sequences) +
                   2.0 * cached * static_cast<double>(config_.layers * map_multiply_adds_decoding(config_));
  if (limits == MemoryLimits::NotMeasured) return measured;
  // Memory's speed is a neighbour's too, and changes from one second to the next: limits are timed beside each token.
  const Traffic traffic(device_);
  traffic.sweep();  // the first writes pages that are not there yet
  std::vector<double> of_copy, of_read;
  for (int64_t i = 0; i < tokens; ++i) {
    const double copied = time_once(device_, [&] { traffic.sweep(); }),
                 step = time_once(device_, [&] { model_->decode(next, sequences, cache); }),
                 read = time_once(device_, [&] { read_all(tensors); });
    const double rate = measured.bytes / step;
    of_copy.push_back(rate * copied / (2.0 * static_cast<double>(Traffic::kBytes)));
    of_read.push_back(rate * read / static_cast<double>(cache.bytes()));
  }
  measured.of_copy = timing_of(of_copy).median;
  measured.of_read = timing_of(of_read).median;
  return measured;
}

double DecodeBenchmark::measure_prefill(int64_t context, int64_t chunk) const {
  DecodingCache cache = model_->make_cache(1, context, formats_.cache);
  const std::vector<int64_t> sequence = {0};
  const auto run = [&](int64_t tokens) {
    for (int64_t first = 0; first < tokens; first += chunk)
      model_->decode(random_tokens("prompt", {1, std::min(chunk, tokens - first)}, config_.vocab_size), sequence,
                     cache);
    cache.clear(0);
  };
  run(std::min(chunk, context));
  return time_once(device_, [&] { run(context); });
}

}  // namespace gta
