// Curves over seeds: of runs the mean, the lowest and the highest at the steps that all of them have; of pairs of runs
// the mean difference with its interval.
#pragma once

#include <utility>
#include <vector>

#include "launch/compare/comparison.h"

namespace gta {

enum class Curve : uint8_t { ValidationLoss, ValidationBitsPerByte, TrainingLoss };

std::vector<CurvePoint> curve_of(const std::vector<const RunRecord*>& runs, Curve curve, double flops_per_token);
// pairs: (variant's, baseline's) runs of one seed; tokens, FLOPs and seconds are the variant's.
std::vector<CurvePoint> difference_curve(const std::vector<std::pair<const RunRecord*, const RunRecord*>>& pairs,
                                         Curve curve, double flops_per_token);

}  // namespace gta
