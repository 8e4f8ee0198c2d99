#include "checkpoints/model_state.h"

namespace gta {
namespace {

// What a buffer holds of a parameter, where that is the rank's.
void add_ranges(std::vector<StateRange>& to, const ParameterSpace& space, const Parameter& parameter, const char* part,
                const FlatBuffer& buffer, RangesOf which) {
  const std::vector<FlatRange>& of_rank = which == RangesOf::Owner ? space.owned() : space.masters().ranges();
  std::vector<FlatRange> here = intersections(of_rank, parameter.range());
  if (here.empty() && which == RangesOf::Updater) here.push_back({parameter.kind, parameter.offset, 0});
  for (const FlatRange& range : here)
    to.push_back({part,
                  parameter.name,
                  {parameter.shape.begin(), parameter.shape.end()},
                  state_dtype(space.dtype()),
                  range.first - parameter.offset,
                  range.count,
                  range.count > 0 ? buffer.slice(range).raw_data() : nullptr,
                  space.device()});
}

}  // namespace

std::vector<StateRange> weight_ranges(const ParameterSpace& space, RangesOf which) {
  std::vector<StateRange> ranges;
  for (const Parameter& parameter : space.parameters())
    add_ranges(ranges, space, parameter, "master", space.masters(), which);
  return ranges;
}

std::vector<StateRange> training_ranges(const ParameterSpace& space, const AdamW& optimizer, RangesOf which) {
  std::vector<StateRange> ranges = weight_ranges(space, which);
  for (const Parameter& parameter : space.parameters()) {
    add_ranges(ranges, space, parameter, "exp_avg", optimizer.exp_avg(), which);
    add_ranges(ranges, space, parameter, "exp_avg_sq", optimizer.exp_avg_sq(), which);
  }
  return ranges;
}

void load_weights(const Checkpoint& checkpoint, ParameterSpace& space) {
  checkpoint.load(weight_ranges(space, RangesOf::Updater));
  space.masters_changed();
}

void load_training(const Checkpoint& checkpoint, ParameterSpace& space, AdamW& optimizer) {
  checkpoint.load(training_ranges(space, optimizer, RangesOf::Updater));
  optimizer.set_updates(checkpoint.position().updates);
  space.masters_changed();
}

}  // namespace gta
