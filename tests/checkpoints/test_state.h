// A small training state with bits that depend on a seed, a fresh folder, and the Python that reads our files, for
// these tests.
#pragma once

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "checkpoints/manifest.h"
#include "checkpoints/reader.h"
#include "checkpoints/training_state.h"
#include "checkpoints/writer.h"

namespace gta::test {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "gta-checkpoints-XXXXXX").string();
    if (!::mkdtemp(pattern.data())) throw std::runtime_error("no temporary folder");
    path_ = pattern;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline std::vector<unsigned char> pattern(int64_t bytes, uint64_t seed) {
  std::vector<unsigned char> out(static_cast<size_t>(bytes));
  for (unsigned char& byte : out) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    byte = static_cast<unsigned char>(seed >> 56);  // NaNs and infinities too: bits are bits
  }
  return out;
}

// Owns the memory of whole parameters; ranges() cuts them into pieces of at most `most` elements, share() into those of
// several owners.
class OwnedState {
 public:
  explicit OwnedState(uint64_t seed) {
    for (const char* part : {"master", "exp_avg", "exp_avg_sq"})
      for (const auto& [parameter, shape] : shapes()) {
        const bool half = std::string(part) == "exp_avg";  // a part of its own dtype
        int64_t count = 1;
        for (int64_t size : shape) count *= size;
        StateRange range{part, parameter, shape, half ? DType::BF16 : DType::F32, 0, count, nullptr};
        bytes_.push_back(seed == 0 ? std::vector<unsigned char>(static_cast<size_t>(range.bytes()))
                                   : pattern(range.bytes(), seed + bytes_.size()));
        ranges_.push_back(range);
      }
    for (size_t i = 0; i < ranges_.size(); ++i) ranges_[i].data = bytes_[i].data();
  }
  OwnedState(const OwnedState&) = delete;
  OwnedState& operator=(const OwnedState&) = delete;

  static std::map<std::string, std::vector<int64_t>> shapes() {
    return {{"model.embed_tokens.weight", {33, 16}}, {"model.norm.weight", {7}}, {"scale", {}}};
  }

  std::vector<StateRange> ranges(int64_t most = INT64_MAX) const {
    std::vector<StateRange> cut;
    for (const StateRange& whole : ranges_)
      for (int64_t first = 0; first < whole.count; first += std::min(most, whole.count - first)) {
        StateRange range = whole;
        range.first = first;
        range.count = std::min(most, whole.count - first);
        range.data = static_cast<char*>(whole.data) + first * static_cast<int64_t>(size_of(whole.dtype));
        cut.push_back(range);
      }
    return cut;
  }
  // Of every parameter the elements between two fractions of it: what an owner has, or what it wants, in which a
  // parameter of which it has nothing is a range of no elements.
  std::vector<StateRange> share(double from, double to) const {
    std::vector<StateRange> cut = wanted_share(from, to);
    std::erase_if(cut, [](const StateRange& range) { return range.count == 0; });
    return cut;
  }
  std::vector<StateRange> wanted_share(double from, double to) const {
    std::vector<StateRange> cut;
    for (const StateRange& whole : ranges_) {
      StateRange range = whole;
      range.first = static_cast<int64_t>(from * static_cast<double>(whole.count));
      range.count = static_cast<int64_t>(to * static_cast<double>(whole.count)) - range.first;
      range.data = static_cast<char*>(whole.data) + range.first * static_cast<int64_t>(size_of(whole.dtype));
      cut.push_back(range);
    }
    return cut;
  }
  const std::vector<std::vector<unsigned char>>& bytes() const { return bytes_; }

 private:
  std::vector<StateRange> ranges_;
  std::vector<std::vector<unsigned char>> bytes_;
};

inline TrainingState training_state(const OwnedState& owned, int64_t step, uint64_t seed, int64_t most = INT64_MAX) {
  TrainingState state;
  state.position = {.step = step,
                    .tokens = step * 1000,
                    .next_sample = step * 8,
                    .order = seed % 2 ? SampleOrder::Network : SampleOrder::Shuffle,
                    .updates = step - 1,
                    .skipped_steps = 2,
                    .consecutive_skipped = 1,
                    .data_hash = 0xfedcba9876543210u + seed};
  state.config_yaml = "model: {hidden: 16}\n# \"quoted\" \xc3\xa9 seed " + std::to_string(seed) + "\n";
  state.tokenizer = std::string("tok\0enizer\n", 11) + std::to_string(seed);
  state.ranges = owned.ranges(most);
  return state;
}

// Who owns what: owner r has share(cuts[r], cuts[r + 1]). An owner with two equal cuts has nothing.
using Cuts = std::vector<double>;
enum class Order : uint8_t { FirstToLast, LastToFirst };

// The files of every owner in turn, in a folder that is prepared; the owners' order is that of the result.
inline std::vector<RankFile> write_files(const std::string& folder, const OwnedState& owned, int64_t step,
                                         uint64_t seed, const Cuts& cuts, Order order = Order::FirstToLast) {
  const auto owners = static_cast<int64_t>(cuts.size()) - 1;
  std::vector<RankFile> files(static_cast<size_t>(owners));
  for (int64_t i = 0; i < owners; ++i) {
    const int64_t rank = order == Order::FirstToLast ? i : owners - 1 - i;
    const auto at = static_cast<size_t>(rank);
    TrainingState state = training_state(owned, step, seed);
    state.ranges = owned.share(cuts[at], cuts[at + 1]);
    if (rank != 0) state.tokenizer.clear();
    StatePieces pieces(state.ranges);
    const std::string sent = to_json(write_own_file(folder, rank, owners, state, pieces));
    files[at] = parse_rank_file(sent, fmt::format("rank {}", rank));
  }
  return files;
}

// A checkpoint of several owners.
inline std::string write_by_owners(const std::string& directory, const OwnedState& owned, int64_t step, uint64_t seed,
                                   const Cuts& cuts, Order order = Order::FirstToLast) {
  const std::string folder = prepare(directory, step);
  std::vector<RankFile> files;
  try {
    files = write_files(folder, owned, step, seed, cuts, order);
  } catch (...) {
    give_up(folder);
    throw;
  }
  const TrainingState state = training_state(owned, step, seed);
  return publish(folder, state.position, state.config_yaml, files);
}

// Whether the checkpoint holds exactly the state of that step and seed.
inline bool holds(const std::string& path, int64_t step, uint64_t seed) {
  const Checkpoint checkpoint = Checkpoint::open(path);
  checkpoint.verify();
  const OwnedState expected(seed), loaded(0);
  const TrainingState state = training_state(expected, step, seed);
  if (!(checkpoint.position() == state.position) || checkpoint.config_yaml() != state.config_yaml ||
      checkpoint.tokenizer() != state.tokenizer)
    return false;
  checkpoint.load(loaded.ranges());
  return loaded.bytes() == expected.bytes();
}

// A Python with h5py, or "".
inline std::string python_with_h5py() {
  for (const char* name : {"python3", "/usr/bin/python3"})
    if (std::system((std::string(name) + " -c 'import h5py, numpy' >/dev/null 2>&1").c_str()) == 0) return name;
  return "";
}

}  // namespace gta::test
