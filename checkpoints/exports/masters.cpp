#include "checkpoints/exports/masters.h"

#include "checkpoints/model_state.h"
#include "core/error.h"

namespace gta {

Masters::Masters(const ParameterSpace& space) {
  for (const StateRange& range : weight_ranges(space, RangesOf::Updater)) {
    ensure(range.dtype == DType::F32 && range.whole() && range.device.type == DeviceType::Cpu, "export",
           "the masters of {} are not whole float32 on the CPU", range.parameter);
    masters_.emplace(range.parameter, std::span(static_cast<float*>(range.data), static_cast<size_t>(range.count)));
  }
}

std::span<float> Masters::at(const std::string& parameter) const {
  const auto found = masters_.find(parameter);
  ensure(found != masters_.end(), "export", "the model has no {}", parameter);
  return found->second;
}

std::vector<float> Masters::values(const std::string& parameter) const {
  const std::span<float> values = at(parameter);
  return {values.begin(), values.end()};
}

}  // namespace gta
