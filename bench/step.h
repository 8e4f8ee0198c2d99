// A whole training step on random tokens, as the training loop makes it: gradients to zero, forward, backward,
// clipping, AdamW. Its time against the machine's measured products (SOL), where that time goes, and what memory it
// takes.
#pragma once

#include <string>
#include <vector>

#include "core/allocator.h"
#include "core/tape.h"
#include "layers/transformer/model_config.h"
#include "optim/optimizer_config.h"

namespace gta {

struct StepBenchmark {
  ModelConfig model;
  OptimizerConfig optimizer;
  int64_t micro_batch = 0, sequence = 0;
  int64_t steps = 0, warmup_steps = 0;
  DType dtype = DType::F32;
  Device device;
  Recompute recompute = Recompute::None;
};

enum class StepPhase : uint8_t { Forward, Backward, Update };
const char* name_of(StepPhase phase);  // "forward", ...

// What one kind of profiler range took in one phase, per step. "other" is what no range inside the phase covers.
struct StepPart {
  StepPhase phase;
  std::string name;
  double calls = 0, seconds = 0, flops = 0;
};

struct StepMeasurement {
  std::vector<double> step_seconds;
  std::vector<StepPart> parts;      // by falling time
  double peak_flops = 0;            // the better of before and after
  MemoryReport memory;              // peaks of model, optimizer and steps
  int64_t resident_peak_bytes = 0;  // of the process, libraries and all
  double loss = 0;                  // of the last step
};

// Error(Failed) when a loss is not finite: its times would mean nothing.
StepMeasurement measure_step(const StepBenchmark& settings);

}  // namespace gta
