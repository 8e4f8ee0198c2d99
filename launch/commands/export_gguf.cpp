// A checkpoint as a file that llama.cpp loads, read back and compared before it has its name.
#include "launch/commands/export_gguf.h"

#include <fmt/format.h>

#include <cmath>

#include "checkpoints/exports/gguf_export.h"
#include "checkpoints/exports/gguf_model.h"
#include "checkpoints/exports/gguf_reference.h"
#include "checkpoints/reader.h"
#include "core/io/hash.h"
#include "core/log.h"
#include "launch/commands/export_check.h"
#include "launch/commands/export_reader.h"
#include "launch/new_output.h"
#include "launch/plan.h"

namespace gta {
namespace {

GgufKeys provenance(const Checkpoint& checkpoint) {
  const TrainingPosition& position = checkpoint.position();
  return {{"gta.step", static_cast<uint64_t>(position.step)},
          {"gta.tokens", static_cast<uint64_t>(position.tokens)},
          {"gta.data_hash", hash_text(position.data_hash)},
          {"gta.configuration", checkpoint.config_yaml()}};
}

}  // namespace

int export_gguf(const ExportCommand& command) {
  NewOutput out("--out", command.out, NewOutput::Kind::File);
  check_reader(command);
  const GgufType type = gguf_type_named(command.dtype);
  const LoadedModel model = load_model(command.checkpoint, "cpu", {"train.dtype=float32"});
  const ModelConfig& config = model.config.model;
  const GgufExport what{config, *model.space,      model.tokenizer,
                        type,   model.config.name, provenance(Checkpoint::open(model.checkpoint))};
  check_gguf_export(what);
  const std::string& path = out.begin();
  write_gguf_model(path, what);

  const GgufFile file = GgufFile::open(path);
  const std::string differs = first_difference(file, what);
  const Tensor prompt = reference_prompt(model);
  const double logits =
      largest_difference(to_doubles(model.model->logits(prompt)), gguf_logits(file, prompt.to_vector<int32_t>()));
  if (!differs.empty() || !(logits <= tolerated_difference(type == GgufType::F32))) {
    fmt::print("does not hold: read back, {} and logits differ by {:.3g} of the largest; nothing was written to {}\n",
               differs.empty() ? "every tensor is the same" : differs + " is another", logits, out.path());
    return kExitCheckFailed;
  }
  if (const std::string differs_there = difference_of_reader(command, path, model, type == GgufType::F32);
      !differs_there.empty()) {
    fmt::print("does not hold: {}; nothing was written to {}\n", differs_there, out.path());
    return kExitCheckFailed;
  }
  out.publish();
  for (const std::string& note : gguf_notes(config)) log::warning("{}", note);
  fmt::print(
      "{}: {} in {}, {} parameters; read back, every tensor is the checkpoint's{}, logits computed from the file "
      "differ "
      "by {:.2g} of the largest\n",
      out.path(), name_of(gguf_architecture_of(config)), name_of(type), plan_model(config, 1).parameters,
      type == GgufType::F32 ? "" : ", rounded", logits);
  return 0;
}

}  // namespace gta
