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

void add_once(std::vector<const Weight*>& weights, const Weight* weight) {
  if (std::find(weights.begin(), weights.end(), weight) == weights.end()) weights.push_back(weight);
}

GradientSlot slot_of_weight(const TapeValue& value, int64_t first_column, int64_t columns) {
  const Tensor& whole = value.gradient;
  return {whole.columns() == columns ? whole : whole.column_slice(first_column, columns), GradientMode::Accumulate};
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

const char* name_of(Recompute recompute) {
  switch (recompute) {
    case Recompute::None:
      return "none";
    case Recompute::Elementwise:
      return "elementwise";
    case Recompute::Block:
      return "block";
  }
  return "?";
}

Recompute recompute_from_name(const std::string& name) {
  for (Recompute recompute : {Recompute::None, Recompute::Elementwise, Recompute::Block})
    if (name == name_of(recompute)) return recompute;
  bad_input("recompute", "expected none, elementwise or block, got '{}'", name);
}

void Saved::keep(Tensor tensor) {
  if (!recording()) return;
  if (const Again* again = tape_ ? tape_->again_of(tensor) : nullptr) {
    missing_.push_back({tensors_.size(), *again});
    tensors_.emplace_back();
  } else {
    tensors_.push_back(std::move(tensor));
  }
}

void Saved::restore() {
  for (auto& [i, again] : missing_)
    if (!tensors_[i].defined()) tensors_[i] = again();
  missing_.clear();
}

Tensor GradientSlot::destination() {
  if (!wanted()) internal_error("tape", "a gradient was asked for that nobody wants");
  if (value_) {
    ensure_gradient(*value_);
    return value_->gradient.column_slice(first_column_, columns_)
        .reshape(value_->gradient.columns() == columns_ ? value_->shape : Shape{value_->gradient.rows(), columns_});
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
  if (before_use_) before_use_(weight);
  if (used_) add_once(*used_, &weight);
  if (!recording()) return weight.value;
  if (!weight.gradient.defined())
    internal_error("tape", "cannot record: the parameter space was allocated without gradients");
  const int32_t id = new_value(weight.value);
  values_[id].weight = &weight;
  values_[id].gradient = weight.gradient;
  return weight.value.with_link({id, 0});
}

Tensor Tape::watch(const Tensor& tensor) { return recording() ? tensor.with_link({new_value(tensor), 0}) : tensor; }

Tensor Tape::gradient_of(const Tensor& tensor) const {
  if (!tensor.link()) internal_error("tape", "the tensor is not on the tape");
  return values_.at(tensor.link().value).gradient;
}

void Tape::record(const char* name, std::span<const TapeLink> inputs, std::span<const int64_t> columns,
                  std::span<Tensor> outputs, Backward backward, std::vector<const Weight*> inside) {
  if (std::none_of(inputs.begin(), inputs.end(), [](const TapeLink& link) { return static_cast<bool>(link); })) return;
  Node node{name,
            {inputs.begin(), inputs.end()},
            {columns.begin(), columns.end()},
            {},
            std::move(inside),
            std::move(backward)};
  for (const TapeLink& link : inputs)
    if (link && values_.at(link.value).weight) add_once(node.weights, values_[link.value].weight);
  for (const Weight* weight : node.weights) ++to_play_[weight];
  for (Tensor& output : outputs) {
    const int32_t id = new_value(output);
    output = output.with_link({id, 0});
    node.outputs.push_back(id);
  }
  nodes_.push_back(std::move(node));
}

GradientSlot Tape::weight_slot(const Tensor& input) const {
  const TapeLink link = recording() ? input.link() : TapeLink{};
  if (!link || !values_.at(link.value).weight) return {};
  return slot_of_weight(values_[link.value], link.first_column, input.columns());
}

// The node that is being played is done with one of its weights.
void Tape::played(const Weight* weight) {
  if (std::erase(playing_, weight) > 0 && --to_play_.at(weight) == 0 && listener_) listener_(*weight);
}

GradientSlot Tape::slot_of(TapeLink link, int64_t columns) {
  if (!link) return {};
  TapeValue& value = values_.at(link.value);
  if (value.weight) return slot_of_weight(value, link.first_column, columns);
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

void Tape::set_again(const Tensor& output, Again again) {
  if (output.link()) values_.at(output.link().value).again = std::move(again);
}

const Again* Tape::again_of(const Tensor& tensor) const {
  if (!tensor.link()) return nullptr;
  const TapeValue& value = values_.at(tensor.link().value);
  const bool whole = tensor.link().first_column == 0 && tensor.elements() == value.shape.elements();
  return whole && value.again ? &value.again : nullptr;
}

std::vector<Tensor> Tape::checkpoint(const char* name, const Function& f, const std::vector<Tensor>& inputs) {
  std::vector<Tensor> kept;
  std::vector<TapeLink> links;
  std::vector<int64_t> columns;
  for (const Tensor& input : inputs) {
    kept.push_back(input.with_link({}));
    links.push_back(input.link());
    columns.push_back(input.columns());
  }
  Tape inference(TapeMode::Inference, Recompute::None, {}, before_use_);
  std::vector<const Weight*> inside;
  inference.used_ = &inside;
  std::vector<Tensor> outputs = f(inference, kept);
  if (used_)
    for (const Weight* weight : inside) add_once(*used_, weight);
  if (!recording()) return outputs;
  const auto backward = [this, f, kept](std::span<Tensor> d_outputs, std::span<GradientSlot> d_inputs) {
    Tape inner(TapeMode::Recording, Recompute::None, [this](const Weight& weight) { played(&weight); });
    std::vector<Tensor> watched;
    for (const Tensor& input : kept) watched.push_back(inner.watch(input));
    const std::vector<Tensor> again = f(inner, watched);
    inner.backward(again, d_outputs);
    for (size_t i = 0; i < watched.size(); ++i) {
      if (!d_inputs[i].wanted()) continue;
      if (const Tensor gradient = inner.gradient_of(watched[i]); gradient.defined())
        d_inputs[i].give(gradient);
      else if (d_inputs[i].mode() == GradientMode::Overwrite)
        d_inputs[i].destination().fill_zero();
    }
  };
  record(name, links, columns, outputs, backward, inside);
  return outputs;
}

void Tape::backward(const Tensor& root, Tensor d_root) {
  if (!d_root.defined()) {
    if (root.elements() != 1)
      internal_error("tape", "backward from {} needs the gradient to start with", describe(root));
    // on the host: a loss looks at it, and a device would have to be asked
    d_root = from_doubles(root.shape(), {1.0}, root.dtype(), Purpose::Activations);
  }
  backward(std::span(&root, 1), std::span(&d_root, 1));
}

void Tape::backward(std::span<const Tensor> roots, std::span<Tensor> d_roots) {
  if (!recording()) internal_error("tape", "backward on a tape that does not record");
  if (roots.size() != d_roots.size())
    internal_error("tape", "backward from {} tensors with {} gradients", roots.size(), d_roots.size());
  for (size_t i = 0; i < roots.size(); ++i) {
    const Tensor& root = roots[i];
    Tensor& d_root = d_roots[i];
    if (!d_root.defined()) continue;
    if (!root.link()) internal_error("tape", "backward from a tensor that is not on the tape");
    TapeValue& start = values_.at(root.link().value);
    if (root.link().first_column != 0 || root.elements() != start.shape.elements())
      internal_error("tape", "backward from a slice: start from the whole tensor");
    if (d_root.rows() != root.rows() || d_root.columns() != root.columns() || d_root.dtype() != root.dtype())
      internal_error("tape", "backward from {} cannot start with the gradient {}", describe(root), describe(d_root));
    if (!start.written.empty()) internal_error("tape", "backward from one tensor twice");
    start.gradient = d_root;
    start.written = {{0, root.columns()}};
    d_root = {};
  }
  play();
}

void Tape::play() {
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
    playing_ = node.weights;
    if (reached) {
      std::vector<GradientSlot> d_inputs;
      for (size_t i = 0; i < node.inputs.size(); ++i)
        d_inputs.push_back(slot_of(node.inputs[i], node.input_columns[i]));
      ProfilerRange range(node.name);
      node.backward(d_outputs, d_inputs);
      // Who kept it has been played: what it is made of may go.
      for (int32_t id : node.outputs) values_[id].again = {};
    }
    for (const Weight* weight : node.weights) played(weight);
  }
  // Of a watched tensor, columns that nothing used.
  for (TapeValue& value : values_)
    if (!value.weight && !value.written.empty() && value.gradient.defined())
      fill_unwritten(value, 0, value.gradient.columns());
}

}  // namespace gta
