#include "core/parameter_space.h"

#include <algorithm>

#include "core/elementwise.h"
#include "core/parallel.h"
#include "core/profiler.h"
#include "core/random.h"
#include "core/sum_of_squares.h"

namespace gta {
namespace {

constexpr int64_t kInitGrain = 1 << 14;
constexpr int64_t kGradientBytes = 4;  // of an element in a bucket, whatever the dtype

}  // namespace

const Weight* ParameterSpace::add(const std::vector<ParameterSpec>& merged) {
  if (masters_.defined())
    internal_error("parameter_space", "cannot declare {} after allocate()",
                   merged.empty() ? "nothing" : merged[0].name);
  const int64_t group = layout_.add(merged);
  handles_.push_back({group, layout_.groups().back().shape, {}, {}, nullptr});
  return &handles_.back();
}

void ParameterSpace::allocate(DType dtype, Device device, SpaceUse use, const RankShare& share) {
  ensure(share.rank >= 0 && share.rank < share.ranks, "parameter_space", "rank {} is none of {}", share.rank,
         share.ranks);
  dtype_ = dtype;
  device_ = device;
  share_ = share;
  layout_.arrange(std::max<int64_t>(1, share.bucket_bytes / kGradientBytes), share.ranks);
  shards_ = ShardMap(layout_, share.sharding, share.ranks);
  owned_ = shards_.owned(share.rank);
  const DType state = state_dtype(dtype);
  for (ParameterKind kind : kParameterKinds) {
    const DType weight = kind == ParameterKind::Matrix ? dtype : state;
    weights_[static_cast<int>(kind)] = Tensor::zeros({layout_.flat_size(kind)}, weight, device, Purpose::Parameters);
    if (use == SpaceUse::Training)
      gradients_.hold(layout_.whole(kind), Tensor::zeros({layout_.flat_size(kind)}, state, device, Purpose::Gradients));
  }
  for (const FlatRange& range : shards_.updated(share.rank)) {
    const Tensor& weights = weights_[static_cast<int>(range.kind)];
    masters_.hold(range, weights.dtype() == state ? flat_slice(weights, range.first, range.count)
                                                  : Tensor::zeros({range.count}, state, device, Purpose::Parameters));
  }
  for (Weight& weight : handles_) {
    const ParameterGroup& group = layout_.groups()[static_cast<size_t>(weight.group)];
    weight.value = flat_slice(weights_[static_cast<int>(group.range.kind)], group.range.first, group.range.count)
                       .reshape(group.shape);
    if (use == SpaceUse::Training) weight.gradient = gradients_.slice(group.range).reshape(group.shape);
  }
}

void ParameterSpace::masters_changed() {
  for (size_t i = 0; i < masters_.ranges().size(); ++i)
    if (const Tensor to = rounded(masters_.ranges()[i]); to.defined())
      GTA_DISPATCH(device_, convert, to, masters_.tensor(i));
}

Tensor ParameterSpace::rounded(const FlatRange& range) const {
  const Tensor& whole = weights(range.kind);
  return whole.dtype() == state_dtype(dtype_) ? Tensor{} : flat_slice(whole, range.first, range.count);
}

const Tensor& ParameterSpace::values(ParameterKind kind) const {
  const Tensor& masters = masters_.whole(kind);
  ensure(masters.elements() == layout_.flat_size(kind), "parameter_space", "rank {} of {} does not hold all masters",
         share_.rank, share_.ranks);
  return masters;
}

// values: on the host, (elements), of the state's dtype.
void ParameterSpace::set(const Parameter& parameter, const Tensor& values) {
  const Tensor weight = flat_slice(weights(parameter.kind), parameter.offset, parameter.elements());
  if (weight.dtype() == values.dtype()) {
    weight.copy_from(values);  // masters are parts of it
    return;
  }
  const Tensor rounded = Tensor::empty(values.shape(), weight.dtype(), values.device(), Purpose::Workspace);
  GTA_DISPATCH(values.device(), convert, rounded, values);
  weight.copy_from(rounded);
  for (const FlatRange& held : intersections(masters_.ranges(), parameter.range()))
    masters_.slice(held).copy_from(flat_slice(values, held.first - parameter.offset, held.count));
}

void ParameterSpace::initialize(uint64_t seed) {
  if (!masters_.defined()) internal_error("parameter_space", "initialize() before allocate()");
  for (const Parameter& parameter : parameters()) {
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
      set(parameter, host);
    });
  }
}

void ParameterSpace::use_int8(const Weight* except) {
  ensure(device_.type == DeviceType::Cpu && dtype_ != DType::F64, "parameter_space",
         "int8 weights are for float32 and bfloat16 on a CPU");
  for (Weight& weight : handles_)
    if (layout_.groups()[static_cast<size_t>(weight.group)].range.kind == ParameterKind::Matrix && &weight != except)
      weight.int8 = std::make_shared<const Int8Matrix>(weight.value);
}

void ParameterSpace::zero_gradients() {
  ProfilerRange range("zero_gradients");
  for (size_t i = 0; i < gradients_.ranges().size(); ++i) gradients_.tensor(i).fill_zero();
}

Tensor ParameterSpace::sum_of_squares(const FlatBuffer& buffer) const {
  const Tensor total = Tensor::zeros({1}, DType::F64, device_, Purpose::Workspace);
  for (const FlatRange& range : owned_)
    GTA_DISPATCH(device_, sum_of_squares, buffer.slice(range), total, GradientMode::Accumulate);
  return total;
}

Tensor ParameterSpace::view(const Tensor& flat, const Parameter& parameter) const {
  return flat_slice(flat, parameter.offset, parameter.elements()).reshape(parameter.shape);
}

}  // namespace gta
