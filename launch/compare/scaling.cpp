#include "launch/compare/scaling.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "launch/statistics/bootstrap.h"

namespace gta {
namespace {

using statistics::Interval;
using statistics::PowerLaw;

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
constexpr size_t kFewSeeds = 5;      // with which a bootstrap's intervals come out too narrow
constexpr double kNarrow = 10;       // sizes that span less compute than this hardly have a curve
constexpr double kLeastShare = 0.5;  // of the resamples that have to have a fit, for an interval
constexpr uint64_t kBootstrapSeed = 20260601;

enum class Over : uint8_t { Compute, Parameters };

double x_of(const ScalingPoint& point, Over over) { return over == Over::Compute ? point.compute : point.parameters; }

// Over the seeds that were drawn, as often as each was; NaN where the point has none of them.
double mean_loss(const ScalingPoint& point, const std::map<int64_t, int64_t>& drawn) {
  double sum = 0, count = 0;
  for (const auto& [seed, times] : drawn)
    if (const auto found = point.losses.find(seed); found != point.losses.end()) {
      sum += static_cast<double>(times) * found->second;
      count += static_cast<double>(times);
    }
  return count > 0 ? sum / count : kNone;
}

// The fits of one curve to the seeds of a draw: a few seeds have few different draws, each is fitted once.
class Fits {
 public:
  Fits(const ScalingCurve& curve, Over over) : curve_(curve), over_(over) {}

  const std::optional<PowerLaw>& of(const std::map<int64_t, int64_t>& drawn) {
    const auto [at, is_new] = known_.try_emplace(drawn);
    if (is_new) at->second = fit(drawn);
    return at->second;
  }

 private:
  std::optional<PowerLaw> fit(const std::map<int64_t, int64_t>& drawn) const {
    std::vector<std::pair<double, double>> points;
    for (const ScalingPoint& point : curve_.points) {
      points.emplace_back(x_of(point, over_), mean_loss(point, drawn));
      if (!std::isfinite(points.back().second)) return std::nullopt;
    }
    return statistics::fit_power_law(points);
  }

  const ScalingCurve& curve_;
  Over over_;
  std::map<std::map<int64_t, int64_t>, std::optional<PowerLaw>> known_;
};

class Study {
 public:
  Study(ScalingStudy& study, int64_t resamples) : study_(study), resamples_(resamples) {
    std::set<int64_t> seeds;
    for (const ScalingCurve& curve : study.curves)
      for (const ScalingPoint& point : curve.points)
        for (const auto& [seed, loss] : point.losses) seeds.insert(seed);
    seeds_.assign(seeds.begin(), seeds.end());
  }

  void conclude() {
    for (ScalingCurve& curve : study_.curves) fit(curve);
    for (size_t i = 1; i < study_.curves.size(); ++i) compare(study_.curves[i]);
    if (fitted_ && seeds_.size() < 2)
      warn("One seed: nothing says how sure the curves are.");
    else if (fitted_ && seeds_.size() < kFewSeeds)
      warn(fmt::format("{} seeds: intervals by bootstrap from so few come out too narrow. Expected {} or more.",
                       seeds_.size(), kFewSeeds));
  }

 private:
  void warn(std::string sentence) { study_.warnings.push_back(std::move(sentence)); }

  std::map<int64_t, int64_t> counted(const std::vector<int64_t>& indices) const {
    std::map<int64_t, int64_t> drawn;
    for (int64_t i : indices) ++drawn[seeds_[static_cast<size_t>(i)]];
    return drawn;
  }
  std::map<int64_t, int64_t> all() const {
    std::map<int64_t, int64_t> drawn;
    for (int64_t seed : seeds_) drawn[seed] = 1;
    return drawn;
  }

  // Nothing of one seed, and where too few draws have a number.
  template <class Value>
  std::optional<Interval> interval_of(const Value& value) const {
    if (seeds_.size() < 2) return std::nullopt;
    const statistics::Resampled resampled = statistics::resample(
        static_cast<int64_t>(seeds_.size()), [&](const std::vector<int64_t>& drawn) { return value(counted(drawn)); },
        resamples_, kBootstrapSeed);
    const auto finite = std::count_if(resampled.bootstrap.begin(), resampled.bootstrap.end(),
                                      [](double v) { return std::isfinite(v); });
    if (!std::isfinite(resampled.estimate) ||
        static_cast<double>(finite) < kLeastShare * static_cast<double>(resamples_))
      return std::nullopt;
    return statistics::bca_interval(resampled);
  }

  ScalingFit fit(Fits& fits) {
    ScalingFit result{fits.of(all()), {}, {}};
    if (!result.law) return result;
    const auto number = [&](double PowerLaw::*member) {
      return interval_of([&](const auto& drawn) {
        const std::optional<PowerLaw>& law = fits.of(drawn);
        return law ? *law.*member : kNone;
      });
    };
    result.floor = number(&PowerLaw::floor);
    result.exponent = number(&PowerLaw::exponent);
    return result;
  }

