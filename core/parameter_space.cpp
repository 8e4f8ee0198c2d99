#include "core/parameter_space.h"

#include <algorithm>

#include "core/elementwise.h"
#include "core/parallel.h"
#include "core/profiler.h"
#include "core/random.h"

namespace gta {
namespace {

constexpr int64_t kAlignElements = 16;  // 64 bytes of float32
// whose bytes, in float64 and with two moments, still have a number
constexpr int64_t kMostElements = int64_t{1} << 58;
constexpr int64_t kInitGrain = 1 << 14;

Tensor flat_view(const Tensor& flat, int64_t offset, const Shape& shape) {
  // A flat buffer is one row of `size` columns; seen as rows of one element it can be sliced anywhere.
  return flat.reshape({flat.elements(), 1}).row_slice(offset, shape.elements()).reshape(shape);
}

}  // namespace

const Weight* ParameterSpace::add(const std::vector<ParameterSpec>& merged) {
  if (values_[0].defined())
    internal_error("parameter_space", "cannot declare {} after allocate()",
                   merged.empty() ? "nothing" : merged[0].name);
  if (merged.empty()) internal_error("parameter_space", "a weight needs at least one parameter");
  const int rank = merged[0].shape.rank();
  const ParameterKind kind = rank == 2 ? ParameterKind::Matrix : ParameterKind::Vector;
  int64_t& size = sizes_[static_cast<int>(kind)];
  size = (size + kAlignElements - 1) / kAlignElements * kAlignElements;
  Weight weight;
  weight.kind = kind;
  weight.offset = size;
  int64_t rows = 0;
  for (const ParameterSpec& spec : merged) {
    if (spec.shape.rank() != rank || rank < 1 || rank > 2 || (rank == 2 && spec.shape[1] != merged[0].shape[1]) ||
        spec.shape.elements() == 0)
      internal_error("parameter_space", "{} {} cannot be merged with {} {}", spec.name, to_string(spec.shape),
                     merged[0].name, to_string(merged[0].shape));
    if (!places_.emplace(spec.name, parameters_.size()).second)
      internal_error("parameter_space", "{} is declared twice", spec.name);
    if (spec.shape.elements() > kMostElements - size)
      bad_input("model", "{} {} makes more than 2^58 parameters: lower the model's sizes", spec.name,
                to_string(spec.shape));
    parameters_.push_back({spec.name, spec.shape, spec.initializer, kind, size});
    size += spec.shape.elements();
    rows += spec.shape[0];
  }
  weight.shape = rank == 2 ? Shape{rows, merged[0].shape[1]} : Shape{rows};
  weights_.push_back(std::move(weight));
  return &weights_.back();
}

const Parameter& ParameterSpace::find(const std::string& name) const {
  const auto found = places_.find(name);
  if (found == places_.end()) internal_error("parameter_space", "has no parameter {}", name);
  return parameters_[found->second];
}

int64_t ParameterSpace::parameter_count() const {
  int64_t count = 0;
  for (const Parameter& parameter : parameters_) count += parameter.elements();
  return count;
}

void ParameterSpace::allocate(DType dtype, Device device, SpaceUse use) {
  dtype_ = dtype;
  device_ = device;
  const DType state = state_dtype(dtype);
  for (ParameterKind kind : kParameterKinds) {
    const int i = static_cast<int>(kind);
    values_[i] = Tensor::zeros({sizes_[i]}, state, device, Purpose::Parameters);
    if (use == SpaceUse::Training) gradients_[i] = Tensor::zeros({sizes_[i]}, state, device, Purpose::Gradients);
  }
  const Tensor& matrices = values(ParameterKind::Matrix);
  if (state != dtype) rounded_ = Tensor::zeros(matrices.shape(), dtype, device, Purpose::Parameters);
  for (Weight& weight : weights_) {
    const int i = static_cast<int>(weight.kind);
    weight.value = flat_view(weight.kind == ParameterKind::Matrix && rounded_.defined() ? rounded_ : values_[i],
                             weight.offset, weight.shape);
    if (use == SpaceUse::Training) weight.gradient = flat_view(gradients_[i], weight.offset, weight.shape);
  }
}

void ParameterSpace::masters_changed() {
  if (rounded_.defined()) GTA_DISPATCH(device_, convert, rounded_, values(ParameterKind::Matrix));
}

void ParameterSpace::initialize(uint64_t seed) {
  if (!values_[0].defined()) internal_error("parameter_space", "initialize() before allocate()");
  for (const Parameter& parameter : parameters_) {
    const RandomStream stream(seed, parameter.name);
    const Initializer& initializer = parameter.initializer;
    dispatch_state(state_dtype(dtype_), "initialize", [&](auto zero) {
      using T = decltype(zero);
      Tensor host = Tensor::empty({parameter.elements()}, state_dtype(dtype_), Device{}, Purpose::Workspace);
      T* const values = host.data<T>();
      parallel_ranges(parameter.elements(), kInitGrain, [&](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; ++i)
          // Rounded to float32 in a double run too: both start from the same model.
          values[i] = initializer.kind == Initializer::Kind::Normal
                          ? static_cast<float>(initializer.deviation * stream.normal(static_cast<uint64_t>(i)))
                      : initializer.kind == Initializer::Kind::Ones ? T{1}
                                                                    : T{0};
      });
      view(values_[static_cast<int>(parameter.kind)], parameter).reshape({parameter.elements()}).copy_from(host);
    });
  }
  masters_changed();
}

void ParameterSpace::zero_gradients() {
  ProfilerRange range("zero_gradients");
  for (const Tensor& gradient : gradients_)
    if (gradient.defined()) gradient.fill_zero();
}

Tensor ParameterSpace::view(const Tensor& flat, const Parameter& parameter) const {
  return flat_view(flat, parameter.offset, parameter.shape);
}

}  // namespace gta
