#include "launch/diagnose.h"

#include <cmath>
#include <map>

#include "core/sum_of_squares.h"

namespace gta {
namespace {

// "model.layers.3.mlp.up_proj.weight" -> "layers.3"; "model.embed_tokens.weight" -> "embed_tokens"
std::string part_of(const std::string& name) {
  const size_t begin = name.starts_with("model.") ? 6 : 0;
  size_t end = name.find('.', begin);
  if (name.compare(begin, 7, "layers.") == 0) end = name.find('.', begin + 7);
  return name.substr(begin, end - begin);
}

}  // namespace

DiagnosisRow diagnose(const CausalLm& model, const ParameterSpace& space, Communicator& ranks, int64_t step,
                      const Tensor& tokens, const Tensor& document_starts) {
  DiagnosisRow row{step, {}};
  std::map<std::string, Tensor> squares;
  std::vector<double> sums;
  const auto add = [&](const char* what, const Parameter& parameter, const FlatBuffer& buffer) {
    Tensor& sum = squares[std::string(what) + "/" + part_of(parameter.name)];
    if (!sum.defined()) sum = Tensor::zeros({1}, DType::F64, space.device(), Purpose::Workspace);
    for (const FlatRange& owned : intersections(space.owned(), parameter.range()))
      GTA_DISPATCH(space.device(), sum_of_squares, buffer.slice(owned), sum, GradientMode::Accumulate);
  };
  ranks.together("diagnosis", [&] {
    for (const Parameter& parameter : space.parameters()) {
      add("gradient_norm", parameter, space.gradients());
      add("weight_norm", parameter, space.masters());
    }
    for (const auto& [name, sum] : squares) sums.push_back(sum.to_vector<double>()[0]);
    const Probe probe = model.probe(tokens, document_starts);
    for (size_t i = 0; i < probe.blocks.size(); ++i) {
      row.values[fmt::format("stream_rms/layers.{}", i)] = probe.blocks[i].stream_rms;
      row.values[fmt::format("largest_score/layers.{}", i)] = probe.blocks[i].largest_score;
    }
  });
  const auto parts = static_cast<int64_t>(sums.size());
  const Tensor all = Tensor::from<double>({parts}, sums);
  ranks.all_reduce("squares of the diagnosis", all).wait();
  const std::vector<double> totals = all.to_vector<double>();
  for (size_t i = 0; const auto& [name, sum] : squares) row.values[name] = std::sqrt(totals[i++]);
  return row;
}

}  // namespace gta
