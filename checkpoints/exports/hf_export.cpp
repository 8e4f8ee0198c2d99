#include "checkpoints/exports/hf_export.h"

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include <remote_code.h>
#include "checkpoints/exports/hf_model.h"
#include "checkpoints/exports/hf_tokenizer.h"
#include "checkpoints/exports/hf_weights.h"
#include "checkpoints/exports/masters.h"
#include "checkpoints/exports/safetensors.h"
#include "core/error.h"
#include "core/io/file.h"

namespace gta {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kOneFile = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";

void require_representable(const HfTensor& tensor, const std::vector<float>& values, NumberFormat format) {
  constexpr float kLargestHalf = 65504;
  if (format != NumberFormat::F16) return;
  for (float value : values)
    require(!std::isfinite(value) || std::abs(value) <= kLargestHalf, "--dtype",
            "{} has {}, and float16 ends at 65504: expected bfloat16 or float32", tensor.name, value);
}

// Which tensors go into one file, in their order.
std::vector<std::vector<size_t>> cut_into_files(const std::vector<SafeTensor>& tensors, NumberFormat format,
                                                int64_t most) {
  std::vector<std::vector<size_t>> files(1);
  int64_t bytes = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    int64_t own = bytes_of(format);
    for (int64_t size : tensors[i].shape) own *= size;
    if (!files.back().empty() && bytes + own > most) {
      files.emplace_back();
      bytes = 0;
    }
    files.back().push_back(i);
    bytes += own;
  }
  return files;
}

void write_weights(const std::string& folder, const HfExport& what) {
  const std::vector<HfTensor> tensors = hf_tensors(what.config);
  const Masters masters(what.space);
  std::vector<SafeTensor> all;
  for (const HfTensor& tensor : tensors) all.push_back({tensor.name, what.format, tensor.shape, 0, 0});
  const std::vector<std::vector<size_t>> files = cut_into_files(all, what.format, what.most_file_bytes);
  Json weight_map;
  int64_t total = 0;
  for (size_t f = 0; f < files.size(); ++f) {
    const std::string name =
        files.size() == 1 ? kOneFile : fmt::format("model-{:05}-of-{:05}.safetensors", f + 1, files.size());
    std::vector<SafeTensor> of_file;
    for (size_t i : files[f]) of_file.push_back(all[i]);
    write_safetensors(folder + "/" + name, of_file, [&](size_t i) {
      const HfTensor& tensor = tensors[files[f][i]];
      std::vector<float> values = tensor.parameter.empty() ? std::vector<float>(static_cast<size_t>(tensor.shape[0]))
                                                           : to_hf(tensor, masters.values(tensor.parameter));
      require_representable(tensor, values, what.format);
      total += static_cast<int64_t>(values.size()) * bytes_of(what.format);
      weight_map[tensor.name] = name;
      return values;
    });
  }
  if (files.size() > 1)
    write_synced(folder + "/" + kIndex,
                 Json{{"metadata", {{"total_size", total}}}, {"weight_map", weight_map}}.dump(2) + "\n");
}

}  // namespace

std::vector<std::string> write_hf_folder(const std::string& folder, const HfExport& what, const std::string& card) {
  std::vector<std::string> notes = hf_notes(what.config);
  const Tokenizer& tokenizer = what.tokenizer;
  const HfTokens tokens{tokenizer.bos(), tokenizer.eos(), tokenizer.padding()};
  write_synced(folder + "/config.json", hf_config_json(what.config, what.format, tokens));
  write_synced(folder + "/generation_config.json", hf_generation_config_json(tokens));
  write_synced(folder + "/tokenizer.model", tokenizer.bytes());
  if (const std::string why = why_no_tokenizer_json(tokenizer); why.empty()) {
    write_synced(folder + "/tokenizer.json", tokenizer_json(tokenizer));
    write_synced(folder + "/tokenizer_config.json", tokenizer_config_json(tokenizer, what.config.max_sequence_length));
  } else {
    notes.push_back("there is no tokenizer.json, as " + why + ": read tokenizer.model with sentencepiece itself");
  }
  if (hf_class_of(what.config) == HfClass::Gta) {
    write_synced(folder + "/configuration_gta.py", kConfigurationGta);
    write_synced(folder + "/modeling_gta.py", kModelingGta);
  }
  write_synced(folder + "/README.md", card);
  write_weights(folder, what);
  return notes;
}

void load_hf_weights(const std::string& folder, const ModelConfig& config, ParameterSpace& space) {
  HfWeights::open(folder).load(config, hf_class_of(config), space);
}

}  // namespace gta
