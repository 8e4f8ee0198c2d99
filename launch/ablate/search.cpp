#include "launch/ablate/search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

namespace gta {

std::optional<double> best_value(const std::vector<TrialResult>& results, const std::string& arm) {
  struct Sum {
    double loss = 0;
    int64_t runs = 0;
  };
  std::map<double, Sum> by_value;
  for (const TrialResult& result : results)
    if (result.arm == arm) {
      by_value[result.value].loss += std::isfinite(result.loss) ? result.loss : std::numeric_limits<double>::infinity();
      ++by_value[result.value].runs;
    }
  std::optional<double> best;
  double least = std::numeric_limits<double>::infinity();
  for (const auto& [value, sum] : by_value)
    if (const double mean = sum.loss / static_cast<double>(sum.runs); mean < least) {
      least = mean;
      best = value;
    }
  return best;
}

std::vector<double> widened(const std::vector<double>& values, const std::vector<TrialResult>& results,
                            const ConfigKey& key) {
  std::set<std::string> arms;
  for (const TrialResult& result : results) arms.insert(result.arm);
  const auto any_best_is = [&](double value) {
    return std::any_of(arms.begin(), arms.end(), [&](const std::string& arm) {
      const std::optional<double> best = best_value(results, arm);
      return best && *best == value;
    });
  };
  std::vector<double> wider = values;
  const size_t n = values.size();
  const auto fits = [&](double value) {
    return value <= key.most && (key.above_least ? value > key.least : value >= key.least);
  };
  const double below = values[0] * values[0] / values[1], above = values[n - 1] * values[n - 1] / values[n - 2];
  if (below < values.front() && fits(below) && any_best_is(values.front())) wider.insert(wider.begin(), below);
  if (above > values.back() && fits(above) && any_best_is(values.back())) wider.push_back(above);
  return wider;
}

}  // namespace gta
