// gta export: a checkpoint as a folder that others load, read back and compared before it has its name.
#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "checkpoints/exports/hf_export.h"
#include "checkpoints/exports/hf_model.h"
#include "checkpoints/model_state.h"
#include "checkpoints/reader.h"
#include "core/io/file.h"
#include "core/io/hash.h"
#include "core/log.h"
#include "launch/commands/commands.h"
#include "launch/loaded_model.h"
#include "launch/plan.h"

namespace gta {
namespace {

// Nothing is written over, and nothing half written has the name.
void check_new_folder(const std::string& path) {
  require(!exists(path), "--out", "{} is there already: expected the name of a new folder", path);
  const std::string parent = parent_of(path);
  require(is_directory(parent), "--out", "{} does not exist", parent);
  try_to_write_in(parent);
}

// A temporary folder that goes with this object, unless it has been given its name.
class NewFolder {
 public:
  explicit NewFolder(const std::string& path) : path_(path), temporary_(temporary_name(path)) {
    remove_tree(temporary_);
    make_directories(temporary_);
  }
  ~NewFolder() {
    try {
      if (!published_) remove_tree(temporary_);
    } catch (const std::exception& error) {
      log::warning("{} stays: {}", temporary_, error.what());
    }
  }
  NewFolder(const NewFolder&) = delete;
  NewFolder& operator=(const NewFolder&) = delete;
  const std::string& path() const { return temporary_; }
  void publish() {
    sync_directory(temporary_);
    check_new_folder(path_);  // it may have come meanwhile
    rename_path(temporary_, path_);
    published_ = true;
    sync_directory(parent_of(path_));
  }

 private:
  std::string path_, temporary_;
  bool published_ = false;
};

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

// Words of the tokenizer, one after the other: as good as any text to compare two models with.
Tensor reference_prompt(const LoadedModel& model) {
  const int64_t count = std::min<int64_t>(32, model.config.model.max_sequence_length);
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < count; ++i)
    tokens.push_back(static_cast<int32_t>((i * 7919 + 5) % model.tokenizer.vocab_size()));
  return Tensor::from<int32_t>({1, count}, tokens);
}

// The largest difference of their logits, over the largest of them.
double difference(const LoadedModel& model, const CausalLm& other) {
  const Tensor prompt = reference_prompt(model);
  const std::vector<double> ours = to_doubles(model.model->logits(prompt)), theirs = to_doubles(other.logits(prompt));
  double largest = 0, most = 0;
  for (size_t i = 0; i < ours.size(); ++i) {
    largest = std::max(largest, std::abs(ours[i]));
    most = std::max(most, std::abs(ours[i] - theirs[i]));
    if (!(std::abs(ours[i] - theirs[i]) < INFINITY)) return INFINITY;
  }
  return largest > 0 ? most / largest : most;
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

}  // namespace

int run_export(const ExportCommand& command) {
  const std::string out = std::filesystem::path(command.out).lexically_normal();
  const std::string path = out.ends_with('/') ? out.substr(0, out.size() - 1) : out;
  check_new_folder(path);
  const NumberFormat format = number_format_named(command.dtype);
  const LoadedModel model = load_model(command.checkpoint, "cpu", {"train.dtype=float32"});
  const Checkpoint checkpoint = Checkpoint::open(model.checkpoint);
  const ModelConfig& config = model.config.model;
  NewFolder folder(path);
  const std::vector<std::string> notes = write_hf_folder(folder.path(), {config, *model.space, model.tokenizer, format},
                                                         model_card(model, checkpoint, format));

  ParameterSpace read;
  const CausalLm again(read, config);
  read.allocate(DType::F32, Device{}, SpaceUse::Inference);
  load_hf_weights(folder.path(), config, read);
  const std::string differs = first_difference(*model.space, read, format);
  const double logits = difference(model, again);
  // Of float32 nothing is lost; what rounding costs is said.
  if (!differs.empty() || !std::isfinite(logits) || (format == NumberFormat::F32 && logits != 0)) {
    fmt::print("does not hold: read back, {} and logits differ by {:.3g}; nothing was written to {}\n",
               differs.empty() ? "weights are the same" : differs + " is another", logits, path);
    return kExitCheckFailed;
  }
  folder.publish();
  for (const std::string& note : notes) log::warning("{}", note);
  fmt::print(
      "{}: {} in {}, {} parameters; read back, every weight is the checkpoint's{}, logits differ by {:.2g} of the "
      "largest\n",
      path, name_of(hf_class_of(config)), name_of(format), plan_model(config, 1).parameters,
      format == NumberFormat::F32 ? "" : ", rounded", logits);
  return 0;
}

}  // namespace gta
