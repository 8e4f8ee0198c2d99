#include "launch/loaded_model.h"

#include "checkpoints/model_state.h"
#include "checkpoints/reader.h"

namespace gta {

LoadedModel load_model(const std::string& run_or_checkpoint, const std::string& device) {
  const Checkpoint checkpoint = Checkpoint::open(resolve_checkpoint(run_or_checkpoint));
  LoadedModel loaded{checkpoint.path(), parse_run_config(checkpoint.config_yaml(), checkpoint.path() + "/config"),
                     Tokenizer::from_bytes(checkpoint.tokenizer(), checkpoint.path() + "/tokenizer"), std::make_unique<ParameterSpace>(), nullptr};
  loaded.model = std::make_unique<CausalLm>(*loaded.space, loaded.config.model);
  loaded.space->allocate(loaded.config.train.dtype, device_from_name(device), SpaceUse::Inference);
  load_weights(checkpoint, *loaded.space);
  return loaded;
}

}  // namespace gta
