#include "launch/generation/token_choice.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/error.h"

namespace gta {
namespace {

constexpr size_t kFirstPart = 64;  // of the vocabulary that is sorted; nearly always it decides

// A token may be impossible (-inf), as those beyond the tokenizer's are; not all may be, and none may be more.
void require_finite(const std::vector<float>& logits) {
  bool possible = false;
  for (size_t id = 0; id < logits.size(); ++id) {
    if (std::isnan(logits[id]) || logits[id] == std::numeric_limits<float>::infinity())
      fail("generate", "the model gives token {} the logit {}: its weights have diverged; take an earlier checkpoint",
           id, logits[id]);
    possible |= std::isfinite(logits[id]);
  }
  if (!possible)
    fail("generate", "the model finds every token impossible: its weights have diverged; take an earlier checkpoint");
}

void penalise(std::vector<float>& logits, std::span<const int32_t> earlier, double penalty) {
  if (penalty == 1 || earlier.empty()) return;
  std::vector<bool> seen(logits.size(), false);
  for (const int32_t id : earlier) {
    const auto at = static_cast<size_t>(id);
    if (at >= logits.size() || seen[at]) continue;
    seen[at] = true;
    logits[at] = static_cast<float>(logits[at] < 0 ? logits[at] * penalty : logits[at] / penalty);
  }
}

// Tokens by their place, the most probable first. They are sorted in parts, each as large as all before it, when they
// are asked for.
class Ranking {
 public:
  explicit Ranking(const std::vector<float>& logits) : logits_(logits), ids_(logits.size()) {
    std::iota(ids_.begin(), ids_.end(), 0);
  }
  size_t size() const { return ids_.size(); }
  const std::vector<int32_t>& in_some_order() const { return ids_; }
  int32_t at(size_t place) {
    while (sorted_ <= place) sort_part(std::max(kFirstPart, 2 * sorted_));
    return ids_[place];
  }
  void expect(size_t count) {
    if (count > sorted_) sort_part(count);
  }

 private:
  void sort_part(size_t end) {
    const auto before = [this](int32_t a, int32_t b) {
      const float x = logits_[static_cast<size_t>(a)], y = logits_[static_cast<size_t>(b)];
      return x > y || (x == y && a < b);
    };
    end = std::min(end, ids_.size());
    const auto first = ids_.begin() + static_cast<std::ptrdiff_t>(sorted_),
               last = ids_.begin() + static_cast<std::ptrdiff_t>(end);
    if (last != ids_.end()) std::nth_element(first, last, ids_.end(), before);
    std::sort(first, last, before);
    sorted_ = end;
  }

  const std::vector<float>& logits_;
  std::vector<int32_t> ids_;
  size_t sorted_ = 0;
};

// What stays of a vocabulary: the first `kept` by rank. Weights are probabilities over that of the most probable token.
class Remaining {
 public:
  Remaining(const std::vector<float>& logits, const TokenChoice& choice)
      : logits_(logits), temperature_(choice.temperature), ranking_(logits), kept_(logits.size()) {
    largest_ = *std::max_element(logits.begin(), logits.end());
    if (choice.top_k > 0 && static_cast<uint64_t>(choice.top_k) < kept_) {
      kept_ = static_cast<size_t>(choice.top_k);
      ranking_.expect(kept_);
      for (size_t i = 0; i < kept_; ++i) mass_ += weight(i);
    } else {
      for (const int32_t id : ranking_.in_some_order()) mass_ += weight_of(id);
    }
    if (choice.top_p < 1) {
      const double wanted = choice.top_p * mass_;
      mass_ = 0;
      for (size_t i = 0; i < kept_; ++i) {
        mass_ += weight(i);
        if (mass_ >= wanted) kept_ = i + 1;
      }
    }
    if (choice.min_p > 0) {
      mass_ = 0;
      size_t enough = 0;
      for (; enough < kept_ && weight(enough) >= choice.min_p; ++enough) mass_ += weight(enough);
      kept_ = enough;
    }
  }

  size_t kept() const { return kept_; }
  double mass() const { return mass_; }
  int32_t token(size_t place) { return ranking_.at(place); }
  double weight(size_t place) { return weight_of(ranking_.at(place)); }

 private:
  double weight_of(int32_t id) const {
    return std::exp((static_cast<double>(logits_[static_cast<size_t>(id)]) - largest_) / temperature_);
  }

  const std::vector<float>& logits_;
  double temperature_, largest_ = 0;
  Ranking ranking_;
  size_t kept_;
  double mass_ = 0;
};

int32_t most_probable(const std::vector<float>& logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

}  // namespace

std::vector<Candidate> candidates(std::vector<float> logits, const TokenChoice& choice,
                                  std::span<const int32_t> earlier) {
  require_finite(logits);
  penalise(logits, earlier, choice.repetition_penalty);
  if (choice.temperature <= 0) return {{most_probable(logits), 1.0}};
  Remaining remaining(logits, choice);
  std::vector<Candidate> all;
  for (size_t i = 0; i < remaining.kept(); ++i) {
    const double weight = remaining.weight(i);
    if (weight == 0) break;  // as all after it
    all.push_back({remaining.token(i), weight / remaining.mass()});
  }
  return all;
}

int32_t pick_token(std::vector<float> logits, const TokenChoice& choice, double random,
                   std::span<const int32_t> earlier) {
  require_finite(logits);
  penalise(logits, earlier, choice.repetition_penalty);
  if (choice.temperature <= 0) return most_probable(logits);
  Remaining remaining(logits, choice);
  double target = random * remaining.mass();
  int32_t picked = remaining.token(0);
  for (size_t i = 0; i < remaining.kept(); ++i) {
    const double weight = remaining.weight(i);
    if (weight == 0) break;  // as all after it: what rounding leaves of the target picks none of them
    picked = remaining.token(i);
    target -= weight;
    if (target < 0) break;
  }
  return picked;
}

double log_probability(const std::vector<float>& logits, int32_t token) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - largest);
  return logits.at(static_cast<size_t>(token)) - largest - std::log(sum);
}

}  // namespace gta
