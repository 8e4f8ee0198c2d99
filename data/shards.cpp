#include "data/shards.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "core/error.h"
#include "core/io/file.h"
#include "core/io/hash.h"
#include "core/io/hdf5.h"
#include "core/io/unfinished.h"
#include "core/log.h"
#include "data/encoded_corpus.h"
#include "data/held_out.h"
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

// What a set's file is called, and back; nothing where it is no such name. With or without a folder before it.
std::string shard_file_name(const std::string& name, int64_t number) {
  return fmt::format("{}-{:05}.h5", name, number);
}

struct ShardFile {
  std::string name;
  int64_t number;
};
std::optional<ShardFile> shard_file(const std::string& file) {
  constexpr size_t least = 5, most = 12;  // digits
  const size_t dash = file.rfind('-');
  if (dash == std::string::npos || !file.ends_with(".h5")) return std::nullopt;
  const std::string digits = file.substr(dash + 1, file.size() - dash - 4);
  if (digits.size() < least || digits.size() > most || digits.find_first_not_of("0123456789") != std::string::npos)
    return std::nullopt;
  return ShardFile{file.substr(0, dash), std::stoll(digits)};
}

// One writer at a time in a folder: two would take away each other's shards. Held by its descriptor, so that nothing
// else lies there, and gone with the process. Under it, what a killed writer left goes.
class FolderLock {
 public:
  explicit FolderLock(const std::string& folder)
      : descriptor_(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
    if (descriptor_ < 0) fail(folder, "cannot open: {}", std::strerror(errno));
    if (::flock(descriptor_, LOCK_EX | LOCK_NB) == 0)
      remove_leftovers(folder);
    else if (errno == EWOULDBLOCK) {
      ::close(descriptor_);
      fail(folder, "is written to by another process: wait for it, or name another --out");
    }
    // Some network file systems lock no folders: then as if there were no lock.
  }
  ~FolderLock() { ::close(descriptor_); }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  static void remove_leftovers(const std::string& folder) {
    int64_t files = 0;
    for (const std::string& name : list_directory(folder)) {
      const size_t end = name.rfind(".tmp-");
      if (end == std::string::npos || !shard_file(name.substr(0, end))) continue;
      files += ::unlink((folder + "/" + name).c_str()) == 0;
    }
    if (files > 0)
      log::info("{}: {} unfinished shards are removed, which an earlier process left when it was killed", folder,
                files);
  }

