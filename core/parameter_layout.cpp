#include "core/parameter_layout.h"

#include <algorithm>
#include <utility>

#include "core/error.h"

namespace gta {
namespace {

constexpr int64_t kAlignElements = 16;  // 64 bytes of float32
// Their bytes, in float64 and with two moments, still have a number.
constexpr int64_t kMostElements = int64_t{1} << 58;

int64_t round_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

}  // namespace

FlatRange intersection(const FlatRange& a, const FlatRange& b) {
  if (a.kind != b.kind) return {a.kind, a.first, 0};
  const int64_t first = std::max(a.first, b.first);
  return {a.kind, first, std::max<int64_t>(0, std::min(a.end(), b.end()) - first)};
}

std::vector<FlatRange> intersections(const std::vector<FlatRange>& ranges, const FlatRange& range) {
  std::vector<FlatRange> found;
  for (const FlatRange& candidate : ranges)
    if (const FlatRange both = intersection(candidate, range); both.count > 0) found.push_back(both);
  return found;
}

int64_t ParameterLayout::add(const std::vector<ParameterSpec>& merged) {
  if (merged.empty()) internal_error("parameter_space", "a weight needs at least one parameter");
  const int rank = merged[0].shape.rank();
  ParameterGroup group;
  group.range.kind = rank == 2 ? ParameterKind::Matrix : ParameterKind::Vector;
  group.first_parameter = static_cast<int64_t>(parameters_.size());
  int64_t& size = sizes_[static_cast<int>(group.range.kind)];
  size = round_up(size, kAlignElements);
  int64_t rows = 0;
  for (const ParameterSpec& spec : merged) {
    if (spec.shape.rank() != rank || rank < 1 || rank > 2 || (rank == 2 && spec.shape[1] != merged[0].shape[1]) ||
        spec.shape.elements() == 0)
      internal_error("parameter_space", "{} {} cannot be merged with {} {}", spec.name, to_string(spec.shape),
                     merged[0].name, to_string(merged[0].shape));
    if (!places_.emplace(spec.name, parameters_.size()).second)
      internal_error("parameter_space", "{} is declared twice", spec.name);
    const int64_t elements = spec.shape.elements();
    if (elements > kMostElements - size - group.range.count)
      bad_input("model", "{} {} makes more than 2^58 parameters: lower the model's sizes", spec.name,
                to_string(spec.shape));
    parameters_.push_back({spec.name, spec.shape, spec.initializer, group.range.kind});
    group.range.count += elements;
    rows += spec.shape[0];
  }
  group.parameters = static_cast<int64_t>(merged.size());
  group.shape = rank == 2 ? Shape{rows, merged[0].shape[1]} : Shape{rows};
  place(group, size);
  size = group.range.end();
  groups_.push_back(group);
  return static_cast<int64_t>(groups_.size()) - 1;
}

void ParameterLayout::place(ParameterGroup& group, int64_t offset) {
  group.range.first = offset;
  for (int64_t i = group.first_parameter; i < group.first_parameter + group.parameters; ++i) {
    Parameter& parameter = parameters_[static_cast<size_t>(i)];
    parameter.offset = offset;
    offset += parameter.elements();
  }
}

void ParameterLayout::arrange(int64_t bucket_elements, int64_t ranks) {
  ensure(bucket_elements > 0 && ranks > 0, "parameter_space", "cannot cut buckets of {} elements for {} ranks",
         bucket_elements, ranks);
  int64_t matrix_buckets = 0, filled = 0;
  for (auto group = groups_.rbegin(); group != groups_.rend(); ++group) {
    if (group->range.kind != ParameterKind::Matrix) continue;
    if (matrix_buckets == 0 || filled >= bucket_elements) {
      ++matrix_buckets;
      filled = 0;
    }
    group->bucket = matrix_buckets - 1;
    filled += group->range.count;
  }
  buckets_.assign(static_cast<size_t>(matrix_buckets), {});
  sizes_ = {};
  int64_t& matrices = sizes_[static_cast<int>(ParameterKind::Matrix)];
  const int64_t bucket_multiple = ranks > 1 ? ranks * kAlignElements : 1;
  int64_t open = -1;  // the bucket of the last matrix
  for (ParameterGroup& group : groups_) {
    const bool matrix = group.range.kind == ParameterKind::Matrix;
    int64_t& size = sizes_[static_cast<int>(group.range.kind)];
    if (!matrix) group.bucket = matrix_buckets;
    const bool begins = matrix && group.bucket != std::exchange(open, group.bucket);
    size = round_up(size, begins ? std::max(bucket_multiple, kAlignElements) : kAlignElements);
    place(group, size);
    if (begins) buckets_[static_cast<size_t>(group.bucket)].first = size;
    size = group.range.end();
  }
  matrices = round_up(matrices, bucket_multiple);
  int64_t end = matrices;
  for (FlatRange& bucket : buckets_) {
    bucket.count = end - bucket.first;
    end = bucket.first;
  }
  buckets_.push_back(whole(ParameterKind::Vector));
}

const Parameter& ParameterLayout::find(const std::string& name) const {
  const auto found = places_.find(name);
  if (found == places_.end()) internal_error("parameter_space", "has no parameter {}", name);
  return parameters_[found->second];
}

int64_t ParameterLayout::parameter_count() const {
  int64_t count = 0;
  for (const Parameter& parameter : parameters_) count += parameter.elements();
  return count;
}

}  // namespace gta
