#include "data/evaluation.h"

#include <algorithm>

#include "core/error.h"
#include "data/document_mask.h"
#include "data/shards.h"

namespace gta {
namespace {

constexpr int32_t kPadding = 0;

}  // namespace

EvaluationSet::EvaluationSet(const Tokenizer& tokenizer, int64_t sequence_length, int64_t most_tokens)
    : tokenizer_(tokenizer), sequence_length_(sequence_length), most_tokens_(most_tokens) {
  ensure(sequence_length > 0, "evaluation", "expected a positive sequence length, got {}", sequence_length);
  require(most_tokens >= 0, "evaluation", "expected a number of tokens, or 0 for all, got {}", most_tokens);
}

void EvaluationSet::add_document(const std::vector<int32_t>& ids) {
  for (size_t i = 0; i < ids.size() && !full(); ++i) {
    tokens_.push_back(ids[i]);
    scored_.push_back(i > 0);
    if (i == 0) continue;
    ++scored_tokens_;
    scored_bytes_ += tokenizer_.token_bytes(ids[i]);
    // The space that encoding put before the text is none of its bytes.
    if (i == 1 && tokenizer_.bos() >= 0 && tokenizer_.adds_space() && tokenizer_.starts_with_space(ids[i])) --scored_bytes_;
  }
}

EvaluationSet EvaluationSet::from_shards(const std::vector<std::string>& paths, const Tokenizer& tokenizer, int64_t sequence_length,
                                         int64_t most_tokens) {
  EvaluationSet set(tokenizer, sequence_length, most_tokens);
  for (const std::string& path : paths) {
    const TokenShard shard(path);
    shard.check_tokenizer(tokenizer);
    const std::vector<uint64_t>& offsets = shard.document_offsets();
    for (size_t i = 0; i + 1 < offsets.size() && !set.full(); ++i) {
      std::vector<int32_t> ids(offsets[i + 1] - offsets[i]);
      shard.read(static_cast<int64_t>(offsets[i]), static_cast<int64_t>(ids.size()), ids.data());
      set.add_document(ids);
    }
  }
  return set;
}

EvaluationSet EvaluationSet::from_files(const std::vector<std::string>& inputs, const CorpusOptions& options, const Tokenizer& tokenizer,
                                        int64_t sequence_length, int64_t most_tokens) {
  EvaluationSet set(tokenizer, sequence_length, most_tokens);
  read_documents(inputs, options, [&](std::string&& document) {
    if (!set.full()) set.add_document(tokenizer.encode_document(document));
  });
  return set;
}

EvaluationSet EvaluationSet::from_text(const std::string& text, const Tokenizer& tokenizer, int64_t sequence_length) {
  EvaluationSet set(tokenizer, sequence_length, 0);
  set.add_document(tokenizer.encode_document(text));
  return set;
}

int64_t EvaluationSet::windows() const {
  const auto labels = static_cast<int64_t>(tokens_.size()) - 1;
  return labels <= 0 ? 0 : (labels + sequence_length_ - 1) / sequence_length_;
}

void EvaluationSet::window(int64_t index, int32_t* tokens, int32_t* labels, int32_t* document_starts) const {
  ensure(index >= 0 && index < windows(), "evaluation", "has {} windows, asked for number {}", windows(), index);
  const auto total = static_cast<int64_t>(tokens_.size());
  int32_t start = 0;
  for (int64_t i = 0; i < sequence_length_; ++i) {
    const int64_t at = index * sequence_length_ + i;
    tokens[i] = at < total ? tokens_[at] : kPadding;
    labels[i] = at + 1 < total && scored_[at + 1] ? tokens_[at + 1] : kNoLabel;
    if (at < total && !scored_[at]) start = static_cast<int32_t>(i);
    if (document_starts) document_starts[i] = start;
  }
}

}  // namespace gta
