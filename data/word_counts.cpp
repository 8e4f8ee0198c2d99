#include "data/word_counts.h"

#include <fmt/format.h>

#include <algorithm>

namespace gta {
namespace {

// The trainer skips longer ones; a piece that would cross such a cut is rare enough.
constexpr size_t kLongestWord = 16384;
// The trainer takes some 70 bytes for each byte of different words.
constexpr int64_t kTrainerWordBytes = 8 << 20;
constexpr int64_t kEntryBytes = 96;  // what the table takes for a word besides its text

// U+2581 and U+2585 are the trainer's own: one a space, and of text with the other it takes nothing.
constexpr std::string_view kMarks[] = {"\xe2\x96\x81", "\xe2\x96\x85"};

size_t mark_at(std::string_view text) {
  for (const std::string_view mark : kMarks)
    if (text.starts_with(mark)) return mark.size();
  return 0;
}

bool is_letter_or_digit(char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'); }

bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }

int64_t entry_bytes(std::string_view word) { return kEntryBytes + static_cast<int64_t>(word.size()); }

}  // namespace

WordCounts::Kind WordCounts::kind_of(char c) {
  if (c == ' ') return Kind::Space;
  if (c == '\n' || c == '\r' || c == '\t') return Kind::Break;
  return static_cast<unsigned char>(c) < ' ' ? Kind::Control : Kind::Letter;
}

bool WordCounts::begins_word(char c, Kind kind) const {
  if (open_.size() >= kLongestWord && !is_continuation(c)) return true;
  switch (kind) {
    case Kind::Space:
      return last_ != Kind::Space;
    case Kind::Break:
      return last_ == Kind::Letter && is_letter_or_digit(open_.back());
    case Kind::Letter:
      return last_ == Kind::Break;
    case Kind::Control:
      break;
  }
  return true;
}

void WordCounts::add(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    if (const size_t mark = mark_at(text.substr(at)); mark > 0) {
      end_word();
      at += mark;
      continue;
    }
    const char c = text[at++];
    const Kind kind = kind_of(c);
    if (begins_word(c, kind)) end_word();
    last_ = kind;
    has_text_ = has_text_ || kind == Kind::Letter;
    if (kind != Kind::Control) open_.push_back(c == '\t' ? kTab : c);
  }
}

void WordCounts::end_document() {
  end_word();
  open_ = " ";
  last_ = Kind::Space;
}

void WordCounts::end_word() {
  last_ = Kind::Control;
  if (open_.empty()) return;
  if (const auto found = counts_.find(open_); found != counts_.end()) {
    ++found->second;
  } else {
    counts_.emplace(open_, 1);
    bytes_ += entry_bytes(open_);
    if (bytes_ > most_bytes_)
      bytes_ = shrink([](const std::string& kept) { return entry_bytes(kept); }, most_bytes_ / 2);
  }
  open_.clear();
}

std::vector<std::string> WordCounts::take() {
  shrink([](const std::string& word) { return static_cast<int64_t>(word.size()); }, kTrainerWordBytes);
  std::vector<std::string> lines;
  for (const auto& [word, count] : counts_)
    lines.push_back(fmt::format("{}\t{}", word, count <= rare_ ? count << halvings_ : count));
  counts_ = {};
  std::sort(lines.begin(), lines.end());
  return lines;
}

// To at most so many bytes by `size`; returns how many are left.
template <class Size>
int64_t WordCounts::shrink(Size size, int64_t most) {
  while (true) {
    int64_t all = 0, rare = 0;
    for (auto word = counts_.begin(); word != counts_.end();) {
      const bool is_rare = word->second <= rare_;
      if (is_rare && Hash()(word->first) > highest_) {
        word = counts_.erase(word);
        continue;
      }
      const int64_t bytes = size(word->first);
      all += bytes;
      rare += is_rare ? bytes : 0;
      ++word;
    }
    if (all <= most || counts_.size() <= 1) return all;
    if (rare > most / 2 && highest_ > 0) {
      highest_ /= 2;
      ++halvings_;
    } else {
      rare_ *= 2;
    }
  }
}

}  // namespace gta
