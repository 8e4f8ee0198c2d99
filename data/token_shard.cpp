// Reading token shards; shards.cpp writes them.
#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "core/io/hash.h"
#include "core/io/hdf5.h"
#include "data/input_file.h"
#include "data/shard_table.h"
#include "data/shards.h"

namespace gta {
namespace {

using namespace shard_format;

uint64_t parse_hash(const std::string& text, const std::string& path, const char* attribute) {
  if (text.size() != 16 || text.find_first_not_of("0123456789abcdef") != std::string::npos)
    bad_input(path, "attribute {} is no hash", attribute);
  return std::stoull(text, nullptr, 16);
}

}  // namespace

struct TokenShard::State {
  std::shared_ptr<OpenFiles> files;
  ShardSummary summary;
  uint64_t content = 0;
  int64_t offset = 0, bytes = 0, width = 2;  // of /tokens in the file; bytes of a token
  ShardTable documents, blocks, pages;

  std::shared_ptr<const File> file() const { return files->open(summary.path); }

  // Pieces [first, last] of `piece` bytes each, checked.
  std::vector<char> read(const File& from, const ShardTable& hashes, int64_t piece, int64_t first, int64_t last) const {
    std::vector<char> data(std::min((last + 1) * piece, bytes) - first * piece);
    from.read_at(data.data(), static_cast<int64_t>(data.size()), offset + first * piece);
    const std::vector<uint64_t> expected = hashes.read(from, first, last - first + 1);
    for (int64_t i = first; i <= last; ++i) {
      const int64_t at = (i - first) * piece, count = std::min(piece, static_cast<int64_t>(data.size()) - at);
      if (hash_bytes(data.data() + at, count) != expected[i - first])
        bad_input(summary.path, "is damaged: tokens {} to {} do not have their hash; write the shard again",
                  i * piece / width, (i * piece + count) / width - 1);
    }
    return data;
  }
};

TokenShard::TokenShard(const std::string& path, std::shared_ptr<OpenFiles> files) {
  require_input_file(path);
  state_ = std::make_shared<State>();
  State& s = *state_;
  s.files = files ? std::move(files) : std::make_shared<OpenFiles>(1);
  const hdf5::Reader reader(path);
  if (!reader.has_attribute("format_version")) bad_input(path, "is no token shard: make one with 'gta data shards'");
  const int64_t version = reader.integer("format_version");
  if (version != kVersion)
    bad_input(path, "has format version {}, this build reads {}: write the shard again", version, kVersion);
  const hdf5::Dataset& tokens = reader.dataset("/tokens");
  if (tokens.shape.size() != 1 || (tokens.dtype != DType::U16 && tokens.dtype != DType::U32) || tokens.offset < 0)
    bad_input(path, "/tokens is {} of rank {}: expected contiguous uint16 or uint32", name_of(tokens.dtype),
              tokens.shape.size());
  s.summary = {path,
               reader.text("source"),
               tokens.elements(),
               0,
               reader.integer("text_bytes"),
               reader.integer("vocab_size"),
               reader.integer("end_of_document"),
               parse_hash(reader.text("tokenizer_hash"), path, "tokenizer_hash")};
  s.offset = tokens.offset;
  s.bytes = tokens.bytes();
  s.width = static_cast<int64_t>(size_of(tokens.dtype));
  const std::shared_ptr<const File> file = s.file();
  Hasher tables;
  uint64_t last = 0;
  bool ascending = true;
  s.documents = ShardTable(*file, reader.dataset("/document_offsets"), tables, [&](std::span<const uint64_t> offsets) {
    for (const uint64_t offset : offsets) {
      ascending = ascending && offset >= last;
      last = offset;
    }
  });
  s.blocks = ShardTable(*file, reader.dataset("/block_hashes"), tables);
  s.content = tables.digest();
  const bool paged = reader.datasets().contains("/page_hashes");
  if (paged) {
    Hasher hasher;
    s.pages = ShardTable(*file, reader.dataset("/page_hashes"), hasher);
    if (hasher.digest() != parse_hash(reader.text("page_table_hash"), path, "page_table_hash"))
      bad_input(path, "is damaged: its page hashes are not those that were written; write the shard again");
  }
  if (s.documents.size() < 2 || s.documents.read(*file, 0, 1)[0] != 0 ||
      last != static_cast<uint64_t>(s.summary.tokens) || !ascending ||
      s.blocks.size() != pieces(s.bytes, kBlockBytes) || (paged && s.pages.size() != pieces(s.bytes, kPageBytes)) ||
      hash_header(s.summary, s.content) != parse_hash(reader.text("header_hash"), path, "header_hash"))
    bad_input(path, "is damaged: its header does not fit its tokens; write the shard again");
  const int64_t vocab_size = s.summary.vocab_size;
  if (vocab_size < 1 || vocab_size > INT32_MAX || s.summary.end_of_document < -1 ||
      s.summary.end_of_document >= vocab_size || s.summary.text_bytes < 0)
    bad_input(path,
              "has vocabulary size {}, end of document {} and {} bytes of text, which cannot be; write the shard again",
              vocab_size, s.summary.end_of_document, s.summary.text_bytes);
  s.summary.documents = s.documents.size() - 1;
}

const ShardSummary& TokenShard::summary() const { return state_->summary; }

std::vector<uint64_t> TokenShard::document_offsets(int64_t first, int64_t count) const {
  const State& s = *state_;
  if (first < 0 || count < 0 || first > s.documents.size() || count > s.documents.size() - first)
    fail(s.summary.path, "has {} document offsets, asked for {} from {}", s.documents.size(), count, first);
  return s.documents.read(*s.file(), first, count);
}

std::vector<uint64_t> TokenShard::document_starts(int64_t first, int64_t last) const {
  constexpr int64_t kAtOnce = 512;
  const State& s = *state_;
  const std::shared_ptr<const File> file = s.file();
  std::vector<uint64_t> starts;
  for (int64_t at = s.documents.lower_bound(*file, static_cast<uint64_t>(std::max<int64_t>(first, 0)));
       at < s.documents.size(); at += kAtOnce)
    for (const uint64_t offset : s.documents.read(*file, at, std::min(kAtOnce, s.documents.size() - at))) {
      if (static_cast<int64_t>(offset) > last) return starts;
      if (starts.empty() || starts.back() != offset) starts.push_back(offset);
    }
  return starts;
}

TokenShard::Document TokenShard::document_of(int64_t token) const {
  const State& s = *state_;
  ensure(token >= 0 && token < s.summary.tokens, "shard", "{} has {} tokens, asked for the document of number {}",
         s.summary.path, s.summary.tokens, token);
  const std::shared_ptr<const File> file = s.file();
  // The first offset is 0, the last one the number of tokens.
  const int64_t end = s.documents.lower_bound(*file, static_cast<uint64_t>(token) + 1);
  const std::vector<uint64_t> bounds = s.documents.read(*file, end - 1, 2);
  return {static_cast<int64_t>(bounds[0]), static_cast<int64_t>(bounds[1])};
}

void TokenShard::check_tokenizer(const Tokenizer& tokenizer) const {
  const ShardSummary& s = state_->summary;
  if (s.tokenizer_hash != tokenizer.hash() || s.vocab_size != tokenizer.vocab_size())
    bad_input(s.path,
              "was written with another tokenizer (hash {}, {} pieces; the run's has {}, {}): write the shard again, "
              "or name its tokenizer",
              hash_text(s.tokenizer_hash), s.vocab_size, hash_text(tokenizer.hash()), tokenizer.vocab_size());
}

void TokenShard::read(int64_t first, int64_t count, int32_t* to) const {
  const State& s = *state_;
  if (first < 0 || count < 0 || first > s.summary.tokens || count > s.summary.tokens - first)
    fail(s.summary.path, "has {} tokens, asked for {} from {}", s.summary.tokens, count, first);
  if (count == 0) return;
  const bool paged = s.pages.size() > 0;
  const int64_t piece = paged ? kPageBytes : kBlockBytes, begin = first * s.width / piece;
  const std::vector<char> raw =
      s.read(*s.file(), paged ? s.pages : s.blocks, piece, begin, ((first + count) * s.width - 1) / piece);
  const char* const from = raw.data() + first * s.width - begin * piece;
  for (int64_t i = 0; i < count; ++i) {
    uint32_t id = 0;
    std::memcpy(&id, from + i * s.width, s.width);
    if (id >= static_cast<uint64_t>(s.summary.vocab_size))
      bad_input(s.summary.path, "token {} is {}: outside the vocabulary of {}", first + i, id, s.summary.vocab_size);
    to[i] = static_cast<int32_t>(id);
  }
}

void TokenShard::verify() const {
  const State& s = *state_;
  const std::shared_ptr<const File> file = s.file();
  constexpr int64_t in_block = kBlockBytes / kPageBytes;
  for (int64_t block = 0; block < s.blocks.size(); ++block) {
    s.read(*file, s.blocks, kBlockBytes, block, block);
    if (s.pages.size() > 0)
      s.read(*file, s.pages, kPageBytes, block * in_block, std::min((block + 1) * in_block, s.pages.size()) - 1);
  }
}

uint64_t TokenShard::content_hash() const { return state_->content; }

}  // namespace gta
