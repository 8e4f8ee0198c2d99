#include "launch/training/training.h"

#include "checkpoints/model_state.h"
#include "launch/vocabulary.h"

namespace gta {
namespace {

std::optional<EvaluationSet> open_validation(const RunConfig& config, const Tokenizer& tokenizer) {
  if (config.data.validation.empty()) return std::nullopt;
  return EvaluationSet::from_shards(config.data.validation, tokenizer, config.data.sequence_length,
                                    config.train.validation_tokens);
}

}  // namespace

Training::Training(const RunConfig& run, Device where, const Ranks& together)
    : ranks(together),
      device(where),
      tokenizer(Tokenizer::load(run.data.tokenizer)),
      config(with_vocabulary(run, tokenizer)),
      data(open_training_data(config.data, tokenizer, static_cast<uint64_t>(config.seed))),
      validation(open_validation(config, tokenizer)),
      model(space, config.model) {
  position.data_hash = data.hash();
}

void Training::allocate() {
  space.allocate(config.train.dtype, device, SpaceUse::Training,
                 rank_share(config.train, ranks.communicator.rank(), ranks.communicator.ranks()));
  optimizer.emplace(space, config.optimizer);
  parallel.emplace(space, ranks.communicator);
}

void Training::gather_weights() {
  parallel->begin_weights();
  parallel->finish_weights();
}

TrainingState Training::state() const {
  return {position, config_text(), tokenizer.bytes(), training_ranges(space, *optimizer, RangesOf::Owner)};
}

}  // namespace gta
