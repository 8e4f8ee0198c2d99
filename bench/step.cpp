#include "bench/step.h"

#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "core/log.h"
#include "core/measure/peak.h"
#include "core/measure/random_tensor.h"
#include "core/measure/timing.h"
#include "core/profiler.h"
#include "layers/transformer/causal_lm.h"
#include "optim/adamw.h"

namespace gta {
namespace {

constexpr int64_t kProfiledSteps = 3;
constexpr std::array<StepPhase, 3> kPhases = {StepPhase::Forward, StepPhase::Backward, StepPhase::Update};

// The ranges of each phase of the steps so far.
class Parts {
 public:
  explicit Parts(Device device) : device_(device) {}
  template <class Work>
  void run(bool profiled, StepPhase phase, const Work& work) {
    if (!profiled) return work();
    Profiler& profiler = profilers_[static_cast<size_t>(phase)];
    profiler.start(device_);
    {
      ProfilerRange range("other");
      work();
    }
    profiler.stop();
  }
  // After a step, outside its time.
  void count_step() {
    ++steps_;
    for (StepPhase phase : kPhases)
      for (const Profiler::Row& row : profilers_[static_cast<size_t>(phase)].summary()) {
        StepPart& part = parts_[{phase, row.name}];
        part.calls += static_cast<double>(row.calls);
        part.seconds += row.self_seconds;
        part.flops += row.flops;
      }
  }
  std::vector<StepPart> per_step() const {
    std::vector<StepPart> parts;
    const double n = static_cast<double>(steps_);
    for (const auto& [key, part] : parts_)
      parts.push_back({key.first, key.second, part.calls / n, part.seconds / n, part.flops / n});
    std::stable_sort(parts.begin(), parts.end(),
                     [](const StepPart& a, const StepPart& b) { return a.seconds > b.seconds; });
    return parts;
  }

 private:
  Device device_;
  std::array<Profiler, 3> profilers_;
  std::map<std::pair<StepPhase, std::string>, StepPart> parts_;
  int64_t steps_ = 0;
};

int64_t resident_peak_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<int64_t>(usage.ru_maxrss) * 1024;
}

}  // namespace

const char* name_of(StepPhase phase) {
  switch (phase) {
    case StepPhase::Forward:
      return "forward";
    case StepPhase::Backward:
      return "backward";
    case StepPhase::Update:
      return "update";
  }
  return "?";
}

StepMeasurement measure_step(const StepBenchmark& s) {
  require(s.steps > 0 && s.warmup_steps >= 0 && s.micro_batch > 0 && s.sequence > 0, "bench",
          "expected positive steps, micro-batch and sequence, got {}, {}, {}", s.steps, s.micro_batch, s.sequence);
  StepMeasurement measured;
  measured.peak_flops = measure_peak_flops(s.dtype, s.device);
  ParameterSpace space;
  const CausalLm model(space, s.model);
  space.allocate(s.dtype, s.device, SpaceUse::Training);
  space.initialize(1);
  AdamW optimizer(space, s.optimizer);
  // What measuring and initialising took in passing is no part of a step.
  release_pooled_memory(s.device);
  reset_memory_peak(s.device);
  const double label_weight = 1.0 / static_cast<double>(s.micro_batch * s.sequence);
  Parts parts(s.device);
  // To profile costs a GPU some of its time: it makes a few more steps for the parts. A CPU does not notice.
  const bool apart = s.device.type == DeviceType::Cuda;
  const int64_t timed_end = s.warmup_steps + s.steps,
                end = timed_end + (apart ? std::min<int64_t>(s.steps, kProfiledSteps) : 0);
  for (int64_t i = 0; i < end; ++i) {
    const bool warming = i < s.warmup_steps, timed = !warming && i < timed_end,
               profiled = apart ? i >= timed_end : timed;
    const Shape shape{s.micro_batch, s.sequence};
    const Tensor tokens = random_tokens(fmt::format("tokens {}", i), shape, s.model.vocab_size);
    const Tensor labels = random_tokens(fmt::format("labels {}", i), shape, s.model.vocab_size);
    Tensor result;
    const double seconds = time_once(s.device, [&] {
      Tape tape(TapeMode::Recording, s.recompute);
      parts.run(profiled, StepPhase::Forward, [&] {
        space.zero_gradients();
        result = model.loss(tape, tokens, labels, label_weight);
      });
      parts.run(profiled, StepPhase::Backward, [&] { tape.backward(result); });
      parts.run(profiled, StepPhase::Update,
                [&] { optimizer.step(s.optimizer.learning_rate, optimizer.sum_of_squares(), result); });
    });
    const double loss = result.to_vector<double>()[0];
    if (!std::isfinite(loss)) fail("bench", "the loss of step {} is {}: lower optimizer.learning_rate", i + 1, loss);
    log::info("{} {}: {:.3f} s, loss {:.3f}",
              warming ? "warm-up"
              : timed ? "step"
                      : "profiled step",
              warming ? i + 1 : i + 1 - s.warmup_steps, seconds, loss);
    if (profiled) parts.count_step();
    if (!timed) continue;
    measured.loss = loss;
    measured.step_seconds.push_back(seconds);
  }
  measured.parts = parts.per_step();
  measured.memory = memory_report(s.device);
  measured.resident_peak_bytes = resident_peak_bytes();
  measured.peak_flops = std::max(measured.peak_flops, measure_peak_flops(s.dtype, s.device));
  return measured;
}

}  // namespace gta
