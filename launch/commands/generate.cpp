#include <fmt/format.h>

#include "core/log.h"
#include "launch/commands/commands.h"
#include "launch/loaded_model.h"
#include "launch/sampling.h"
#include "launch/standard_output.h"

namespace gta {

int run_generate(const GenerateCommand& command) {
  refuse_override(command.overrides, "data.document_mask",
                  "changes nothing: the prompt and what follows are one document");
  const LoadedModel loaded = load_model(command.checkpoint, command.device, command.overrides);
  SamplingOptions options;
  options.max_tokens = command.max_tokens;
  options.temperature = command.temperature;
  options.top_k = command.top_k;
  options.top_p = command.top_p;
  options.seed = static_cast<uint64_t>(command.seed);
  if (const std::string seen = loaded.tokenizer.decode(loaded.tokenizer.encode(command.prompt)); seen != command.prompt)
    log::warning("the tokenizer cannot give this prompt back: the model sees '{}'", seen);
  fmt::print("{}", command.prompt);
  generate(*loaded.model, loaded.tokenizer, command.prompt, options, [](const std::string& piece) {
    fmt::print("{}", piece);
    flush_stdout();
  });
  fmt::print("\n");
  return 0;
}

}  // namespace gta
