#include "launch/ablate/matcher.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include "core/error.h"
#include "launch/config/schema.h"

namespace gta {
namespace {

constexpr const char* kSteps = "train.steps";

bool is_count(const std::string& key) { return key == kSteps || key == "model.layers" || key.ends_with("heads"); }

int64_t value_of(const RunConfig& config, const std::string& key) {
  return std::get<int64_t>(find_config_key(key)->get(config));
}

bool is_used(const RunConfig& config, const std::string& key) {
  const std::vector<std::string>& types = find_config_key(key)->used_by;
  return types.empty() || std::find(types.begin(), types.end(), name_of(config.model.attention.type)) != types.end();
}

// A count of the schedule at another length of the run.
int64_t rescaled(int64_t count, int64_t before, int64_t after) {
  return static_cast<int64_t>(
      std::llround(static_cast<double>(count) * static_cast<double>(after) / static_cast<double>(before)));
}

RunConfig with(const RunConfig& config, const std::string& key, int64_t value) {
  if (key == kSteps) return with_steps(config, value);
  RunConfig changed = config;
  find_config_key(key)->set(changed, value);
  return changed;
}

class Matcher {
 public:
  Matcher(const RunConfig& config, const MatchRequest& request) : start_(config), request_(request) {
    for (const std::string& key : request.keys)
      if (is_used(config, key) && value_of(config, key) > 0) keys_.push_back(key);
  }

  const std::vector<std::string>& keys() const { return keys_; }
  bool within(const Match& match) const { return std::abs(match.off) <= request_.tolerance; }

  // Within the tolerance, or else the nearest there is; nothing where the configuration is not valid.
  std::optional<Match> find() const {
    std::optional<Match> best = measure(start_, {});
    const auto found = [&] { return best && within(*best); };
    for (size_t i = 0; i < keys_.size() && !found(); ++i)
      for (int64_t step : steps_of(keys_[i])) {
        keep_nearer(best, nearest(start_, keys_[i], step, {}));
        if (found()) break;
      }
    if (found()) return best;
    std::optional<Match> least;  // of those within the tolerance what changes least
    for (const std::string& first : keys_)
      for (const std::string& second : keys_)
        if (first != second && (is_count(first) || !is_count(second)))  // the finer one last
          each_of_pair(first, second, [&](Match match) {
            if (within(match) && (!least || change(match) < change(*least))) least = match;
            keep_nearer(best, std::move(match));
          });
    return least ? least : best;
  }

 private:
  static std::vector<int64_t> steps_of(const std::string& key) {
    return is_count(key) ? std::vector<int64_t>{1} : std::vector<int64_t>{32, 16, 8, 4, 2, 1};
  }

  static void keep_nearer(std::optional<Match>& best, std::optional<Match> other) {
    if (other && (!best || std::abs(other->off) < std::abs(best->off))) best = std::move(other);
  }

  // |log| of what each key changes by, added up.
  static double change(const Match& match) {
    double sum = 0;
    for (const Adjustment& a : match.adjustments)
      sum += std::abs(std::log(static_cast<double>(a.after) / static_cast<double>(a.before)));
    return sum;
  }

  std::optional<Match> measure(const RunConfig& config, std::vector<Adjustment> adjustments) const {
    if (!problems_of(config.model).empty()) return std::nullopt;
    Match match{config, std::move(adjustments), cost_of(config), 0};
    match.off = match.cost.of(request_.budget) / request_.target - 1;
    return match;
  }

  // The nearest that multiples of `step` reach, after `before` was adjusted. Some values are none, as heads that do not
  // divide and odd widths of RoPE: the next one that is one stands for them.
  std::optional<Match> nearest(const RunConfig& config, const std::string& key, int64_t step,
                               std::vector<Adjustment> before) const {
    const int64_t given = value_of(config, key);
    const auto most = static_cast<int64_t>(find_config_key(key)->most);
    const int64_t largest = std::min(most, given > most / kMostGrowth ? most : given * kMostGrowth) / step;
    before.push_back({key, given, 0});
    const auto at = [&](int64_t multiple) {
      before.back().after = multiple * step;
      return measure(with(config, key, multiple * step), before);
    };
    // From `multiple` on, up or down, the first that is valid.
    const auto valid = [&](int64_t multiple, int64_t direction) {
      std::optional<Match> match;
      for (int tries = 0; tries < kMostInvalid && multiple >= 1 && multiple <= largest && !match; ++tries) {
        match = at(multiple);
        multiple += direction;
      }
      return match;
    };
    int64_t low = 1, high = largest + 1;  // the least multiple that is not below the target
    while (low < high) {
      const int64_t middle = low + (high - low) / 2;
      const std::optional<Match> match = valid(middle, 1);
      if (match && match->off < 0)
        low = middle + 1;
      else
        high = middle;
    }
    std::optional<Match> best = valid(low - 1, -1);
    keep_nearer(best, valid(low, 1));
    return best;
  }

