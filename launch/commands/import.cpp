// gta import: a folder of Hugging Face's as a checkpoint of ours, read back and compared before it has its name.
//
//   OUT/  step-00000000/  latest     the weights, the tokenizer, and a configuration of `model:` alone
//         model.yaml                 the same, for `model:` of a run that begins with these weights
//         tokenizer.model            the same, for data.tokenizer
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstring>
#include <filesystem>

#include "checkpoints/exports/hf_config_reader.h"
#include "checkpoints/exports/hf_weights.h"
#include "checkpoints/model_state.h"
#include "checkpoints/reader.h"
#include "checkpoints/writer.h"
#include "core/gemm.h"
#include "core/io/file.h"
#include "core/log.h"
#include "launch/commands/commands.h"
#include "launch/loaded_model.h"
#include "launch/new_output.h"

namespace gta {
namespace {

Tokenizer tokenizer_of(const ImportCommand& command) {
  if (!command.tokenizer.empty()) return Tokenizer::load(command.tokenizer);
  const std::string own = command.folder + "/tokenizer.model";
  if (!exists(own))
    bad_input(command.folder, "has no tokenizer.model{}: name a sentencepiece model with --tokenizer",
              exists(command.folder + "/tokenizer.json") ? ", and its tokenizer.json is not read" : "");
  return Tokenizer::load(own);
}

void require_finite(const ParameterSpace& space, const std::string& folder) {
  for (const StateRange& master : weight_ranges(space, RangesOf::Updater)) {
    const auto* const values = static_cast<const float*>(master.data);
    const auto* const found =
        std::find_if(values, values + master.count, [](float value) { return !std::isfinite(value); });
    if (found != values + master.count)
      bad_input(folder, "has {} in {}: expected weights that are finite", *found, master.parameter);
  }
}

// The last part of the path, in characters that a YAML file and a title take as they are.
std::string name_of_run(const std::string& path) {
  std::string name = std::filesystem::path(path).filename().string();
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c)) && !std::strchr("._-", c)) c = '-';
  return name;
}

// RoPE's table is as long as the context, which may be a million tokens; of as few as these it is soon made.
constexpr int64_t kPrompt = 32;

ModelConfig for_a_prompt(ModelConfig config) {
  config.max_sequence_length = std::min(config.max_sequence_length, kPrompt);
  return config;
}

// Tokens of everywhere in the vocabulary: as good as any text to compare two models with.
Tensor reference_prompt(const ModelConfig& config) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < config.max_sequence_length; ++i)
    tokens.push_back(static_cast<int32_t>((i * 7919 + 5) % config.vocab_size));
  return Tensor::from<int32_t>({1, config.max_sequence_length}, tokens);
}

// To the bit.
bool same_logits(const CausalLm& a, const CausalLm& b) {
  const Tensor prompt = reference_prompt(a.config());
  const std::vector<double> of_a = to_doubles(a.logits(prompt)), of_b = to_doubles(b.logits(prompt));
  return of_a.size() == of_b.size() && std::memcmp(of_a.data(), of_b.data(), of_a.size() * sizeof(double)) == 0;
}

struct Imported {
  const ModelConfig& config;
  const ParameterSpace& space;
  const CausalLm& model;  // for_a_prompt()
  const Tokenizer& tokenizer;
};

// "" where a checkpoint that was written is what was read; otherwise what is not.
std::string difference(const Imported& meant, const std::string& directory) {
  try {
    const Checkpoint checkpoint = use_checkpoint(directory, {});  // which verifies it
    RunConfig before;
    before.model = meant.config;
    for (const ConfigDifference& differs :
         differences(before, parse_trained_config(checkpoint.config_yaml(), checkpoint.path() + "/config")))
      if (differs.key.starts_with("model.")) return fmt::format("{} is {}", differs.key, differs.after);
    const LoadedModel again = load_model(
        directory, "cpu", {fmt::format("model.max_sequence_length={}", meant.model.config().max_sequence_length)});
    if (again.tokenizer.bytes() != meant.tokenizer.bytes()) return "the tokenizer is another";
    const std::vector<StateRange> a = weight_ranges(meant.space, RangesOf::Updater),
                                  b = weight_ranges(*again.space, RangesOf::Updater);
    for (size_t i = 0; i < a.size(); ++i)
      if (std::memcmp(a[i].data, b[i].data, static_cast<size_t>(a[i].bytes())) != 0)
        return a[i].parameter + " is another";
    return same_logits(meant.model, *again.model) ? "" : "the logits are others";
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::BadInput) throw;
    return error.what();
  }
}

}  // namespace

int run_import(const ImportCommand& command) {
  NewOutput out("--out", command.out, NewOutput::Kind::Folder);
  if (!is_directory(command.folder))
    bad_input(command.folder, "is no folder: expected one with config.json and model.safetensors");
  const HfModel from = read_hf_config(command.folder);
  const ModelConfig& config = from.config;
  const Tokenizer tokenizer = tokenizer_of(command);
  if (config.vocab_size < tokenizer.vocab_size())
    bad_input(command.folder + "/config.json", "vocab_size: expected at least the tokenizer's {} pieces, got {}",
              tokenizer.vocab_size(), config.vocab_size);
  const HfWeights weights = HfWeights::open(command.folder);
  weights.check_fits(config, from.type);
  cpu::check_products();

  ParameterSpace space;
  const CausalLm model(space, for_a_prompt(config));
  space.allocate(DType::F32, Device{}, SpaceUse::Inference);
  weights.load(config, from.type, space);
  require_finite(space, command.folder);

  const std::string& folder = out.begin();
  const std::string yaml = "name: \"" + name_of_run(out.path()) + "\"\nmodel:\n" + to_yaml(config, 2);
  write_checkpoint(folder, {{}, yaml, tokenizer.bytes(), weight_ranges(space, RangesOf::Owner)});
  write_synced(folder + "/model.yaml", to_yaml(config));
  write_synced(folder + "/tokenizer.model", tokenizer.bytes());
  if (const std::string differs = difference({config, space, model, tokenizer}, folder); !differs.empty()) {
    fmt::print("does not hold: read back, {}; nothing was written to {}\n", differs, out.path());
    return kExitCheckFailed;
  }
  out.publish();
  for (const std::string& note : from.notes) log::warning("{}", note);
  std::vector<std::string> formats;
  for (NumberFormat format : weights.formats()) formats.push_back(name_of(format));
  fmt::print("{}: {} of {} in {}, {} parameters as float32; read back, weights and logits are the same\n", out.path(),
             name_of(config.attention.type), name_of(from.type), fmt::join(formats, " and "), space.parameter_count());
  return 0;
}

}  // namespace gta
