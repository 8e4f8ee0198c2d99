// gta export: a checkpoint as a folder that transformers loads, read back and compared before it has its name.
#include <fmt/format.h>

#include <cmath>
#include <cstring>

#include "checkpoints/exports/hf_export.h"
#include "checkpoints/exports/hf_model.h"
#include "checkpoints/model_state.h"
#include "checkpoints/reader.h"
#include "core/io/hash.h"
#include "core/log.h"
#include "launch/commands/commands.h"
#include "launch/commands/export_check.h"
#include "launch/commands/export_gguf.h"
#include "launch/commands/export_reader.h"
#include "launch/new_output.h"
#include "launch/plan.h"

namespace gta {
namespace {

std::string model_card(const LoadedModel& model, const Checkpoint& checkpoint, NumberFormat format) {
  const ModelConfig& config = model.config.model;
  const Plan plan = plan_model(config, model.config.data.sequence_length);
  const bool own_code = hf_class_of(config) == HfClass::Gta;
  const TrainingPosition& position = checkpoint.position();
  std::string card = fmt::format(
      "---\nlibrary_name: transformers\npipeline_tag: text-generation\n---\n\n# {}\n\n"
      "A causal language model with {} attention, {} parameters, as {} in {}.\n\n",
      model.config.name, name_of(config.attention.type), plan.parameters, name_of(hf_class_of(config)),
      name_of(format));
  card += fmt::format(
      "    from transformers import AutoModelForCausalLM, AutoTokenizer\n"
      "    model = AutoModelForCausalLM.from_pretrained(FOLDER{0})\n"
      "    tokenizer = AutoTokenizer.from_pretrained(FOLDER{0})\n"
      "    tokens = tokenizer(\"...\", return_tensors=\"pt\", return_token_type_ids=False)\n"
      "    print(tokenizer.decode(model.generate(**tokens, max_new_tokens=64)[0]))\n\n",
      own_code ? ", trust_remote_code=True" : "");
  if (own_code) card += "`modeling_gta.py` and `configuration_gta.py` are its code.\n\n";
  card += fmt::format(
      "| | |\n|---|---|\n| trained for | {} steps, {} tokens |\n| order and content of the training data | xxh3 {} |\n"
      "| tokenizer | {} pieces, xxh3 {} |\n| context | {} tokens, rope_theta {} |\n"
      "| cached numbers per token and layer | {} |\n| FLOPs per token, forward | {:.4g} |\n\n",
      position.step, position.tokens, hash_text(position.data_hash), model.tokenizer.vocab_size(),
      hash_text(model.tokenizer.hash()), config.max_sequence_length, config.rope_theta,
      plan.cache_numbers_per_token_and_layer, plan.flops_per_token_forward);
  for (const std::string& note : hf_notes(config)) card += note + ".\n\n";
  card += "The configuration that it was trained with:\n\n```yaml\n" + checkpoint.config_yaml() + "```\n";
  return card;
}

// Where a weight that was read back is not the one that was written, rounded: "" otherwise.
std::string first_difference(const ParameterSpace& ours, const ParameterSpace& read, NumberFormat format) {
  const std::vector<StateRange> a = weight_ranges(ours, RangesOf::Updater), b = weight_ranges(read, RangesOf::Updater);
  for (size_t i = 0; i < a.size(); ++i) {
    const auto *from = static_cast<const float*>(a[i].data), *to = static_cast<const float*>(b[i].data);
    const std::vector<float> rounded = decode(format, encode(format, {from, static_cast<size_t>(a[i].count)}));
    if (std::memcmp(rounded.data(), to, rounded.size() * sizeof(float)) != 0) return a[i].parameter;
  }
  return "";
}

int export_hf(const ExportCommand& command) {
  NewOutput out("--out", command.out, NewOutput::Kind::Folder);
  check_reader(command);
  require(command.dtype != "q8_0", "--dtype", "q8_0 is a type of gguf: expected float32, bfloat16 or float16 for hf");
  const NumberFormat format = number_format_named(command.dtype);
  const LoadedModel model = load_model(command.checkpoint, "cpu", {"train.dtype=float32"});
  const Checkpoint checkpoint = Checkpoint::open(model.checkpoint);
  const ModelConfig& config = model.config.model;
  const std::string& folder = out.begin();
  const std::vector<std::string> notes =
      write_hf_folder(folder, {config, *model.space, model.tokenizer, format}, model_card(model, checkpoint, format));

  ParameterSpace read;
  const CausalLm again(read, config);
  read.allocate(DType::F32, Device{}, SpaceUse::Inference);
  load_hf_weights(folder, config, read);
  const std::string differs = first_difference(*model.space, read, format);
  const Tensor prompt = reference_prompt(model);
  const double logits = largest_difference(to_doubles(model.model->logits(prompt)), to_doubles(again.logits(prompt)));
  // Of float32 nothing is lost; what rounding costs is said.
  if (!differs.empty() || !std::isfinite(logits) || (format == NumberFormat::F32 && logits != 0)) {
    fmt::print("does not hold: read back, {} and logits differ by {:.3g}; nothing was written to {}\n",
               differs.empty() ? "weights are the same" : differs + " is another", logits, out.path());
    return kExitCheckFailed;
  }
  if (const std::string differs_there = difference_of_reader(command, folder, model, format == NumberFormat::F32);
      !differs_there.empty()) {
    fmt::print("does not hold: {}; nothing was written to {}\n", differs_there, out.path());
    return kExitCheckFailed;
  }
  out.publish();
  for (const std::string& note : notes) log::warning("{}", note);
  fmt::print(
      "{}: {} in {}, {} parameters; read back, every weight is the checkpoint's{}, logits differ by {:.2g} of the "
      "largest\n",
      out.path(), name_of(hf_class_of(config)), name_of(format), plan_model(config, 1).parameters,
      format == NumberFormat::F32 ? "" : ", rounded", logits);
  return 0;
}

}  // namespace

int run_export(const ExportCommand& command) {
  return command.format == "gguf" ? export_gguf(command) : export_hf(command);
}

}  // namespace gta
