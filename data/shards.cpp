#include "data/shards.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <span>
#include <utility>

#include "core/error.h"
#include "core/io/file.h"
#include "core/io/hash.h"
#include "core/io/hdf5.h"
#include "core/log.h"
#include "data/encoded_corpus.h"
#include "data/input_file.h"

namespace gta {
namespace {

constexpr int64_t kFormatVersion = 1;
constexpr int64_t kBlockBytes = 1 << 20;

std::vector<uint64_t> hash_blocks(std::span<const char> bytes) {
  std::vector<uint64_t> hashes;
  for (size_t at = 0; at < bytes.size(); at += kBlockBytes)
    hashes.push_back(hash_bytes(bytes.data() + at, std::min<size_t>(kBlockBytes, bytes.size() - at)));
  return hashes;
}

uint64_t hash_tables(const std::vector<uint64_t>& offsets, const std::vector<uint64_t>& hashes) {
  Hasher hasher;
  hasher.update(offsets.data(), offsets.size() * sizeof(uint64_t));
  hasher.update(hashes.data(), hashes.size() * sizeof(uint64_t));
  return hasher.digest();
}

uint64_t hash_header(const ShardSummary& summary, const std::vector<uint64_t>& offsets, const std::vector<uint64_t>& hashes) {
  Hasher hasher;
  const uint64_t values[] = {static_cast<uint64_t>(kFormatVersion),
                             static_cast<uint64_t>(summary.vocab_size),
                             static_cast<uint64_t>(summary.end_of_document),
                             static_cast<uint64_t>(summary.text_bytes),
                             summary.tokenizer_hash,
                             hash_tables(offsets, hashes)};
  hasher.update(values, sizeof values);
  hasher.update(summary.source.data(), summary.source.size());
  return hasher.digest();
}

// Collects documents into shards under temporary names; publish() gives them their own.
class ShardWriter {
 public:
  ShardWriter(const Tokenizer& tokenizer, std::string directory, std::string name, std::string source, int64_t shard_tokens)
      : tokenizer_(tokenizer),
        directory_(std::move(directory)),
        name_(std::move(name)),
        source_(std::move(source)),
        shard_tokens_(shard_tokens),
        wide_(tokenizer.vocab_size() > 65536) {}
  ~ShardWriter() {
    for (const std::string& path : paths_) ::unlink(temporary(path).c_str());
  }
  ShardWriter(const ShardWriter&) = delete;
  ShardWriter& operator=(const ShardWriter&) = delete;

  // A document's parts, one after the other.
  void add(const EncodedPart& part) {
    for (int32_t id : part.ids) {
      const auto value = static_cast<uint32_t>(id);
      const char* const raw = reinterpret_cast<const char*>(&value);
      bytes_.insert(bytes_.end(), raw, raw + (wide_ ? 4 : 2));
    }
    document_bytes_ += part.text_bytes;
    // The open document goes into the next shard, as soon as that is known: one shard is held, not two.
    if (static_cast<int64_t>(bytes_.size()) / width() > shard_tokens_) flush();
    if (!part.ends_document) return;
    offsets_.push_back(bytes_.size() / static_cast<size_t>(width()));
    text_bytes_ += std::exchange(document_bytes_, 0);
  }

  std::vector<std::string> publish() {
    flush();
    require(!paths_.empty(), "shards", "the input has no documents");
    for (const std::string& found : list_directory(directory_))
      if (const int64_t number = number_of(found); number >= static_cast<int64_t>(paths_.size()))
        bad_input(directory_ + "/" + found,
                  "is left from an earlier run, which had more shards than the {} of this one: remove it or choose another --name",
                  paths_.size());
    for (auto path = paths_.rbegin(); path != paths_.rend(); ++path) rename_path(temporary(*path), *path);
    sync_directory(directory_);
    return paths_;
  }

