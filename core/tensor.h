// Tensor: a view of Storage as rows of `columns` elements, contiguous but for the pitch (elements from one row to the
// next).
//
//   rows    = product of all sizes but the last      columns = the last size      element (r, c) at data[r * pitch + c]
//
// Copying a Tensor copies the view, not the elements. Views are reshapes, slices of rows and slices of columns; there
// are no other strides. A tensor that a recording Tape has made carries a link to it (tape.h).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/dtype.h"
#include "core/shape.h"
#include "core/storage.h"

namespace gta {

// Which value of the tape a tensor is, and which of its columns.
struct TapeLink {
  int32_t value = -1;
  int64_t first_column = 0;
  explicit operator bool() const { return value >= 0; }
};

class Tensor {
 public:
  Tensor() = default;  // undefined: no storage
  static Tensor empty(const Shape& shape, DType dtype, Device device, Purpose purpose = Purpose::Activations);
  static Tensor zeros(const Shape& shape, DType dtype, Device device, Purpose purpose = Purpose::Activations);
  // On the CPU, from a vector of shape.elements() values.
  template <class T>
  static Tensor from(const Shape& shape, const std::vector<T>& values, Purpose purpose = Purpose::Data);

  bool defined() const { return storage_ != nullptr; }
  // No other Tensor looks at this storage: an op's backward may overwrite such a gradient.
  bool unique() const { return storage_.use_count() == 1; }

  const Shape& shape() const { return shape_; }
  int64_t elements() const { return shape_.elements(); }
  int64_t columns() const { return shape_.rank() ? shape_[shape_.rank() - 1] : 1; }
  int64_t rows() const { return columns() ? elements() / columns() : 0; }
  int64_t pitch() const { return pitch_; }
  bool contiguous() const { return pitch_ == columns() || rows() <= 1; }
  DType dtype() const { return dtype_; }
  Device device() const { return storage_ ? storage_->device() : Device{}; }

  // First element. Error when T is not this tensor's dtype or there is no storage.
  template <class T>
  T* data() const {
    if (!storage_ || dtype_ != dtype_of<T>) fail_data(dtype_of<T>);
    return reinterpret_cast<T*>(storage_->data()) + offset_;
  }
  void* raw_data() const {
    return storage_ ? storage_->data() + offset_ * static_cast<int64_t>(size_of(dtype_)) : nullptr;
  }

  Tensor reshape(const Shape& shape) const;                 // rows of another length only when contiguous
  Tensor row_slice(int64_t first, int64_t count) const;     // (count, columns)
  Tensor column_slice(int64_t first, int64_t count) const;  // (rows, count), same pitch

  // The same elements on another device; itself where it is there already, or undefined.
  Tensor to(Device device, Purpose purpose) const;
  // New contiguous storage with the same elements.
  Tensor clone(Purpose purpose = Purpose::Activations) const;
  // Same shape and dtype, any pitch; from any device to itself, from the host to any, from any to adjacent rows of the
  // host (which alone waits).
  void copy_from(const Tensor& other) const;
  void fill_zero() const;

  // Elements in row order on the host. T must be this tensor's type.
  template <class T>
  std::vector<T> to_vector() const;

  const TapeLink& link() const { return link_; }
  Tensor with_link(TapeLink link) const {
    Tensor linked = *this;
    linked.link_ = link;
    return linked;
  }

 private:
  [[noreturn]] void fail_data(DType asked) const;

  std::shared_ptr<Storage> storage_;
  int64_t offset_ = 0;  // elements
  Shape shape_;
  int64_t pitch_ = 0;
  DType dtype_ = DType::F32;
  TapeLink link_;
};

// Elements of a floating tensor in row order on the host, and such a tensor on the CPU from them, rounded to its dtype.
std::vector<double> to_doubles(const Tensor& tensor);
Tensor from_doubles(const Shape& shape, const std::vector<double>& values, DType dtype,
                    Purpose purpose = Purpose::Data);

// "float32 (2, 3)" for messages.
std::string describe(const Tensor& tensor);

}  // namespace gta