  void fit(ScalingCurve& curve) {
    std::set<double> computes;
    for (const ScalingPoint& point : curve.points) computes.insert(point.compute);
    if (computes.size() < statistics::kFewestForPowerLaw)
      return warn(fmt::format("{}: no curve is fitted to {} size{}; a power law with a floor takes {} or more.",
                              curve.variant, computes.size(), computes.size() == 1 ? "" : "s",
                              statistics::kFewestForPowerLaw));
    Fits by_compute(curve, Over::Compute), by_parameters(curve, Over::Parameters);
    curve.over_compute = fit(by_compute);
    curve.over_parameters = fit(by_parameters);
    if (!curve.over_compute.law)
      return warn(
          fmt::format("{}: its loss does not fall with compute as a power law; no curve is drawn.", curve.variant));
    fitted_ = true;
    const double span = *computes.rbegin() / *computes.begin();
    if (span < kNarrow)
      warn(
          fmt::format("{}: its sizes span {:.1f} times their smallest compute; of less than {:.0f} times a curve says "
                      "little.",
                      curve.variant, span, kNarrow));
    const PowerLaw& law = *curve.over_compute.law;
    if (law.floor <= 0)
      warn(fmt::format("{}: the fit found no floor above 0; these sizes do not say where the loss ends.",
                       curve.variant));
    if (const auto& floor = curve.over_compute.floor; floor && law.floor > 0 && floor->low <= 0)
      warn(fmt::format("{}: the floor may be anything from 0 to {:.3f}; these sizes do not say where the loss ends.",
                       curve.variant, floor->high));
    if (seeds_.size() >= 2 && !curve.over_compute.exponent)
      warn(fmt::format("{}: most draws of seeds have no fit; its curve has no interval, and rests on luck.",
                       curve.variant));
  }

  void compare(ScalingCurve& curve) {
    const ScalingCurve& baseline = study_.curves.front();
    Fits fits(baseline, Over::Compute);
    for (const ScalingPoint& point : curve.points) {
      ComputeGain gain{point.size, {}, {}, {}};
      // The compute at which the baseline has the point's loss; infinite below its floor.
      const auto reached = [&](const std::map<int64_t, int64_t>& drawn) {
        const std::optional<PowerLaw>& law = fits.of(drawn);
        return law ? law->reaches(mean_loss(point, drawn)).value_or(std::numeric_limits<double>::infinity()) : kNone;
      };
      if (!baseline.over_compute.law) {
        gain.why_not = "the baseline has no curve";
      } else {
        const double least = baseline.points.front().compute / kExtrapolation,
                     most = baseline.points.back().compute * kExtrapolation, at = reached(all());
        if (!(at <= most))
          gain.why_not = fmt::format("beyond {:g} times the baseline's largest compute", kExtrapolation);
        else if (!(at >= least))
          gain.why_not = fmt::format("below a {:g}th of the baseline's smallest compute", kExtrapolation);
        else {
          gain.gain = at / point.compute;
          // A draw that lies further out counts as the furthest that is looked at.
          gain.interval = interval_of([&](const auto& drawn) {
            const double of_draw = reached(drawn);
            return std::isnan(of_draw) ? kNone : std::clamp(of_draw, least, most) / point.compute;
          });
        }
      }
      curve.gains.push_back(std::move(gain));
    }
  }

  ScalingStudy& study_;
  int64_t resamples_;
  std::vector<int64_t> seeds_;
  bool fitted_ = false;
};

}  // namespace

std::optional<ScalingStudy> scaling_study(const std::vector<ScalingPoint>& points, const std::string& baseline,
                                          int64_t resamples) {
  ScalingStudy study;
  const auto curve_of = [&](const std::string& variant) -> ScalingCurve& {
    const auto found = std::find_if(study.curves.begin(), study.curves.end(),
                                    [&](const ScalingCurve& curve) { return curve.variant == variant; });
    if (found != study.curves.end()) return *found;
    study.curves.push_back({variant, {}, {}, {}, {}});
    return study.curves.back();
  };
  curve_of(baseline);
  for (const ScalingPoint& point : points) {
    ScalingPoint copy = point;
    std::erase_if(copy.losses, [](const auto& loss) { return !std::isfinite(loss.second) || loss.second <= 0; });
    const bool has_numbers = std::isfinite(point.compute) && point.compute > 0 && std::isfinite(point.parameters) &&
                             point.parameters > 0 && !copy.losses.empty();
    std::vector<ScalingPoint>& of_variant = curve_of(point.variant).points;
    const bool again = std::any_of(of_variant.begin(), of_variant.end(),
                                   [&](const ScalingPoint& other) { return other.size == point.size; });
    if (has_numbers && !again) of_variant.push_back(std::move(copy));
  }
  bool any = false;
  for (ScalingCurve& curve : study.curves) {
    std::stable_sort(curve.points.begin(), curve.points.end(),
                     [](const ScalingPoint& a, const ScalingPoint& b) { return a.compute < b.compute; });
    any = any || curve.points.size() > 1;
  }
  if (!any) return std::nullopt;
  Study(study, resamples).conclude();
  return study;
}

}  // namespace gta
