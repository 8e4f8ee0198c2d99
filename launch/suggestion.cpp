#include "launch/suggestion.h"

#include <algorithm>
#include <cctype>
#include <utility>

namespace gta {
namespace {

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

// The number that a word ends with: float8 is no mistyped float64.
std::string number_of(const std::string& word) { return word.substr(word.find_last_not_of("0123456789") + 1); }

// What others call the same, or what comes nearest to it: of 16 bits there is bfloat16 alone.
constexpr std::pair<const char*, const char*> kOtherNames[] = {
    {"fp32", "float32"},  {"float", "float32"}, {"single", "float32"},   {"fp64", "float64"},  {"double", "float64"},
    {"fp16", "bfloat16"}, {"f16", "bfloat16"},  {"float16", "bfloat16"}, {"half", "bfloat16"}, {"bfp16", "bfloat16"},
    {"yes", "true"},      {"on", "true"},       {"no", "false"},         {"off", "false"},
};

// Of those for which `distance` is least and at most `most`, if there is but one.
template <class Distance>
std::string only_nearest(const std::vector<std::string>& words, size_t most, Distance&& distance) {
  std::string best;
  size_t least = most + 1;
  for (const std::string& word : words) {
    const size_t its = distance(word);
    if (its > least || (its == least && best.empty())) continue;
    best = its < least ? word : "";
    least = its;
  }
  return best;
}

}  // namespace

size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row[b.size()];
}

bool abbreviates(const std::string& word, const std::string& whole) {
  if (word.empty() || whole.empty() || word[0] != whole[0]) return false;
  size_t found = 0;
  for (char c : whole) found += found < word.size() && word[found] == c;
  return found == word.size();
}

std::string nearest_word(const std::string& written, const std::vector<std::string>& words) {
  const std::string word = lower(written);
  constexpr size_t kFar = 1000;
  if (const std::string same = only_nearest(words, 0, [&](const auto& w) { return lower(w) == word ? 0 : kFar; });
      !same.empty())
    return same;
  for (const auto& [other, name] : kOtherNames)
    if (word == other && std::find(words.begin(), words.end(), name) != words.end()) return name;
  if (word.size() < 2) return "";
  // What is left out or added counts less than what is wrong.
  if (const std::string longer = only_nearest(words, kFar - 1,
                                              [&](const auto& w) {
                                                const bool part = word.size() > 2 && w.find(word) != std::string::npos;
                                                const bool whole = w.size() > 2 && word.starts_with(w);  // automatic
                                                return part || whole || abbreviates(word, w) ? w.size() : kFar;
                                              });
      !longer.empty())
    return longer;
  return only_nearest(words, 1 + word.size() / 3, [&](const auto& w) {
    const std::string number = number_of(word), its = number_of(w);
    return number == its || number.empty() || its.empty() ? edit_distance(word, lower(w)) : kFar;
  });
}

std::string did_you_mean(const std::string& word) { return word.empty() ? "" : "; did you mean " + word + "?"; }

}  // namespace gta
