#include "launch/compare/curves.h"

#include <algorithm>
#include <cmath>
#include <map>

namespace gta {
namespace {

struct Point {
  double tokens = 0, seconds = 0, value = 0;
};
using Points = std::map<int64_t, Point>;  // by step

Points points_of(const RunRecord& run, Curve curve) {
  Points points;
  if (curve == Curve::TrainingLoss)
    for (const TrainingPoint& p : run.training) points[p.step] = {static_cast<double>(p.tokens), p.seconds, p.loss};
  else
    for (const ValidationPoint& p : run.validation)
      points[p.step] = {static_cast<double>(p.tokens), p.seconds,
                        curve == Curve::ValidationLoss ? p.loss : p.bits_per_byte};
  std::erase_if(points, [](const auto& point) { return !std::isfinite(point.second.value); });
  return points;
}

// Each step that all have, with what each has there.
std::map<int64_t, std::vector<Point>> common(const std::vector<Points>& all) {
  std::map<int64_t, std::vector<Point>> steps;
  for (const Points& points : all)
    for (const auto& [step, point] : points) steps[step].push_back(point);
  std::erase_if(steps, [&](const auto& step) { return step.second.size() < all.size(); });
  return steps;
}

CurvePoint at(int64_t step, const std::vector<Point>& points, double flops_per_token) {
  CurvePoint mean;
  mean.step = step;
  const auto count = static_cast<double>(points.size());
  for (const Point& point : points) {
    mean.tokens += point.tokens / count;
    mean.seconds += point.seconds / count;
  }
  mean.flops = mean.tokens * flops_per_token;
  return mean;
}

std::vector<double> values_of(const std::vector<Point>& points) {
  std::vector<double> values;
  for (const Point& point : points) values.push_back(point.value);
  return values;
}

}  // namespace

std::vector<CurvePoint> curve_of(const std::vector<const RunRecord*>& runs, Curve curve, double flops_per_token) {
  std::vector<Points> all;
  for (const RunRecord* run : runs) all.push_back(points_of(*run, curve));
  std::vector<CurvePoint> means;
  for (const auto& [step, points] : common(all)) {
    CurvePoint point = at(step, points, flops_per_token);
    const std::vector<double> values = values_of(points);
    point.mean = statistics::mean(values);
    point.low = *std::min_element(values.begin(), values.end());
    point.high = *std::max_element(values.begin(), values.end());
    means.push_back(point);
  }
  return means;
}

std::vector<CurvePoint> difference_curve(const std::vector<std::pair<const RunRecord*, const RunRecord*>>& pairs,
                                         Curve curve, double flops_per_token) {
  std::vector<Points> all;  // variant's and baseline's in turn
  for (const auto& [variant, baseline] : pairs) {
    all.push_back(points_of(*variant, curve));
    all.push_back(points_of(*baseline, curve));
  }
  std::vector<CurvePoint> means;
  for (const auto& [step, points] : common(all)) {
    std::vector<Point> of_variant;
    std::vector<double> differences;
    for (size_t i = 0; i + 1 < points.size(); i += 2) {
      of_variant.push_back(points[i]);
      differences.push_back(points[i].value - points[i + 1].value);
    }
    CurvePoint point = at(step, of_variant, flops_per_token);
    point.mean = point.low = point.high = statistics::mean(differences);
    if (const auto interval = statistics::interval_of_mean(differences)) {
      point.low = interval->low;
      point.high = interval->high;
    }
    means.push_back(point);
  }
  return means;
}

}  // namespace gta
