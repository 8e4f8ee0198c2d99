// How the loss of each variant falls with the size of the model.
//
//   L(C) = E + A C^-a over the compute C of a training (FLOPs), and over its parameters: launch/statistics/power_law.h,
//   of the mean losses over seeds.
//   Compute-equivalent gain of a variant at a size: the compute at which the baseline's curve reaches the variant's
// loss,
//   over the variant's compute. 1.2: the baseline needs 1.2 times as much for the same loss.
//
// Intervals are 95%, by bootstrap over seeds, all cells of one seed together (launch/statistics/bootstrap.h). What the
// sizes cannot say is not drawn, and why not is said.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "launch/statistics/power_law.h"
#include "launch/statistics/sample.h"

namespace gta {

// A variant at a size.
struct ScalingPoint {
  std::string variant, size;
  double compute = 0, parameters = 0;  // FLOPs of the training
  std::map<int64_t, double> losses;    // by seed; those that are numbers
};

struct ScalingFit {
  std::optional<statistics::PowerLaw> law;
  std::optional<statistics::Interval> floor, exponent;
};

struct ComputeGain {
  std::string size;
  std::optional<double> gain;
  std::optional<statistics::Interval> interval;
  std::string why_not;  // where there is none: "beyond 4 times the baseline's largest compute"
};

struct ScalingCurve {
  std::string variant;
  std::vector<ScalingPoint> points;  // by rising compute, those with a loss
  ScalingFit over_compute, over_parameters;
  std::vector<ComputeGain> gains;  // one for each point; none of the baseline
};

struct ScalingStudy {
  std::vector<ScalingCurve> curves;   // the baseline first, then in the order of the points
  std::vector<std::string> warnings;  // a sentence each: what is not known, and what would have to be there
};

// No curve is followed further than this beyond the computes that it was fitted to.
inline constexpr double kExtrapolation = 4;

// Of points of one variant and size the first counts. Nothing where no variant has two sizes.
std::optional<ScalingStudy> scaling_study(const std::vector<ScalingPoint>& points, const std::string& baseline,
                                          int64_t resamples = 1000);

}  // namespace gta
