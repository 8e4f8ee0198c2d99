// What is kept of earlier tokens when text is generated: for every layer two tensors, all in one block that is
// allocated once, with room for `capacity` tokens of each of `sequences` sequences, which begin, grow and end each for
// itself.
//
//   keys (sequences * capacity, keys)   values (sequences * capacity, values)     row s * capacity + t: token t of s
//
// Their dtype is the cache's own, whatever the model computes in: float32 and bfloat16 go with each other (CachedKeys).
//
// A call appends `count` tokens to each of some sequences. Its rows are written in place, and nothing that is there is
// moved: the core reads the keys of sequence s from row s * capacity on, as many as there are.
#pragma once

#include <span>
#include <vector>

#include "core/device.h"
#include "core/tensor.h"
#include "layers/attention/shared_map_attention/shared_map_attention.h"

namespace gta {

// Columns of the two cached tensors of a layer: keys after RoPE, and values (or latents). MLA's keys begin with its
// latent, which serves as the values too: values 0.
struct CacheWidths {
  int64_t keys, values;
  int64_t total() const { return keys + values; }
};

struct LayerCache {
  Tensor keys, values;
};

// Where the rows of a call belong; row b * count + i is token i of the call's sequence b.
struct CachePlace {
  Tensor positions;   // int32 (rows): in its sequence
  Tensor rows;        // int32 (rows): of the cache
  CachedKeys keys;    // of each sequence, with this call's
  bool at_beginning;  // no sequence has earlier tokens
};

class DecodingCache {
 public:
  DecodingCache(const CacheWidths& widths, int64_t layers, int64_t sequences, int64_t capacity, DType dtype,
                Device device);

  int64_t sequences() const { return static_cast<int64_t>(lengths_.size()); }
  int64_t capacity() const { return capacity_; }
  int64_t length(int64_t sequence) const { return lengths_.at(static_cast<size_t>(sequence)); }
  const LayerCache& layer(int64_t index) const { return layers_.at(static_cast<size_t>(index)); }

  // Of the next `count` tokens of these sequences. Error where one is not there, is named twice, or has no room.
  CachePlace place(std::span<const int64_t> sequences, int64_t count) const;
  // They have been written into every layer.
  void append(std::span<const int64_t> sequences, int64_t count);
  // The sequence's tokens are forgotten: another may take its room.
  void clear(int64_t sequence) { keep(sequence, 0); }
  // Those behind its first `count` are forgotten.
  void keep(int64_t sequence, int64_t count);
  // Of all its tensors.
  int64_t bytes() const;

 private:
  int64_t capacity_;
  Device device_;
  std::vector<int64_t> lengths_;
  std::vector<LayerCache> layers_;
};

// to[rows[r]] = from[r]        to (any rows, columns), from (rows, columns), rounded to the dtype of `to`; rows int32
// (rows), distinct
GTA_KERNEL(void write_rows(const Tensor& to, const Tensor& rows, const Tensor& from))

}  // namespace gta
