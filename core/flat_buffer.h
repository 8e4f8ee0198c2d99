// Memory for some ranges of the flat space: all of it, or a rank's part of the masters or of a moment.
#pragma once

#include <vector>

#include "core/parameter_layout.h"
#include "core/tensor.h"

namespace gta {

class FlatBuffer {
 public:
  FlatBuffer() = default;
  FlatBuffer(const std::vector<FlatRange>& ranges, DType dtype, Device device, Purpose purpose);  // zeros
  // One more range, in memory that is there: (count).
  void hold(const FlatRange& range, const Tensor& tensor);

  bool defined() const { return !tensors_.empty(); }
  const std::vector<FlatRange>& ranges() const { return ranges_; }
  const Tensor& tensor(size_t range) const { return tensors_.at(range); }  // (count) of the range with this number
  // (count). Error when no range holds all of it.
  Tensor slice(const FlatRange& range) const;
  // (count) of a kind that is one range, from its first element on. Error when it has none, or several.
  const Tensor& whole(ParameterKind kind) const;

 private:
  std::vector<FlatRange> ranges_;
  std::vector<Tensor> tensors_;
};

// Elements [first, first + count) of a tensor without gaps, as a row.
Tensor flat_slice(const Tensor& flat, int64_t first, int64_t count);

}  // namespace gta
