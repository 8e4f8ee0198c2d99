#include "launch/statistics/distributions.h"

#include <boost/math/distributions/non_central_t.hpp>
#include <boost/math/distributions/normal.hpp>
#include <boost/math/distributions/students_t.hpp>

#include <cmath>
#include <limits>

namespace gta::statistics {
namespace {

using namespace boost::math::policies;
// NaN and infinity instead of exceptions: they go on as what is not known.
using Quiet = policy<domain_error<ignore_error>, pole_error<ignore_error>, overflow_error<ignore_error>,
                     evaluation_error<ignore_error>>;
using Normal = boost::math::normal_distribution<double, Quiet>;
using StudentsT = boost::math::students_t_distribution<double, Quiet>;
using NoncentralT = boost::math::non_central_t_distribution<double, Quiet>;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

bool is_probability(double p) { return p > 0 && p < 1; }
bool is_known(double t, double degrees) { return std::isfinite(t) && std::isfinite(degrees) && degrees > 0; }

}  // namespace

double normal_cdf(double z) { return std::isnan(z) ? kNan : 0.5 * std::erfc(-z / std::sqrt(2.0)); }

double normal_quantile(double probability) {
  return is_probability(probability) ? boost::math::quantile(Normal(), probability) : kNan;
}

double t_quantile(double probability, double degrees) {
  return is_probability(probability) && is_known(0, degrees) ? boost::math::quantile(StudentsT(degrees), probability)
                                                             : kNan;
}

double t_two_sided(double t, double degrees) {
  if (std::isinf(t) && is_known(0, degrees)) return 0;
  return is_known(t, degrees) ? 2 * boost::math::cdf(complement(StudentsT(degrees), std::abs(t))) : kNan;
}

double noncentral_t_cdf(double t, double degrees, double noncentrality) {
  return is_known(t, degrees) && std::isfinite(noncentrality) ? boost::math::cdf(NoncentralT(degrees, noncentrality), t)
                                                              : kNan;
}

double noncentral_t_above(double t, double degrees, double noncentrality) {
  return is_known(t, degrees) && std::isfinite(noncentrality)
             ? boost::math::cdf(complement(NoncentralT(degrees, noncentrality), t))
             : kNan;
}

}  // namespace gta::statistics
