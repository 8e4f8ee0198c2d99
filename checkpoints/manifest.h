// manifest.json of a checkpoint: the position, the configuration, and for every file and range its size, place and
// xxh3. It carries a hash of itself, so that a flipped digit in it is found too.
#pragma once

#include <string>
#include <vector>

#include "checkpoints/training_state.h"

namespace gta {

// What a folder is called while the one that takes its place is put there; see writer.cpp.
inline constexpr const char* kReplaced = ".replaced";

struct ManifestEntry {
  std::string part, parameter;
  std::vector<int64_t> shape;
  DType dtype = DType::F32;
  int64_t first = 0, count = 0;
  std::string file;
  int64_t offset = 0;  // bytes from the start of the file
  uint64_t hash = 0;

  int64_t bytes() const { return count * static_cast<int64_t>(size_of(dtype)); }
};

struct ManifestFile {
  std::string name;
  int64_t bytes = 0;
  uint64_t hash = 0;
};

struct Manifest {
  TrainingPosition position;
  std::string config_yaml;
  int64_t world_size = 1;
  std::vector<ManifestFile> files;
  std::vector<ManifestEntry> entries;  // the tokenizer's bytes are the entry of part "tokenizer"
};

std::string to_json(const Manifest& manifest);
// path: for messages. Error(BadInput) when damaged or of another format version.
Manifest parse_manifest(const std::string& text, const std::string& path);

}  // namespace gta
