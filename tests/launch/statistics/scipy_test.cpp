// Statistics against SciPy, to 1e-9, where GTA_SCIPY_PYTHON names a Python that has it.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "core/io/file.h"
#include "core/random.h"
#include "launch/statistics/bootstrap.h"
#include "launch/statistics/distributions.h"
#include "launch/statistics/paired.h"
#include "launch/statistics/power_law.h"
#include "launch/statistics/sample.h"

namespace gta::statistics {
namespace {

using Json = nlohmann::json;

Json distributions() {
  Json rows = Json::array();
  for (const double degrees : {1.0, 2.0, 4.0, 9.0, 31.0, 199.0, 5000.0}) {
    for (const double p : {0.001, 0.025, 0.3, 0.5, 0.9, 0.975, 0.9995})
      rows.push_back({{"what", "t_quantile"}, {"in", {p, degrees}}, {"out", t_quantile(p, degrees)}});
    for (const double t : {-3.0, 0.1, 2.5, 12.0})
      rows.push_back({{"what", "t_two_sided"}, {"in", {t, degrees}}, {"out", t_two_sided(t, degrees)}});
    for (const double shift : {0.0, 0.7, 2.8, 6.0})
      for (const double t : {-2.0, 0.5, 2.1, 4.0}) {
        const Json in = {t, degrees, shift};
        rows.push_back({{"what", "noncentral_t_cdf"}, {"in", in}, {"out", noncentral_t_cdf(t, degrees, shift)}});
        rows.push_back({{"what", "noncentral_t_above"}, {"in", in}, {"out", noncentral_t_above(t, degrees, shift)}});
      }
  }
  return rows;
}

Json samples() {
  Json rows = Json::array();
  for (const int64_t n : {3, 5, 8, 12, 16}) {
    const RandomStream random(static_cast<uint64_t>(n), "samples");
    std::vector<double> a, b, differences;
    for (uint64_t i = 0; i < static_cast<uint64_t>(n); ++i) {
      a.push_back(3 + 0.1 * random.normal(2 * i));
      b.push_back(a.back() + 0.05 + 0.1 * random.normal(2 * i + 1));
      differences.push_back(b.back() - a.back());
    }
    const Interval interval = *interval_of_mean(differences);
    rows.push_back({{"a", a},
                    {"b", b},
                    {"mean", mean(differences)},
                    {"deviation", deviation(differences)},
                    {"low", interval.low},
                    {"high", interval.high},
                    {"p_t", *paired_t_p(differences)},
                    {"p_sign_flip", sign_flip_p(differences)},
                    {"correlation", *correlation(a, b)}});
    // Of few items many draws are all of them in another order, whose values lie on this side or that of the estimate
    // by how they were rounded.
    if (n < 12) continue;
    const Resampled resampled = resample(
        n,
        [&](const std::vector<int64_t>& items) {
          std::vector<double> values;
          for (int64_t item : items) values.push_back(differences[static_cast<size_t>(item)]);
          return mean(values) * mean(values);
        },
        999, 5);
    const Interval bca = bca_interval(resampled, 0.9);
    rows.back().update({{"bootstrap", resampled.bootstrap}, {"bca_low", bca.low}, {"bca_high", bca.high}});
  }
  return rows;
}

Json power_laws() {
  const RandomStream random(4, "laws");
  std::vector<std::pair<double, double>> points;
  for (uint64_t i = 0; i < 8; ++i) {
    const double compute = std::pow(10.0, 16 + 0.5 * static_cast<double>(i));
    points.emplace_back(compute, 1.8 + 300 * std::pow(compute, -0.13) * std::exp(0.01 * random.normal(i)));
  }
  const PowerLaw law = *fit_power_law(points);
  return {{"points", points}, {"floor", law.floor}, {"factor", law.factor}, {"exponent", law.exponent}};
}

TEST(SciPy, SaysTheSame) {
  const char* const named = std::getenv("GTA_SCIPY_PYTHON");
  const std::string python = named ? named : "python3";
  if (std::system((python + " -c 'import scipy' 2>/dev/null").c_str()) != 0)
    GTEST_SKIP() << python << " has no SciPy: name one that has with GTA_SCIPY_PYTHON";
  char pattern[] = "/tmp/gta-scipy-XXXXXX";
  const std::string folder = mkdtemp(pattern), file = folder + "/numbers.json";
  publish_text(file,
               Json{{"distributions", distributions()}, {"samples", samples()}, {"power_law", power_laws()}}.dump());
  EXPECT_EQ(std::system((python + " " GTA_SOURCE_DIR "/tests/interop/scipy_check.py " + file).c_str()), 0);
  remove_tree(folder);
}

}  // namespace
}  // namespace gta::statistics
