#include "launch/compare/profiles.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <set>
#include <tuple>

namespace gta {
namespace {

// What stands behind the key: "layers.3", "33-64".
enum class Parts : uint8_t { Lengths, Layers, Modules };

struct Subject {
  const char *key, *title, *x_label, *y_label, *explanation;
  Parts parts;
};

constexpr Subject kSubjects[] = {
    {"loss/position", "Loss by position in the context", "tokens from the beginning", "nats per token",
     "Whether a variant uses its context: the further down a line goes to the right, the more it does.",
     Parts::Lengths},
    {"loss/document", "Loss by length of the document", "tokens of the document", "nats per token",
     "All tokens of the documents of a length.", Parts::Lengths},
    {"map_entropy", "Entropy of the attention maps", "layer", "nats",
     "0: each query looks at one token alone; the logarithm of the tokens that it sees: at all of them alike.",
     Parts::Layers},
    {"map_similarity", "Similarity of the heads' maps", "layer", "mean cosine",
     "Between the maps of different heads of a layer; 1: all heads look at the same tokens, as GTA supposes.",
     Parts::Layers},
    {"key_rank", "Effective rank of the keys", "layer", "rank",
     "The exponential of the entropy of the normalised singular values: in how many directions they spread.",
     Parts::Layers},
    {"value_rank", "Effective rank of the values", "layer", "rank", "As of the keys.", Parts::Layers},
    {"latent_rank", "Effective rank of the latents", "layer", "rank",
     "As of the keys, of what the cache holds in place of values.", Parts::Layers},
    {"largest_score", "Largest attention score", "layer", "score",
     "Scaled, before the softmax. What grows without end makes a training diverge.", Parts::Layers},
    {"stream_rms", "Residual stream", "layer", "root mean square", "After each block.", Parts::Layers},
    {"gradient_norm", "Norm of the gradient", "part", "L2 norm", "Over the parameters of a part.", Parts::Modules},
    {"update_norm", "Norm of the update", "part", "L2 norm", "Of the parameters of a part, in one step.",
     Parts::Modules},
    {"weight_norm", "Norm of the weights", "part", "L2 norm", "Over the parameters of a part.", Parts::Modules},
};

std::optional<int64_t> whole_number(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0 || text.size() > 12) return std::nullopt;
  return value;
}

struct Label {
  int64_t rank = 0, number = 0;  // their order
  std::string text;
  bool operator<(const Label& other) const {
    return std::tie(rank, number, text) < std::tie(other.rank, other.number, other.text);
  }
};

// Nothing where it is no such part: rows may come from anywhere.
std::optional<Label> label_of(std::string_view part, Parts parts) {
  if (parts == Parts::Lengths) {
    const size_t dash = part.find('-');
    const auto from = whole_number(part.substr(0, dash));
    const bool open = part.ends_with('+');
    if (open && !from) {
      const auto least = whole_number(part.substr(0, part.size() - 1));
      return least ? std::optional(Label{0, *least, std::string(part)}) : std::nullopt;
    }
    if (!from || (dash != std::string_view::npos && !whole_number(part.substr(dash + 1)))) return std::nullopt;
    return Label{0, *from, std::string(part)};
  }
  constexpr std::string_view kLayer = "layers.";
  if (part.starts_with(kLayer)) {
    const auto layer = whole_number(part.substr(kLayer.size()));
    return layer ? std::optional(Label{1, *layer, std::to_string(*layer)}) : std::nullopt;
  }
  if (parts != Parts::Modules) return std::nullopt;
  if (part == "embed_tokens") return Label{0, 0, "embed"};
  if (part == "norm") return Label{2, 0, "norm"};
  if (part == "lm_head") return Label{3, 0, "head"};
  return std::nullopt;
}

std::optional<Profile> profile_of(const Subject& subject, const Comparison& comparison) {
  const std::string prefix = std::string(subject.key) + "/";
  const bool breakdown = subject.parts == Parts::Lengths;
  std::map<Label, std::map<size_t, std::map<int64_t, double>>> found;  // by label, variant and seed
  std::set<int64_t> steps;
  for (size_t v = 0; v < comparison.variants.size(); ++v)
    for (size_t run : comparison.variants[v].runs) {
      const LastRows& last = comparison.runs[run].last_rows;
      const auto& values = breakdown ? last.breakdown : last.diagnosis;
      for (auto at = values.lower_bound(prefix); at != values.end() && at->first.starts_with(prefix); ++at) {
        const auto label = label_of(std::string_view(at->first).substr(prefix.size()), subject.parts);
        if (!label || !std::isfinite(at->second)) continue;
        found[*label][v][comparison.runs[run].config.seed] = at->second;
        steps.insert(breakdown ? last.breakdown_step : last.diagnosis_step);
      }
    }
  if (found.empty()) return std::nullopt;
  while (found.size() > kMostLabels) found.erase(std::prev(found.end()));

  Profile profile{subject.key,     subject.title,       subject.x_label,
                  subject.y_label, subject.explanation, {},
                  *steps.begin(),  *steps.rbegin(),     {}};
  for (const auto& [label, by_variant] : found) profile.labels.push_back(label.text);
  for (size_t v = 0; v < comparison.variants.size(); ++v) {
    Profile::Line line{comparison.variants[v].name, {}};
    for (const auto& [label, by_variant] : found) {
      const auto values = by_variant.find(v);
      line.values.emplace_back(values == by_variant.end() ? std::map<int64_t, double>() : values->second);
    }
    if (std::any_of(line.values.begin(), line.values.end(), [](const Estimate& e) { return !e.values.empty(); }))
      profile.lines.push_back(std::move(line));
  }
  return profile;
}

}  // namespace

std::vector<Profile> profiles_of(const Comparison& comparison) {
  std::vector<Profile> profiles;
  for (const Subject& subject : kSubjects)
    if (std::optional<Profile> profile = profile_of(subject, comparison)) profiles.push_back(std::move(*profile));
  return profiles;
}

}  // namespace gta
