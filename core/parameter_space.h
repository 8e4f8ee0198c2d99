// The flat parameter space: every parameter of a model has an offset in one of two flat buffers, and so have its
// gradient and the optimizer's moments.
//
//   matrices   rank 2: weight decay applies; in bfloat16 a rounded copy beside the float32 masters, which products read
//   vectors    rank 1: norms and biases; no decay; float32 beside bfloat16 (where a weight near 1 would step by 2^-8)
//
// Masters, gradients and moments are float32 in a bfloat16 model, else of the compute dtype.
//
// A module declares its parameters once, in its constructor, with add(); everything else (initialisation, counting,
// checkpoint names) follows from that list. A Weight is what one product multiplies with: one parameter, or several
// that lie next to each other without padding so that one product serves them all (q, k, latent and gate of GTA).
// Weights start at 64 bytes.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/tensor.h"

namespace gta {

struct Initializer {
  enum class Kind : uint8_t { Zeros, Ones, Normal } kind = Kind::Zeros;
  double deviation = 0;

  static Initializer zeros() { return {}; }
  static Initializer ones() { return {Kind::Ones, 0}; }
  static Initializer normal(double deviation) { return {Kind::Normal, deviation}; }
};

enum class ParameterKind : uint8_t { Matrix, Vector };
inline constexpr std::array<ParameterKind, 2> kParameterKinds = {ParameterKind::Matrix, ParameterKind::Vector};

// One named tensor, as checkpoints and exports know it.
struct Parameter {
  std::string name;  // Hugging Face's
  Shape shape;       // (out, in) or (size)
  Initializer initializer;
  ParameterKind kind = ParameterKind::Matrix;
  int64_t offset = 0;  // elements from the start of its kind's flat buffers

  int64_t elements() const { return shape.elements(); }
};

struct ParameterSpec {
  std::string name;
  Shape shape;
  Initializer initializer;
};

// value (in the compute dtype for a matrix) and gradient are (sum of rows, in) or (sum of sizes); undefined until
// allocate(), gradient also in a space without gradients.
struct Weight {
  ParameterKind kind = ParameterKind::Matrix;
  int64_t offset = 0;
  Shape shape;
  Tensor value;
  Tensor gradient;
};

enum class SpaceUse : uint8_t { Training, Inference };  // Inference holds no gradients

class ParameterSpace {
 public:
  // Parameters that one product merges: all of rank 1, or all of rank 2 with the same number of columns. The Weight
  // lives as long as the space.
  const Weight* add(const std::vector<ParameterSpec>& merged);

  const std::vector<Parameter>& parameters() const { return parameters_; }
  const Parameter& find(const std::string& name) const;
  int64_t parameter_count() const;
  // Elements of a flat buffer, padding between weights included.
  int64_t flat_size(ParameterKind kind) const { return sizes_[static_cast<int>(kind)]; }

  void allocate(DType dtype, Device device, SpaceUse use);
  // Sets every value from (seed, name): does not depend on the device, nor on what else the space contains. Padding is
  // zero.
  void initialize(uint64_t seed);
  void zero_gradients();
  // Rounds the masters to the copy that products read, after something but the optimizer has written them. Nothing to
  // do but in bfloat16.
  void masters_changed();

  DType dtype() const { return dtype_; }  // of compute
  Device device() const { return device_; }
  // (flat_size), the masters
  const Tensor& values(ParameterKind kind) const { return values_[static_cast<int>(kind)]; }
  // bfloat16 (flat_size), or undefined
  const Tensor& rounded_matrices() const { return rounded_; }
  const Tensor& gradients(ParameterKind kind) const { return gradients_[static_cast<int>(kind)]; }  // (flat_size)
  // The part of a flat buffer of this space's layout (values, gradients or a moment) that belongs to a parameter, in
  // its shape.
  Tensor view(const Tensor& flat, const Parameter& parameter) const;

 private:
  std::vector<Parameter> parameters_;
  std::unordered_map<std::string, size_t> places_;  // of the parameters, by name
  std::deque<Weight> weights_;
  std::array<int64_t, 2> sizes_{};
  std::array<Tensor, 2> values_, gradients_;
  Tensor rounded_;
  DType dtype_ = DType::F32;
  Device device_;
};

}  // namespace gta
