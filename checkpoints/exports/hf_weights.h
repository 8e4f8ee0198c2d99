// The weights of a Hugging Face folder: which files hold them, and which tensors lie where, known from their headers
// before there is memory for any.
//
//   FOLDER/model.safetensors, or where there is none
//   FOLDER/model.safetensors.index.json     {"weight_map": {"TENSOR": "model-00001-of-00002.safetensors", ...}}
//
// The index names files in the same folder and nothing else: no path, nothing hidden. That such a name is a symbolic
// link is another matter: whoever can put one into a folder could put the file there, and a cache of Hugging Face's
// consists of them (snapshots/REVISION/model.safetensors -> ../../blobs/HASH). They are followed.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "checkpoints/exports/hf_model.h"
#include "checkpoints/exports/safetensors.h"
#include "core/parameter_space.h"
#include "layers/transformer/model_config.h"

namespace gta {

class HfWeights {
 public:
  // Error(BadInput) where a file is not what the formats say, is not there, or the index says otherwise.
  static HfWeights open(const std::string& folder);

  const std::vector<SafetensorsFile>& files() const { return files_; }
  std::vector<NumberFormat> formats() const;  // of the tensors, each once

  // Error(BadInput) names a tensor that the model has not, or has in another shape, and how many are missing. Passed
  // over: rotary_emb.inv_freq, which old files hold and RoPE's base says; of a tied model a head, which load()
  // compares.
  void check_fits(const ModelConfig& config, HfClass type) const { places(config, type); }
  // Into the whole float32 masters, on the CPU, of a space that declares the model. Errors as check_fits(), and where
  // a tensor has numbers that the model cannot hold: a bias behind o_proj, a head that is not the embedding.
  void load(const ModelConfig& config, HfClass type, ParameterSpace& space) const;

 private:
  struct Place {
    const SafetensorsFile* file;
    const SafeTensor* tensor;
    HfTensor meaning;
    bool repeats = false;  // a parameter that another tensor fills
  };
  std::vector<Place> places(const ModelConfig& config, HfClass type) const;

  std::string folder_;
  std::vector<SafetensorsFile> files_;
};

// A name that an index gives to a file of weights; Error(BadInput) where it is more, or less, than a name.
void require_plain_name(const std::string& index, const std::string& name);

}  // namespace gta
