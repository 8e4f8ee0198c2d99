// A small tensor on its way to the host: begun behind what is queued for its device, so that work queued later does not
// hold it up.
//
//   HostCopy loss(tensor);  ...more work is queued...  loss.values<double>();
//                                                   waits only for what was queued before the first line
#pragma once

#include <memory>
#include <vector>

#include "core/backends/memory_kernels.h"
#include "core/tensor.h"

namespace gta {

class HostCopy {
 public:
  explicit HostCopy(const Tensor& tensor);
  // In row order. T must be the tensor's type.
  template <class T>
  std::vector<T> values() const;

 private:
  int64_t elements_;
  DType dtype_;
  std::unique_ptr<HostCopyInFlight> copy_;  // nullptr on the meta device: zeros
};

}  // namespace gta
