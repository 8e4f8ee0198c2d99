// Where the parameters of a model lie in its flat space: names, offsets, groups and buckets, apart from any memory.
//
//   matrices   rank 2: weight decay applies
//   vectors    rank 1: norms and biases; no decay
//
// A group is what one product multiplies with: one parameter, or several that lie next to each other without padding so
// that one product serves them all (q, k, latent and gate of GTA). Groups start at 64 bytes of float32.
//
// A bucket is a run of groups of about so many elements, cut only between groups: what ranks send to each other at
// once. Buckets of matrices are numbered in the order in which backward finishes them, from the group that was declared
// last to the first; all vectors are one more, with the last number, and are finished when the first block's norm is.
// For several ranks a bucket of matrices is padded, so that it has as many slices of equal size, each of whole 64
// bytes.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/shape.h"

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

// Elements [first, first + count) of a kind's flat buffers.
struct FlatRange {
  ParameterKind kind = ParameterKind::Matrix;
  int64_t first = 0, count = 0;
  int64_t end() const { return first + count; }
  friend bool operator==(const FlatRange&, const FlatRange&) = default;
};
// The elements of both; count 0 when there are none.
FlatRange intersection(const FlatRange& a, const FlatRange& b);
// The intersections of each of the ranges with one, without the empty ones.
std::vector<FlatRange> intersections(const std::vector<FlatRange>& ranges, const FlatRange& range);

// One named tensor, as checkpoints and exports know it.
struct Parameter {
  std::string name;  // Hugging Face's
  Shape shape;       // (out, in) or (size)
  Initializer initializer;
  ParameterKind kind = ParameterKind::Matrix;
  int64_t offset = 0;  // elements from the start of its kind's flat buffers

  int64_t elements() const { return shape.elements(); }
  FlatRange range() const { return {kind, offset, elements()}; }
};

struct ParameterSpec {
  std::string name;
  Shape shape;
  Initializer initializer;
};

struct ParameterGroup {
  FlatRange range;
  Shape shape;  // (sum of rows, in) or (sum of sizes)
  int64_t first_parameter = 0, parameters = 0;
  int64_t bucket = 0;  // since arrange()
};

class ParameterLayout {
 public:
  // Parameters that one product merges: all of rank 1, or all of rank 2 with the same number of columns. Returns the
  // group's number.
  int64_t add(const std::vector<ParameterSpec>& merged);
  // Cuts the buckets, and moves the groups apart where several ranks need padding. For one rank groups stay where add()
  // put them.
  void arrange(int64_t bucket_elements, int64_t ranks);

  const std::vector<Parameter>& parameters() const { return parameters_; }
  const std::vector<ParameterGroup>& groups() const { return groups_; }
  const std::vector<FlatRange>& buckets() const { return buckets_; }  // since arrange()
  const Parameter& find(const std::string& name) const;
  int64_t parameter_count() const;
  // Elements of a flat buffer, padding included.
  int64_t flat_size(ParameterKind kind) const { return sizes_[static_cast<int>(kind)]; }
  FlatRange whole(ParameterKind kind) const { return {kind, 0, flat_size(kind)}; }

 private:
  void place(ParameterGroup& group, int64_t offset);

  std::vector<Parameter> parameters_;
  std::unordered_map<std::string, size_t> places_;  // of the parameters, by name
  std::vector<ParameterGroup> groups_;
  std::vector<FlatRange> buckets_;
  std::array<int64_t, 2> sizes_{};
};

}  // namespace gta
