#include "launch/training/initial_values.h"

#include <nlohmann/json.hpp>

#include "core/io/hash.h"

namespace gta {

std::string initial_values_json(const Training& training) {
  nlohmann::ordered_json json = {{"seed", training.config.seed}, {"dtype", name_of(training.space.dtype())}};
  nlohmann::ordered_json& parameters = json["parameters"] = nlohmann::ordered_json::object();
  for (const Parameter& parameter : training.space.parameters()) {
    const Tensor all = training.space.weights(parameter.kind);
    const Tensor host = training.space.view(all, parameter).to(Device{DeviceType::Cpu}, Purpose::Workspace);
    const auto bytes = static_cast<size_t>(host.elements()) * size_of(host.dtype());
    nlohmann::ordered_json shape = nlohmann::ordered_json::array();
    for (int i = 0; i < parameter.shape.rank(); ++i) shape.push_back(parameter.shape[i]);
    parameters[parameter.name] = {{"shape", shape}, {"hash", hash_text(hash_bytes(host.raw_data(), bytes))}};
  }
  return json.dump(1) + "\n";
}

}  // namespace gta
