#include "launch/loaded_model.h"

#include <algorithm>
#include <optional>

#include <fmt/ranges.h>

#include "checkpoints/model_state.h"
#include "checkpoints/reader.h"
#include "core/gemm.h"
#include "launch/suggestion.h"

namespace gta {

namespace {

std::string key_of(const std::string& override_text) { return override_text.substr(0, override_text.find('=')); }

constexpr const char* kKeys[] = {"model.rope_theta", "model.max_sequence_length", "data.document_mask", "train.dtype"};

}  // namespace

std::string loaded_model_keys() { return fmt::format("{}", fmt::join(kKeys, ", ")); }

void refuse_override(const std::vector<std::string>& overrides, const std::string& key, const std::string& why) {
  for (const std::string& text : overrides)
    if (key_of(text) == key) bad_input("--set", "{} {}", key, why);
}

LoadedModel load_model(const std::string& run_or_checkpoint, const std::string& device,
                       const std::vector<std::string>& overrides) {
  for (const std::string& text : overrides) {
    const std::string key = key_of(text);
    if (std::find(std::begin(kKeys), std::end(kKeys), key) == std::end(kKeys))
      bad_input("--set", "{} cannot be changed for a trained model: expected one of {}{}", key, loaded_model_keys(),
                did_you_mean(nearest_word(key, {std::begin(kKeys), std::end(kKeys)})));
  }
  cpu::check_products();
  const Device on = device_from_name(device);
  std::optional<LoadedModel> loaded;
  CheckpointUse use;
  use.consider = [&](const Checkpoint& checkpoint) {
    loaded.reset();  // of a newer one that turned out damaged
    loaded.emplace(LoadedModel{checkpoint.path(),
                               parse_trained_config(checkpoint.config_yaml(), checkpoint.path() + "/config", overrides),
                               {},
                               std::make_unique<ParameterSpace>(),
                               nullptr});
    loaded->model = std::make_unique<CausalLm>(*loaded->space, loaded->config.model);
    loaded->space->allocate(loaded->config.train.dtype, on, SpaceUse::Inference);
    return true;
  };
  use.load = [&](const Checkpoint& checkpoint) { load_weights(checkpoint, *loaded->space); };
  const Checkpoint checkpoint = use_checkpoint(run_or_checkpoint, use);
  loaded->tokenizer = Tokenizer::from_bytes(checkpoint.tokenizer(), checkpoint.path() + "/tokenizer");
  return std::move(*loaded);
}

void use_weights(LoadedModel& model, const std::string& weights) {
  if (weights != "int8") return;
  require(model.space->device().type == DeviceType::Cpu, "--weights", "int8 is for the CPU: expected --device cpu");
  require(model.space->dtype() != DType::F64, "--weights",
          "int8 has no float64 beside it: expected another train.dtype");
  model.space->use_int8(model.model->only_looked_up());
}

}  // namespace gta
