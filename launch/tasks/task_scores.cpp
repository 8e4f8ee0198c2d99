#include "launch/tasks/task_scores.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "core/error.h"
#include "launch/generation/token_choice.h"
#include "launch/sampling.h"
#include "launch/tasks/python_text.h"

namespace gta {
namespace {

constexpr size_t kMostRows = 32;
constexpr int64_t kMostTokensAtOnce = 8192;        // of a batch, padding included
constexpr int64_t kMostLogits = int64_t{1} << 25;  // 128 MiB of them

std::vector<int32_t> with_bos(const Tokenizer& tokenizer, const std::string& text) {
  std::vector<int32_t> tokens;
  if (tokenizer.bos() >= 0) tokens.push_back(tokenizer.bos());
  const std::vector<int32_t> pieces = tokenizer.encode(text);
  tokens.insert(tokens.end(), pieces.begin(), pieces.end());
  return tokens;
}

// The inputs of a pair: all its tokens but the last.
int64_t inputs_of(const EncodedPair& pair) { return static_cast<int64_t>(pair.tokens.size()) - 1; }

void score_batch(const CausalLm& model, const std::vector<EncodedPair>& pairs, std::span<const size_t> batch,
                 std::vector<PairScore>& scores) {
  const int64_t longest = inputs_of(pairs[batch.front()]), rows = static_cast<int64_t>(batch.size());
  std::vector<int32_t> tokens(static_cast<size_t>(rows * longest),
                              0);  // what follows a row's end changes nothing of it
  std::vector<CausalLm::Rows> wanted;
  for (int64_t r = 0; r < rows; ++r) {
    const EncodedPair& pair = pairs[batch[static_cast<size_t>(r)]];
    std::copy_n(pair.tokens.begin(), inputs_of(pair), tokens.begin() + r * longest);
    wanted.push_back({r * longest + inputs_of(pair) - pair.scored, pair.scored});
  }
  const Tensor logits = model.logits(Tensor::from<int32_t>({rows, longest}, tokens), wanted);
  int64_t at = 0;
  for (const size_t index : batch) {
    const EncodedPair& pair = pairs[index];
    PairScore& score = scores[index];
    score.tokens = pair.scored;
    for (int64_t i = 0; i < pair.scored; ++i) {
      const std::vector<float> row = logits_row(logits, at++);
      const int32_t token = pair.tokens[pair.tokens.size() - static_cast<size_t>(pair.scored - i)];
      const double log_p = log_probability(row, token);
      if (std::isnan(log_p))
        fail("eval", "the model's logits are not finite: its weights have diverged; take an earlier checkpoint");
      score.log_probability += log_p;
      score.greedy &= std::max_element(row.begin(), row.end()) - row.begin() == token;
    }
  }
}

Mean mean_of(const std::vector<double>& values) {
  const auto n = static_cast<double>(values.size());
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return {mean, values.size() > 1 ? std::sqrt(squares / (n - 1) / n) : std::nan("")};
}

// 1 where the largest of the scores, the first of equal ones, is the right one.
double is_right(const TaskItem& item, const PairScore* scores, const std::function<double(size_t)>& length) {
  size_t best = 0;
  for (size_t i = 1; i < item.pairs.size(); ++i)
    if (scores[i].log_probability / length(i) > scores[best].log_probability / length(best)) best = i;
  return best == item.answer ? 1 : 0;
}

}  // namespace

EncodedPair encode_pair(const Tokenizer& tokenizer, const TaskItem::Pair& pair, int64_t longest,
                        const std::string& place) {
  std::vector<int32_t> context, continuation;
  if (pair.context.empty()) {
    tokenizer.require_document_token();
    context = {tokenizer.bos() >= 0 ? tokenizer.bos() : tokenizer.eos()};
    continuation = tokenizer.encode(pair.continuation);
  } else {
    const size_t kept = pair.context.size() - python::trailing_space(pair.context);
    context = with_bos(tokenizer, pair.context.substr(0, kept));
    const std::vector<int32_t> whole = with_bos(tokenizer, pair.context + pair.continuation);
    if (whole.size() > context.size())
      continuation.assign(whole.begin() + static_cast<std::ptrdiff_t>(context.size()), whole.end());
  }
  require(!continuation.empty() && !context.empty(), place.c_str(),
          "has a choice of which the tokenizer leaves no token to score, or none before it");
  EncodedPair encoded;
  encoded.scored = static_cast<int64_t>(continuation.size());
  require(encoded.scored <= longest, place.c_str(), "has a choice of {} tokens, the model sees {}", encoded.scored,
          longest);
  encoded.tokens = std::move(context);
  encoded.tokens.insert(encoded.tokens.end(), continuation.begin(), continuation.end());
  if (const int64_t beyond = inputs_of(encoded) - longest; beyond > 0) {
    encoded.tokens.erase(encoded.tokens.begin(), encoded.tokens.begin() + beyond);
    encoded.cut = true;
  }
  return encoded;
}

std::vector<PairScore> score_pairs(const CausalLm& model, const std::vector<EncodedPair>& pairs) {
  std::vector<size_t> order(pairs.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return pairs[a].tokens.size() > pairs[b].tokens.size(); });
  std::vector<PairScore> scores(pairs.size());
  for (size_t first = 0; first < order.size();) {
    const int64_t longest = inputs_of(pairs[order[first]]);
    int64_t scored = 0;
    size_t end = first;
    for (; end < order.size() && end - first < kMostRows; ++end) {
      scored += pairs[order[end]].scored;
      const bool fits = static_cast<int64_t>(end - first + 1) * longest <= kMostTokensAtOnce &&
                        scored * model.config().vocab_size <= kMostLogits;
      if (end > first && !fits) break;
    }
    score_batch(model, pairs, std::span(order).subspan(first, end - first), scores);
    first = end;
  }
  return scores;
}

