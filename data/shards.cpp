#include "data/shards.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <optional>

#include "core/error.h"
#include "core/io/file.h"
#include "core/io/hash.h"
#include "core/io/hdf5.h"

namespace gta {
namespace {

constexpr int64_t kFormatVersion = 1;
constexpr int64_t kBlockBytes = 1 << 20;

std::vector<uint64_t> hash_blocks(const std::vector<char>& bytes) {
  std::vector<uint64_t> hashes;
  for (size_t at = 0; at < bytes.size(); at += kBlockBytes) hashes.push_back(hash_bytes(bytes.data() + at, std::min<size_t>(kBlockBytes, bytes.size() - at)));
  return hashes;
}

uint64_t hash_tables(const std::vector<uint64_t>& offsets, const std::vector<uint64_t>& hashes) {
  Hasher hasher;
  hasher.update(offsets.data(), offsets.size() * sizeof(uint64_t));
  hasher.update(hashes.data(), hashes.size() * sizeof(uint64_t));
  return hasher.digest();
}

// Collects documents into shards.
class ShardWriter {
 public:
  ShardWriter(const Tokenizer& tokenizer, std::string directory, std::string name, std::string source)
      : tokenizer_(tokenizer), directory_(std::move(directory)), name_(std::move(name)), source_(std::move(source)), wide_(tokenizer.vocab_size() > 65536) {}

  int64_t tokens() const { return static_cast<int64_t>(offsets_.back()); }

  void add(const std::string& document) {
    std::vector<int32_t> ids = tokenizer_.encode(document);
    if (tokenizer_.bos() >= 0) ids.insert(ids.begin(), tokenizer_.bos());
    if (tokenizer_.eos() >= 0) ids.push_back(tokenizer_.eos());
    for (int32_t id : ids) {
      const auto value = static_cast<uint32_t>(id);
      const char* const raw = reinterpret_cast<const char*>(&value);
      bytes_.insert(bytes_.end(), raw, raw + (wide_ ? 4 : 2));
    }
    offsets_.push_back(offsets_.back() + ids.size());
    text_bytes_ += static_cast<int64_t>(document.size());
  }

  void flush() {
    if (offsets_.size() == 1) return;
    const std::string path = fmt::format("{}/{}-{:05}.h5", directory_, name_, paths_.size());
    const std::vector<uint64_t> hashes = hash_blocks(bytes_);
    publish_file(path, [&](const std::string& temporary) {
      hdf5::Writer writer(temporary);
      writer.add("/tokens", {tokens()}, wide_ ? DType::U32 : DType::U16);
      writer.add("/document_offsets", {static_cast<int64_t>(offsets_.size())}, DType::U64);
      writer.add("/block_hashes", {static_cast<int64_t>(hashes.size())}, DType::U64);
      writer.set_integer("format_version", kFormatVersion);
      writer.set_integer("vocab_size", tokenizer_.vocab_size());
      writer.set_integer("end_of_document", tokenizer_.eos());
      writer.set_integer("text_bytes", text_bytes_);
      writer.set_text("tokenizer_hash", hash_text(tokenizer_.hash()));
      writer.set_text("tables_hash", hash_text(hash_tables(offsets_, hashes)));
      writer.set_text("source", source_);
      const std::vector<hdf5::Dataset> datasets = writer.close();
      const File file(temporary, File::Mode::ReadWrite);
      file.write_at(bytes_.data(), datasets[0].bytes(), datasets[0].offset);
      file.write_at(offsets_.data(), datasets[1].bytes(), datasets[1].offset);
      file.write_at(hashes.data(), datasets[2].bytes(), datasets[2].offset);
    });
    paths_.push_back(path);
    bytes_.clear();
    offsets_ = {0};
    text_bytes_ = 0;
  }

  const std::vector<std::string>& paths() const { return paths_; }

 private:
  const Tokenizer& tokenizer_;
  std::string directory_, name_, source_;
  bool wide_;
  std::vector<char> bytes_;
  std::vector<uint64_t> offsets_ = {0};
  int64_t text_bytes_ = 0;
  std::vector<std::string> paths_;
};

uint64_t parse_hash(const std::string& text, const std::string& path, const char* attribute) {
  if (text.size() != 16 || text.find_first_not_of("0123456789abcdef") != std::string::npos) bad_input(path, "attribute {} is no hash", attribute);
  return std::stoull(text, nullptr, 16);
}

}  // namespace

std::vector<std::string> write_shards(const Tokenizer& tokenizer, const std::vector<std::string>& inputs, const CorpusOptions& options,
                                      const std::string& directory, const std::string& name, int64_t shard_tokens) {
  require(shard_tokens > 0, "shards", "expected a positive number of tokens in a shard, got {}", shard_tokens);
  make_directories(directory);
  std::string source;
  for (const std::string& input : inputs) source += (source.empty() ? "" : " ") + input.substr(input.rfind('/') + 1);
  ShardWriter writer(tokenizer, directory, name, source.substr(0, 1024));
  read_documents(inputs, options, [&](std::string&& document) {
    writer.add(document);
    if (writer.tokens() >= shard_tokens) writer.flush();
  });
  writer.flush();
  require(!writer.paths().empty(), "shards", "the input has no documents");
  return writer.paths();
}

struct TokenShard::State {
  explicit State(const std::string& path) : file(path, File::Mode::Read) {}
  File file;
  ShardSummary summary;
  int64_t offset = 0, bytes = 0, width = 2;
  std::vector<uint64_t> document_offsets, hashes;
  std::unique_ptr<std::atomic<bool>[]> checked;

