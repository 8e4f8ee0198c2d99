#include "launch/training/replicas.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "checkpoints/model_state.h"
#include "core/backends/memory_kernels.h"
#include "core/comm/verdict.h"
#include "core/error.h"
#include "core/io/hash.h"
#include "core/parallel.h"

namespace gta {
namespace {

constexpr int64_t kBlock = int64_t{1} << 20;  // bytes under one hash; what differs is named to the block
constexpr int64_t kBlocksAtOnce = 32;         // that are copied from a device

using Hashes = std::vector<uint64_t>;

Hashes hash_blocks(const char* data, int64_t bytes) {
  Hashes hashes(static_cast<size_t>((bytes + kBlock - 1) / kBlock));
  parallel_ranges(static_cast<int64_t>(hashes.size()), 1, [&](int64_t first, int64_t last) {
    for (int64_t block = first; block < last; ++block)
      hashes[static_cast<size_t>(block)] =
          hash_bytes(data + block * kBlock, static_cast<size_t>(std::min(kBlock, bytes - block * kBlock)));
  });
  return hashes;
}

// Of memory that nothing queued writes any more.
Hashes hash_blocks(const Device& device, const void* data, int64_t bytes) {
  const char* const from = static_cast<const char*>(data);
  if (device.type == DeviceType::Cpu) return hash_blocks(from, bytes);
  Hashes hashes;
  std::vector<char> copy;
  for (int64_t first = 0; first < bytes; first += kBlocksAtOnce * kBlock) {
    const int64_t count = std::min(kBlocksAtOnce * kBlock, bytes - first);
    copy.resize(static_cast<size_t>(count));
    GTA_DISPATCH(device, copy_to_host, device, copy.data(), from + first, count, 1, count);
    const Hashes some = hash_blocks(copy.data(), count);
    hashes.insert(hashes.end(), some.begin(), some.end());
  }
  return hashes;
}

uint64_t hash_of(const Hashes& hashes) { return hash_bytes(hashes.data(), hashes.size() * sizeof(uint64_t)); }

// "elements 0 to 262143 of model.norm.weight", of a block of bytes within a range.
std::string elements_of_block(const std::string& parameter, int64_t first, int64_t count, int64_t element_bytes,
                              int64_t block) {
  const int64_t from = block * kBlock / element_bytes, to = std::min(count, (block + 1) * kBlock / element_bytes);
  return fmt::format("elements {} to {} of {}", first + from, first + to - 1, parameter);
}

int64_t first_difference(const Hashes& a, const Hashes& b) {
  return std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin();
}

// The rank whose value fewest share; of two that differ the second. -1 where all agree.
int64_t odd_one(const Hashes& by_rank) {
  std::map<uint64_t, int64_t> votes;
  for (uint64_t value : by_rank) ++votes[value];
  if (votes.size() == 1) return -1;
  int64_t odd = 0;
  for (size_t rank = 0; rank < by_rank.size(); ++rank)
    if (votes[by_rank[rank]] <= votes[by_rank[static_cast<size_t>(odd)]]) odd = static_cast<int64_t>(rank);
  return odd;
}

}  // namespace

void ReplicaCheck::fail_of(const std::string& what) {
  found_damage_ = true;
  fail_alike("train.verify_replicas_every_steps",
             "memory has changed by itself after step {}: {}. Have that host's memory (or GPU) tested",
             training_.position.step, what);
}

void ReplicaCheck::compare_weights() {
  const ParameterSpace& space = training_.space;
  Communicator& ranks = training_.ranks.communicator;
  const auto bytes_of = [&](const Parameter& parameter) {
    return parameter.elements() * static_cast<int64_t>(size_of(space.weights(parameter.kind).dtype()));
  };
  const auto hashes_of = [&](const Parameter& parameter) {
    const Tensor& flat = space.weights(parameter.kind);
    const int64_t size = static_cast<int64_t>(size_of(flat.dtype()));
    return hash_blocks(space.device(), static_cast<const char*>(flat.raw_data()) + parameter.offset * size,
                       bytes_of(parameter));
  };
  const std::vector<Parameter>& parameters = space.parameters();
  std::vector<Hashes> own;
  Hashes of_parameters;
  for (const Parameter& parameter : parameters) {
    own.push_back(hashes_of(parameter));
    of_parameters.push_back(hash_of(own.back()));
  }
  if (odd_one(ranks.gather("weights", hash_of(of_parameters))) < 0) return;
  // Which is rare, so that it may take a while.
  for (size_t p = 0; p < parameters.size(); ++p) {
    if (odd_one(ranks.gather("weights of a parameter", of_parameters[p])) < 0) continue;
    for (size_t block = 0; block < own[p].size(); ++block)
      if (const int64_t rank = odd_one(ranks.gather("weights of a block", own[p][block])); rank >= 0)
        fail_of(fmt::format(
            "the weights of {} are not those of {}: {}", rank_name(ranks.hosts(), rank),
            ranks.ranks() == 2 ? rank_name(ranks.hosts(), 1 - rank) : "the others",
            elements_of_block(parameters[p].name, 0, parameters[p].elements(),
                              bytes_of(parameters[p]) / parameters[p].elements(), static_cast<int64_t>(block))));
  }
}

void ReplicaCheck::after_update() {
  GTA_DISPATCH(training_.device, synchronize, Stream{training_.device});
  if (!training_.ranks.alone()) compare_weights();
  state_.emplace();
  for (const StateRange& range : training_ranges(training_.space, *training_.optimizer, RangesOf::Updater))
    state_->push_back(hash_blocks(range.device, range.data, range.bytes()));
}

void ReplicaCheck::before_update() {
  if (!state_) return;
  Communicator& ranks = training_.ranks.communicator;
  GTA_DISPATCH(training_.device, synchronize, Stream{training_.device});
  const std::vector<StateRange> ranges = training_ranges(training_.space, *training_.optimizer, RangesOf::Updater);
  std::string difference;
  for (size_t i = 0; i < ranges.size() && difference.empty(); ++i) {
    const StateRange& range = ranges[i];
    const Hashes now = hash_blocks(range.device, range.data, range.bytes());
    if (now != (*state_)[i])
      difference = fmt::format(
          "{} of {}", range.part,
          elements_of_block(range.parameter, range.first, range.count, static_cast<int64_t>(size_of(range.dtype)),
                            first_difference(now, (*state_)[i])));
  }
  state_.reset();
  const std::vector<std::string> all = ranks.gather_text("masters and moments", difference);
  for (size_t rank = 0; rank < all.size(); ++rank)
    if (!all[rank].empty())
      fail_of(fmt::format("{}: {}", rank_name(ranks.hosts(), static_cast<int64_t>(rank)), all[rank]));
  sound_step_ = training_.position.step;
}

}  // namespace gta
