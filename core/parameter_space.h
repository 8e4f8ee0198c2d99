// The memory of the flat parameter space (core/parameter_layout.h): weights, gradients and masters of one rank.
//
//   weights     what products and norms read: matrices in the compute dtype, vectors float32 beside bfloat16 (where a
//               weight near 1 would step by 2^-8). Whole on every rank
//   gradients   whole on every rank: the sums of its own micro-batches
//   masters     what the optimizer updates and checkpoints store: of the ranges that this rank updates. In a bfloat16
//               model float32, and a weight is its master rounded; else the weights themselves
//
// Masters, gradients and moments are float32 in a bfloat16 model, else of the compute dtype.
//
// A module declares its parameters once, in its constructor, with add(); everything else (initialisation, counting,
// checkpoint names) follows from that list.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "core/flat_buffer.h"
#include "core/int8_matrix.h"
#include "core/parameter_layout.h"
#include "core/shard_map.h"
#include "core/tensor.h"

namespace gta {

// A group of the layout with its memory. value (in the compute dtype for a matrix) and gradient are (sum of rows, in)
// or (sum of sizes); undefined until allocate(), gradient also in a space without gradients.
struct Weight {
  int64_t group = 0;
  Shape shape;
  Tensor value;
  Tensor gradient;
  // Of a matrix after use_int8(): what linear maps read instead of the value.
  std::shared_ptr<const Int8Matrix> int8 = nullptr;
};

enum class SpaceUse : uint8_t { Training, Inference };  // Inference holds no gradients

// A rank's part in a training. bucket_bytes: of float32 gradient.
struct RankShare {
  int64_t rank = 0, ranks = 1;
  Sharding sharding = Sharding::Optimizer;
  int64_t bucket_bytes = int64_t{32} << 20;
};

class ParameterSpace {
 public:
  // As ParameterLayout::add(). The Weight lives as long as the space.
  const Weight* add(const std::vector<ParameterSpec>& merged);

  const ParameterLayout& layout() const { return layout_; }
  const std::vector<Parameter>& parameters() const { return layout_.parameters(); }
  const Parameter& find(const std::string& name) const { return layout_.find(name); }
  int64_t parameter_count() const { return layout_.parameter_count(); }

  void allocate(DType dtype, Device device, SpaceUse use, const RankShare& share = {});
  // Sets every value from (seed, name): does not depend on the device or the rank, nor on what else the space contains.
  // Padding is zero.
  void initialize(uint64_t seed);
  void zero_gradients();
  // Rounds the masters to the weights that products read, after something but the optimizer has written them. Nothing
  // to do but in bfloat16. Weights whose masters other ranks have stay as they are.
  void masters_changed();

  // On a CPU, for inference: rounds every matrix but `except` (a table that is only looked up) to bytes, which linear
  // maps read from now on. What is computed is another, slightly.
  void use_int8(const Weight* except = nullptr);

  DType dtype() const { return dtype_; }  // of compute
  Device device() const { return device_; }
  const RankShare& share() const { return share_; }
  const ShardMap& shards() const { return shards_; }
  const std::vector<FlatRange>& owned() const { return owned_; }  // by this rank
  const FlatBuffer& masters() const { return masters_; }          // of shards().updated()
  const FlatBuffer& gradients() const { return gradients_; }      // of both kinds
  // (flat_size), what products read.
  const Tensor& weights(ParameterKind kind) const { return weights_[static_cast<int>(kind)]; }
  // The bfloat16 weights of a range; undefined where the masters are the weights.
  Tensor rounded(const FlatRange& range) const;

  // The whole of a kind, (flat_size): masters where this rank has all of them, and gradients.
  const Tensor& values(ParameterKind kind) const;
  const Tensor& gradients(ParameterKind kind) const { return gradients_.whole(kind); }
  // Of what this rank owns of masters or gradients, float64 (1) on the space's device. NaN or infinite when an element
  // is.
  Tensor sum_of_squares(const FlatBuffer& buffer) const;
  // The part of a whole flat buffer of this space's layout that belongs to a parameter, in its shape.
  Tensor view(const Tensor& flat, const Parameter& parameter) const;

 private:
  void set(const Parameter& parameter, const Tensor& values);

  ParameterLayout layout_;
  std::deque<Weight> handles_;
  std::array<Tensor, 2> weights_;
  FlatBuffer gradients_, masters_;
  ShardMap shards_;
  std::vector<FlatRange> owned_;
  RankShare share_;
  DType dtype_ = DType::F32;
  Device device_;
};

}  // namespace gta
