#include "data/evaluation.h"

#include <algorithm>
#include <iterator>
#include <memory>
#include <utility>

#include "core/error.h"
#include "core/io/hash.h"
#include "core/io/open_files.h"
#include "data/document_mask.h"
#include "data/encoded_corpus.h"
#include "data/shards.h"

namespace gta {
namespace {

constexpr int32_t kPadding = 0;
constexpr int64_t kTokensAtOnce = 1 << 16;

// The tokens of all shards, one after the other.
class ShardStream {
 public:
  ShardStream(const std::vector<std::string>& paths, const Tokenizer& tokenizer) {
    const auto files = std::make_shared<OpenFiles>();
    for (const std::string& path : paths) {
      shards_.emplace_back(path, files);
      shards_.back().check_tokenizer(tokenizer);
      const ShardSummary& shard = shards_.back().summary();
      begins_.push_back(tokens_);
      tokens_ += shard.tokens;
      labels_ += std::max<int64_t>(0, shard.tokens - shard.documents);
      text_bytes_ += shard.text_bytes;
    }
  }
  int64_t tokens() const { return tokens_; }
  int64_t labels() const { return labels_; }  // tokens after the first of their document
  int64_t text_bytes() const { return text_bytes_; }

  // use(token, whether a document begins with it, how many tokens that document has) for each of [first, last); it may
  // end that by returning false.
  template <class F>
  void each(int64_t first, int64_t last, F&& use) const {
    std::vector<int32_t> ids;
    while (first < last) {
      const auto shard = static_cast<size_t>(std::upper_bound(begins_.begin(), begins_.end(), first) - begins_.begin() -
                                             1);  // the last of those that begin there is not empty
      const int64_t from = first - begins_[shard],
                    count = std::min({last - first, kTokensAtOnce, shards_[shard].summary().tokens - from});
      ids.resize(static_cast<size_t>(count));
      shards_[shard].read(from, count, ids.data());
      const std::vector<uint64_t> starts = shards_[shard].document_starts(from, from + count - 1);
      auto start = starts.begin();
      int64_t document_tokens = 0;
      for (int64_t i = 0; i < count; ++i) {
        const bool begins = start != starts.end() && static_cast<int64_t>(*start) == from + i;
        if (begins) ++start;
        if (begins && start != starts.end()) {
          document_tokens = static_cast<int64_t>(*start) - (from + i);
        } else if (begins || i == 0) {
          const TokenShard::Document document = shards_[shard].document_of(from + i);
          document_tokens = document.end - document.first;
        }
        if (!use(ids[i], begins, document_tokens)) return;
      }
      first += count;
    }
  }

 private:
  std::vector<TokenShard> shards_;
  std::vector<int64_t> begins_;
  int64_t tokens_ = 0, labels_ = 0, text_bytes_ = 0;
};

}  // namespace

EvaluationSet::EvaluationSet(const Tokenizer& tokenizer, int64_t sequence_length)
    : tokenizer_(tokenizer), sequence_length_(sequence_length) {
  ensure(sequence_length > 0, "evaluation", "expected a positive sequence length, got {}", sequence_length);
}

void EvaluationSet::add_token(int32_t id, Place place) {
  tokens_.push_back(id);
  scored_.push_back(place != Place::First);
  if (place == Place::First) return;
  ++scored_tokens_;
  scored_bytes_ += tokenizer_.token_bytes(id);
  // The space that encoding put before the text is none of its bytes.
  if (place == Place::Second && tokenizer_.bos() >= 0 && tokenizer_.adds_space() && tokenizer_.starts_with_space(id))
    --scored_bytes_;
}

void EvaluationSet::add_text(const std::vector<int32_t>& ids, bool begins_document, int64_t text_bytes) {
  const int64_t before = scored_bytes_;
  if (begins_document) documents_.push_back({tokens_.size(), 0});
  documents_.back().tokens += static_cast<int64_t>(ids.size());
  for (size_t i = 0; i < ids.size(); ++i)
    add_token(ids[i], !begins_document ? Place::Later : i == 0 ? Place::First : i == 1 ? Place::Second : Place::Later);
  // Tokens may stand for fewer bytes than came in, or for more.
  if (tokenizer_.gives_text_back()) return;
  scored_bytes_ = before + text_bytes;
  if (begins_document && tokenizer_.bos() < 0) scored_bytes_ -= std::min(text_bytes, tokenizer_.token_bytes(ids[0]));
}

void EvaluationSet::add_windows(size_t first) {
  for (; first + 1 < tokens_.size(); first += static_cast<size_t>(sequence_length_))
    windows_.push_back({first, std::min(sequence_length_, static_cast<int64_t>(tokens_.size() - first) - 1), 0});
}

EvaluationSet EvaluationSet::from_shards(const std::vector<std::string>& paths, const Tokenizer& tokenizer,
                                         int64_t sequence_length, int64_t most_tokens) {
  require(most_tokens >= 0, "evaluation", "expected a number of tokens, or 0 for all, got {}", most_tokens);
  EvaluationSet set(tokenizer, sequence_length);
  const ShardStream stream(paths, tokenizer);
  set.tokens_in_all_ = stream.labels();
  const bool part = most_tokens > 0 && most_tokens < stream.labels();
  const int64_t chunks = part ? (most_tokens + sequence_length - 1) / sequence_length : 1;
  const auto begin_of = [&](int64_t chunk) {
    return static_cast<int64_t>(static_cast<__int128>(chunk) * stream.tokens() / chunks);
  };
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    const int64_t begin = begin_of(chunk), next = begin_of(chunk + 1);
    const size_t first = set.tokens_.size();
    bool second = false;
    // One token more than inputs; none of them is scored in two chunks.
    stream.each(begin, std::min(part ? std::min(begin + sequence_length, next) + 1 : next, stream.tokens()),
                [&](int32_t id, bool begins, int64_t document_tokens) {
                  if (part && set.scored_tokens_ >= most_tokens) return false;
                  const bool context = set.tokens_.size() == first;
                  if (begins || context) set.documents_.push_back({set.tokens_.size(), document_tokens});
                  set.add_token(id, begins || context ? Place::First : second ? Place::Second : Place::Later);
                  second = begins;
                  return true;
                });
    set.add_windows(first);
  }
  // What was lost is known of whole shards.
  if (!tokenizer.gives_text_back() && stream.labels() > 0)
    set.scored_bytes_ =
        static_cast<int64_t>(static_cast<__int128>(stream.text_bytes()) * set.scored_tokens_ / stream.labels());
  return std::move(set).complete();
}

