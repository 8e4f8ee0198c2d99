// Files of prompts and of tasks: read as each of the two, down to the tokens that a model would get.
#include "core/error.h"
#include "core/io/file.h"
#include "core/random.h"
#include "data/tokenizer.h"
#include "data/utf8.h"
#include "launch/generation/requests.h"
#include "launch/tasks/task_scores.h"
#include "tests/fuzz/target.h"

namespace gta::fuzz {
namespace {

constexpr int64_t kLongest = 64;  // that the model sees

Tokenizer small_tokenizer() {
  const RandomStream random(3, "text");
  std::string text;
  for (uint64_t i = 0; i < 6000; ++i) {
    text += static_cast<char>('a' + random.bits(i) % 17);
    if (random.bits(i + 100000) % 4 == 0) text += ' ';
  }
  const std::string path = scratch_folder() + "/questions.model";
  train_tokenizer({text}, 300, path);
  return Tokenizer::load(path);
}

void expect_tokens(const std::vector<int32_t>& tokens, const Tokenizer& tokenizer, int64_t most) {
  expect(!tokens.empty() && static_cast<int64_t>(tokens.size()) <= most, "more tokens than a model sees, or none");
  for (const int32_t id : tokens) expect(id >= 0 && id < tokenizer.vocab_size(), "a piece is outside the vocabulary");
}

}  // namespace

bool read_questions(const std::string& bytes) {
  static const Tokenizer tokenizer = small_tokenizer();
  const std::string path = scratch_file("questions.jsonl", bytes);
  ModelConfig config;
  config.max_sequence_length = kLongest;
  const bool prompts = taken([&] {
    for (const GenerationRequest& request : read_requests(path, {}, config, tokenizer)) {
      expect_tokens(request.tokens, tokenizer, kLongest);
      expect(request.options.max_tokens > 0 && request.options.temperature >= 0 && request.options.top_p <= 1 &&
                 request.options.repetition_penalty > 0,
             "a prompt has options that cannot be");
      for (const std::string& stop : request.options.stop) expect(!stop.empty(), "a stop string is empty");
    }
  });
  const bool task = taken([&] {
    for (const TaskItem& item : read_task(path, {}).items) {
      expect(item.answer < item.choices.size() && item.pairs.size() == item.choices.size(), "an item has no answer");
      for (size_t i = 0; i < item.pairs.size(); ++i) {
        expect(!item.choices[i].empty(), "a choice is empty");
        expect(find_bad_utf8(item.pairs[i].context + item.pairs[i].continuation) < 0, "a text is not UTF-8");
        taken([&] {
          const EncodedPair pair = encode_pair(tokenizer, item.pairs[i], kLongest, item.place);
          expect_tokens(pair.tokens, tokenizer, kLongest + 1);
          expect(pair.scored > 0 && pair.scored < static_cast<int64_t>(pair.tokens.size()), "nothing is scored");
        });
      }
    }
  });
  return prompts || task;
}

}  // namespace gta::fuzz
