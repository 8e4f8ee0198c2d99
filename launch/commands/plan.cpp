#include "launch/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "bench/step.h"
#include "core/allocator.h"
#include "core/gemm.h"
#include "core/measure/peak.h"
#include "core/measure/timing.h"
#include "launch/budget.h"
#include "launch/commands/commands.h"
#include "launch/commands/plan_match.h"
#include "launch/commands/plan_ranks.h"
#include "launch/commands/planned_run.h"
#include "launch/config/config.h"
#include "launch/config/gpus.h"

namespace gta {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kMib = 1 << 20, kGib = 1 << 30;

// Any machine and build can plan for a GPU.
DeviceType planned_device(const PlanCommand& command) {
  const std::string& name = command.device;
  require(name == "cpu" || name == "cuda" || name == "auto", "device", "expected cpu, cuda or auto, got '{}'", name);
  if (!command.gpu.empty()) {
    require(name != "cpu", "device", "cpu and --gpu {}: give one of them", command.gpu);
    return DeviceType::Cuda;
  }
  if (name == "auto") return device_from_name(name).type;
  return name == "cpu" ? DeviceType::Cpu : DeviceType::Cuda;
}

// What is planned, and where.
struct Subject {
  RunConfig run;  // resolved
  DeviceType device;
  std::optional<Gpu> gpu;      // that is asked about
  std::optional<Device> here;  // otherwise, if there is one
  int64_t ranks = 1;
  int64_t memory = 0;  // bytes of either; 0: not known
  std::vector<std::string> notes;

  std::string place() const { return gpu ? gpu->name : here ? describe(*here) : "cuda"; }
};

Subject load_subject(const PlanCommand& command) {
  Subject s;
  s.ranks = std::max<int64_t>(command.gpus, 1);
  s.run = load_planned_config(command.config, command.overrides, s.ranks);
  s.device = planned_device(command);
  if (!command.gpu.empty())
    s.gpu = gpu_named(command.gpu);
  else if (s.device == DeviceType::Cpu || cuda_device_count() > 0)
    s.here = Device{s.device};
  s.memory = s.gpu ? s.gpu->memory : s.here ? memory_report(*s.here).limit : 0;
  if (const std::string note = resolve_planned(s.run, command.sequence_length); !note.empty()) s.notes.push_back(note);

  RunConfig& run = s.run;
  require(command.gpus == 0 || run.train.global_batch_size > 0, "--gpus",
          "needs the batch that they share: give a run's file, or --set train.global_batch_size=N");
  if (int64_t& size = run.train.micro_batch_size; size == kAutoMicroBatch) {
    require(s.memory > 0, "plan",
            "train.micro_batch_size is auto and no GPU is here to fit it to: name one with --gpu, or give --set "
            "train.micro_batch_size=N");
    if (run.train.global_batch_size == 0) run.train.global_batch_size = 1 << 20;  // a model alone: whatever fits
    size = fitting_micro_batch(run, s.device, memory_for_training(s.memory), s.ranks);
    s.notes.push_back(fmt::format("train.micro_batch_size is auto: {} fits", size));
  }
  return s;
}

// How fast the run is, and against what.
struct Speed : RunSpeed {
  double peak;  // FLOP/s of products
  std::string peak_name;
};

Speed measured_speed(const Subject& s) {
  const RunConfig& run = s.run;
  const StepMeasurement step = measure_step({.model = run.model,
                                             .optimizer = run.optimizer,
                                             .micro_batch = run.train.micro_batch_size,
                                             .sequence = run.data.sequence_length,
                                             .steps = 3,
                                             .warmup_steps = 1,
                                             .dtype = run.train.dtype,
                                             .device = *s.here,
                                             .recompute = run.train.recompute});
  Speed speed{{SpeedSource::Measured, 0}, step.peak_flops, "products measured here"};
  for (const StepPart& part : step.parts)
    if (part.phase == StepPhase::Update) speed.update_seconds += part.seconds;
  const auto tokens = static_cast<double>(run.train.micro_batch_size * run.data.sequence_length);
  speed.flops_per_second = tokens * plan_model(run.model, run.data.sequence_length).flops_per_token_training /
                           (timing_of(step.step_seconds).median - speed.update_seconds);
  return speed;
}

// Nothing where no device is known.
std::optional<Speed> speed_of(const Subject& s, const PlanCommand& command) {
  const DType dtype = s.run.train.dtype;
  if (command.measure) {
    require(command.mfu == 0, "--measure", "and --mfu {}: give one of them", command.mfu);
    require(s.here.has_value(), "--measure", "times steps on a device of this machine: leave {} out",
            s.gpu ? "--gpu" : "--device cuda");
    cpu::check_products();
    return measured_speed(s);
  }
  Speed speed{{SpeedSource::Assumed, 0}, 0, ""};
  double share = kAssumedOfDataSheet;
  if (s.gpu) {
    speed.peak = peak_flops(*s.gpu, dtype);
    speed.peak_name = fmt::format("data sheet's products in {}", name_of(dtype));
  } else if (s.here) {
    speed.peak = measure_peak_flops(dtype, *s.here);
    speed.peak_name = "products measured here";
    share = s.device == DeviceType::Cpu ? kAssumedOfCpu : kAssumedOfGpu;
  }
  if (speed.peak == 0) return std::nullopt;
  if (command.mfu > 0) {
    share = command.mfu;
    speed.source = SpeedSource::Given;
  }
  speed.flops_per_second = share * speed.peak;
  return speed;
}

const char* name_of(SpeedSource source) {
  switch (source) {
    case SpeedSource::Given:
      return "given";
    case SpeedSource::Measured:
      return "measured";
    case SpeedSource::Assumed:
      return "assumed";
  }
  return "?";
}

// All that is said.
struct Answer {
  Plan plan;
  MemoryPlan memory;
  std::vector<RecomputeCost> recompute;
  std::optional<FitTable> table;    // where a device's memory is known
  std::optional<RunBudget> budget;  // of a run with a length
  std::optional<Speed> speed;
  std::optional<RanksPlan> ranks;  // where it is asked for

