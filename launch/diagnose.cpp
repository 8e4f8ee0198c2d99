#include "launch/diagnose.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "core/elementwise.h"
#include "core/sum_of_squares.h"

namespace gta {
namespace {

constexpr int64_t kPiece = int64_t{1} << 18;  // masters of which an update is seen at once

// "model.layers.3.mlp.up_proj.weight" -> "layers.3"; "model.embed_tokens.weight" -> "embed_tokens"
std::string part_of(const std::string& name) {
  const size_t begin = name.starts_with("model.") ? 6 : 0;
  size_t end = name.find('.', begin);
  if (name.compare(begin, 7, "layers.") == 0) end = name.find('.', begin + 7);
  return name.substr(begin, end - begin);
}

void add_probe(const Probe& probe, std::map<std::string, double>& values) {
  for (size_t i = 0; i < probe.blocks.size(); ++i) {
    const Probe::Block& block = probe.blocks[i];
    const auto add = [&](const char* what, const std::optional<double>& value) {
      if (value) values[fmt::format("{}/layers.{}", what, i)] = *value;
    };
    add("stream_rms", block.stream_rms);
    add("largest_score", block.largest_score);
    add("map_entropy", block.map_entropy);
    add("map_similarity", block.map_similarity);
    add("key_rank", block.key_rank);
    add("value_rank", block.value_rank);
    add("latent_rank", block.latent_rank);
  }
}

}  // namespace

Diagnosis::Diagnosis(const CausalLm& model, const ParameterSpace& space, Communicator& ranks, int64_t step,
                     const Tensor& tokens, const Tensor& document_starts)
    : space_(space), ranks_(ranks), row_{step, {}} {
  ranks.together("diagnosis", [&] {
    for (const Parameter& parameter : space.parameters()) {
      const Tensor gradient = squares_of("gradient_norm", parameter), weight = squares_of("weight_norm", parameter),
                   update = squares_of("update_norm", parameter);
      for (const FlatRange& owned : intersections(space.owned(), parameter.range())) {
        GTA_DISPATCH(space.device(), sum_of_squares, space.gradients().slice(owned), gradient,
                     GradientMode::Accumulate);
        GTA_DISPATCH(space.device(), sum_of_squares, space.masters().slice(owned), weight, GradientMode::Accumulate);
        owned_.push_back({owned, update});
      }
    }
    int64_t largest = 0;
    for (const FlatRange& updated : space.masters().ranges()) largest = std::max(largest, updated.count);
    before_ =
        Tensor::empty({std::min(kPiece, largest)}, state_dtype(space.dtype()), space.device(), Purpose::Workspace);
    if (ranks.leads()) add_probe(model.probe(tokens, document_starts), row_.values);
  });
}

// 0 at first.
Tensor Diagnosis::squares_of(const char* what, const Parameter& parameter) {
  Tensor& sum = squares_[std::string(what) + "/" + part_of(parameter.name)];
  if (!sum.defined()) sum = Tensor::zeros({1}, DType::F64, space_.device(), Purpose::Workspace);
  return sum;
}

void Diagnosis::update(AdamW& optimizer, double learning_rate, const Tensor& squares, const Tensor& losses) {
  const UpdateRule rule = optimizer.begin_step(learning_rate, squares, losses);
  for (const FlatRange& updated : space_.masters().ranges())
    for (int64_t first = updated.first; first < updated.end(); first += kPiece) {
      const FlatRange piece{updated.kind, first, std::min(kPiece, updated.end() - first)};
      const Tensor now = space_.masters().slice(piece), change = flat_slice(before_, 0, piece.count);
      change.copy_from(now);
      optimizer.update(rule, piece);
      GTA_DISPATCH(space_.device(), subtract_from, change, now);
      for (const auto& [range, sum] : owned_)
        if (const FlatRange part = intersection(range, piece); part.count > 0)
          GTA_DISPATCH(space_.device(), sum_of_squares, flat_slice(change, part.first - first, part.count), sum,
                       GradientMode::Accumulate);
    }
}

DiagnosisRow Diagnosis::row() {
  std::vector<double> sums;
  ranks_.together("diagnosis", [&] {
    for (const auto& [name, sum] : squares_) sums.push_back(sum.to_vector<double>()[0]);
  });
  const Tensor all = Tensor::from<double>({static_cast<int64_t>(sums.size())}, sums);
  ranks_.all_reduce("squares of the diagnosis", all).wait();
  const std::vector<double> totals = all.to_vector<double>();
  for (size_t i = 0; const auto& [name, sum] : squares_) row_.values[name] = std::sqrt(totals[i++]);
  return std::move(row_);
}

}  // namespace gta