  // use(match) where `first` takes some values from half to twice its own and `second` meets the target, in the
  // coarsest of its steps that does.
  template <class Use>
  void each_of_pair(const std::string& first, const std::string& second, Use&& use) const {
    constexpr int64_t kValues = 48, kWidth = 32;
    const int64_t given = value_of(start_, first), unit = is_count(first) ? 1 : std::min(kWidth, given);
    const int64_t step = std::max<int64_t>(1, given * 3 / 2 / kValues / unit) * unit;
    for (int64_t value = std::max(unit, given / 2 / unit * unit); value <= 2 * given; value += step) {
      const RunConfig changed = with(start_, first, value);
      if (value == given) continue;
      for (int64_t second_step : steps_of(second)) {
        std::optional<Match> match = nearest(changed, second, second_step, {{first, given, value}});
        if (!match) continue;
        const bool done = within(*match);
        use(std::move(*match));
        if (done) break;
      }
    }
  }

  static constexpr int64_t kMostGrowth = 64;
  static constexpr int kMostInvalid = 64;

  const RunConfig& start_;
  const MatchRequest& request_;
  std::vector<std::string> keys_;
};

}  // namespace

RunConfig with_steps(RunConfig config, int64_t steps) {
  ScheduleConfig& schedule = config.optimizer.schedule;
  const int64_t before = config.train.steps;
  schedule.steps = rescaled(schedule.steps, before, steps);
  const int64_t length = schedule.steps > 0 ? schedule.steps : steps;
  schedule.warmup_steps = std::min(rescaled(schedule.warmup_steps, before, steps), length);
  schedule.decay_steps = std::min(rescaled(schedule.decay_steps, before, steps), length - schedule.warmup_steps);
  config.train.steps = steps;
  return config;
}

const std::vector<std::string>& adjustable_keys() {
  static const std::vector<std::string> keys = [] {
    const std::set<std::string> others = {"model.vocab_size", "model.vocab_multiple", "model.max_sequence_length"};
    std::vector<std::string> found;
    for (const ConfigKey& key : config_keys())
      if ((key.type == KeyType::Integer && key.path.starts_with("model.") && !others.count(key.path)) ||
          key.path == kSteps)
        found.push_back(key.path);
    return found;
  }();
  return keys;
}

bool is_adjustable(const std::string& key) {
  const std::vector<std::string>& keys = adjustable_keys();
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

Match match_budget(const RunConfig& config, const MatchRequest& request, const std::string& name) {
  Matcher matcher(config, request);
  const std::optional<Match> match = matcher.find();
  if (match && matcher.within(*match)) return *match;
  const char* const budget = name_of(request.budget);
  require(match.has_value(), "equal", "{} of {} cannot be counted: its configuration is not valid", budget, name);
  if (matcher.keys().empty())
    bad_input("equal", "{} of {} is {:+.2f}% off the baseline's, and {} has none of the keys that may be adjusted ({})",
              budget, name, 100 * match->off, name_of(config.model.attention.type), fmt::join(request.keys, ", "));
  bad_input("equal",
            "{} of {} cannot come within {:.3g}% of the baseline's {:.0f} by {}: the nearest is {:.0f} ({:+.2f}%) with "
            "{}; name other keys under adjust, or a larger tolerance",
            budget, name, 100 * request.tolerance, request.target, fmt::join(matcher.keys(), ", "),
            match->cost.of(request.budget), 100 * match->off,
            match->adjustments.empty() ? "no change" : describe(match->adjustments));
}

std::string describe(const std::vector<Adjustment>& adjustments) {
  std::vector<std::string> parts;
  for (const Adjustment& a : adjustments) parts.push_back(fmt::format("{} {} -> {}", a.key, a.before, a.after));
  return fmt::format("{}", fmt::join(parts, ", "));
}

}  // namespace gta
