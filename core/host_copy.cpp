#include "core/host_copy.h"

namespace gta {

HostCopy::HostCopy(const Tensor& tensor) : elements_(tensor.elements()), dtype_(tensor.dtype()) {
  const int64_t size = static_cast<int64_t>(size_of(dtype_));
  copy_ = GTA_DISPATCH(tensor.device(), begin_copy_to_host, Stream{tensor.device()}, tensor.raw_data(),
                       tensor.pitch() * size, tensor.rows(), tensor.columns() * size);
}

template <class T>
std::vector<T> HostCopy::values() const {
  if (dtype_ != dtype_of<T>) internal_error("host_copy", "holds {}, not {}", name_of(dtype_), name_of(dtype_of<T>));
  if (!copy_) return std::vector<T>(elements_);
  const T* const values = static_cast<const T*>(copy_->wait());
  return {values, values + elements_};
}

template std::vector<float> HostCopy::values<float>() const;
template std::vector<double> HostCopy::values<double>() const;
template std::vector<int32_t> HostCopy::values<int32_t>() const;

}  // namespace gta
