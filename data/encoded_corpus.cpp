#include "data/encoded_corpus.h"

#include <chrono>
#include <future>
#include <optional>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "core/io/hash.h"
#include "core/log.h"
#include "core/parallel.h"
#include "data/text_cutter.h"

namespace gta {
namespace {

constexpr size_t kBatchBytes = 8 << 20;
constexpr size_t kBatchSegments = 1 << 14;
constexpr std::chrono::seconds kBetweenReports(10);

struct Segment {
  std::string text, place;
  bool first = false, last = false;
  EncodedPart encoded;
  int64_t token_bytes = 0;
  bool given_back = true;
};

class SegmentReader {
 public:
  SegmentReader(const Tokenizer& tokenizer, const std::vector<std::string>& inputs, const CorpusOptions& options)
      : corpus_(inputs, options), cutter_(tokenizer.cut_places()) {}

  std::vector<Segment> read_batch() {
    std::vector<Segment> batch;
    for (size_t bytes = 0; bytes < kBatchBytes && batch.size() < kBatchSegments;) {
      Segment segment;
      if (cutter_.next(segment.text, part_.ends_document)) {
        segment.first = std::exchange(first_, false);
        segment.last = part_.ends_document && cutter_.empty();
        if (segment.last) segment.encoded.document_hash = take_hash();
        segment.place = corpus_.place();
        bytes += segment.text.size();
        batch.push_back(std::move(segment));
        continue;
      }
      first_ = first_ || part_.ends_document;
      if (!corpus_.next(part_)) break;
      cutter_.push(part_.text);
      hash(part_.text);
    }
    return batch;
  }
  const CorpusNotes& notes() const { return corpus_.notes(); }

 private:
  void hash(std::string_view text) {
    const size_t last = text.find_last_not_of("\r\n"), bytes = last == std::string_view::npos ? 0 : last + 1;
    if (bytes > 0) {
      hasher_->update(line_ends_.data(), line_ends_.size());
      hasher_->update(text.data(), bytes);
      line_ends_.clear();
    }
    line_ends_ += text.substr(bytes);
  }
  uint64_t take_hash() {
    const uint64_t hash = hasher_->digest();
    hasher_.emplace();
    line_ends_.clear();
    return hash;
  }

  CorpusReader corpus_;
  TextCutter cutter_;
  DocumentPart part_;
  bool first_ = true;
  std::optional<Hasher> hasher_{std::in_place};  // of the open document
  std::string line_ends_;                        // that it ends with so far
};

void encode(const Tokenizer& tokenizer, Segment& segment) {
  EncodedPart& part = segment.encoded;
  part.ids = tokenizer.encode_segment(segment.text, segment.first, segment.last);
  // The space that encoding put before the text is none of its bytes.
  std::string text;
  for (const int32_t id : part.ids) text += tokenizer.token_text(id);
  if (segment.first && tokenizer.adds_space() && text.starts_with(' ')) text.erase(0, 1);
  segment.token_bytes = static_cast<int64_t>(text.size());
  segment.given_back = text == segment.text;
  part.text_bytes = static_cast<int64_t>(segment.text.size());
  part.ends_document = segment.last;
  if (segment.first && tokenizer.bos() >= 0) part.ids.insert(part.ids.begin(), tokenizer.bos());
  if (segment.last && tokenizer.eos() >= 0) part.ids.push_back(tokenizer.eos());
  segment.text = {};
}

}  // namespace

std::string EncodingReport::lost_text() const {
  if (changed == 0) return "";
  return fmt::format(
      "{} of {} documents do not come back from their tokens as they were, the first of them near {}: of {} bytes of "
      "text the tokens stand for "
      "{} (the tokenizer has no piece for a character, or it normalises text)",
      changed, documents, first_changed, text_bytes, token_bytes);
}

EncodingReport encode_corpus(const Tokenizer& tokenizer, const std::vector<std::string>& inputs,
                             const CorpusOptions& options, const std::function<void(const EncodedPart&)>& take) {
  tokenizer.require_document_token();
  SegmentReader reader(tokenizer, inputs, options);
  EncodingReport report;
  bool changed = false;  // the open document
  int64_t tokens = 0, document_bytes = 0, document_tokens = 0;
  auto said = std::chrono::steady_clock::now();
  std::future<std::vector<Segment>> next;
  for (std::vector<Segment> batch = reader.read_batch(); !batch.empty(); batch = next.get()) {
    next = std::async(std::launch::async, [&] { return reader.read_batch(); });
    parallel_for(static_cast<int64_t>(batch.size()), [&](int64_t i) { encode(tokenizer, batch[i]); });
    for (const Segment& segment : batch) {
      take(segment.encoded);
      tokens += static_cast<int64_t>(segment.encoded.ids.size());
      report.text_bytes += segment.encoded.text_bytes;
      report.token_bytes += segment.token_bytes;
      if (!segment.given_back && report.first_changed.empty()) report.first_changed = segment.place;
      changed = changed || !segment.given_back;
      document_bytes += segment.encoded.text_bytes;
      document_tokens += static_cast<int64_t>(segment.encoded.ids.size());
      if (!segment.last) continue;
      report.bytes.add(std::exchange(document_bytes, 0));
      report.tokens.add(std::exchange(document_tokens, 0));
      ++report.documents;
      report.changed += std::exchange(changed, false);
    }
    if (const auto now = std::chrono::steady_clock::now(); now - said >= kBetweenReports) {
      said = now;
      log::info("{} MB of text, {} documents, {} tokens so far", report.text_bytes / 1'000'000, report.documents,
                tokens);
    }
  }
  report.notes = reader.notes();
  return report;
}

}  // namespace gta