 private:
  static std::string temporary(const std::string& path) { return path + ".tmp-" + std::to_string(::getpid()); }
  std::string file_name(int64_t number) const { return fmt::format("{}-{:05}.h5", name_, number); }
  int64_t tokens() const { return static_cast<int64_t>(offsets_.back()); }  // of the documents that ended
  int64_t width() const { return wide_ ? 4 : 2; }

  // Of a shard's file name, or -1.
  int64_t number_of(const std::string& file) const {
    if (file.size() < name_.size() + 9 || file.size() > name_.size() + 16 || !file.starts_with(name_ + "-") || !file.ends_with(".h5"))
      return -1;
    const std::string digits = file.substr(name_.size() + 1, file.size() - name_.size() - 4);
    return digits.find_first_not_of("0123456789") == std::string::npos ? std::stoll(digits) : -1;
  }

  // The documents that ended.
  void flush() {
    if (offsets_.size() == 1) return;
    const auto shard_bytes = static_cast<size_t>(tokens() * width());
    paths_.push_back(directory_ + "/" + file_name(static_cast<int64_t>(paths_.size())));
    const std::string path = temporary(paths_.back());
    const std::vector<uint64_t> hashes = hash_blocks(std::span(bytes_).first(shard_bytes));
    const ShardSummary summary{path, source_, tokens(), 0, text_bytes_, tokenizer_.vocab_size(), tokenizer_.eos(), tokenizer_.hash()};
    hdf5::Writer writer(path);
    writer.add("/tokens", {tokens()}, wide_ ? DType::U32 : DType::U16);
    writer.add("/document_offsets", {static_cast<int64_t>(offsets_.size())}, DType::U64);
    writer.add("/block_hashes", {static_cast<int64_t>(hashes.size())}, DType::U64);
    writer.set_integer("format_version", kFormatVersion);
    writer.set_integer("vocab_size", summary.vocab_size);
    writer.set_integer("end_of_document", summary.end_of_document);
    writer.set_integer("text_bytes", summary.text_bytes);
    writer.set_text("tokenizer_hash", hash_text(summary.tokenizer_hash));
    writer.set_text("header_hash", hash_text(hash_header(summary, offsets_, hashes)));
    writer.set_text("source", source_);
    const std::vector<hdf5::Dataset> datasets = writer.close();
    File file(path, File::Mode::ReadWrite);
    file.write_at(bytes_.data(), datasets[0].bytes(), datasets[0].offset);
    file.write_at(offsets_.data(), datasets[1].bytes(), datasets[1].offset);
    file.write_at(hashes.data(), datasets[2].bytes(), datasets[2].offset);
    file.sync();
    file.close();
    bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(shard_bytes));
    offsets_ = {0};
    text_bytes_ = 0;
  }

  const Tokenizer& tokenizer_;
  std::string directory_, name_, source_;
  int64_t shard_tokens_;
  bool wide_;
  std::vector<char> bytes_;
  std::vector<uint64_t> offsets_ = {0};
  int64_t text_bytes_ = 0, document_bytes_ = 0;  // of the documents that ended, of the open one
  std::vector<std::string> paths_;
};

uint64_t parse_hash(const std::string& text, const std::string& path, const char* attribute) {
  if (text.size() != 16 || text.find_first_not_of("0123456789abcdef") != std::string::npos)
    bad_input(path, "attribute {} is no hash", attribute);
  return std::stoull(text, nullptr, 16);
}

}  // namespace

std::vector<std::string> write_shards(const Tokenizer& tokenizer, const std::vector<std::string>& inputs, const CorpusOptions& options,
                                      const std::string& directory, const std::string& name, int64_t shard_tokens) {
  require(shard_tokens > 0, "shards", "expected a positive number of tokens in a shard, got {}", shard_tokens);
  require(!name.empty() && name.find('/') == std::string::npos, "shards", "expected a name without '/', got '{}'", name);
  check_documents(inputs, options);
  make_directories(directory);
  std::string source;
  for (const std::string& input : inputs) {
    if (!source.empty()) source += ' ';
    source += input.substr(input.rfind('/') + 1);
  }
  ShardWriter writer(tokenizer, directory, name, source.substr(0, 1024), shard_tokens);
  const EncodingReport report = encode_corpus(tokenizer, inputs, options, [&](const EncodedPart& part) { writer.add(part); });
  if (const std::string lost = report.lost_text(); !lost.empty()) log::warning("{}", lost);
  return writer.publish();
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
      bad_input(summary.path, "is damaged: tokens {} to {} do not have their hash; write the shard again", first / width,
                (first + count) / width - 1);
    checked[block].store(true, std::memory_order_relaxed);
  }
};

