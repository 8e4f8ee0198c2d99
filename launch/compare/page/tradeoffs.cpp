// What a lower loss costs when the model is used: the loss over the cache, over attention's FLOPs, over the speed of
// decoding.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "launch/chart/chart.h"
#include "launch/compare/page/numbers.h"
#include "launch/compare/page/parts.h"
#include "launch/compare/page/sections.h"

namespace gta::page {
namespace {

enum class Better : uint8_t { Less, More };
constexpr double kWide = 4;  // a range that takes a logarithmic scale

struct Tradeoff {
  const char *id, *title, *x;
  Better better;
  std::vector<std::optional<double>> costs;  // of each variant
};

// The variants that no other is better than in both, from the cheapest on.
std::vector<size_t> front_of(const Comparison& comparison, const Tradeoff& tradeoff) {
  std::vector<size_t> order;
  for (size_t i = 0; i < comparison.variants.size(); ++i)
    if (tradeoff.costs[i] && std::isfinite(comparison.measured(comparison.variants[i]).mean)) order.push_back(i);
  const auto loss = [&](size_t i) { return comparison.measured(comparison.variants[i]).mean; };
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const double x = *tradeoff.costs[a], y = *tradeoff.costs[b];
    if (x != y) return tradeoff.better == Better::Less ? x < y : x > y;
    return loss(a) < loss(b);
  });
  std::vector<size_t> front;
  for (size_t i : order)
    if (front.empty() || loss(i) < loss(front.back())) front.push_back(i);
  return front;
}

Markup picture_of(const Comparison& comparison, const Tradeoff& tradeoff) {
  Chart chart{tradeoff.title, tradeoff.x, unit_of(comparison.measure), {}};
  chart.origin = Origin::Data;
  double least = INFINITY, most = 0;
  const std::vector<size_t> front = front_of(comparison, tradeoff);
  if (front.empty()) return {};
  ChartLine line{"Pareto front", {}, 7, Draw::PlainLine};
  std::string words = "Not beaten in both, from the cheapest:";
  for (size_t i : front) {
    line.points.push_back({*tradeoff.costs[i], comparison.measured(comparison.variants[i]).mean});
    words += fmt::format(" {} ({} at {});", comparison.variants[i].name,
                         fixed(comparison.measured(comparison.variants[i]).mean, 4), in_units(*tradeoff.costs[i]));
  }
  chart.lines.push_back(line);
  for (size_t i = 0; i < comparison.variants.size(); ++i) {
    const Variant& variant = comparison.variants[i];
    if (!tradeoff.costs[i] || !std::isfinite(comparison.measured(variant).mean)) continue;
    const std::vector<double> losses = comparison.measured(variant).list();
    const auto [low, high] = std::minmax_element(losses.begin(), losses.end());
    least = std::min(least, *tradeoff.costs[i]);
    most = std::max(most, *tradeoff.costs[i]);
    chart.lines.push_back({variant.name,
                           {{*tradeoff.costs[i], comparison.measured(variant).mean, *low, *high}},
                           style_of_variant(i),
                           Draw::NamedMarks});
  }
  if (least > 0 && most > kWide * least) chart.x_scale = Scale::Logarithmic;
  return chart_markup(chart, std::string("tradeoff-") + tradeoff.id, words);
}

}  // namespace

Markup tradeoffs_section(const Comparison& comparison, const Supplements& supplements) {
  Tradeoff cache{"cache", "Loss and cache", "cache, bytes per token", Better::Less, {}},
      attention{"attention", "Loss and attention", "attention FLOPs per token", Better::Less, {}},
      decoding{"decoding", "Loss and decoding", "decoded tokens per second", Better::More, {}};
  for (const Variant& variant : comparison.variants) {
    cache.costs.emplace_back(static_cast<double>(variant.cost.cache_bytes_per_token));
    attention.costs.emplace_back(variant.cost.attention_flops_per_token);
    const auto found = supplements.decode_tokens_per_second.find(variant.name);
    decoding.costs.push_back(found == supplements.decode_tokens_per_second.end() ? std::nullopt
                                                                                 : std::optional(found->second));
  }
  std::vector<Markup> panels;
  for (const Tradeoff* tradeoff : {&cache, &attention, &decoding})
    if (Markup picture = picture_of(comparison, *tradeoff); !picture.empty()) panels.push_back(picture);
  if (panels.empty() || comparison.variants.size() < 2) return {};
  return section(
      "tradeoffs", "Trade-offs",
      figure(panels, {"Marks are means over seeds, bars go from the lowest to the highest. The dashed line is "
                      "the Pareto front of the means: of the variants on it none other is both better and "
                      "cheaper; how sure that is, the differences above say. The numbers are in the tables "
                      "of the results."}));
}

}  // namespace gta::page
