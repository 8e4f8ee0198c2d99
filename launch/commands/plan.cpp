#include "launch/plan.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "core/allocator.h"
#include "launch/commands/commands.h"
#include "launch/config/config.h"

namespace gta {
namespace {

struct Subject {
  ModelConfig model;
  TrainingShape training;
};

// Any machine and build can plan for a GPU.
DeviceType planned_device(const std::string& name) {
  if (name == "cpu") return DeviceType::Cpu;
  if (name == "cuda") return DeviceType::Cuda;
  require(name == "auto", "device", "expected cpu, cuda or auto, got '{}'", name);
  return device_from_name(name).type;
}

// The device whose memory is known; none for a GPU where there is no GPU.
std::optional<Device> device_here(DeviceType type) {
  if (type == DeviceType::Cuda && cuda_device_count() == 0) return std::nullopt;
  return Device{type};
}

// A run's file (it has `train:` or `model:`) or a model's.
Subject load_subject(const PlanCommand& command) {
  Subject subject;
  const DeviceType device = planned_device(command.device);
  subject.model = load_model_config(command.config, command.overrides);
  if (is_run_config(command.config)) {
    RunConfig run = load_run_config(command.config, command.overrides, DataFiles::Ignore).config;
    if (run.train.micro_batch_size == kAutoMicroBatch) {
      const std::optional<Device> here = device_here(device);
      require(here.has_value(), "plan",
              "train.micro_batch_size is auto and no GPU is here to fit it to: give --set train.micro_batch_size=N");
      run.train.micro_batch_size = fitting_micro_batch(run, device, memory_for_training(*here));
    }
    subject = {run.model, training_shape(run, device)};
  }
  subject.training.device = device;
  int64_t& sequence_length = subject.training.sequence_length;
  if (command.sequence_length > 0) sequence_length = command.sequence_length;
  if (sequence_length == 0) sequence_length = subject.model.max_sequence_length;
  require(subject.model.vocab_size > 0, "plan",
          "model.vocab_size is left to the tokenizer: give it with --set model.vocab_size=N");
  require(sequence_length > 0, "plan", "needs a sequence length: give --sequence-length N");
  return subject;
}

}  // namespace

int run_plan(const PlanCommand& command) {
  const Subject s = load_subject(command);
  const Plan plan = plan_model(s.model, s.training.sequence_length);
  const MemoryPlan memory = plan_memory(s.model, s.training);
  const std::optional<Device> here = device_here(s.training.device);
  const int64_t limit = here ? memory_report(*here).limit : 0,
                largest = here ? largest_micro_batch(s.model, s.training, limit) : 0;
  const std::vector<RecomputeCost> recompute = recompute_costs(s.model, s.training);
  const char* const device = s.training.device == DeviceType::Cuda ? "cuda" : "cpu";
  const std::vector<std::pair<std::string, int64_t>> purposes = {{"parameters", memory.parameters},
                                                                 {"gradients", memory.gradients},
                                                                 {"optimizer", memory.optimizer},
                                                                 {"activations", memory.activations},
                                                                 {"workspace", memory.workspace},
                                                                 {"peak", memory.peak},
                                                                 {"checkpoint_staging", memory.checkpoint_staging},
                                                                 {"total", memory.total}};
  if (command.output == Output::Json) {
    nlohmann::ordered_json parts, bytes;
    for (const auto& [name, count] : plan.parts) parts[name] = count;
    for (const auto& [name, count] : purposes) bytes[name] = count;
    nlohmann::ordered_json modes;
    for (const RecomputeCost& cost : recompute)
      modes[name_of(cost.mode)] = {{"peak_bytes", cost.peak}, {"flops_per_token_recomputed", cost.flops_per_token}};
    const nlohmann::ordered_json json = {
        {"attention", name_of(s.model.attention.type)},
        {"parameters", plan.parameters},
        {"parameters_by_part", parts},
        {"flops_per_token_training", plan.flops_per_token_training},
        {"flops_per_token_forward", plan.flops_per_token_forward},
        {"sequence_length", plan.sequence_length},
        {"cache_numbers_per_token_and_layer", plan.cache_numbers_per_token_and_layer},
        {"attention_multiply_adds_per_pair_and_layer", plan.map_multiply_adds},
        {"map_multiply_adds_decoding", plan.map_multiply_adds_decoding},
        {"device", device},
        {"micro_batch_size", s.training.micro_batch},
        {"recompute", name_of(s.training.recompute)},
        {"memory_bytes", bytes},
        {"recompute_modes", modes},
        {"largest_micro_batch_size", here ? nlohmann::ordered_json(largest) : nullptr}};
    fmt::print("{}\n", json.dump(2));
    return 0;
  }
  fmt::print("attention   {}\nparameters  {} ({:.2f} x 2^20)\n", name_of(s.model.attention.type), plan.parameters,
             static_cast<double>(plan.parameters) / (1 << 20));
  for (const auto& [name, count] : plan.parts)
    if (count)
      fmt::print("  {:<10}{:>14}  {:5.1f}%\n", name, count,
                 100.0 * static_cast<double>(count) / static_cast<double>(plan.parameters));
  fmt::print("FLOPs       {:.4g} per token forward, {:.4g} training, at {} tokens\n", plan.flops_per_token_forward,
             plan.flops_per_token_training, plan.sequence_length);
  fmt::print("attention   {} multiply-adds per query, visible key and layer{}\n", plan.map_multiply_adds,
             plan.map_multiply_adds_decoding == plan.map_multiply_adds
                 ? ""
                 : fmt::format("; {} when decoding", plan.map_multiply_adds_decoding));
  fmt::print("cache       {} numbers per token and layer, {} bytes per token in {}\n",
             plan.cache_numbers_per_token_and_layer,
             plan.cache_numbers_per_token_and_layer * s.model.layers * static_cast<int64_t>(size_of(s.training.dtype)),
             name_of(s.training.dtype));
  fmt::print("memory of training on {}, micro-batch of {} x {} in {}, recompute {}:\n", device, s.training.micro_batch,
             s.training.sequence_length, name_of(s.training.dtype), name_of(s.training.recompute));
  for (const auto& [name, bytes] : purposes)
    fmt::print("  {:<20}{:>10.1f} MiB\n", name, static_cast<double>(bytes) / (1 << 20));
  for (const RecomputeCost& cost : recompute)
    fmt::print("recompute {:<12} peak {:>10.1f} MiB, {:.1f}% more FLOPs\n", name_of(cost.mode),
               static_cast<double>(cost.peak) / (1 << 20), 100 * cost.flops_per_token / plan.flops_per_token_training);
  if (here)
    fmt::print("largest micro-batch in this machine's {:.1f} GiB ({}): {}\n", static_cast<double>(limit) / (1 << 30),
               describe(*here), largest);
  return 0;
}

}  // namespace gta