  bool fits(int64_t bytes) const { return memory.total <= memory_for_training(bytes); }
  double seconds_of(const RunBudget& of) const {
    return ranks ? ranks->seconds_of(of, *speed) : gta::seconds_of(of, *speed);
  }
  double seconds() const { return seconds_of(*budget); }
  int64_t devices() const { return ranks ? ranks->network.ranks : 1; }
  // Of training alone.
  double mfu() const {
    RunBudget training = *budget;
    training.validation = training.diagnosis = training.samples = 0;
    return budget->training / seconds_of(training) / static_cast<double>(devices()) / speed->peak;
  }
};

Answer answer(const Subject& s, const PlanCommand& command) {
  const TrainingShape shape = training_shape(s.run, s.device, s.ranks);
  Answer a{plan_model(s.run.model, shape.sequence_length),
           plan_memory(s.run.model, shape),
           recompute_costs(s.run.model, shape),
           {},
           {},
           {},
           {}};
  if (s.memory > 0)
    a.table = fit_table(s.run.model, shape,
                        s.run.train.steps > 0 || command.gpus > 0 ? s.run.train.global_batch_size / s.ranks : 0,
                        memory_for_training(s.memory));
  if (s.run.train.steps > 0 && s.run.train.global_batch_size > 0) a.budget = budget_of(s.run);
  if (a.budget || command.measure || command.gpus > 0) a.speed = speed_of(s, command);
  if (command.gpus == 0) return a;
  require(a.speed.has_value(), "--gpus", "needs the speed of one: {}",
          s.gpu ? fmt::format("{} has no figure for products in {}", s.gpu->name, name_of(s.run.train.dtype))
                : "name it with --gpu");
  a.ranks = plan_ranks(command, s.run, s.gpu, s.device, *a.speed);
  return a;
}

std::vector<std::pair<const char*, int64_t>> parts_of(const MemoryPlan& memory) {
  return {{"parameters", memory.parameters},         {"gradients", memory.gradients},
          {"optimizer", memory.optimizer},           {"activations", memory.activations},
          {"workspace", memory.workspace},           {"data", memory.data},
          {"kept_for_reuse", memory.kept_for_reuse}, {"peak", memory.peak}};
}

Json run_json(const Subject& s, const Answer& a, double price) {
  const RunBudget& b = *a.budget;
  Json run = {{"steps", b.steps},
              {"tokens", b.tokens},
              {"flops",
               {{"training", b.training},
                {"validation", b.validation},
                {"diagnosis", b.diagnosis},
                {"samples", b.samples},
                {"model", b.model_flops()},
                {"recomputed", b.recomputed}}},
              {"validation_set_is_known", b.validation_set_is_known},
              {"dtype", name_of(s.run.train.dtype)}};
  if (!a.speed) return run;
  const double hours = a.seconds() / 3600;
  run["hours"] = hours;
  run["mfu"] = a.mfu();
  run["mfu_source"] = name_of(a.speed->source);
  run["peak_flops_per_second"] = a.speed->peak;
  run["peak"] = a.speed->peak_name;
  if (price > 0) run["cost"] = hours * price * static_cast<double>(a.devices());
  return run;
}

Json json_of(const Subject& s, const Answer& a, double price) {
  Json parts, bytes, modes;
  for (const auto& [name, count] : a.plan.parts) parts[name] = count;
  for (const auto& [name, count] : parts_of(a.memory)) bytes[name] = count;
  bytes["checkpoint_staging"] = a.memory.checkpoint_staging;
  bytes["total"] = a.memory.total;
  for (const RecomputeCost& cost : a.recompute)
    modes[name_of(cost.mode)] = {{"peak_bytes", cost.peak}, {"flops_per_token_recomputed", cost.flops_per_token}};
  const TrainConfig& train = s.run.train;
  Json json = {{"attention", name_of(s.run.model.attention.type)},
               {"parameters", a.plan.parameters},
               {"parameters_non_embedding", a.plan.parameters_non_embedding},
               {"parameters_by_part", parts},
               {"vocab_size", s.run.model.vocab_size},
               {"flops_per_token_training", a.plan.flops_per_token_training},
               {"flops_per_token_forward", a.plan.flops_per_token_forward},
               {"sequence_length", a.plan.sequence_length},
               {"cache_numbers_per_token_and_layer", a.plan.cache_numbers_per_token_and_layer},
               {"attention_multiply_adds_per_pair_and_layer", a.plan.map_multiply_adds},
               {"map_multiply_adds_decoding", a.plan.map_multiply_adds_decoding},
               {"device", s.device == DeviceType::Cuda ? "cuda" : "cpu"},
               {"micro_batch_size", train.micro_batch_size},
               {"dtype", name_of(train.dtype)},
               {"recompute", name_of(train.recompute)},
               {"memory_bytes", bytes},
               {"host_bytes", {{"pinned", a.memory.pinned}, {"staged", a.memory.checkpoint_staging - a.memory.pinned}}},
               {"recompute_modes", modes},
               {"largest_micro_batch_size", nullptr}};
  if (s.gpu)
    json["gpu"] = {{"name", s.gpu->name},
                   {"bfloat16_flops_per_second", s.gpu->bfloat16_flops},
                   {"float32_flops_per_second", s.gpu->float32_flops},
                   {"bytes_per_second", s.gpu->bandwidth},
                   {"source", s.gpu->source}};
  if (a.table) {
    json["device_memory_bytes"] = s.memory;
    json["memory_for_training_bytes"] = memory_for_training(s.memory);
    json["fits"] = a.fits(s.memory);
    Json rows = Json::array(), largest;
    for (const FitRow& row : a.table->rows) {
      Json r = {{"micro_batch_size", row.micro_batch}};
      for (size_t i = 0; i < kRecomputeModes.size(); ++i) r["total_bytes"][name_of(kRecomputeModes[i])] = row.total[i];
      rows.push_back(r);
    }
    for (size_t i = 0; i < kRecomputeModes.size(); ++i) largest[name_of(kRecomputeModes[i])] = a.table->largest[i];
    json["micro_batches"] = rows;
    json["largest_micro_batch_sizes"] = largest;
    json["largest_micro_batch_size"] = largest[name_of(train.recompute)];
  }
  if (a.budget) json["run"] = run_json(s, a, price);
  if (a.ranks) json["scaling"] = json_of(*a.ranks);
  json["notes"] = s.notes;
  return json;
}

void print_model(const Subject& s, const Plan& plan) {
  const ModelConfig& model = s.run.model;
  const DType dtype = s.run.train.dtype;
  fmt::print("attention   {}\nparameters  {} ({}), non-embedding {} ({})\n", name_of(model.attention.type),
             people_count(static_cast<double>(plan.parameters)), plan.parameters,
             people_count(static_cast<double>(plan.parameters_non_embedding)), plan.parameters_non_embedding);
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
  fmt::print(
      "cache       {} numbers per token and layer, {} bytes per token in {}\n", plan.cache_numbers_per_token_and_layer,
      plan.cache_numbers_per_token_and_layer * model.layers * static_cast<int64_t>(size_of(dtype)), name_of(dtype));
  if (s.gpu)  // every weight that multiplies is read once for a token of one sequence
    fmt::print("decoding    at most {:.0f} tokens/s of one sequence: {:.0f} GB/s read the weights no faster\n",
               s.gpu->bandwidth / (static_cast<double>(plan.multiplying) * static_cast<double>(size_of(dtype))),
               s.gpu->bandwidth / 1e9);
}

void print_memory(const Subject& s, const MemoryPlan& memory) {
  const TrainConfig& train = s.run.train;
  const bool gpu = s.device == DeviceType::Cuda;
  const auto line = [](const char* name, int64_t bytes) {
    fmt::print("  {:<20}{:>10.1f} MiB\n", name, static_cast<double>(bytes) / kMib);
  };
  fmt::print("memory of training on {}{}, micro-batch of {} x {} in {}, recompute {}:\n", gpu ? "cuda" : "cpu",
             s.ranks > 1 ? fmt::format(", of each of {} {}", s.ranks, ranks_name(gpu)) : "", train.micro_batch_size,
             s.run.data.sequence_length, name_of(train.dtype), name_of(train.recompute));
  for (const auto& [name, bytes] : parts_of(memory)) line(name, bytes);
  if (!gpu) {
    line("checkpoint_staging", memory.checkpoint_staging);
    line("total", memory.total);
  } else if (memory.checkpoint_staging > 0) {
    fmt::print("memory of the host beside {}, for saving while training goes on:\n", s.ranks > 1 ? "each" : "it");
    line("pinned", memory.pinned);
    line("staged", memory.checkpoint_staging - memory.pinned);
  }
}

void print_table(const Subject& s, const Answer& a) {
  const int64_t bytes = memory_for_training(s.memory);
  const double share = static_cast<double>(a.memory.total) / static_cast<double>(s.memory);
  fmt::print("fits        {}: {:.1f} of {:.1f} GiB ({}), {:.0f}%\n",
             a.fits(s.memory) ? "yes"
             : share <= 1     ? "hardly: less than a tenth is left for what no tensor holds"
                              : "no",
             static_cast<double>(a.memory.total) / kGib, static_cast<double>(s.memory) / kGib, s.place(), 100 * share);
  if (a.table->rows.empty()) {
    fmt::print("            not even one sequence fits: shorten data.sequence_length, or take a smaller model or {}\n",
               s.run.train.dtype == DType::BF16 ? "a larger device" : "train.dtype bfloat16");
    return;
  }
  fmt::print("GiB by micro-batch and train.recompute, where they fit into nine tenths of that:\n{:>13}", "micro-batch");
  for (Recompute mode : kRecomputeModes) fmt::print("{:>13}", name_of(mode));
  for (const FitRow& row : a.table->rows) {
    fmt::print("\n{:>13}", row.micro_batch);
    for (int64_t total : row.total)
      fmt::print("{:>13}", total <= bytes ? fmt::format("{:.2f}", static_cast<double>(total) / kGib) : "-");
  }
  fmt::print("\n{:>13}", "largest");
  for (int64_t largest : a.table->largest) fmt::print("{:>13}", largest > 0 ? std::to_string(largest) : "-");
  fmt::print("\n{:>13}", "more FLOPs");
  for (const RecomputeCost& cost : a.recompute)
    fmt::print("{:>13}", fmt::format("{:.1f}%", 100 * cost.flops_per_token / a.plan.flops_per_token_training));
  fmt::print("\n");
}

void print_run(const Subject& s, const Answer& a, double price) {
  const RunBudget& b = *a.budget;
  fmt::print("run         {} steps of {} x {}: {} tokens, {} for each parameter\n", b.steps,
             s.run.train.global_batch_size, s.run.data.sequence_length, people_count(static_cast<double>(b.tokens)),
             fmt::format("{:.3g}", static_cast<double>(b.tokens) / static_cast<double>(a.plan.parameters)));
  fmt::print("FLOPs       {:.4g}: training {:.4g}, validation {:.3g}{}, diagnosis {:.3g}, samples {:.3g}{}\n",
             b.model_flops(), b.training, b.validation,
             b.validation_set_is_known ? "" : " (the whole set, which is not here to be counted)", b.diagnosis,
             b.samples, b.recomputed > 0 ? fmt::format("; recomputed {:.4g} beside them", b.recomputed) : "");
  if (!a.speed) {
    fmt::print("time        not known{}\n",
               s.gpu ? fmt::format(": {} has no figure for products in {}", s.gpu->name, name_of(s.run.train.dtype))
                     : ": no GPU is here; name one with --gpu");
    return;
  }
  const double hours = a.seconds() / 3600;
  const std::string where = s.ranks == 1 ? "one " + s.place() : fmt::format("{} x {}", s.ranks, s.place());
  // Of a rank alone; what waiting for others leaves of it stands beside.
  const double rank_mfu = a.speed->flops_per_second / a.speed->peak;
  fmt::print("time        {} hours ({:.1f} days) on {}, at an MFU of {:.1f}% {} ({:.3g} TFLOP/s, {})\n",
             hours < 10 ? fmt::format("{:.2f}", hours) : fmt::format("{:.0f}", hours), hours / 24, where, 100 * a.mfu(),
             s.ranks == 1 ? name_of(a.speed->source)
                          : fmt::format("where one alone has {:.1f}% {}", 100 * rank_mfu, name_of(a.speed->source)),
             a.speed->peak / 1e12, a.speed->peak_name);
  if (price > 0)
    fmt::print("cost        {:.2f} at {:.2f} an hour{}\n", hours * price * static_cast<double>(s.ranks), price,
               s.ranks > 1 ? " of each" : "");
}

}  // namespace

int run_plan(const PlanCommand& command) {
  if (!command.match.empty()) return run_plan_match(command);
  const Subject s = load_subject(command);
  const Answer a = answer(s, command);
  if (command.price > 0)
    require(a.budget && a.speed, "--price", "needs the run's hours: {}",
            a.budget ? "name a GPU with --gpu" : "give a run's file, or --set train.steps and train.global_batch_size");
  if (command.output == Output::Json) {
    fmt::print("{}\n", json_of(s, a, command.price).dump(2));
    return 0;
  }
  print_model(s, a.plan);
  print_memory(s, a.memory);
  if (a.table) print_table(s, a);
  if (a.ranks) print_ranks(*a.ranks);
  if (a.budget) print_run(s, a, command.price);
  for (const std::string& note : s.notes) fmt::print("note        {}\n", note);
  return 0;
}

}  // namespace gta
