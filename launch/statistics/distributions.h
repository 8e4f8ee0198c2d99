// Student's t, noncentral t and the normal distribution. Degrees of freedom are above 0, probabilities between 0 and 1;
// anything else, and what is not finite, gives NaN.
#pragma once

namespace gta::statistics {

double normal_cdf(double z);
double normal_quantile(double probability);
double t_quantile(double probability, double degrees);
// P(|T| >= |t|)
double t_two_sided(double t, double degrees);
// P(T <= t) and P(T > t), where T = (Z + noncentrality) / sqrt(chi^2 / degrees).
double noncentral_t_cdf(double t, double degrees, double noncentrality);
double noncentral_t_above(double t, double degrees, double noncentrality);

}  // namespace gta::statistics
