// What a folder of Hugging Face's says of itself: config.json, and the index of its files of weights.
#include "checkpoints/exports/hf_config_reader.h"
#include "checkpoints/exports/hf_weights.h"
#include "core/io/file.h"
#include "tests/fuzz/target.h"

namespace gta::fuzz {

bool read_hf_config(const std::string& bytes) {
  const std::string folder = scratch_folder("hf_config");
  scratch_file("hf_config/config.json", bytes);
  return taken([&] {
    const HfModel model = gta::read_hf_config(folder);
    const ModelConfig& config = model.config;
    expect(problems_of(config).empty(), "a model that cannot be built is taken");
    expect(config.hidden_size > 0 && config.layers > 0 && config.vocab_size > 0 && config.max_sequence_length > 0,
           "a size is none");
    expect(config.rope_theta > 1 && config.rope_theta <= 1e12 && config.norm_eps > 0, "a number is out of range");
    for (const std::string& note : model.notes)
      expect(note.find('\n') == std::string::npos, "a note has several lines");
    // What it has can be named, without memory for it.
    constexpr int64_t kMostLayers = 50;
    if (config.layers > kMostLayers) return;
    for (const HfTensor& tensor : hf_tensors(config, model.type))
      for (const int64_t size : tensor.shape) expect(size > 0, "a tensor has no numbers");
  });
}

bool read_hf_index(const std::string& bytes) {
  const std::string folder = scratch_folder("hf_index");
  for (const char* name : {"a", "b"})
    if (const std::string path = folder + "/" + name + ".safetensors"; !exists(path))
      write_safetensors(path, {{std::string(name) + ".weight", NumberFormat::F32, {2}, 0, 0}}, [](size_t) {
        return std::vector<float>{1, 2};
      });
  scratch_file("hf_index/model.safetensors.index.json", bytes);
  return taken([&] {
    const HfWeights weights = HfWeights::open(folder);
    expect(!weights.files().empty(), "an index without files is taken");
    for (const SafetensorsFile& file : weights.files())
      expect(file.path() == folder + "/a.safetensors" || file.path() == folder + "/b.safetensors",
             "a file outside the folder is read");
  });
}

}  // namespace gta::fuzz
