#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "core/io/file.h"
#include "core/io/hash.h"
#include "core/log.h"
#include "data/corpus.h"
#include "data/input_file.h"
#include "data/shards.h"
#include "data/tokenizer.h"
#include "launch/commands/commands.h"

namespace gta {
namespace {

CorpusOptions corpus_options(const DataCommand& command) {
  CorpusOptions options;
  options.format = command.format == "text"    ? TextFormat::Text
                   : command.format == "jsonl" ? TextFormat::JsonLines
                                               : TextFormat::Auto;
  options.field = command.field;
  options.document_separator = command.document_separator;
  options.skip_bad_lines = command.skip_bad_lines;
  return options;
}

std::vector<std::string> inputs_of(const DataCommand& command) {
  std::vector<std::string> inputs = command.inputs;
  if (!command.files_from.empty())
    for (std::string& file : read_file_list(command.files_from)) inputs.push_back(std::move(file));
  require(!inputs.empty(), "data", "there is no input: name files with --input, or a list of them with --files-from");
  return inputs;
}

std::string described(const DocumentLengths& lengths) {
  return fmt::format("least {}, median {}, mean {}, largest {}", lengths.least(), lengths.median(), lengths.mean(),
                     lengths.largest());
}

void say_notes(const CorpusNotes& notes, const CorpusOptions& options) {
  if (notes.whole_files > 0)
    log::warning(
        "{}{} is one document of more than a megabyte: {}", notes.first_whole_file,
        notes.whole_files == 1 ? "" : fmt::format(" (and {} other files, each)", notes.whole_files - 1),
        options.document_separator
            ? "the document separator matches none of its lines as a whole"
            : "if it holds several, say what stands between them: --document-separator REGEX cuts at lines that match "
              "as a whole ('' at empty lines, '<[|]endoftext[|]>' at such lines), which are then no text");
  if (notes.inside_lines > notes.separators)
    log::warning(
        "the document separator '{}' stands within {} lines (the first is {}) and is the whole of {}: only whole lines "
        "separate, so put it on lines of its own, or say an expression that matches the whole line",
        options.document_separator.value_or(""), notes.inside_lines, notes.first_inside, notes.separators);
}

}  // namespace

int run_data_tokenizer(const DataCommand& command) {
  const std::vector<std::string> inputs = inputs_of(command);
  const std::string file = output_file(command.out, inputs);
  if (exists(file) && !command.replace)
    bad_input(command.out,
              "is there already: --replace writes it anew (shards and runs that were made with it want the one that is "
              "there), another --out beside it");
  TokenizerTraining training;
  training.split_digits = command.split_digits;
  training.user_symbols = command.user_symbols;
  training.character_coverage = command.character_coverage;
  const TokenizerReport report =
      train_tokenizer(inputs, corpus_options(command), command.vocab_size, command.out, training);
  const Tokenizer tokenizer = Tokenizer::load(command.out);
  log::info("{}: {} pieces from {} documents, hash {}", command.out, tokenizer.vocab_size(), report.documents,
            hash_text(tokenizer.hash()));
  const std::string held_out =
      fmt::format("{:g}% of the text, in blocks of {} bytes by their hash,", 100 * training.hold_out, kHeldOutBlock);
  if (report.held_out_tokens > 0)
    log::info("{:.2f} bytes a token on {} kB of text that it was not trained on ({} was held out)",
              static_cast<double>(report.held_out_bytes) / static_cast<double>(report.held_out_tokens),
              std::max<int64_t>(1, report.held_out_bytes / 1000), held_out);
  else
    log::info("no bytes a token are said: {} would be held out of the training for it, and there are too few",
              held_out);
  return 0;
}

int run_data_shards(const DataCommand& command) {
  const Tokenizer tokenizer = Tokenizer::load(command.tokenizer);
  const CorpusOptions options = corpus_options(command);
  ShardSettings settings;
  settings.directory = command.out;
  settings.name = command.name;
  settings.shard_tokens = command.shard_tokens;
  settings.hold_out = command.hold_out;
  settings.existing = command.replace ? ExistingShards::Replace : ExistingShards::Refuse;
  const ShardReport report = write_shards(tokenizer, inputs_of(command), options, settings);
  const EncodingReport& all = report.encoding;
  log::info("{} documents in {} files; bytes of a document: {}; tokens: {}", all.documents, all.notes.files,
            described(all.bytes), described(all.tokens));
  say_notes(all.notes, options);
  int64_t held_documents = 0, held_bytes = 0;
  for (const auto* paths : {&report.paths, &report.held_out_paths})
    for (const std::string& path : *paths) {
      const ShardSummary summary = TokenShard(path).summary();
      log::info("{}: {} tokens in {} documents, {} bytes of text ({:.2f} bytes a token)", path, summary.tokens,
                summary.documents, summary.text_bytes,
                static_cast<double>(summary.text_bytes) / static_cast<double>(summary.tokens));
      if (paths != &report.held_out_paths) continue;
      held_documents += summary.documents;
      held_bytes += summary.text_bytes;
    }
  if (held_documents > 0)
    log::info("held out by the hash of their text: {} of {} documents, {:.2f}% of the bytes", held_documents,
              all.documents, 100 * static_cast<double>(held_bytes) / static_cast<double>(all.bytes.total()));
  return 0;
}

int run_data_inspect(const DataCommand& command) {
  warn_of_missing_shards(command.inputs);
  for (const std::string& path : command.inputs) {
    const TokenShard shard(path);
    shard.verify();
    const ShardSummary s = shard.summary();
    fmt::print(
        "{}: {} tokens, {} documents, {} bytes of text, vocabulary {}, tokenizer {}, end of document {}; every block's "
        "hash holds\n",
        path, s.tokens, s.documents, s.text_bytes, s.vocab_size, hash_text(s.tokenizer_hash), s.end_of_document);
  }
  return 0;
}

}  // namespace gta
