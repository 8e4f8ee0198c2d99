#include "checkpoints/exports/gguf_export.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>

#include "checkpoints/exports/gguf_model.h"
#include "checkpoints/exports/gguf_tokenizer.h"
#include "checkpoints/exports/masters.h"
#include "core/error.h"
#include "layers/attention/attention.h"

namespace gta {
namespace {

GgufType type_of(const GgufSource& source, GgufType type) {
  return source.kind == GgufSource::Kind::Matrix && source.shape.back() % block_of(type) == 0 ? type : GgufType::F32;
}

uint32_t file_type(GgufType type) {  // llama.cpp's numbers for "mostly" that type
  switch (type) {
    case GgufType::F32:
      return 0;
    case GgufType::F16:
      return 1;
    case GgufType::Q8_0:
      return 7;
    case GgufType::BF16:
      return 32;
  }
  return 0;
}

std::vector<float> rounded(GgufType type, const std::vector<float>& values) {
  return decode(type, encode(type, values));
}

void require_representable(const GgufTensor& tensor, const std::vector<float>& values) {
  const std::vector<float> stored = rounded(tensor.type, values);
  for (size_t i = 0; i < values.size(); ++i)
    require(!std::isfinite(values[i]) || std::isfinite(stored[i]), "--dtype",
            "{} has {}, beyond what {} holds: expected bfloat16 or float32", tensor.name, values[i],
            name_of(tensor.type));
}

GgufKeys keys_of(const GgufExport& what) {
  GgufKeys keys = gguf_model_keys(what.config, what.name);
  keys.emplace_back("general.file_type", file_type(what.type));
  if (what.type == GgufType::Q8_0) keys.emplace_back("general.quantization_version", uint32_t{2});
  for (const auto& key : what.more_keys) keys.push_back(key);
  add_tokenizer_keys(keys, what.tokenizer, what.config.vocab_size);
  return keys;
}

}  // namespace

void check_gguf_export(const GgufExport& what) {
  gguf_architecture_of(what.config);
  const std::string why = why_no_gguf_tokenizer(what.tokenizer);
  require(why.empty(), "--format", "llama.cpp would make other tokens than this model's tokenizer, as {}: export to hf",
          why);
}

void write_gguf_model(const std::string& path, const GgufExport& what) {
  const std::vector<GgufSource> sources = gguf_tensors(what.config);
  const Masters masters(what.space);
  std::vector<GgufTensor> tensors;
  for (const GgufSource& source : sources)
    tensors.push_back({source.name, type_of(source, what.type), source.shape, 0});
  write_gguf(path, keys_of(what), tensors, [&](size_t i) {
    std::vector<float> values = sources[i].values(masters);
    require_representable(tensors[i], values);
    return values;
  });
}

std::string first_difference(const GgufFile& file, const GgufExport& what) {
  const std::vector<GgufSource> sources = gguf_tensors(what.config);
  const Masters masters(what.space);
  if (file.keys() != keys_of(what)) return "a key";
  if (file.tensors().size() != sources.size()) return fmt::format("the number of tensors, {}", file.tensors().size());
  for (const GgufSource& source : sources) {
    const GgufTensor* const tensor = file.find(source.name);
    if (!tensor || tensor->shape != source.shape || tensor->type != type_of(source, what.type)) return source.name;
    const std::vector<float> stored = file.read(*tensor), ours = rounded(tensor->type, source.values(masters));
    if (stored.size() != ours.size() || std::memcmp(stored.data(), ours.data(), ours.size() * sizeof(float)) != 0)
      return source.name;
  }
  return "";
}

std::vector<std::string> gguf_notes(const ModelConfig& config) {
  const int64_t there = gguf_cache_numbers(config), here = cache_widths(config).total();
  if (there == here) return {};
  return {fmt::format("llama.cpp's cache keeps {} numbers per token and layer for it, this program {}", there, here)};
}

}  // namespace gta
