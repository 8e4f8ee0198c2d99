// The tables: what each variant reached, and what it costs.
#include <fmt/format.h>

#include <cmath>

#include "launch/compare/numbers.h"
#include "launch/compare/page/numbers.h"
#include "launch/compare/page/parts.h"
#include "launch/compare/page/sections.h"
#include "launch/statistics/paired.h"

namespace gta::page {
namespace {

constexpr double kMib = 1 << 20;

Markup marked_name(const Comparison& comparison, const Variant& variant) {
  Markup all = name_with_mark(comparison, variant.name);
  const auto tag = [&](const char* css, const char* words) {
    all += " ";
    all += element("span", {{"class", std::string("tag ") + css}}, {words});
  };
  if (&variant == &comparison.baseline()) tag("baseline", "baseline");
  if (const Mark mark = mark_of(comparison, variant); mark != Mark::None)
    tag(mark == Mark::Best ? "best" : "tie", mark == Mark::Best ? "best" : "not shown to be worse");
  return all;
}

Markup small(const std::string& text) { return element("span", {{"class", "pm"}}, {" " + text}); }

Markup with_correction(double p, double corrected) {
  Markup all = p_value(corrected);
  all += small("(" + p_value(p) + ")");
  return all;
}

Markup difference_cell(const Estimate& difference) {
  if (!std::isfinite(difference.mean)) return kNoNumber;
  const NumberText text = [](double value) { return signed_fixed(value, 4); };
  Markup all = text(difference.mean);
  if (difference.interval) all += small(in_brackets(*difference.interval, text));
  return all;
}

Markup results_table(const Comparison& comparison) {
  Table table(
      fmt::format("What each variant reached, mean over seeds \u00b1 half of its 95% interval"),
      {"variant", "seeds", "validation loss, nats per token",
       fmt::format("difference to {}, {}", comparison.baseline().name, unit_of(comparison.measure)), "finding",
       "p of Student\u2019s t, by Holm (alone)", "p of sign flips, by Holm (alone)", "bits per byte", "perplexity"});
  for (const Variant& variant : comparison.variants) {
    std::vector<Markup> cells = {std::to_string(variant.validation_loss.values.size()),
                                 mean_and_interval(variant.validation_loss, decimals(4))};
    if (const auto& difference = variant.difference) {
      cells.push_back(difference_cell(difference->of_pairs));
      cells.emplace_back(name_of(difference->finding));
      cells.push_back(difference->p_t && difference->p_t_holm ? with_correction(*difference->p_t, *difference->p_t_holm)
                                                              : Markup(kNoNumber));
      cells.push_back(difference->of_pairs.values.size() > 1
                          ? with_correction(difference->p_sign_flip, difference->p_holm)
                          : Markup(kNoNumber));
    } else {
      cells.insert(cells.end(), 4, Markup(kNoNumber));
    }
    cells.push_back(mean_and_interval(variant.bits_per_byte, decimals(4)));
    cells.push_back(mean_and_interval(variant.perplexity, decimals(3)));
    table.row(marked_name(comparison, variant), cells);
  }
  return table.markup();
}

// A cost, and its share of the baseline's.
Markup cost_cell(const std::string& text, double value, double of_baseline) {
  Markup all = text;
  if (of_baseline > 0 && std::isfinite(value)) all += small(fixed(100 * value / of_baseline, 1) + "%");
  return all;
}

Markup costs_table(const Comparison& comparison, const std::map<std::string, double>& decoding) {
  std::vector<std::string> columns = {"variant",
                                      "parameters",
                                      "without embeddings",
                                      "training FLOPs per token",
                                      "attention FLOPs per token",
                                      "cache, bytes per token",
                                      "milliseconds per step",
                                      "tokens per second",
                                      "memory, MiB"};
  if (!decoding.empty()) columns.emplace_back("decoded tokens per second");
  Table table("What each variant costs, and its share of the baseline\u2019s", columns);
  const Cost& base = comparison.baseline().cost;
  for (const Variant& variant : comparison.variants) {
    const Cost& cost = variant.cost;
    const auto whole = [](int64_t value, int64_t of_baseline) {
      return cost_cell(grouped(value), static_cast<double>(value), static_cast<double>(of_baseline));
    };
    std::vector<Markup> cells = {
        whole(cost.parameters, base.parameters),
        whole(cost.parameters_non_embedding, base.parameters_non_embedding),
        cost_cell(in_units(cost.flops_per_token_training), cost.flops_per_token_training,
                  base.flops_per_token_training),
        cost_cell(in_units(cost.attention_flops_per_token), cost.attention_flops_per_token,
                  base.attention_flops_per_token),
        whole(cost.cache_bytes_per_token, base.cache_bytes_per_token),
        mean_and_interval(variant.seconds_per_step, [](double value) { return fixed(1000 * value, 1); }),
        mean_and_interval(
            variant.tokens_per_second,
            [](double value) { return std::abs(value) < 1e15 ? grouped(std::llround(value)) : in_units(value); }),
        mean_and_interval(variant.memory_bytes, [](double value) { return fixed(value / kMib, 1); })};
    if (!decoding.empty()) {
      const auto found = decoding.find(variant.name);
      cells.emplace_back(found == decoding.end() ? kNoNumber : fixed(found->second, 1));
    }
    table.row(marked_name(comparison, variant), cells);
  }
  return table.markup();
}

}  // namespace

Markup results_section(const Comparison& comparison, const Supplements& supplements) {
  Markup all = results_table(comparison);
  std::string words =
      "Best is the lowest mean. Differences are a variant\u2019s loss less the baseline\u2019s, paired by seed, with "
      "their "
      "95% interval: below 0 the variant is better. Findings rest on Student\u2019s t after Holm\u2019s correction for "
      "the number of comparisons.";
  int64_t pairs = 0;
  for (const Variant& variant : comparison.variants)
    if (variant.difference) pairs = std::max(pairs, static_cast<int64_t>(variant.difference->of_pairs.values.size()));
  if (pairs > 1 && pairs <= 5)
    words += fmt::format(" With {} pairs sign flips cannot show less than p = {}, whatever the differences are.", pairs,
                         p_value(statistics::smallest_sign_flip_p(pairs)));
  all += note({words});
  all += costs_table(comparison, supplements.decode_tokens_per_second);
  all +=
      note({"Time, speed and memory are medians of the runs\u2019 own steps on the machines that they ran on; "
            "parameters, FLOPs and the cache follow from the configuration."});
  return section("results", "Results", all);
}

}  // namespace gta::page
