#include "checkpoints/exports/hf_weights.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>

#include "checkpoints/exports/json_object.h"
#include "checkpoints/exports/masters.h"
#include "core/error.h"
#include "core/io/file.h"

namespace gta {
namespace {

constexpr const char* kOneFile = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";
constexpr int64_t kMostIndexBytes = 100'000'000;
constexpr int kDeepestIndex = 8;
constexpr const char* kHead = "lm_head.weight";
constexpr const char* kEmbedding = "model.embed_tokens.weight";

// Tensor -> file, as the index has it; empty where there is one file and no index.
std::map<std::string, std::string> weight_map_of(const std::string& folder) {
  std::map<std::string, std::string> map;
  if (exists(folder + "/" + kOneFile)) return map;  // as transformers does, who would not look at an index then
  const std::string index = folder + "/" + kIndex;
  if (!exists(index))
    bad_input(folder, "has no {} and no {}{}", kOneFile, kIndex,
              exists(folder + "/pytorch_model.bin") || exists(folder + "/pytorch_model.bin.index.json")
                  ? ": pytorch_model.bin is not read, as reading it can run code; transformers saves it anew with "
                    "safe_serialization=True"
                  : "");
  const JsonObject weight_map =
      JsonObject::parse(read_file(index, kMostIndexBytes), index, kDeepestIndex).object("weight_map");
  for (const std::string& tensor : weight_map.keys()) {
    const std::string name = weight_map.text(tensor);
    require_plain_name(index, name);
    map.emplace(tensor, name);
  }
  if (map.empty()) bad_input(index, "names no tensor");
  return map;
}

std::string shape_text(const std::vector<int64_t>& shape) { return fmt::format("({})", fmt::join(shape, ", ")); }

// In an error one line has to hold it.
std::string plain(const std::string& name) {
  constexpr size_t kMost = 120;
  std::string text = name.substr(0, kMost);
  for (char& c : text)
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) c = '?';
  return text;
}

}  // namespace

void require_plain_name(const std::string& index, const std::string& name) {
  const bool is_plain = !name.empty() && name.find('/') == std::string::npos && name.find('\0') == std::string::npos &&
                        name[0] != '.' && name.ends_with(".safetensors");
  if (!is_plain)
    bad_input(index, "names '{}' for a file of weights: expected a .safetensors file in the same folder", plain(name));
}

HfWeights HfWeights::open(const std::string& folder) {
  const std::map<std::string, std::string> weight_map = weight_map_of(folder);
  std::vector<std::string> names;
  for (const auto& [tensor, file] : weight_map) names.push_back(file);
  if (names.empty()) names.push_back(kOneFile);
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  HfWeights weights;
  weights.folder_ = folder;
  std::map<std::string, std::string> found;
  for (const std::string& name : names) {
    if (!exists(folder + "/" + name)) bad_input(folder + "/" + kIndex, "names {}, which is not there", plain(name));
    weights.files_.push_back(SafetensorsFile::open(folder + "/" + name));
    for (const SafeTensor& tensor : weights.files_.back().tensors())
      if (const auto [before, is_new] = found.emplace(tensor.name, name); !is_new)
        bad_input(folder, "has {} twice, in {} and {}", plain(tensor.name), before->second, name);
  }
  for (const auto& [tensor, name] : weight_map)
    if (const auto place = found.find(tensor); place == found.end() || place->second != name)
      bad_input(folder + "/" + kIndex, "says that {} is in {}, which is not so", plain(tensor), plain(name));
  return weights;
}

std::vector<NumberFormat> HfWeights::formats() const {
  std::vector<NumberFormat> formats;
  for (NumberFormat format : kNumberFormats)
    if (std::any_of(files_.begin(), files_.end(), [&](const SafetensorsFile& file) {
          return std::any_of(file.tensors().begin(), file.tensors().end(),
                             [&](const SafeTensor& tensor) { return tensor.format == format; });
        }))
      formats.push_back(format);
  return formats;
}

std::vector<HfWeights::Place> HfWeights::places(const ModelConfig& config, HfClass type) const {
  std::map<std::string, HfTensor> wanted;
  for (HfTensor& tensor : hf_tensors(config, type)) wanted.emplace(tensor.name, std::move(tensor));
  std::vector<int64_t> embedding;
  if (config.tie_embeddings) embedding = wanted.at(kEmbedding).shape;
  std::vector<Place> places;
  for (const SafetensorsFile& file : files_)
    for (const SafeTensor& tensor : file.tensors()) {
      if (tensor.name.ends_with(".rotary_emb.inv_freq")) continue;
      const bool repeats = config.tie_embeddings && tensor.name == kHead;
      const auto found = wanted.find(tensor.name);
      if (!repeats && found == wanted.end())
        bad_input(file.path(), "has {}, which {} of this config.json has not", plain(tensor.name), name_of(type));
      HfTensor meaning = repeats ? HfTensor{kHead, embedding, kEmbedding, {}} : std::move(found->second);
      if (tensor.shape != meaning.shape)
        bad_input(file.path(), "has {} as {}, expected {}", tensor.name, shape_text(tensor.shape),
                  shape_text(meaning.shape));
      places.push_back({&file, &tensor, std::move(meaning), repeats});
      if (!repeats) wanted.erase(found);
    }
  if (!wanted.empty())
    bad_input(folder_, "lacks {} of the {} tensors that {} of this config.json has, {} first", wanted.size(),
              wanted.size() + places.size(), name_of(type), wanted.begin()->first);
  return places;
}

void HfWeights::load(const ModelConfig& config, HfClass type, ParameterSpace& space) const {
  const Masters masters(space);
  const std::vector<Place> all = places(config, type);
  for (const Place& place : all) {
    if (place.repeats) continue;
    const std::vector<float> values = from_hf(place.meaning, place.file->read(*place.tensor));
    if (const std::string& parameter = place.meaning.parameter; !parameter.empty())
      std::copy(values.begin(), values.end(), masters.at(parameter).begin());
    else if (std::any_of(values.begin(), values.end(), [](float value) { return value != 0; }))
      bad_input(place.file->path(), "has numbers in {}, of which the model has none: expected zeros",
                place.tensor->name);
  }
  for (const Place& place : all) {
    if (!place.repeats) continue;
    const std::vector<float> values = place.file->read(*place.tensor);
    if (std::memcmp(values.data(), masters.at(place.meaning.parameter).data(), values.size() * sizeof(float)) != 0)
      bad_input(place.file->path(),
                "has a {} that is not {}, and config.json says tie_word_embeddings: expected them "
                "equal, or none",
                kHead, kEmbedding);
  }
  space.masters_changed();
}

}  // namespace gta
