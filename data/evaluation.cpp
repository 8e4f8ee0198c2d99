#include "data/evaluation.h"

#include <algorithm>

#include "core/error.h"
#include "data/shards.h"

namespace gta {
namespace {

constexpr int32_t kNotScored = -1;
constexpr int32_t kPadding = 0;

}  // namespace

void EvaluationSet::add_document(const int32_t* ids, int64_t count, int64_t most_tokens) {
  // Without a begin-of-document token the first piece of text is not predicted by anything.
  for (int64_t i = 0; i < count; ++i) {
    if (most_tokens > 0 && scored_tokens_ >= most_tokens) return;
    const bool scored = i > 0;
    tokens_.push_back(ids[i]);
    scored_.push_back(scored);
    if (!scored) continue;
    ++scored_tokens_;
    scored_bytes_ += tokenizer_.token_bytes(ids[i]);
    // Encoding put a space before the text that the text does not have.
    if (i == 1 && tokenizer_.bos() >= 0 && tokenizer_.starts_with_space(ids[i])) --scored_bytes_;
  }
}

EvaluationSet EvaluationSet::from_shards(const std::vector<std::string>& paths, const Tokenizer& tokenizer, int64_t sequence_length, int64_t most_tokens) {
  EvaluationSet set(tokenizer, sequence_length);
  for (const std::string& path : paths) {
    const TokenShard shard(path);
    shard.check_tokenizer(tokenizer);
    const std::vector<uint64_t>& offsets = shard.document_offsets();
    for (size_t i = 0; i + 1 < offsets.size(); ++i) {
      if (most_tokens > 0 && set.scored_tokens_ >= most_tokens) return set;
      std::vector<int32_t> ids(offsets[i + 1] - offsets[i]);
      shard.read(static_cast<int64_t>(offsets[i]), static_cast<int64_t>(ids.size()), ids.data());
      set.add_document(ids.data(), static_cast<int64_t>(ids.size()), most_tokens);
    }
  }
  return set;
}

EvaluationSet EvaluationSet::from_text(const std::string& text, const Tokenizer& tokenizer, int64_t sequence_length) {
  EvaluationSet set(tokenizer, sequence_length);
  std::vector<int32_t> ids = tokenizer.encode(text);
  if (tokenizer.bos() >= 0) ids.insert(ids.begin(), tokenizer.bos());
  if (tokenizer.eos() >= 0) ids.push_back(tokenizer.eos());
  set.add_document(ids.data(), static_cast<int64_t>(ids.size()), 0);
  return set;
}

int64_t EvaluationSet::windows() const {
  const auto labels = static_cast<int64_t>(tokens_.size()) - 1;
  return labels <= 0 ? 0 : (labels + sequence_length_ - 1) / sequence_length_;
}

void EvaluationSet::window(int64_t index, int32_t* tokens, int32_t* labels) const {
  const auto total = static_cast<int64_t>(tokens_.size());
  for (int64_t i = 0; i < sequence_length_; ++i) {
    const int64_t at = index * sequence_length_ + i;
    tokens[i] = at < total ? tokens_[at] : kPadding;
    labels[i] = at + 1 < total && scored_[at + 1] ? tokens_[at + 1] : kNotScored;
  }
}

}  // namespace gta
