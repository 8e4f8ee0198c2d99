#include <fmt/format.h>

#include <algorithm>

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

}  // namespace

int run_data_tokenizer(const DataCommand& command) {
  output_file(command.out, command.inputs);
  TokenizerTraining training;
  training.split_digits = command.split_digits;
  training.user_symbols = command.user_symbols;
  training.character_coverage = command.character_coverage;
  const TokenizerReport report =
      train_tokenizer(command.inputs, corpus_options(command), command.vocab_size, command.out, training);
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
  for (const std::string& path : write_shards(tokenizer, command.inputs, corpus_options(command), command.out,
                                              command.name, command.shard_tokens)) {
    const ShardSummary summary = TokenShard(path).summary();
    log::info("{}: {} tokens in {} documents, {} bytes of text ({:.2f} bytes a token)", path, summary.tokens,
              summary.documents, summary.text_bytes,
              static_cast<double>(summary.text_bytes) / static_cast<double>(summary.tokens));
  }
  return 0;
}

int run_data_inspect(const DataCommand& command) {
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
