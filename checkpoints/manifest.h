// manifest.json of a checkpoint: the position, the configuration, and for every file and range its size, place and
// xxh3. And what one rank says of its own file, of which rank 0 makes the manifest. Both are JSON that carries a hash
// of itself, so that a flipped digit is found too.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "checkpoints/training_state.h"

namespace gta {

// What a folder is called while the one that takes its place is put there; see writer.cpp.
inline constexpr const char* kReplaced = ".replaced";
// What a manifest may be: it is read as a whole, by every rank.
inline constexpr int64_t kMostManifestBytes = 256 << 20, kMostRanges = 500'000;
// The part whose one entry is the tokenizer's bytes.
inline constexpr const char* kTokenizerPart = "tokenizer";

struct ManifestEntry {
  std::string part, parameter;
  std::vector<int64_t> shape;
  DType dtype = DType::F32;
  int64_t first = 0, count = 0;
  std::string file;
  int64_t offset = 0;  // bytes from the start of the file
  uint64_t hash = 0;

  int64_t bytes() const { return count * static_cast<int64_t>(size_of(dtype)); }
  int64_t elements() const { return elements_of(shape); }  // of the whole parameter
  bool whole() const { return first == 0 && count == elements(); }
};

struct ManifestFile {
  std::string name;
  int64_t bytes = 0;
  uint64_t hash = 0;
};

// What one rank wrote: its file, and the ranges in it.
struct RankFile {
  ManifestFile file;
  std::vector<ManifestEntry> entries;
};

struct Manifest {
  TrainingPosition position;
  std::string config_yaml;
  int64_t world_size = 1;
  std::vector<ManifestFile> files;
  std::vector<ManifestEntry> entries;
};

std::string rank_file_name(int64_t rank, int64_t world_size);  // "rank-0000-of-0004.h5"

std::string to_json(const Manifest& manifest);
// path: for messages. Error(BadInput) when damaged or of another format version.
Manifest parse_manifest(const std::string& text, const std::string& path);

// As a rank sends it to rank 0; from: for messages, "rank 3".
std::string to_json(const RankFile& file);
RankFile parse_rank_file(const std::string& text, const std::string& from);

// Error(BadInput) names what is missing when FOLDER's files are not there with their sizes.
void check_files(const std::string& folder, const std::vector<ManifestFile>& files);
// The elements that a part lacks of a parameter which it or another part has, and the tokenizer, unless there is one;
// "" when all is there. (parse_manifest() refuses what is there twice.)
std::string what_is_missing(const Manifest& manifest);

// Of the elements [first, last), those that none of the ranges [first, last) in `held` covers, as such ranges.
using Elements = std::pair<int64_t, int64_t>;
std::vector<Elements> uncovered(std::vector<Elements> held, Elements wanted);
// "elements 3 to 6", or "element 3"
std::string text_of(const Elements& elements);

}  // namespace gta