TaskResult evaluate_task(const CausalLm& model, const Tokenizer& tokenizer, const Task& task) {
  std::vector<EncodedPair> pairs;
  TaskResult result;
  for (const TaskItem& item : task.items)
    for (const TaskItem::Pair& pair : item.pairs) {
      pairs.push_back(encode_pair(tokenizer, pair, model.config().max_sequence_length, item.place));
      result.cut += pairs.back().cut;
    }
  const std::vector<PairScore> scores = score_pairs(model, pairs);
  result.items = static_cast<int64_t>(task.items.size());
  std::vector<double> raw, by_characters, by_bytes, by_tokens, greedy, last_words;
  const PairScore* of_item = scores.data();
  for (const TaskItem& item : task.items) {
    if (type_of(task.fields) == TaskType::LastWord) {
      greedy.push_back(of_item->greedy ? 1 : 0);
      last_words.push_back(of_item->log_probability);
    } else {
      raw.push_back(is_right(item, of_item, [](size_t) { return 1.0; }));
      by_characters.push_back(
          is_right(item, of_item, [&](size_t i) { return static_cast<double>(python::length(item.choices[i])); }));
      by_bytes.push_back(
          is_right(item, of_item, [&](size_t i) { return static_cast<double>(item.choices[i].size()); }));
      by_tokens.push_back(is_right(item, of_item, [&](size_t i) { return static_cast<double>(of_item[i].tokens); }));
    }
    of_item += item.pairs.size();
  }
  if (type_of(task.fields) == TaskType::LastWord) {
    const Mean mean = mean_of(last_words);
    const double perplexity = std::exp(-mean.value);
    result.acc = mean_of(greedy);
    result.perplexity = {perplexity, perplexity * mean.standard_error};
    return result;
  }
  result.acc = mean_of(raw);
  result.acc_norm = mean_of(by_characters);
  result.acc_bytes = mean_of(by_bytes);
  result.acc_tokens = mean_of(by_tokens);
  return result;
}

}  // namespace gta
