#include "launch/compare/groups.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/io/hash.h"

namespace gta {
namespace {

constexpr size_t kMostNames = 4;

}  // namespace

Groups::Groups(const std::vector<const RunRecord*>& runs,
               const std::function<std::optional<std::string>(const RunRecord&)>& value) {
  for (const RunRecord* run : runs)
    if (const std::optional<std::string> said = value(*run))
      by_value_[*said].push_back(run->label);
    else
      silent_.push_back(run->label);
}

std::string Groups::text() const { return listed(by_value_); }
std::string Groups::silent() const { return shortened(silent_); }

std::string shortened(const std::vector<std::string>& names) {
  if (names.size() <= kMostNames) return fmt::format("{}", fmt::join(names, ", "));
  return fmt::format("{} and {} more", fmt::join(names.begin(), names.begin() + kMostNames - 1, ", "),
                     names.size() - kMostNames + 1);
}

std::string listed(const std::map<std::string, std::vector<std::string>>& by_value) {
  std::string text;
  for (const auto& [value, names] : by_value)
    text += fmt::format("{}{} ({})", text.empty() ? "" : ", ", value, shortened(names));
  return text;
}

std::string shown(const std::string& value) { return without_directories(printable(value)); }

std::optional<std::string> tokenizer_of(const RunRecord& run) {
  if (!run.tokenizer_hash) return std::nullopt;
  return hash_text(*run.tokenizer_hash);
}

std::optional<std::string> data_of(const RunRecord& run) {
  if (!run.data_hash) return std::nullopt;
  return hash_text(*run.data_hash);
}

std::optional<std::string> validation_files(const RunRecord& run) {
  std::vector<std::string> names;
  for (const std::string& file : run.config.data.validation)
    names.push_back(printable(file.substr(file.find_last_of('/') + 1)));
  std::sort(names.begin(), names.end());
  std::string text = shortened(names);
  if (names.size() > kMostNames) text += ", xxh3 " + hash_text(hash_bytes(fmt::format("{}", fmt::join(names, "\n"))));
  return text;
}

std::optional<double> bytes_per_token(const RunRecord& run) {
  if (!run.final || !(run.final->bits_per_byte > 0) || !(run.final->loss > 0)) return std::nullopt;
  const double bytes = run.final->loss / std::numbers::ln2 / run.final->bits_per_byte;
  if (!std::isfinite(bytes)) return std::nullopt;
  return bytes;
}

}  // namespace gta