  int descriptor_;
};

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

  // Error(BadInput) where shards of this name cannot be written, or would be written over what is read, or are there.
  void check_outputs(const std::vector<std::string>& inputs, ExistingShards existing) const {
    check_output_folder(directory_);
    if (!exists(directory_)) return;
    output_file(directory_ + "/" + file_name(0), inputs);
    std::vector<std::string> there = existing_shards();
    for (const std::string& found : there) output_file(directory_ + "/" + found, inputs);
    // A link that leads to no file yet is a name for one.
    std::erase_if(there, [&](const std::string& file) { return !exists(directory_ + "/" + file); });
    if (!there.empty() && existing == ExistingShards::Refuse)
      bad_input(directory_ + "/" + there.front(),
                "is there already ({} of the name '{}'): --replace writes all of them anew, another --name or --out "
                "writes beside them",
                there.size() == 1 ? "1 shard" : fmt::format("{} shards", there.size()), name_);
  }

  bool replaces() const { return exists(directory_) && !existing_shards().empty(); }

  // Of an older set the first shard goes first: what is left of it is not taken for a set.
  void withdraw() const { remove(output_file(directory_ + "/" + file_name(0))); }

  std::vector<std::string> publish() {
    flush();
    std::vector<std::string> paths;
    for (const Shard& shard : shards_) paths.push_back(shard.path);
    withdraw();
    for (const std::string& found : existing_shards())
      if (number_of(found) >= static_cast<int64_t>(shards_.size())) remove(directory_ + "/" + found);
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
    std::unique_ptr<Unfinished> unfinished;
  };
  std::string file_name(int64_t number) const { return shard_file_name(name_, number); }
  int64_t tokens() const { return static_cast<int64_t>(offsets_.back()); }  // of the documents that ended
  int64_t width() const { return wide_ ? 4 : 2; }

  std::vector<std::string> existing_shards() const {
    std::vector<std::string> there = list_directory(directory_);
    std::erase_if(there, [&](const std::string& file) { return number_of(file) < 0; });
    std::sort(there.begin(), there.end());
    return there;
  }

  static void remove(const std::string& path) {
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) fail(path, "cannot remove: {}", std::strerror(errno));
  }

  // Of one of this name, or -1.
  int64_t number_of(const std::string& file) const {
    const std::optional<ShardFile> shard = shard_file(file);
    return shard && shard->name == name_ ? shard->number : -1;
  }

  // The documents that ended.
  void flush() {
    if (offsets_.size() == 1) return;
    const auto shard_bytes = static_cast<size_t>(tokens() * width());
    const std::string name = directory_ + "/" + file_name(static_cast<int64_t>(shards_.size()));
    const std::string file_of_shard = output_file(name), path = temporary_name(file_of_shard);
    shards_.push_back({name, file_of_shard, std::make_unique<Unfinished>(path)});
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

ShardReport write_shards(const Tokenizer& tokenizer, const std::vector<std::string>& inputs,
                         const CorpusOptions& options, const ShardSettings& settings) {
  const std::string& name = settings.name;
  require(settings.shard_tokens > 0, "shards", "expected a positive number of tokens in a shard, got {}",
          settings.shard_tokens);
  require(!name.empty() && name.find('/') == std::string::npos, "shards", "expected a name without '/', got '{}'",
          name);
  require(settings.hold_out >= 0 && settings.hold_out < 1, "shards",
          "expected to hold out a part of the documents from 0 up to 1, got {}", settings.hold_out);
  require(settings.hold_out == 0 || !name.starts_with("validation"), "shards",
          "the documents that are held out are named validation: choose another name than '{}' for the others", name);
  std::string source;
  for (const std::string& input : inputs) {
    if (!source.empty()) source += ' ';
    source += input.substr(input.rfind('/') + 1);
  }
  source = source.substr(0, 1024);
  ShardWriter kept(tokenizer, settings.directory, name, source, settings.shard_tokens);
  ShardWriter held(tokenizer, settings.directory, name == "train" ? "validation" : "validation-" + name, source,
                   settings.shard_tokens);
  const auto check_outputs = [&] {
    kept.check_outputs(inputs, settings.existing);
    if (settings.hold_out > 0) held.check_outputs(inputs, settings.existing);
  };
  check_outputs();
  check_documents(inputs, options);
  make_directories(settings.directory);
  const FolderLock lock(settings.directory);
  check_outputs();  // another process may have ended since
  ShardReport report;
  std::vector<EncodedPart> open;  // the parts of a document of which it is not known yet where it goes
  int64_t held_documents = 0;
  double least = 1;  // to hold out
  report.encoding = encode_corpus(tokenizer, inputs, options, [&](const EncodedPart& part) {
    if (settings.hold_out == 0) return kept.add(part);
    open.push_back(part);
    if (!part.ends_document) return;
    const bool is_held = is_held_out(part.document_hash, settings.hold_out);
    for (const EncodedPart& its : open) (is_held ? held : kept).add(its);
    open.clear();
    held_documents += is_held;
    least = std::min(least, held_out_from(part.document_hash));
  });
  if (const std::string lost = report.encoding.lost_text(); !lost.empty()) log::warning("{}", lost);
  const int64_t documents = report.encoding.documents;
  require(documents > 0, "shards", "the input has no documents");
  if (settings.hold_out > 0) {
    require(held_documents > 0, "shards",
            "of {} documents none is held out by a part of {:g}: hold out more (from {:.3g} on there is one), or split "
            "the text into more documents (--document-separator)",
            documents, settings.hold_out, least + 0.001);
    require(held_documents < documents, "shards",
            "all {} documents are held out by a part of {:g}: hold out less, or split the text into more documents "
            "(--document-separator)",
            documents, settings.hold_out);
    kept.withdraw();  // which may have what is held out now
    report.held_out_paths = held.publish();
  } else if (kept.replaces() && held.replaces()) {
    log::warning(
        "{}: nothing is held out of '{}', which is replaced, and shards that were held out lie beside it: if they are "
        "of the same text, hold out again (--hold-out), or remove them",
        settings.directory, name);
  }
  report.paths = kept.publish();
  return report;
}

void warn_of_missing_shards(const std::vector<std::string>& paths) {
  std::map<std::string, int64_t> last;  // number, of each set
  for (const std::string& path : paths)
    if (const std::optional<ShardFile> shard = shard_file(path)) {
      int64_t& largest = last[shard->name];
      largest = std::max(largest, shard->number);
    }
  for (const auto& [name, largest] : last) {
    int64_t number = 0;
    while (number < largest && exists(shard_file_name(name, number))) ++number;
    if (number < largest)
      log::warning(
          "{} is not there, and {} is: the set was not written to its end, or is not whole any more; write it again "
          "('gta data shards --replace')",
          shard_file_name(name, number), shard_file_name(name, largest));
  }
}

}  // namespace gta
