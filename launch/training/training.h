// A training and where it stands: all that a step reads and changes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "checkpoints/training_state.h"
#include "core/comm/data_parallel.h"
#include "core/parameter_space.h"
#include "data/evaluation.h"
#include "data/loader.h"
#include "data/tokenizer.h"
#include "launch/config/config.h"
#include "launch/training/ranks.h"
#include "layers/transformer/causal_lm.h"
#include "optim/adamw.h"

namespace gta {

struct Training {
  // Opens the tokenizer and the data, resolves model.vocab_size and lays the model out. Parameters have no memory yet.
  // Error(BadInput) where configuration and files do not fit. The ranks outlive it.
  Training(const RunConfig& config, Device device, const Ranks& ranks);
  Training(const Training&) = delete;
  Training& operator=(const Training&) = delete;

  // Memory for parameters, gradients and moments.
  void allocate();
  // After a load, which gives a rank what it updates: every other weight comes from the rank that updates it. All
  // ranks.
  void gather_weights();
  // The resolved configuration, and what was changed while it trained.
  std::string config_text() const { return to_yaml(config) + history; }
  // What a checkpoint of now holds of this rank's.
  TrainingState state() const;

  bool at_end() const { return position.step >= config.train.steps; }
  // Sequences that all ranks compute at once.
  int64_t micro_batch_of_ranks() const { return config.train.micro_batch_size * ranks.communicator.ranks(); }
  int64_t micro_batches() const { return config.train.global_batch_size / micro_batch_of_ranks(); }
  int64_t tokens_per_step() const { return config.train.global_batch_size * config.data.sequence_length; }
  // Whether something that comes every so many steps (0: never) follows the step of now.
  bool due(int64_t every_steps) const { return every_steps > 0 && position.step % every_steps == 0; }

  Ranks ranks;
  Device device;
  Tokenizer tokenizer;
  RunConfig config;          // train.micro_batch_size may still be auto until start.h has chosen it
  int64_t device_bytes = 0;  // of the device's memory that are a rank's: the least of any
  int64_t asked_tokens = 0;  // the run's length, where it was given in tokens (LoadedRun::tokens)
  TrainingData data;
  std::optional<EvaluationSet> validation;
  ParameterSpace space;
  CausalLm model;
  std::optional<AdamW> optimizer;        // once there is memory
  std::optional<DataParallel> parallel;  // as the optimizer
  TrainingPosition position;
  std::string history;  // launch/config/history.h
};

}  // namespace gta
