#include "data/evaluation.h"

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "data/document_mask.h"
#include "data/encoded_corpus.h"
#include "data/shards.h"

namespace gta {
namespace {

constexpr int32_t kPadding = 0;
constexpr int64_t kOffsetsAtOnce = 512;

}  // namespace

EvaluationSet::EvaluationSet(const Tokenizer& tokenizer, int64_t sequence_length, int64_t most_tokens)
    : tokenizer_(tokenizer), sequence_length_(sequence_length), most_tokens_(most_tokens) {
  ensure(sequence_length > 0, "evaluation", "expected a positive sequence length, got {}", sequence_length);
  require(most_tokens >= 0, "evaluation", "expected a number of tokens, or 0 for all, got {}", most_tokens);
}

void EvaluationSet::add_tokens(const std::vector<int32_t>& ids, bool begins_document) {
  for (size_t i = 0; i < ids.size() && !full(); ++i) {
    const bool first = begins_document && i == 0;
    tokens_.push_back(ids[i]);
    scored_.push_back(!first);
    if (first) continue;
    ++scored_tokens_;
    scored_bytes_ += tokenizer_.token_bytes(ids[i]);
    // The space that encoding put before the text is none of its bytes.
    if (begins_document && i == 1 && tokenizer_.bos() >= 0 && tokenizer_.adds_space() &&
        tokenizer_.starts_with_space(ids[i]))
      --scored_bytes_;
  }
}

void EvaluationSet::add_text(const std::vector<int32_t>& ids, bool begins_document, int64_t text_bytes) {
  const int64_t before = scored_bytes_;
  const size_t tokens_before = tokens_.size();
  add_tokens(ids, begins_document);
  // Tokens may stand for fewer bytes than came in, or for more.
  if (tokenizer_.gives_text_back() || tokens_.size() - tokens_before < ids.size()) return;
  scored_bytes_ = before + text_bytes;
  if (begins_document && tokenizer_.bos() < 0) scored_bytes_ -= std::min(text_bytes, tokenizer_.token_bytes(ids[0]));
}

EvaluationSet EvaluationSet::from_shards(const std::vector<std::string>& paths, const Tokenizer& tokenizer,
                                         int64_t sequence_length, int64_t most_tokens) {
  EvaluationSet set(tokenizer, sequence_length, most_tokens);
  for (const std::string& path : paths) {
    const TokenShard shard(path);
    shard.check_tokenizer(tokenizer);
    const int64_t documents = shard.summary().documents, tokens_before = set.scored_tokens_,
                  bytes_before = set.scored_bytes_;
    for (int64_t first = 0; first < documents && !set.full(); first += kOffsetsAtOnce) {
      const int64_t count = std::min(kOffsetsAtOnce, documents - first);
      const std::vector<uint64_t> offsets = shard.document_offsets(first, count + 1);
      for (int64_t i = 0; i < count && !set.full(); ++i) {
        std::vector<int32_t> ids(offsets[i + 1] - offsets[i]);
        shard.read(static_cast<int64_t>(offsets[i]), static_cast<int64_t>(ids.size()), ids.data());
        set.add_tokens(ids, true);
      }
    }
    // What was lost is known of the whole shard.
    const ShardSummary& all = shard.summary();
    if (const int64_t most = all.tokens - all.documents; !tokenizer.gives_text_back() && most > 0)
      set.scored_bytes_ =
          bytes_before +
          static_cast<int64_t>(static_cast<double>(all.text_bytes) *
                               (static_cast<double>(set.scored_tokens_ - tokens_before) / static_cast<double>(most)));
  }
  return std::move(set).complete();
}

EvaluationSet EvaluationSet::from_files(const std::vector<std::string>& inputs, const CorpusOptions& options,
                                        const Tokenizer& tokenizer, int64_t sequence_length, int64_t most_tokens) {
  EvaluationSet set(tokenizer, sequence_length, most_tokens);
  bool begins = true;
  const EncodingReport report = encode_corpus(tokenizer, inputs, options, [&](const EncodedPart& part) {
    if (!set.full()) set.add_text(part.ids, begins, part.text_bytes);
    begins = part.ends_document;
  });
  set.lost_text_ = report.lost_text();
  return std::move(set).complete();
}

EvaluationSet EvaluationSet::from_text(const std::string& text, const Tokenizer& tokenizer, int64_t sequence_length) {
  EvaluationSet set(tokenizer, sequence_length, 0);
  set.add_text(tokenizer.encode_document(text), true, static_cast<int64_t>(text.size()));
  return std::move(set).complete();
}

EvaluationSet&& EvaluationSet::complete() && {
  sequence_length_ = std::clamp<int64_t>(static_cast<int64_t>(tokens_.size()) - 1, 1, sequence_length_);
  return std::move(*this);
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
