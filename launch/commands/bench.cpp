#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "bench/kernels.h"
#include "bench/step.h"
#include "core/gemm.h"
#include "core/log.h"
#include "core/parallel.h"
#include "launch/commands/commands.h"
#include "launch/config/config.h"
#include "launch/config/schema.h"
#include "launch/plan.h"
#include "launch/vocabulary.h"

namespace gta {
namespace {

using Json = nlohmann::ordered_json;

// A run's file or a model's, with what the command line says instead.
struct Subject {
  ModelConfig model;
  OptimizerConfig optimizer;
  int64_t micro_batch = 2, sequence = 512;
  DType dtype = DType::F32;
  Device device;
  Recompute recompute = Recompute::None;
};

Subject load_subject(const BenchCommand& command) {
  Subject s;
  s.model = load_model_config(command.config, command.overrides);
  if (is_run_config(command.config)) {
    RunConfig run = load_run_config(command.config, command.overrides, DataFiles::Ignore).config;
    if (const std::string note = take_vocabulary(run); !note.empty()) log::info("{}", note);
    s = {run.model, run.optimizer,      run.train.micro_batch_size, run.data.sequence_length, run.train.dtype,
         {},        run.train.recompute};
  }
  if (s.micro_batch == kAutoMicroBatch) s.micro_batch = Subject{}.micro_batch;
  if (command.micro_batch > 0) s.micro_batch = command.micro_batch;
  if (command.sequence > 0) s.sequence = command.sequence;
  if (!command.dtype.empty()) s.dtype = dtype_from_name(command.dtype);
  if (!command.recompute.empty()) s.recompute = recompute_from_name(command.recompute);
  s.device = device_from_name(command.device);
  require(s.model.vocab_size > 0, "bench", "model.vocab_size is missing: give it with --set model.vocab_size=N");
  if (s.model.max_sequence_length == 0) s.model.max_sequence_length = s.sequence;
  require(s.sequence <= s.model.max_sequence_length, "bench", "--sequence {} is more than model.max_sequence_length {}",
          s.sequence, s.model.max_sequence_length);
  return s;
}

// The `model:` mapping, for a peer that is to run the same model.
Json model_json(const ModelConfig& model) {
  RunConfig run;
  run.model = model;
  Json json;
  for (const ConfigKey& key : config_keys())
    if (key.path.starts_with("model.")) {
      std::string pointer = key.path.substr(std::string("model").size());
      std::replace(pointer.begin(), pointer.end(), '.', '/');
      std::visit(
          [&](const auto& value) {
            if constexpr (std::is_constructible_v<Json, decltype(value)>) json[Json::json_pointer(pointer)] = value;
          },
          key.get(run));
    }
  return json;
}

Json subject_json(const Subject& s) {
  return {{"attention", name_of(s.model.attention.type)},
          {"micro_batch_size", s.micro_batch},
          {"sequence_length", s.sequence},
          {"dtype", name_of(s.dtype)},
          {"recompute", name_of(s.recompute)},
          {"device", name_of(s.device)},
          {"device_description", describe(s.device)},
          {"threads", threads()}};
}

std::string subject_text(const Subject& s) {
  const std::string device = s.device.type == DeviceType::Cpu
                                 ? name_of(s.device)
                                 : fmt::format("{} ({})", name_of(s.device), describe(s.device));
  return fmt::format("{}, {} x {} tokens, {} on {}, {} threads", name_of(s.model.attention.type), s.micro_batch,
                     s.sequence, name_of(s.dtype), device, threads());
}

// A cell that may be empty.
std::string cell(bool shown, double value, const char* unit = "") {
  return shown ? fmt::format("{:.1f}{}", value, unit) : "";
}

void print_ops(const Subject& s, const KernelMeasurement& measured) {
  fmt::print("{}\nproducts reach {:.1f} GFLOP/s, copies {:.1f} GB/s; operands come from memory, medians of {}\n\n",
             subject_text(s), measured.peak_flops / 1e9, measured.copy_bandwidth / 1e9,
             measured.rows.front().timing.repeats);
  constexpr const char* line = "{:<8} {:<38} {:<28} {:>6} {:>10} {:>10} {:>9} {:>7} {:>7} {:>7} {:>10}\n";
  fmt::print(line, "kind", "name", "shape", "calls", "ms", "least ms", "GFLOP/s", "peak", "GB/s", "copy", "ms/step");
  for (const BenchRow& row : measured.rows) {
    const double flops = row.flops / row.timing.median, bytes = row.bytes / row.timing.median;
    fmt::print(line, name_of(row.kind), row.name, row.shape, row.calls, fmt::format("{:.3f}", 1e3 * row.timing.median),
               fmt::format("{:.3f}", 1e3 * row.timing.least), cell(row.flops > 0, flops / 1e9),
               cell(row.flops > 0, 100 * flops / measured.peak_flops, "%"), cell(row.bytes > 0, bytes / 1e9),
               cell(row.bytes > 0, 100 * bytes / measured.copy_bandwidth, "%"),
               fmt::format("{:.2f}", 1e3 * row.timing.median * static_cast<double>(row.calls)));
  }
}

Json ops_json(const Subject& s, const KernelMeasurement& measured) {
  Json json = subject_json(s), rows = Json::array();
  json["model"] = model_json(s.model);
  json["peak_flops_per_second"] = measured.peak_flops;
  json["copy_bytes_per_second"] = measured.copy_bandwidth;
  for (const BenchRow& row : measured.rows) {
    Json r = {{"kind", name_of(row.kind)},
              {"name", row.name},
              {"shape", row.shape},
              {"calls_per_step", row.calls},
              {"repeats", row.timing.repeats},
              {"seconds_median", row.timing.median},
              {"seconds_min", row.timing.least}};
    if (row.flops > 0) {
      r["flops"] = row.flops;
      r["flops_per_second"] = row.flops / row.timing.median;
      r["of_peak"] = row.flops / row.timing.median / measured.peak_flops;
    }
    if (row.bytes > 0) {
      r["bytes"] = row.bytes;
      r["bytes_per_second"] = row.bytes / row.timing.median;
      r["of_copy"] = row.bytes / row.timing.median / measured.copy_bandwidth;
    }
    rows.push_back(r);
  }
  json["rows"] = rows;
  return json;
}

// The rates of a step, from the median of its times.
struct StepRates {
  Timing seconds;
  double tokens_per_second, flops_per_token, flops_per_second, sol;
};

StepRates rates_of(const Subject& s, const StepMeasurement& measured) {
  const Timing seconds = timing_of(measured.step_seconds);
  const double tokens = static_cast<double>(s.micro_batch * s.sequence) / seconds.median,
               cost = plan_model(s.model, s.sequence).flops_per_token_training;
  return {seconds, tokens, cost, tokens * cost, tokens * cost / measured.peak_flops};
}

// What `plan` says of the same step, to be held against memory.reserved_peak.
int64_t planned_peak(const Subject& s) {
  return plan_memory(s.model, {.sequence_length = s.sequence,
                               .micro_batch = s.micro_batch,
                               .dtype = s.dtype,
                               .recompute = s.recompute,
                               .device = s.device.type})
      .peak;
}

void print_step(const Subject& s, const StepMeasurement& measured, double data_sheet_flops) {
  constexpr double mib = 1 << 20;
  const StepRates r = rates_of(s, measured);
  const std::string mfu = data_sheet_flops > 0
                              ? fmt::format(", MFU {:.1f}% of the data sheet's {:.1f} GFLOP/s",
                                            100 * r.flops_per_second / data_sheet_flops, data_sheet_flops / 1e9)
                              : "";
  fmt::print("{}, {} parameters\n", subject_text(s), plan_model(s.model, s.sequence).parameters);
  fmt::print("step    median {:.4f} s, min {:.4f} s, of {}\n", r.seconds.median, r.seconds.least, r.seconds.repeats);
  fmt::print("speed   {:.1f} tokens/s, {:.1f} GFLOP/s of the model, SOL {:.1f}% of the measured {:.1f} GFLOP/s{}\n",
             r.tokens_per_second, r.flops_per_second / 1e9, 100 * r.sol, measured.peak_flops / 1e9, mfu);
  fmt::print("memory ");
  for (int i = 0; i < kPurposes; ++i)
    fmt::print(" {} {:.1f},", name_of(static_cast<Purpose>(i)), static_cast<double>(measured.memory.peak[i]) / mib);
  fmt::print(" in all at most {:.1f} MiB (planned {:.1f}); the process {:.1f} MiB\n\n",
             static_cast<double>(measured.memory.reserved_peak) / mib, static_cast<double>(planned_peak(s)) / mib,
             static_cast<double>(measured.resident_peak_bytes) / mib);
  double total = 0;
  for (const StepPart& part : measured.parts) total += part.seconds;
  constexpr const char* line = "{:<9} {:<24} {:>8} {:>10} {:>7} {:>9} {:>7}\n";
  fmt::print(line, "phase", "part", "calls", "ms", "share", "GFLOP/s", "peak");
  for (const StepPart& part : measured.parts)
    fmt::print(line, name_of(part.phase), part.name, fmt::format("{:.0f}", part.calls),
               fmt::format("{:.3f}", 1e3 * part.seconds), cell(true, 100 * part.seconds / total, "%"),
               cell(part.flops > 0, part.flops / part.seconds / 1e9),
               cell(part.flops > 0, 100 * part.flops / part.seconds / measured.peak_flops, "%"));
}

Json step_json(const Subject& s, const StepMeasurement& measured, double data_sheet_flops) {
  const StepRates r = rates_of(s, measured);
  Json json = subject_json(s), memory, parts = Json::array();
  json["parameters"] = plan_model(s.model, s.sequence).parameters;
  json["step_seconds"] = measured.step_seconds;
  json["step_seconds_median"] = r.seconds.median;
  json["step_seconds_min"] = r.seconds.least;
  json["tokens_per_second"] = r.tokens_per_second;
  json["flops_per_token_training"] = r.flops_per_token;
  json["model_flops_per_second"] = r.flops_per_second;
  json["peak_flops_per_second"] = measured.peak_flops;
  json["sol"] = r.sol;
  if (data_sheet_flops > 0) json["mfu"] = r.flops_per_second / data_sheet_flops;
  json["loss"] = measured.loss;
  for (int i = 0; i < kPurposes; ++i) memory[name_of(static_cast<Purpose>(i))] = measured.memory.peak[i];
  memory["reserved"] = measured.memory.reserved_peak;
  memory["planned"] = planned_peak(s);
  json["memory_peak_bytes"] = memory;
  json["resident_peak_bytes"] = measured.resident_peak_bytes;
  for (const StepPart& part : measured.parts) {
    Json p = {{"phase", name_of(part.phase)}, {"part", part.name}, {"calls", part.calls}, {"seconds", part.seconds}};
    if (part.flops > 0) {
      p["flops"] = part.flops;
      p["flops_per_second"] = part.flops / part.seconds;
    }
    parts.push_back(p);
  }
  json["parts"] = parts;
  json["model"] = model_json(s.model);
  return json;
}

}  // namespace

int run_bench_ops(const BenchCommand& command) {
  cpu::check_products();
  const Subject s = load_subject(command);
  const KernelMeasurement measured =
      measure_kernels({s.model, s.micro_batch, s.sequence, s.dtype, s.device, command.repeats, command.only});
  if (command.output == Output::Json)
    fmt::print("{}\n", ops_json(s, measured).dump(2));
  else
    print_ops(s, measured);
  return 0;
}

int run_bench_step(const BenchCommand& command) {
  cpu::check_products();
  const Subject s = load_subject(command);
  const StepMeasurement measured = measure_step({s.model, s.optimizer, s.micro_batch, s.sequence, command.steps,
                                                 command.warmup_steps, s.dtype, s.device, s.recompute});
  const double data_sheet_flops = 1e12 * command.data_sheet_tflops;
  if (command.output == Output::Json)
    fmt::print("{}\n", step_json(s, measured, data_sheet_flops).dump(2));
  else
    print_step(s, measured, data_sheet_flops);
  return 0;
}

}  // namespace gta
