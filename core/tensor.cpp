#include "core/tensor.h"

#include <algorithm>

#include "core/backends/memory_kernels.h"

namespace gta {

namespace {

int64_t bytes_of(const Shape& shape, DType dtype) {
  constexpr int64_t kMost = int64_t{1} << 62;
  int64_t bytes = static_cast<int64_t>(size_of(dtype));
  bool empty = false, fits = true;
  for (const int64_t size : shape) {
    empty = empty || size == 0;
    fits = fits && !__builtin_mul_overflow(bytes, size, &bytes) && bytes <= kMost;
  }
  if (empty) return 0;
  if (!fits)
    throw Error(ErrorKind::OutOfMemory, "memory",
                fmt::format("{} of {} is more than any memory", to_string(shape), name_of(dtype)));
  return bytes;
}

}  // namespace

Tensor Tensor::empty(const Shape& shape, DType dtype, Device device, Purpose purpose) {
  Tensor tensor;
  tensor.shape_ = shape;
  tensor.dtype_ = dtype;
  tensor.pitch_ = tensor.columns();
  tensor.storage_ = std::make_shared<Storage>(bytes_of(shape, dtype), device, purpose);
  return tensor;
}

Tensor Tensor::zeros(const Shape& shape, DType dtype, Device device, Purpose purpose) {
  Tensor tensor = empty(shape, dtype, device, purpose);
  tensor.fill_zero();
  return tensor;
}

template <class T>
Tensor Tensor::from(const Shape& shape, const std::vector<T>& values, Purpose purpose) {
  if (static_cast<int64_t>(values.size()) != shape.elements())
    internal_error("tensor", "shape {} has {} elements, got {} values", to_string(shape), shape.elements(),
                   values.size());
  Tensor tensor = empty(shape, dtype_of<T>, Device{}, purpose);
  std::copy(values.begin(), values.end(), tensor.data<T>());
  return tensor;
}

template <class T>
std::vector<T> Tensor::to_vector() const {
  std::vector<T> values(elements());
  const int64_t row_bytes = columns() * static_cast<int64_t>(sizeof(T));
  (void)data<T>();
  GTA_DISPATCH(device(), synchronize, Stream{device()});
  GTA_DISPATCH(device(), copy_to_host, device(), values.data(), raw_data(), pitch_ * static_cast<int64_t>(sizeof(T)),
               rows(), row_bytes);
  return values;
}

#define GTA_INSTANTIATE(T)                                                       \
  template Tensor Tensor::from<T>(const Shape&, const std::vector<T>&, Purpose); \
  template std::vector<T> Tensor::to_vector<T>() const;
GTA_INSTANTIATE(float)
GTA_INSTANTIATE(double)
GTA_INSTANTIATE(bfloat16)
GTA_INSTANTIATE(int32_t)
#undef GTA_INSTANTIATE

Tensor Tensor::reshape(const Shape& shape) const {
  if (shape.elements() != elements())
    internal_error("tensor", "cannot reshape {} to {}", to_string(shape_), to_string(shape));
  Tensor view = *this;
  view.shape_ = shape;
  if (view.columns() != columns()) {
    if (!contiguous())
      internal_error("tensor", "cannot reshape {} with pitch {} to {}: its rows are not adjacent", to_string(shape_),
                     pitch_, to_string(shape));
    if (link_)
      internal_error("tensor", "cannot reshape {} to {} on the tape: rows would change their length", to_string(shape_),
                     to_string(shape));
    view.pitch_ = view.columns();
  }
  return view;
}

Tensor Tensor::row_slice(int64_t first, int64_t count) const {
  if (first < 0 || count < 0 || first + count > rows())
    internal_error("tensor", "has {} rows, cannot take [{}, {})", rows(), first, first + count);
  if (link_ && count != rows()) internal_error("tensor", "cannot slice rows of {} on the tape", to_string(shape_));
  Tensor view = *this;
  view.offset_ += first * pitch_;
  view.shape_ = {count, columns()};
  return view;
}

Tensor Tensor::column_slice(int64_t first, int64_t count) const {
  if (first < 0 || count < 0 || first + count > columns())
    internal_error("tensor", "has {} columns, cannot take [{}, {})", columns(), first, first + count);
  Tensor view = *this;
  view.offset_ += first;
  view.shape_ = {rows(), count};
  view.link_.first_column += first;
  return view;
}

Tensor Tensor::to(Device target, Purpose purpose) const {
  if (device() == target) return *this;
  if (!defined()) return {};
  Tensor copy = empty(shape_, dtype_, target, purpose);
  copy.copy_from(*this);
  return copy;
}

Tensor Tensor::clone(Purpose purpose) const {
  Tensor copy = empty(shape_, dtype_, device(), purpose);
  copy.copy_from(*this);
  return copy;
}

void Tensor::copy_from(const Tensor& other) const {
  if (other.dtype_ != dtype_ || other.rows() != rows() || other.columns() != columns())
    internal_error("tensor", "cannot copy {} into {}", describe(other), describe(*this));
  if (other.device().type == DeviceType::Meta || device().type == DeviceType::Meta) return;
  const int64_t size = static_cast<int64_t>(size_of(dtype_)), to_pitch = pitch_ * size,
                from_pitch = other.pitch_ * size, row_bytes = columns() * size;
  if (device() == other.device()) {
    GTA_DISPATCH(device(), copy_rows, Stream{device()}, raw_data(), to_pitch, other.raw_data(), from_pitch, rows(),
                 row_bytes);
  } else if (other.device().type == DeviceType::Cpu) {
    GTA_DISPATCH(device(), copy_from_host, Stream{device()}, raw_data(), to_pitch, other.raw_data(), from_pitch, rows(),
                 row_bytes);
  } else {
    if (device().type != DeviceType::Cpu || !contiguous())
      internal_error("tensor", "cannot copy from {} to {}, rows {} apart: only to adjacent rows of the host",
                     name_of(other.device()), name_of(device()), pitch_);
    GTA_DISPATCH(other.device(), synchronize, Stream{other.device()});
    GTA_DISPATCH(other.device(), copy_to_host, other.device(), raw_data(), other.raw_data(), from_pitch, rows(),
                 row_bytes);
  }
}

void Tensor::fill_zero() const {
  const int64_t size = static_cast<int64_t>(size_of(dtype_));
  GTA_DISPATCH(device(), fill_zero, Stream{device()}, raw_data(), pitch_ * size, rows(), columns() * size);
}

void Tensor::fail_data(DType asked) const {
  if (!storage_) internal_error("tensor", "is undefined: it has no {} elements", name_of(asked));
  internal_error("tensor", "holds {}, not {}", name_of(dtype_), name_of(asked));
}

std::vector<double> to_doubles(const Tensor& tensor) {
  return dispatch_floating(tensor.dtype(), "to_doubles", [&](auto zero) {
    const auto values = tensor.to_vector<decltype(zero)>();
    return std::vector<double>(values.begin(), values.end());
  });
}

Tensor from_doubles(const Shape& shape, const std::vector<double>& values, DType dtype, Purpose purpose) {
  return dispatch_floating(dtype, "from_doubles", [&](auto zero) {
    using T = decltype(zero);
    std::vector<T> rounded;
    rounded.reserve(values.size());
    for (double value : values) rounded.push_back(static_cast<T>(value));
    return Tensor::from<T>(shape, rounded, purpose);
  });
}

std::string describe(const Tensor& tensor) {
  if (!tensor.defined()) return "undefined";
  return std::string(name_of(tensor.dtype())) + " " + to_string(tensor.shape());
}

}  // namespace gta