EvaluationSet EvaluationSet::with_stride(int64_t stride) const {
  EvaluationSet set = *this;
  if (windows() < 2) return set;  // one has all there is
  require(stride >= 1 && stride <= sequence_length_, "evaluation",
          "expected a stride from 1 to the {} tokens of a window, got {}", sequence_length_, stride);
  set.windows_.clear();
  const auto last = static_cast<int64_t>(tokens_.size()) - 1;
  for (int64_t first = 0, scored = 0; scored < last; first += stride) {
    const int64_t end = std::min(first + sequence_length_, last);
    set.windows_.push_back({static_cast<size_t>(first), end - first, scored - first});
    scored = end;
  }
  return set;
}

uint64_t EvaluationSet::hash() const {
  Hasher hasher;
  const int64_t numbers[] = {sequence_length_, scored_tokens_, scored_bytes_};
  hasher.update(numbers, sizeof numbers);
  hasher.update(tokens_.data(), tokens_.size() * sizeof(int32_t));
  for (const Window& window : windows_) {
    const int64_t place[] = {static_cast<int64_t>(window.first), window.labels, window.seen};
    hasher.update(place, sizeof place);
  }
  const std::vector<char> scored(scored_.begin(), scored_.end());
  hasher.update(scored.data(), scored.size());
  return hasher.digest();
}

EvaluationSet EvaluationSet::from_files(const std::vector<std::string>& inputs, const CorpusOptions& options,
                                        const Tokenizer& tokenizer, int64_t sequence_length) {
  EvaluationSet set(tokenizer, sequence_length);
  bool begins = true;
  const EncodingReport report = encode_corpus(tokenizer, inputs, options, [&](const EncodedPart& part) {
    set.add_text(part.ids, begins, part.text_bytes);
    begins = part.ends_document;
  });
  set.lost_text_ = report.lost_text();
  set.add_windows(0);
  return std::move(set).complete();
}

EvaluationSet EvaluationSet::from_text(const std::string& text, const Tokenizer& tokenizer, int64_t sequence_length) {
  EvaluationSet set(tokenizer, sequence_length);
  set.add_text(tokenizer.encode_document(text), true, static_cast<int64_t>(text.size()));
  set.add_windows(0);
  return std::move(set).complete();
}

EvaluationSet&& EvaluationSet::complete() && {
  int64_t longest = 1;
  for (const Window& window : windows_) longest = std::max(longest, window.labels);
  sequence_length_ = longest;
  return std::move(*this);
}

void EvaluationSet::window(int64_t index, int32_t* tokens, int32_t* labels, int32_t* document_starts,
                           int64_t* document_tokens) const {
  ensure(index >= 0 && index < windows(), "evaluation", "has {} windows, asked for number {}", windows(), index);
  const auto [first, count, seen] = windows_[static_cast<size_t>(index)];
  int32_t start = 0;
  auto next = std::upper_bound(documents_.begin(), documents_.end(), first,
                               [](size_t token, const Document& document) { return token < document.first; });
  for (int64_t i = 0; i < sequence_length_; ++i) {
    const size_t at = first + static_cast<size_t>(i);
    const bool inside = i < count;
    tokens[i] = inside ? tokens_[at] : kPadding;
    labels[i] = inside && i >= seen && scored_[at + 1] ? tokens_[at + 1] : kNoLabel;
    if (inside && !scored_[at]) start = static_cast<int32_t>(i);
    if (document_starts) document_starts[i] = start;
    if (!document_tokens) continue;
    if (next != documents_.end() && next->first == at) ++next;
    document_tokens[i] = labels[i] == kNoLabel ? 0 : std::prev(next)->tokens;
  }
}

}  // namespace gta
