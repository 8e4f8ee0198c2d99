#include "core/tape.h"

#include <algorithm>

#include "core/elementwise.h"

namespace gta {
namespace {

using Range = std::pair<int64_t, int64_t>;

// How many of the columns [first, last) the ranges cover; they are disjoint.
int64_t covered(const std::vector<Range>& ranges, int64_t first, int64_t last) {
  int64_t total = 0;
  for (const auto& [a, b] : ranges) total += std::max<int64_t>(0, std::min(b, last) - std::max(a, first));
  return total;
}

void ensure_gradient(TapeValue& value) {
  if (!value.gradient.defined()) value.gradient = Tensor::empty(value.shape, value.dtype, value.device);
}

// Columns that no consumer wrote have gradient zero.
void fill_unwritten(TapeValue& value, int64_t first, int64_t last) {
  ensure_gradient(value);
  std::vector<Range> holes = {{first, last}};
  for (const auto& [a, b] : value.written) {
    std::vector<Range> rest;
    for (const auto& [x, y] : holes) {
      if (std::min(y, a) > x) rest.push_back({x, std::min(y, a)});
      if (y > std::max(x, b)) rest.push_back({std::max(x, b), y});
    }
    holes = rest;
  }
  for (const auto& [x, y] : holes) {
    value.gradient.column_slice(x, y - x).fill_zero();
    value.written.push_back({x, y});
  }
}

}  // namespace

Tensor GradientSlot::destination() {
  if (!wanted()) fail("tape", "a gradient was asked for that nobody wants");
  if (value_) {
    ensure_gradient(*value_);
    return value_->gradient.column_slice(first_column_, columns_).reshape(value_->gradient.columns() == columns_ ? value_->shape : Shape{value_->gradient.rows(), columns_});
  }
  return destination_;
}

void GradientSlot::give(const Tensor& gradient) {
  if (!wanted()) return;
  if (mode_ == GradientMode::Accumulate) {
    GTA_DISPATCH(gradient.device(), add_into, destination(), gradient);
  } else if (value_ && !value_->gradient.defined() && columns_ == value_->shape[value_->shape.rank() - 1]) {
    value_->gradient = gradient.reshape(value_->shape).with_link({});
  } else {
    destination().copy_from(gradient);
  }
}

int32_t Tape::new_value(const Tensor& tensor) {
  TapeValue value;
  value.shape = tensor.shape();
  value.dtype = tensor.dtype();
  value.device = tensor.device();
  values_.push_back(std::move(value));
  return static_cast<int32_t>(values_.size() - 1);
}

Tensor Tape::use(const Weight& weight) {
  if (!recording()) return weight.value;
  if (!weight.gradient.defined()) fail("tape", "cannot record: the parameter space was allocated without gradients");
  const int32_t id = new_value(weight.value);
  values_[id].parameter = true;
  values_[id].gradient = weight.gradient;
  return weight.value.with_link({id, 0});
}

Tensor Tape::watch(const Tensor& tensor) { return recording() ? tensor.with_link({new_value(tensor), 0}) : tensor; }

Tensor Tape::gradient_of(const Tensor& tensor) const {
  if (!tensor.link()) fail("tape", "the tensor is not on the tape");
  return values_.at(tensor.link().value).gradient;
}

void Tape::record(const char* name, std::span<const TapeLink> inputs, std::span<const int64_t> columns, std::span<Tensor> outputs,
                  Backward backward) {
  if (std::none_of(inputs.begin(), inputs.end(), [](const TapeLink& link) { return static_cast<bool>(link); })) return;
  Node node{name, {inputs.begin(), inputs.end()}, {columns.begin(), columns.end()}, {}, std::move(backward)};
  for (Tensor& output : outputs) {
    const int32_t id = new_value(output);
    output = output.with_link({id, 0});
    node.outputs.push_back(id);
  }
  nodes_.push_back(std::move(node));
}

GradientSlot Tape::slot_of(TapeLink link, int64_t columns) {
  if (!link) return {};
  TapeValue& value = values_.at(link.value);
  if (value.parameter) {
    Tensor whole = value.gradient;
    const bool all = whole.columns() == columns;
    return {all ? whole : whole.column_slice(link.first_column, columns), GradientMode::Accumulate};
  }
  const int64_t first = link.first_column, last = first + columns, have = covered(value.written, first, last);
  if (have == 0) {
    value.written.push_back({first, last});
    // A gradient handed over by another op's give() may be shared: see below. An unwritten part never is.
    return {&value, first, columns, GradientMode::Overwrite};
  }
  if (have < columns) fill_unwritten(value, first, last);
  ensure_gradient(value);  // undefined when the same op has this value as two inputs
  if (!value.gradient.unique()) value.gradient = value.gradient.clone();
  return {&value, first, columns, GradientMode::Accumulate};
}

void Tape::backward(const Tensor& root, Tensor d_root) {
  if (!recording()) fail("tape", "backward on a tape that does not record");
  if (!root.link()) fail("tape", "backward from a tensor that is not on the tape");
  TapeValue& start = values_.at(root.link().value);
  if (root.link().first_column != 0 || root.elements() != start.shape.elements()) fail("tape", "backward from a slice: start from the whole tensor");
  if (d_root.defined() && (d_root.rows() != root.rows() || d_root.columns() != root.columns() || d_root.dtype() != root.dtype()))
    fail("tape", "backward from {} cannot start with the gradient {}", describe(root), describe(d_root));
  if (!d_root.defined()) {
    if (root.elements() != 1) fail("tape", "backward from {} needs the gradient to start with", describe(root));
    dispatch_floating(root.dtype(), "backward", [&](auto zero) {
      using T = decltype(zero);
      Tensor one = Tensor::from<T>(root.shape(), {T{1}}, Purpose::Activations);
      d_root = one;
    });
  }
  start.gradient = d_root;
  start.written = {{0, root.columns()}};
  d_root = {};

  for (; !nodes_.empty(); nodes_.pop_back()) {
    Node& node = nodes_.back();
    std::vector<Tensor> d_outputs;
    bool reached = false;
    for (int32_t id : node.outputs) {
      TapeValue& value = values_[id];
      if (!value.written.empty()) {
        fill_unwritten(value, 0, value.shape[value.shape.rank() - 1]);
        reached = true;
      }
      d_outputs.push_back(std::move(value.gradient));
      value.gradient = {};
    }
    if (!reached) continue;
    std::vector<GradientSlot> d_inputs;
    for (size_t i = 0; i < node.inputs.size(); ++i) d_inputs.push_back(slot_of(node.inputs[i], node.input_columns[i]));
    ProfilerRange range(node.name);
    node.backward(d_outputs, d_inputs);
  }
  // Of a watched tensor, columns that nothing used.
  for (TapeValue& value : values_)
    if (!value.parameter && !value.written.empty() && value.gradient.defined()) fill_unwritten(value, 0, value.gradient.columns());
}

}  // namespace gta
