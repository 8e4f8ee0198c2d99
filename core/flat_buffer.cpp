#include "core/flat_buffer.h"

#include "core/error.h"

namespace gta {

Tensor flat_slice(const Tensor& flat, int64_t first, int64_t count) {
  // A flat buffer is one row; seen as rows of one element it can be sliced anywhere.
  return flat.reshape({flat.elements(), 1}).row_slice(first, count).reshape({count});
}

FlatBuffer::FlatBuffer(const std::vector<FlatRange>& ranges, DType dtype, Device device, Purpose purpose) {
  for (const FlatRange& range : ranges) hold(range, Tensor::zeros({range.count}, dtype, device, purpose));
}

void FlatBuffer::hold(const FlatRange& range, const Tensor& tensor) {
  ensure(tensor.elements() == range.count && tensor.contiguous(), "flat_buffer",
         "expected {} adjacent elements, got {}", range.count, describe(tensor));
  ranges_.push_back(range);
  tensors_.push_back(tensor);
}

Tensor FlatBuffer::slice(const FlatRange& range) const {
  for (size_t i = 0; i < ranges_.size(); ++i)
    if (ranges_[i].kind == range.kind && ranges_[i].first <= range.first && range.end() <= ranges_[i].end())
      return flat_slice(tensors_[i], range.first - ranges_[i].first, range.count);
  internal_error("flat_buffer", "holds no range with elements {} to {}", range.first, range.end());
}

const Tensor& FlatBuffer::whole(ParameterKind kind) const {
  const Tensor* found = nullptr;
  for (size_t i = 0; i < ranges_.size(); ++i) {
    if (ranges_[i].kind != kind) continue;
    ensure(!found && ranges_[i].first == 0, "flat_buffer", "holds a part of a kind's elements alone, from {} to {}",
           ranges_[i].first, ranges_[i].end());
    found = &tensors_[i];
  }
  ensure(found, "flat_buffer", "holds nothing of the kind that was asked for");
  return *found;
}

}  // namespace gta
