#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "launch/compare/numbers.h"
#include "launch/compare/tables.h"

namespace gta {
namespace {

using Row = std::vector<std::string>;

// Columns of a text that is UTF-8.
size_t width(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::string count_text(double value) {
  if (!std::isfinite(value)) return "-";
  for (const auto& [size, unit] : {std::pair{1e9, "G"}, {1e6, "M"}, {1e3, "k"}})
    if (value >= size) return fmt::format("{:.3g}{}", value / size, unit);
  return fmt::format("{:.3g}", value);
}

Row row_of(const Comparison& c, const Variant& v) {
  const Mark mark = mark_of(c, v);
  Row row = {(mark == Mark::Best           ? "* "
              : mark == Mark::AsGoodAsBest ? "+ "
                                           : "  ") +
                 v.name,
             std::to_string(v.runs.size()),
             count_text(static_cast<double>(v.cost.parameters)),
             count_text(v.cost.flops_per_token_training),
             std::to_string(v.cost.cache_bytes_per_token),
             with_interval(v.validation_loss),
             with_interval(v.bits_per_byte),
             count_text(v.tokens_per_second.mean)};
  if (!v.difference) {
    row.insert(row.end(), {"baseline", "", "", ""});
    return row;
  }
  const Difference& d = *v.difference;
  row.push_back(d.of_pairs.values.empty() ? "-" : fmt::format("{:+.4f}", d.of_pairs.mean));
  row.push_back(d.of_pairs.interval
                    ? fmt::format("{:+.4f} .. {:+.4f}", d.of_pairs.interval->low, d.of_pairs.interval->high)
                    : "-");
  row.push_back(short_p(d.p_t_holm));
  row.emplace_back(name_of(d.finding));
  return row;
}

}  // namespace

std::string table_text(const Comparison& c) {
  std::vector<Row> rows = {{"  variant", "seeds", "parameters", "FLOPs/token", "cache B/token", "loss (nats)",
                            "bits/byte", "tokens/s", "difference", "95% interval", "p (Holm)", "finding"}};
  bool marked = false;
  for (const Variant& variant : c.variants) {
    rows.push_back(row_of(c, variant));
    marked = marked || mark_of(c, variant) != Mark::None;
  }
  std::vector<size_t> widths(rows.front().size());
  for (const Row& row : rows)
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width(row[i]));
  std::string text;
  for (const Row& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string gap(widths[i] - width(row[i]), ' ');
      const bool left = i == 0 || i + 1 == row.size();
      line += (i ? "  " : "") + (left ? row[i] + gap : gap + row[i]);
    }
    text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  if (marked) text += fmt::format("* the lowest {}  + not shown to differ from it\n", unit_of(c.measure));
  return text;
}

}  // namespace gta
