#include "checkpoints/exports/hf_export.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include <remote_code.h>
#include "checkpoints/exports/hf_model.h"
#include "checkpoints/exports/hf_tokenizer.h"
#include "checkpoints/exports/masters.h"
#include "checkpoints/exports/safetensors.h"
#include "core/error.h"
#include "core/io/file.h"

namespace gta {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kOneFile = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";
constexpr int64_t kMostIndexBytes = 100'000'000;

void write_text(const std::string& path, const std::string& text) {
  File file(path, File::Mode::Create);
  file.write_at(text.data(), static_cast<int64_t>(text.size()), 0);
  file.sync();
  file.close();
}

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
    write_text(folder + "/" + kIndex,
               Json{{"metadata", {{"total_size", total}}}, {"weight_map", weight_map}}.dump(2) + "\n");
}

// A name in an index is a file beside it, and nothing else.
void require_plain_name(const std::string& index, const std::string& name) {
  const bool plain = !name.empty() && name.find('/') == std::string::npos && name.find('\0') == std::string::npos &&
                     name[0] != '.' && name.ends_with(".safetensors");
  if (!plain)
    bad_input(index, "names '{}' for a file of weights: expected a .safetensors file in the same folder", name);
}

std::vector<std::string> files_of(const std::string& folder) {
  const std::string index = folder + "/" + kIndex;
  if (!exists(index)) {
    if (!exists(folder + "/" + kOneFile)) bad_input(folder, "has no {} and no {}", kOneFile, kIndex);
    return {kOneFile};
  }
  std::vector<std::string> names;
  try {
    const Json json = Json::parse(read_file(index, kMostIndexBytes));
    for (const auto& [tensor, file] : json.at("weight_map").items()) {
      const std::string name = file.get<std::string>();
      require_plain_name(index, name);
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
  } catch (const nlohmann::json::exception&) {
    bad_input(index, "is damaged: it is not what the format says");
  }
  return names;
}

}  // namespace

std::vector<std::string> write_hf_folder(const std::string& folder, const HfExport& what, const std::string& card) {
  std::vector<std::string> notes = hf_notes(what.config);
  const Tokenizer& tokenizer = what.tokenizer;
  const HfTokens tokens{tokenizer.bos(), tokenizer.eos(), tokenizer.padding()};
  write_text(folder + "/config.json", hf_config_json(what.config, what.format, tokens));
  write_text(folder + "/generation_config.json", hf_generation_config_json(tokens));
  write_text(folder + "/tokenizer.model", tokenizer.bytes());
  if (const std::string why = why_no_tokenizer_json(tokenizer); why.empty()) {
    write_text(folder + "/tokenizer.json", tokenizer_json(tokenizer));
    write_text(folder + "/tokenizer_config.json", tokenizer_config_json(tokenizer, what.config.max_sequence_length));
  } else {
    notes.push_back("there is no tokenizer.json, as " + why + ": read tokenizer.model with sentencepiece itself");
  }
  if (hf_class_of(what.config) == HfClass::Gta) {
    write_text(folder + "/configuration_gta.py", kConfigurationGta);
    write_text(folder + "/modeling_gta.py", kModelingGta);
  }
  write_text(folder + "/README.md", card);
  write_weights(folder, what);
  return notes;
}

void load_hf_weights(const std::string& folder, const ModelConfig& config, ParameterSpace& space) {
  std::map<std::string, HfTensor> wanted;
  for (HfTensor& tensor : hf_tensors(config)) wanted.emplace(tensor.name, std::move(tensor));
  const Masters masters(space);
  for (const std::string& name : files_of(folder)) {
    const SafetensorsFile file = SafetensorsFile::open(folder + "/" + name);
    for (const SafeTensor& tensor : file.tensors()) {
      const auto found = wanted.find(tensor.name);
      if (found == wanted.end()) bad_input(file.path(), "has {}, which the model has not, or twice", tensor.name);
      if (tensor.shape != found->second.shape)
        bad_input(file.path(), "has {} as ({}), expected ({})", tensor.name, fmt::join(tensor.shape, ", "),
                  fmt::join(found->second.shape, ", "));
      const std::vector<float> values = from_hf(found->second, file.read(tensor));
      if (const std::string& parameter = found->second.parameter; !parameter.empty())
        std::copy(values.begin(), values.end(), masters.at(parameter).begin());
      else if (std::any_of(values.begin(), values.end(), [](float value) { return value != 0; }))
        bad_input(file.path(), "has numbers in {}, of which the model has none: expected zeros", tensor.name);
      wanted.erase(found);
    }
  }
  if (!wanted.empty())
    bad_input(folder, "lacks {} of the model's tensors, {} first", wanted.size(), wanted.begin()->first);
  space.masters_changed();
}

}  // namespace gta
