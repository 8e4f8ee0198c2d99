#include <fmt/format.h>

#include <cmath>
#include <vector>

#include "launch/compare/tables.h"

namespace gta {
namespace {

std::string field(const std::string& text) {
  const std::string safe =
      std::string("=+-@").find(text.empty() ? 'x' : text[0]) == std::string::npos ? text : fmt::format("'{}", text);
  if (safe.find_first_of(",\"\r\n") == std::string::npos) return safe;
  std::string quoted = "\"";
  for (const char c : safe) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + "\"";
}

std::string number(double value) { return std::isfinite(value) ? fmt::format("{}", value) : ""; }
template <class T>
std::string number(const std::optional<T>& value) {
  return value ? fmt::format("{}", *value) : "";
}

struct Columns {
  std::vector<std::string> names, values;

  void text(const char* name, const std::string& value) {
    names.emplace_back(name);
    values.push_back(field(value));
  }
  template <class T>
  void add(const std::string& name, const T& value) {
    names.push_back(name);
    values.push_back(number(value));
  }
  void add(const std::string& name, int64_t value) {
    names.push_back(name);
    values.push_back(std::to_string(value));
  }
  void add(const std::string& name, const Estimate& estimate) {
    add(name, estimate.mean);
    add(name + "_low", estimate.interval ? estimate.interval->low : NAN);
    add(name + "_high", estimate.interval ? estimate.interval->high : NAN);
  }
};

Columns columns_of(const Comparison& c, const Variant& v) {
  Columns columns;
  columns.text("variant", v.name);
  columns.add("seeds", static_cast<int64_t>(v.runs.size()));
  columns.add("parameters", v.cost.parameters);
  columns.add("parameters_non_embedding", v.cost.parameters_non_embedding);
  columns.add("flops_per_token_training", v.cost.flops_per_token_training);
  columns.add("attention_flops_per_token", v.cost.attention_flops_per_token);
  columns.add("cache_bytes_per_token", v.cost.cache_bytes_per_token);
  columns.add("validation_loss", v.validation_loss);
  columns.add("bits_per_byte", v.bits_per_byte);
  columns.add("perplexity", v.perplexity);
  columns.add("seconds_per_step", v.seconds_per_step);
  columns.add("tokens_per_second", v.tokens_per_second);
  columns.add("memory_bytes", v.memory_bytes);
  const Difference d = v.difference ? *v.difference : Difference();
  columns.add(fmt::format("difference_{}", name_of(c.measure)), d.of_pairs);
  columns.add("pairs", static_cast<int64_t>(d.of_pairs.values.size()));
  columns.add("p_t", d.p_t);
  columns.add("p_t_holm", d.p_t_holm);
  columns.add("p_sign_flip", v.difference ? d.p_sign_flip : NAN);
  columns.add("p_sign_flip_holm", v.difference ? d.p_holm : NAN);
  columns.text("finding", v.difference ? name_of(d.finding) : "baseline");
  columns.text("best", v.best ? "yes" : v.as_good_as_best ? "not shown to differ" : "no");
  return columns;
}

std::string row(const std::vector<std::string>& fields) {
  std::string text;
  for (const std::string& f : fields) text += (text.empty() && &f == &fields.front() ? "" : ",") + f;
  return text + "\r\n";
}

}  // namespace

std::string table_csv(const Comparison& c) {
  std::string text = row(columns_of(c, c.baseline()).names);
  for (const Variant& variant : c.variants) text += row(columns_of(c, variant).values);
  return text;
}

}  // namespace gta
