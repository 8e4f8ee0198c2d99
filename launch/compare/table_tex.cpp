#include <fmt/format.h>

#include <cmath>

#include "launch/compare/numbers.h"
#include "launch/compare/tables.h"

namespace gta {
namespace {

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) switch (c) {
      case '&':
      case '%':
      case '$':
      case '#':
      case '_':
      case '{':
      case '}':
        out += {'\\', c};
        break;
      case '~':
        out += "\\textasciitilde{}";
        break;
      case '^':
        out += "\\textasciicircum{}";
        break;
      case '\\':
        out += "\\textbackslash{}";
        break;
      case '<':
        out += "\\textless{}";
        break;
      case '>':
        out += "\\textgreater{}";
        break;
      case '|':
        out += "\\textbar{}";
        break;
      case '"':
        out += "\\textquotedbl{}";
        break;
      default:
        out += c;
    }
  return out;
}

std::string math(const std::string& text) { return text == "-" ? "--" : "$" + text + "$"; }

std::string number(double value, int decimals) {
  return std::isfinite(value) ? fmt::format("{:.{}f}", value, decimals) : "-";
}

// mean \pm half of the interval
std::string estimate(const Estimate& e, int decimals, double unit = 1) {
  std::string text = number(e.mean / unit, decimals);
  if (e.interval) text += " \\pm " + number((e.interval->high - e.interval->low) / 2 / unit, decimals);
  return math(text);
}

std::string power_of_ten(double value) {
  if (!(value > 0) || !std::isfinite(value)) return "--";
  const double exponent = std::floor(std::log10(value));
  return fmt::format("${:.2f} \\cdot 10^{{{:.0f}}}$", value / std::pow(10, exponent), exponent);
}

std::string name_in(const Comparison& c, const Variant& v) {
  const std::string name = escaped(v.name);
  switch (mark_of(c, v)) {
    case Mark::Best:
      return "\\textbf{" + name + "}";
    case Mark::AsGoodAsBest:
      return name + "$^{\\dagger}$";
    case Mark::None:
      break;
  }
  return name;
}

std::string row(const Comparison& c, const Variant& v) {
  std::string difference = "--", p = "--", holm = "--";
  if (v.difference) {
    const Difference& d = *v.difference;
    difference = math(number(d.of_pairs.mean, 4));
    if (d.of_pairs.interval)
      difference += fmt::format(" $[{:.4f}, {:.4f}]$", d.of_pairs.interval->low, d.of_pairs.interval->high);
    p = math(short_p(d.p_t));
    holm = math(short_p(d.p_t_holm));
  }
  return fmt::format("{} & {} & {} & {} & {} & {} & {} & {} & {} & {} & {} & {} & {} & {} \\\\\n", name_in(c, v),
                     v.runs.size(), v.cost.parameters, power_of_ten(v.cost.flops_per_token_training),
                     power_of_ten(v.cost.attention_flops_per_token), v.cost.cache_bytes_per_token,
                     estimate(v.validation_loss, 4), estimate(v.bits_per_byte, 4), estimate(v.perplexity, 2),
                     estimate(v.seconds_per_step, 4), estimate(v.tokens_per_second, 0),
                     estimate(v.memory_bytes, 0, 1 << 20), difference, p + " & " + holm);
}

}  // namespace

std::string table_tex(const Comparison& c) {
  std::string text =
      "% \\usepackage{booktabs}, \\usepackage[T1]{fontenc}; \\resizebox or a landscape page where it is too wide.\n"
      "% Means over seeds with 95% intervals. Bold: the best; a dagger: not shown to differ from it. FLOPs: of a "
      "token,\n"
      "% training; attention: forward. Difference: to the baseline, paired by seed. p: Student's, then after Holm's\n"
      "% correction.\n"
      "\\begin{tabular}{lrrrrrrrrrrrrrr}\n\\toprule\n"
      "variant & seeds & parameters & FLOPs & attention FLOPs & cache (B/token) & validation loss & bits per byte & "
      "perplexity & s/step & tokens/s & memory (MiB) & ";
  text += fmt::format("difference ({}) & $p$ & $p$ (Holm) \\\\\n\\midrule\n", unit_of(c.measure));
  for (const Variant& variant : c.variants) text += row(c, variant);
  return text + "\\bottomrule\n\\end{tabular}\n";
}

}  // namespace gta
