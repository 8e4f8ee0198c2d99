#include "launch/vocabulary.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/io/file.h"

namespace gta {
namespace {

constexpr int64_t kCommonPieces = 32000;

int64_t rounded_up(int64_t pieces, int64_t multiple) { return (pieces + multiple - 1) / multiple * multiple; }

}  // namespace

RunConfig with_vocabulary(RunConfig config, const Tokenizer& tokenizer) {
  ModelConfig& model = config.model;
  const int64_t pieces = tokenizer.vocab_size();
  if (model.vocab_size == 0) model.vocab_size = rounded_up(pieces, model.vocab_multiple);
  require(model.vocab_size >= pieces, "model.vocab_size",
          "{} is smaller than the tokenizer's {} pieces: leave it out or raise it", model.vocab_size, pieces);
  return config;
}

std::string take_vocabulary(RunConfig& config) {
  if (config.model.vocab_size > 0) return "";
  const std::string& file = config.data.tokenizer;
  if (!file.empty() && exists(file)) {
    config = with_vocabulary(config, Tokenizer::load(file));
    return fmt::format("model.vocab_size is {}, from the tokenizer {}", config.model.vocab_size, file);
  }
  config.model.vocab_size = rounded_up(kCommonPieces, config.model.vocab_multiple);
  return fmt::format(
      "model.vocab_size is assumed to be {}: {}; give it with --set model.vocab_size=N{}", config.model.vocab_size,
      file.empty() ? "neither it nor a tokenizer is named" : fmt::format("the tokenizer {} is not here", file),
      file.empty() ? "" : ", or make the tokenizer ('gta data tokenizer')");
}

}  // namespace gta
