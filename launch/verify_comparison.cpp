#include "launch/verify_comparison.h"

#include <algorithm>
#include <cmath>

namespace gta {
namespace {

// A tensor counts as no smaller than this share of what the gradients of all tensors are in the root mean square: a sum
// whose terms cancel (all of them, for q and k of sequences of one token) is rounded by what the terms are worth.
constexpr double kFloor = 0.2;

double largest_of(const std::vector<double>& steps) { return *std::max_element(steps.begin(), steps.end()); }

double median_of(std::vector<double> steps) {
  std::sort(steps.begin(), steps.end());
  return (steps[(steps.size() - 1) / 2] + steps[steps.size() / 2]) / 2;
}

}  // namespace

VerifyTolerance verify_tolerance(DType dtype) {
  switch (dtype) {
    case DType::F64:
      // Sums of a few hundred products, each rounded by 1e-16; errors of 1e-14 are usual. Losses and weights are those
      // of its own AdamW steps, which divide by sqrt(v) + 1e-8: where a gradient is near zero its error of 1e-17 moves
      // a weight by 1e-9 of the learning rate, and ten steps let that grow.
      return {1e-12, 1e-12, 1e-10, 1e-12, 1e-12, 1e-12, 1e-12, 1e-12, 1e-9};
    case DType::BF16:
      // One rounding is 2^-8 = 0.004 at most, 0.001 in the mean square. A logit passes some twenty of them (weights,
      // stream and branches of up to three layers), which add like a random walk: 0.01 over all of them; the worst of a
      // thousand is several times that, where a token's stream is small and the norm enlarges it. Gradients pass as
      // many again on the way back, and such a token may be most of a step's gradient; of ten steps it is not most.
      // Rounding has no direction, so along the true gradient little of it is left: a gradient 5% too large is seen.
      // Weights are float32.
      return {0.15, 0.03, 0.005, 0.5, 0.3, 0.03, 0.08, 0.02, 5e-7};
    default:
      // As bfloat16, with roundings of 2^-24.
      return {1e-5, 2e-6, 5e-7, 5e-5, 2e-5, 2e-6, 5e-6, 2e-6, 5e-7};
  }
}

double TensorComparison::Sums::size(double floor) const {
  return std::max(std::sqrt(want), floor * std::sqrt(elements));
}

double TensorComparison::floor(size_t step) const {
  double want = 0, elements = 0;
  for (const auto& [name, steps] : tensors_) {
    want += steps[step].want;
    elements += steps[step].elements;
  }
  return std::max(kFloor * std::sqrt(want / elements), 1e-300);
}

void TensorComparison::add(const std::string& name, const std::vector<double>& got, const std::vector<double>& want) {
  Sums sums;
  if (got.size() != want.size()) sums.difference = INFINITY;
  for (size_t i = 0; i < std::min(got.size(), want.size()); ++i) {
    const double difference = got[i] - want[i];
    sums.difference += difference * difference;
    sums.want += want[i] * want[i];
    sums.along += difference * want[i];
    sums.largest = std::max(sums.largest, std::abs(want[i]));
    sums.largest_difference = std::max(sums.largest_difference, std::abs(difference));
  }
  sums.elements = static_cast<double>(want.size());
  tensors_[name].push_back(sums);
}

template <class Error, class Over>
VerifyRow TensorComparison::worst(const char* what, double tolerance, Error error_of, Over over) const {
  VerifyRow row{what, "", 0, tolerance};
  std::vector<double> floors;
  for (const auto& [name, steps] : tensors_) {
    double error = 0;
    std::vector<double> errors;
    for (size_t step = 0; step < steps.size(); ++step) {
      if (floors.size() == step) floors.push_back(floor(step));
      errors.push_back(error_of(steps[step], floors[step]));
      if (!std::isfinite(steps[step].difference)) error = NAN;
    }
    if (!std::isnan(error)) error = std::abs(over(errors));
    if (std::isnan(row.error) || error <= row.error) continue;
    row.error = error;
    row.worst = name;
  }
  return row;
}

VerifyRow TensorComparison::elements(const char* what, double tolerance) const {
  return worst(
      what, tolerance, [](const Sums& s, double floor) { return s.largest_difference / std::max(s.largest, floor); },
      largest_of);
}

VerifyRow TensorComparison::l2(const char* what, double tolerance) const {
  return worst(
      what, tolerance, [](const Sums& s, double floor) { return std::sqrt(s.difference) / s.size(floor); }, median_of);
}

VerifyRow TensorComparison::scale(const char* what, double tolerance) const {
  return worst(
      what, tolerance, [](const Sums& s, double floor) { return s.along / (s.size(floor) * s.size(floor)); },
      median_of);
}

}  // namespace gta