  void check_block(int64_t block) {
    if (checked[block].load(std::memory_order_relaxed)) return;
    const int64_t first = block * kBlockBytes, count = std::min(kBlockBytes, bytes - first);
    std::vector<char> data(count);
    file.read_at(data.data(), count, offset + first);
    if (hash_bytes(data.data(), data.size()) != hashes[block])
      bad_input(summary.path, "is damaged: tokens {} to {} do not have their hash; write the shard again", first / width, (first + count) / width - 1);
    checked[block].store(true, std::memory_order_relaxed);
  }
};

TokenShard::TokenShard(const std::string& path) : state_(std::make_shared<State>(path)) {
  State& s = *state_;
  const hdf5::Reader reader(path);
  if (!reader.has_attribute("format_version")) bad_input(path, "is no token shard: make one with 'gta data shards'");
  const int64_t version = reader.integer("format_version");
  if (version != kFormatVersion) bad_input(path, "has format version {}, this build reads {}: write the shard again", version, kFormatVersion);
  const hdf5::Dataset& tokens = reader.dataset("/tokens");
  if (tokens.shape.size() != 1 || (tokens.dtype != DType::U16 && tokens.dtype != DType::U32) || tokens.offset < 0)
    bad_input(path, "/tokens is {} of rank {}: expected contiguous uint16 or uint32", name_of(tokens.dtype), tokens.shape.size());
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
  s.document_offsets = reader.read_uint64("/document_offsets");
  s.hashes = reader.read_uint64("/block_hashes");
  const auto& d = s.document_offsets;
  if (d.size() < 2 || d.front() != 0 || d.back() != static_cast<uint64_t>(s.summary.tokens) || !std::is_sorted(d.begin(), d.end()) ||
      static_cast<int64_t>(s.hashes.size()) != (s.bytes + kBlockBytes - 1) / kBlockBytes ||
      hash_tables(d, s.hashes) != parse_hash(reader.text("tables_hash"), path, "tables_hash"))
    bad_input(path, "is damaged: its tables do not fit its tokens; write the shard again");
  s.summary.documents = static_cast<int64_t>(d.size()) - 1;
  s.checked = std::make_unique<std::atomic<bool>[]>(s.hashes.size());
}

const ShardSummary& TokenShard::summary() const { return state_->summary; }
const std::vector<uint64_t>& TokenShard::document_offsets() const { return state_->document_offsets; }

void TokenShard::check_tokenizer(const Tokenizer& tokenizer) const {
  const ShardSummary& s = state_->summary;
  if (s.tokenizer_hash != tokenizer.hash() || s.vocab_size != tokenizer.vocab_size())
    bad_input(s.path, "was written with another tokenizer (hash {}, {} pieces; the run's has {}, {}): write the shard again, or name its tokenizer",
              hash_text(s.tokenizer_hash), s.vocab_size, hash_text(tokenizer.hash()), tokenizer.vocab_size());
}

void TokenShard::read(int64_t first, int64_t count, int32_t* to) const {
  State& s = *state_;
  if (first < 0 || count < 0 || first + count > s.summary.tokens) fail(s.summary.path, "has {} tokens, asked for [{}, {})", s.summary.tokens, first, first + count);
  if (count == 0) return;
  for (int64_t block = first * s.width / kBlockBytes; block <= ((first + count) * s.width - 1) / kBlockBytes; ++block) s.check_block(block);
  std::vector<char> raw(count * s.width);
  s.file.read_at(raw.data(), static_cast<int64_t>(raw.size()), s.offset + first * s.width);
  for (int64_t i = 0; i < count; ++i) {
    uint32_t id = 0;
    std::memcpy(&id, raw.data() + i * s.width, s.width);
    if (id >= static_cast<uint64_t>(s.summary.vocab_size)) bad_input(s.summary.path, "token {} is {}: outside the vocabulary of {}", first + i, id, s.summary.vocab_size);
    to[i] = static_cast<int32_t>(id);
  }
}

void TokenShard::verify() const {
  for (size_t block = 0; block < state_->hashes.size(); ++block) state_->check_block(static_cast<int64_t>(block));
}

uint64_t TokenShard::content_hash() const { return hash_tables(state_->document_offsets, state_->hashes); }

}  // namespace gta