TokenShard::TokenShard(const std::string& path) {
  require_input_file(path);
  state_ = std::make_shared<State>(path);
  State& s = *state_;
  const hdf5::Reader reader(path);
  if (!reader.has_attribute("format_version")) bad_input(path, "is no token shard: make one with 'gta data shards'");
  const int64_t version = reader.integer("format_version");
  if (version != kFormatVersion)
    bad_input(path, "has format version {}, this build reads {}: write the shard again", version, kFormatVersion);
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
      hash_header(s.summary, d, s.hashes) != parse_hash(reader.text("header_hash"), path, "header_hash"))
    bad_input(path, "is damaged: its header does not fit its tokens; write the shard again");
  const int64_t vocab_size = s.summary.vocab_size;
  if (vocab_size < 1 || vocab_size > INT32_MAX || s.summary.end_of_document < -1 || s.summary.end_of_document >= vocab_size ||
      s.summary.text_bytes < 0)
    bad_input(path, "has vocabulary size {}, end of document {} and {} bytes of text, which cannot be; write the shard again", vocab_size,
              s.summary.end_of_document, s.summary.text_bytes);
  s.summary.documents = static_cast<int64_t>(d.size()) - 1;
  s.checked = std::make_unique<std::atomic<bool>[]>(s.hashes.size());
}

const ShardSummary& TokenShard::summary() const { return state_->summary; }
const std::vector<uint64_t>& TokenShard::document_offsets() const { return state_->document_offsets; }

void TokenShard::check_tokenizer(const Tokenizer& tokenizer) const {
  const ShardSummary& s = state_->summary;
  if (s.tokenizer_hash != tokenizer.hash() || s.vocab_size != tokenizer.vocab_size())
    bad_input(s.path,
              "was written with another tokenizer (hash {}, {} pieces; the run's has {}, {}): write the shard again, or name its tokenizer",
              hash_text(s.tokenizer_hash), s.vocab_size, hash_text(tokenizer.hash()), tokenizer.vocab_size());
}

void TokenShard::read(int64_t first, int64_t count, int32_t* to) const {
  State& s = *state_;
  if (first < 0 || count < 0 || first > s.summary.tokens || count > s.summary.tokens - first)
    fail(s.summary.path, "has {} tokens, asked for {} from {}", s.summary.tokens, count, first);
  if (count == 0) return;
  for (int64_t block = first * s.width / kBlockBytes; block <= ((first + count) * s.width - 1) / kBlockBytes; ++block) s.check_block(block);
  std::vector<char> raw(count * s.width);
  s.file.read_at(raw.data(), static_cast<int64_t>(raw.size()), s.offset + first * s.width);
  for (int64_t i = 0; i < count; ++i) {
    uint32_t id = 0;
    std::memcpy(&id, raw.data() + i * s.width, s.width);
    if (id >= static_cast<uint64_t>(s.summary.vocab_size))
      bad_input(s.summary.path, "token {} is {}: outside the vocabulary of {}", first + i, id, s.summary.vocab_size);
    to[i] = static_cast<int32_t>(id);
  }
}

void TokenShard::verify() const {
  for (size_t block = 0; block < state_->hashes.size(); ++block) state_->check_block(static_cast<int64_t>(block));
}

uint64_t TokenShard::content_hash() const { return hash_tables(state_->document_offsets, state_->hashes); }

}  // namespace gta
