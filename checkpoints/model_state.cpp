#include "checkpoints/model_state.h"

namespace gta {
namespace {

StateRange range_of(const ParameterSpace& space, const Parameter& parameter, const char* part, const Tensor& flat) {
  const Tensor view = space.view(flat, parameter);
  return {part,
          parameter.name,
          {parameter.shape.begin(), parameter.shape.end()},
          flat.dtype(),
          0,
          parameter.elements(),
          view.raw_data(),
          view.device()};
}

}  // namespace

std::vector<StateRange> weight_ranges(const ParameterSpace& space) {
  std::vector<StateRange> ranges;
  for (const Parameter& parameter : space.parameters())
    ranges.push_back(range_of(space, parameter, "master", space.values(parameter.kind)));
  return ranges;
}

std::vector<StateRange> training_ranges(const ParameterSpace& space, const AdamW& optimizer) {
  std::vector<StateRange> ranges = weight_ranges(space);
  for (const Parameter& parameter : space.parameters()) {
    ranges.push_back(range_of(space, parameter, "exp_avg", optimizer.exp_avg(parameter.kind)));
    ranges.push_back(range_of(space, parameter, "exp_avg_sq", optimizer.exp_avg_sq(parameter.kind)));
  }
  return ranges;
}

void load_weights(const Checkpoint& checkpoint, ParameterSpace& space) {
  checkpoint.load(weight_ranges(space));
  space.masters_changed();
}

void load_training(const Checkpoint& checkpoint, ParameterSpace& space, AdamW& optimizer) {
  checkpoint.load(training_ranges(space, optimizer));
  optimizer.set_updates(checkpoint.position().updates);
  space.masters_changed();
}

}  // namespace gta
