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

std::vector<uint64_t> hash_pieces(std::span<const char> bytes, int64_t piece) {
  std::vector<uint64_t> hashes;
  for (size_t at = 0; at < bytes.size(); at += piece)
    hashes.push_back(hash_bytes(bytes.data() + at, std::min<size_t>(piece, bytes.size() - at)));
  return hashes;
}

uint64_t hash_of(std::initializer_list<const std::vector<uint64_t>*> tables) {
  Hasher hasher;
  for (const std::vector<uint64_t>* table : tables) hasher.update(table->data(), table->size() * sizeof(uint64_t));
  return hasher.digest();
}

// Collects documents into shards under temporary names; publish() gives them their own.
class ShardWriter {
 public:
  ShardWriter(const Tokenizer& tokenizer, std::string directory, std::string name, std::string source,
              int64_t shard_tokens)
      : tokenizer_(tokenizer),
        directory_(std::move(directory)),
        name_(std::move(name)),
        source_(std::move(source)),
        shard_tokens_(shard_tokens),
        wide_(tokenizer.vocab_size() > 65536) {}
  ~ShardWriter() {
    for (const Shard& shard : shards_) ::unlink(temporary_name(shard.file).c_str());
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

  // Error(BadInput) where shards of this name cannot be written, or would be written over what is read.
  void check_outputs(const std::vector<std::string>& inputs) const {
    check_output_folder(directory_);
    if (!exists(directory_)) return;
    output_file(directory_ + "/" + file_name(0), inputs);
    for (const std::string& found : list_directory(directory_))
      if (number_of(found) >= 0) output_file(directory_ + "/" + found, inputs);
  }

  std::vector<std::string> publish() {
    flush();
    require(!shards_.empty(), "shards", "the input has no documents");
    for (const std::string& found : list_directory(directory_))
      if (const int64_t number = number_of(found); number >= static_cast<int64_t>(shards_.size()))
        bad_input(directory_ + "/" + found,
                  "is left from an earlier run, which had more shards than the {} of this one: remove it or choose "
                  "another --name",
                  shards_.size());
    std::vector<std::string> paths;
    for (const Shard& shard : shards_) paths.push_back(shard.path);
    for (auto shard = shards_.rbegin(); shard != shards_.rend(); ++shard) {
      rename_path(temporary_name(shard->file), shard->file);
      if (parent_of(shard->file) != directory_) sync_directory(parent_of(shard->file));
    }
    sync_directory(directory_);
    return paths;
  }

 private:
  struct Shard {
    std::string path, file;  // its name, and where that leads
  };
  std::string file_name(int64_t number) const { return fmt::format("{}-{:05}.h5", name_, number); }
  int64_t tokens() const { return static_cast<int64_t>(offsets_.back()); }  // of the documents that ended
  int64_t width() const { return wide_ ? 4 : 2; }

  // Of a shard's file name, or -1.
  int64_t number_of(const std::string& file) const {
    if (file.size() < name_.size() + 9 || file.size() > name_.size() + 16 || !file.starts_with(name_ + "-") ||
        !file.ends_with(".h5"))
      return -1;
    const std::string digits = file.substr(name_.size() + 1, file.size() - name_.size() - 4);
    return digits.find_first_not_of("0123456789") == std::string::npos ? std::stoll(digits) : -1;
  }

  // The documents that ended.
  void flush() {
    if (offsets_.size() == 1) return;
    const auto shard_bytes = static_cast<size_t>(tokens() * width());
    const std::string name = directory_ + "/" + file_name(static_cast<int64_t>(shards_.size()));
    shards_.push_back({name, output_file(name)});
    const std::string path = temporary_name(shards_.back().file);
    const auto bytes = std::span<const char>(bytes_).first(shard_bytes);
    const std::vector<uint64_t> blocks = hash_pieces(bytes, shard_format::kBlockBytes),
                                pages = hash_pieces(bytes, shard_format::kPageBytes);
    const ShardSummary summary{
        path, source_, tokens(), 0, text_bytes_, tokenizer_.vocab_size(), tokenizer_.eos(), tokenizer_.hash()};
    hdf5::Writer writer(path);
    writer.add("/tokens", {tokens()}, wide_ ? DType::U32 : DType::U16);
    writer.add("/document_offsets", {static_cast<int64_t>(offsets_.size())}, DType::U64);
    writer.add("/block_hashes", {static_cast<int64_t>(blocks.size())}, DType::U64);
    writer.add("/page_hashes", {static_cast<int64_t>(pages.size())}, DType::U64);
    writer.set_integer("format_version", shard_format::kVersion);
    writer.set_integer("vocab_size", summary.vocab_size);
    writer.set_integer("end_of_document", summary.end_of_document);
    writer.set_integer("text_bytes", summary.text_bytes);
    writer.set_text("tokenizer_hash", hash_text(summary.tokenizer_hash));
    writer.set_text("header_hash", hash_text(shard_format::hash_header(summary, hash_of({&offsets_, &blocks}))));
    writer.set_text("page_table_hash", hash_text(hash_of({&pages})));
    writer.set_text("source", source_);
    const std::vector<hdf5::Dataset> datasets = writer.close();
    File file(path, File::Mode::ReadWrite);
    file.write_at(bytes_.data(), datasets[0].bytes(), datasets[0].offset);
    file.write_at(offsets_.data(), datasets[1].bytes(), datasets[1].offset);
    file.write_at(blocks.data(), datasets[2].bytes(), datasets[2].offset);
    file.write_at(pages.data(), datasets[3].bytes(), datasets[3].offset);
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
  std::vector<Shard> shards_;
};

}  // namespace

std::vector<std::string> write_shards(const Tokenizer& tokenizer, const std::vector<std::string>& inputs,
                                      const CorpusOptions& options, const std::string& directory,
                                      const std::string& name, int64_t shard_tokens) {
  require(shard_tokens > 0, "shards", "expected a positive number of tokens in a shard, got {}", shard_tokens);
  require(!name.empty() && name.find('/') == std::string::npos, "shards", "expected a name without '/', got '{}'",
          name);
  std::string source;
  for (const std::string& input : inputs) {
    if (!source.empty()) source += ' ';
    source += input.substr(input.rfind('/') + 1);
  }
  ShardWriter writer(tokenizer, directory, name, source.substr(0, 1024), shard_tokens);
  writer.check_outputs(inputs);
  check_documents(inputs, options);
  make_directories(directory);
  const EncodingReport report =
      encode_corpus(tokenizer, inputs, options, [&](const EncodedPart& part) { writer.add(part); });
  if (const std::string lost = report.lost_text(); !lost.empty()) log::warning("{}", lost);
  return writer.publish();
}

}  // namespace gta
