#include "layers/attention/decoding_cache/decoding_cache.h"

#include <algorithm>
#include <limits>

namespace gta {
namespace {

constexpr int64_t kAligned = 256;  // numbers: a tensor begins where an allocation of its own could

}  // namespace

DecodingCache::DecodingCache(const CacheWidths& widths, int64_t layers, int64_t sequences, int64_t capacity,
                             DType dtype, Device device)
    : capacity_(capacity), device_(device), lengths_(static_cast<size_t>(sequences), 0) {
  const int64_t rows = sequences * capacity;
  ensure(sequences > 0 && capacity > 0 && rows <= std::numeric_limits<int32_t>::max(), "decoding cache",
         "cannot have room for {} tokens of {} sequences", capacity, sequences);
  // All tensors in one block: only its ends are then no whole huge pages of the system's, and a processor reads the
  // rest up to 1.6 times as fast.
  const auto room = [&](int64_t columns) { return (rows * columns + kAligned - 1) / kAligned * kAligned; };
  const Tensor block = Tensor::empty({layers * (room(widths.keys) + room(widths.values)), 1}, dtype, device);
  int64_t first = 0;
  const auto next = [&](int64_t columns) {
    if (columns == 0) return Tensor::empty({rows, 0}, dtype, device);
    const Tensor tensor = block.row_slice(first, rows * columns).reshape({rows, columns});
    first += room(columns);
    return tensor;
  };
  for (int64_t i = 0; i < layers; ++i) layers_.push_back({next(widths.keys), next(widths.values)});
}

CachePlace DecodingCache::place(std::span<const int64_t> sequences, int64_t count) const {
  const auto batch = static_cast<int64_t>(sequences.size());
  // One tensor, and one copy to the device: positions, rows, first keys, numbers of keys.
  std::vector<int32_t> positions, rows, first, counts;
  CachePlace place{{}, {}, {}, true};
  std::vector<bool> taken(lengths_.size(), false);
  for (const int64_t s : sequences) {
    ensure(0 <= s && s < this->sequences() && !taken[static_cast<size_t>(s)], "decoding cache",
           "sequence {} of {} is not there, or is named twice", s, this->sequences());
    taken[static_cast<size_t>(s)] = true;
    const int64_t length = this->length(s), with_these = length + count;
    ensure(count > 0 && with_these <= capacity_, "decoding cache", "holds {} tokens a sequence, cannot append {} to {}",
           capacity_, count, length);
    for (int64_t t = length; t < with_these; ++t) {
      positions.push_back(static_cast<int32_t>(t));
      rows.push_back(static_cast<int32_t>(s * capacity_ + t));
    }
    first.push_back(static_cast<int32_t>(s * capacity_));
    counts.push_back(static_cast<int32_t>(with_these));
    place.keys.most = std::max(place.keys.most, with_these);
    place.keys.total += with_these;
    place.at_beginning &= length == 0;
  }
  std::vector<int32_t> all = positions;
  for (const std::vector<int32_t>* part : {&rows, &first, &counts}) all.insert(all.end(), part->begin(), part->end());
  const int64_t tokens = batch * count;
  const Tensor there = Tensor::from<int32_t>({static_cast<int64_t>(all.size()), 1}, all).to(device_, Purpose::Data);
  place.positions = there.row_slice(0, tokens);
  place.rows = there.row_slice(tokens, tokens);
  place.keys.first = there.row_slice(2 * tokens, batch);
  place.keys.count = there.row_slice(2 * tokens + batch, batch);
  return place;
}

void DecodingCache::append(std::span<const int64_t> sequences, int64_t count) {
  for (const int64_t s : sequences) lengths_.at(static_cast<size_t>(s)) += count;
}

void DecodingCache::keep(int64_t sequence, int64_t count) {
  ensure(0 <= count && count <= length(sequence), "decoding cache", "cannot keep {} of {} tokens", count,
         length(sequence));
  lengths_.at(static_cast<size_t>(sequence)) = count;
}

int64_t DecodingCache::bytes() const {
  int64_t sum = 0;
  for (const LayerCache& layer : layers_)
    sum += (layer.keys.elements() + layer.values.elements()) * static_cast<int64_t>(size_of(layer.keys.dtype()));
  return sum;
}

}  // namespace gta
