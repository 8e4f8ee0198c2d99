// One description of an op's case yields every check of that op.
//
// A case says what the inputs are, how to make the op for a dtype, and what it must compute, written plainly in double
// (the reference). From it follow, with GTA_OP_CASE_TESTS(Suite, cases()):
//   forward in float64 and float32 against the reference; gradients in float64 against differences of the reference;
//   gradients in float32 against those in float64; both in bfloat16 against float64 from the same rounded inputs;
//   inputs and destinations that are slices inside larger tensors full of NaN, which must neither be read nor written;
//   Overwrite, Accumulate and Ignore; the same bits for 1 to 4 threads;
//   the same gradients through the tape; a NaN or infinity of an input that stays visible in the outputs.
// Where the build has CUDA and the machine a device for it, the same there, against float64 on the CPU: float32 and
// bfloat16, slices inside larger tensors (rows that are aligned and rows that are not), the same bits twice, NaN and
// infinity.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/parallel.h"
#include "core/random.h"
#include "core/tape.h"
#include "tests/cuda_device.h"

namespace gta::testing {

// A matrix of doubles, as references see tensors; a vector is one row.
struct Matrix {
  int64_t rows = 0, columns = 0;
  std::vector<double> values;
  Matrix() = default;
  Matrix(int64_t rows, int64_t columns) : rows(rows), columns(columns), values(rows * columns) {}
  double& operator()(int64_t r, int64_t c) { return values[r * columns + c]; }
  double operator()(int64_t r, int64_t c) const { return values[r * columns + c]; }
};
using Matrices = std::vector<Matrix>;

// Reproducible values of roughly unit size.
inline std::vector<double> random_values(const std::string& name, int64_t count, double deviation = 1) {
  const RandomStream stream(20, name);
  std::vector<double> values(count);
  // Float32 values, so that both dtypes start from the same numbers.
  for (int64_t i = 0; i < count; ++i)
    values[i] = static_cast<float>(deviation * stream.normal(static_cast<uint64_t>(i)));
  return values;
}

// What an input is to a bfloat16 model: an activation or a matrix is bfloat16, a vector (norm, bias) float32; gradients
// of parameters are float32.
enum class Role { Activation, Matrix, Vector };

struct Input {
  std::string name;
  Shape shape;  // rank 0: an undefined tensor
  std::vector<double> values;
  bool infinity_visible = true;  // false where an infinity has a finite limit, as in a sigmoid
  Role role = Role::Activation;

  static Input random(const std::string& name, const Shape& shape, double deviation = 1) {
    return {name, shape, random_values(name, shape.elements(), deviation)};
  }
  static Input matrix(const std::string& name, const Shape& shape) {
    return {name, shape, random_values(name, shape.elements()), true, Role::Matrix};
  }
  static Input vector(const std::string& name, const Shape& shape) {
    return {name, shape, random_values(name, shape.elements()), true, Role::Vector};
  }
  static Input undefined(const std::string& name) { return {name, {}, {}}; }
  bool defined() const { return shape.rank() > 0; }
  DType value_dtype(DType dtype) const { return role == Role::Vector ? state_dtype(dtype) : dtype; }
  DType gradient_dtype(DType dtype) const { return role == Role::Activation ? dtype : state_dtype(dtype); }
};

// An op with its types erased.
struct AnyOp {
  std::function<std::vector<Tensor>(Tape&, const std::vector<Tensor>&)> apply;
  std::function<std::vector<Tensor>(Saved&, const std::vector<Tensor>&)> forward;  // checks first
  std::function<void(const Saved&, std::span<Tensor>, std::span<GradientSlot>)> backward;
};

inline std::vector<Tensor> as_vector(const Tensor& tensor) { return {tensor}; }
template <size_t n>
std::vector<Tensor> as_vector(const std::array<Tensor, n>& tensors) {
  return {tensors.begin(), tensors.end()};
}

template <size_t inputs, class O>
AnyOp any_op(const O& op) {
  const auto spread = [](auto f, const std::vector<Tensor>& x) {
    return [&]<size_t... i>(std::index_sequence<i...>) { return f(x[i]...); }
    (std::make_index_sequence<inputs>{});
  };
  return {[=](Tape& tape, const std::vector<Tensor>& x) {
            return as_vector(spread([&](const auto&... t) { return tape.apply(op, t...); }, x));
          },
          [=](Saved& saved, const std::vector<Tensor>& x) {
            spread([&](const auto&... t) { op.check(t...); }, x);
            return as_vector(spread([&](const auto&... t) { return op.forward(saved, t...); }, x));
          },
          [=](const Saved& saved, std::span<Tensor> d_outputs, std::span<GradientSlot> d_inputs) {
            op.backward(saved, d_outputs, d_inputs);
          }};
}

// Makes the op for a dtype; one that holds tensors of its own (tokens, a table) is told the device as well.
class MakeOp {
 public:
  MakeOp() = default;
  template <class F>
  requires std::is_invocable_r_v<AnyOp, F, DType, Device> MakeOp(F make) : make_(make) {}
  template <class F>
  requires std::is_invocable_r_v<AnyOp, F, DType> MakeOp(F make)
      : make_([make](DType dtype, Device) { return make(dtype); }) {}
  AnyOp operator()(DType dtype, Device device = {}) const { return make_(dtype, device); }

 private:
  std::function<AnyOp(DType, Device)> make_;
};

struct OpCase {
  std::string name;
  std::vector<Input> inputs;
  MakeOp op;
  std::function<Matrices(const Matrices&)> reference;
  // Relative to the largest magnitude of the tensor compared. Each case says why its float32 bound is what it is.
  double float32_tolerance = 2e-6;
  double float32_gradient_tolerance = 5e-6;
  // bfloat16 rounds by up to 2^-8 of each number; a result is rounded about twice on its way, a gradient a few times
  // more.
  double bfloat16_tolerance = 0.01;
  double bfloat16_gradient_tolerance = 0.02;
  // The gradient that backward starts from, by output: random, all ones (a loss, as a tape starts it: on the host), or
  // undefined (an output that nothing used).
  enum class DOutput { Random, Ones, Undefined };
  std::vector<DOutput> d_outputs = {DOutput::Random};
};

// Some 1e3 additions of rounding 1e-16 each, for sums of up to a few thousand products.
inline constexpr double kFloat64Tolerance = 1e-12;
// Five-point differences with step 1e-3: truncation about 1e-13, rounding 1e-16 / 1e-3 of the outputs' size.
inline constexpr double kDifferenceTolerance = 1e-8;

inline std::vector<char> to_bytes(const Tensor& anywhere) {
  const Tensor tensor = anywhere.to(Device{}, Purpose::Data);
  const int64_t row = tensor.columns() * static_cast<int64_t>(size_of(tensor.dtype()));
  std::vector<char> bytes(tensor.rows() * row);
  const auto* from = static_cast<const char*>(tensor.raw_data());
  for (int64_t r = 0; r < tensor.rows(); ++r)
    std::memcpy(bytes.data() + r * row, from + r * tensor.pitch() * static_cast<int64_t>(size_of(tensor.dtype())), row);
  return bytes;
}

inline double largest_of(const std::vector<double>& values) {
  double largest = 0;
  for (double v : values) largest = std::max(largest, std::abs(v));
  return largest;
}

// |actual - expected| <= tolerance * largest |expected|, element by element; NaN never passes.
inline ::testing::AssertionResult near(const std::vector<double>& actual, const std::vector<double>& expected,
                                       double tolerance) {
  if (actual.size() != expected.size())
    return ::testing::AssertionFailure() << actual.size() << " elements, expected " << expected.size();
  const double bound = tolerance * std::max(largest_of(expected), 1e-30);
  for (size_t i = 0; i < actual.size(); ++i)
    if (!(std::abs(actual[i] - expected[i]) <= bound))
      return ::testing::AssertionFailure()
             << "element " << i << " is " << actual[i] << ", expected " << expected[i] << " within " << bound;
  return ::testing::AssertionSuccess();
}

// How a guarded slice lies in its tensor: with rows that begin anywhere, or where kernels may read 16 bytes at a time.
enum class Margin { Odd, Aligned };

// A tensor that is a slice of rows and columns of a larger one, which is full of a NaN that no arithmetic makes.
class Guarded {
 public:
  Guarded(const Shape& shape, DType dtype, Device device = {}, Margin margin = Margin::Odd)
      : before_columns_(margin == Margin::Odd ? 3 : 8) {
    const int64_t columns = shape[shape.rank() - 1], rows = columns ? shape.elements() / columns : 0;
    const Tensor whole = Tensor::empty({rows + 2, margin == Margin::Odd ? columns + 8 : (columns + 7) / 8 * 8 + 16},
                                       dtype, Device{}, Purpose::Data);
    fill(whole);
    whole_ = whole.to(device, Purpose::Data);
    inner_ = hole(whole_, rows, columns).reshape(shape);
    remember();
  }
  const Tensor& tensor() const { return inner_; }
  void set(const std::vector<double>& values) {
    inner_.copy_from(from_doubles(inner_.shape(), values, inner_.dtype()));
    remember();
  }
  void remember() { before_ = to_bytes(whole_); }
  bool untouched() const { return to_bytes(whole_) == before_; }
  // Whether all but the slice is as it was.
  bool surroundings_untouched() const {
    const Tensor now = whole_.to(Device{}, Purpose::Data).clone(), was = now.clone();
    std::memcpy(was.raw_data(), before_.data(), before_.size());
    hole(now, inner_.rows(), inner_.columns()).copy_from(hole(was, inner_.rows(), inner_.columns()));
    return to_bytes(now) == before_;
  }

 private:
  Tensor hole(const Tensor& whole, int64_t rows, int64_t columns) const {
    return whole.row_slice(1, rows).column_slice(before_columns_, columns);
  }
  static void fill(const Tensor& tensor) {
    dispatch_floating(tensor.dtype(), "guard", [&](auto zero) {
      using T = decltype(zero);
      T guard = static_cast<T>(std::nan("0x5e5e"));
      if constexpr (std::is_same_v<T, bfloat16>) guard.bits = 0x7fde;
      std::fill_n(tensor.data<T>(), tensor.elements(), guard);
    });
  }
  int64_t before_columns_;
  Tensor whole_, inner_;
  std::vector<char> before_;
};

// Runs a case in one dtype: what it gives forward and backward.
struct Outcome {
  std::vector<Tensor> outputs, gradients;  // gradients by input, undefined for an undefined input
};

inline std::vector<Tensor> contiguous_inputs(const OpCase& c, DType dtype, Device device = {}) {
  std::vector<Tensor> inputs;
  for (const Input& input : c.inputs)
    inputs.push_back(input.defined()
                         ? from_doubles(input.shape, input.values, input.value_dtype(dtype)).to(device, Purpose::Data)
                         : Tensor{});
  return inputs;
}

// The gradient to start from: the same numbers in every dtype, so none that bfloat16 would round.
inline std::vector<double> start_values(const OpCase& c, size_t output, int64_t count) {
  switch (c.d_outputs.at(output)) {
    case OpCase::DOutput::Random: {
      std::vector<double> values = random_values("d_output" + std::to_string(output), count);
      for (double& value : values) value = bfloat16(value);
      return values;
    }
    case OpCase::DOutput::Ones:
      return std::vector<double>(count, 1.0);
    case OpCase::DOutput::Undefined:
      break;
  }
  return std::vector<double>(count, 0.0);
}

inline Device start_device(const OpCase& c, size_t output, const Tensor& like) {
  return c.d_outputs.at(output) == OpCase::DOutput::Ones ? Device{} : like.device();
}

inline Tensor start_tensor(const OpCase& c, size_t output, const Tensor& like) {
  if (c.d_outputs.at(output) == OpCase::DOutput::Undefined) return {};
  return from_doubles(like.shape(), start_values(c, output, like.elements()), like.dtype())
      .to(start_device(c, output, like), Purpose::Data);
}

inline Outcome run_case(const OpCase& c, DType dtype, Device device = {}) {
  const AnyOp op = c.op(dtype, device);
  Outcome outcome;
  Saved saved(TapeMode::Recording);
  outcome.outputs = op.forward(saved, contiguous_inputs(c, dtype, device));
  std::vector<Tensor> d_outputs;
  for (size_t i = 0; i < outcome.outputs.size(); ++i) d_outputs.push_back(start_tensor(c, i, outcome.outputs[i]));
  std::vector<GradientSlot> slots;
  for (const Input& input : c.inputs) {
    const std::vector<double> unwritten(input.shape.elements(), std::nan(""));
    outcome.gradients.push_back(
        input.defined() ? from_doubles(input.shape, unwritten, input.gradient_dtype(dtype)).to(device, Purpose::Data)
                        : Tensor{});
    slots.push_back(input.defined() ? GradientSlot(outcome.gradients.back(), GradientMode::Overwrite) : GradientSlot{});
  }
  op.backward(saved, d_outputs, slots);
  return outcome;
}

inline Matrices reference_inputs(const OpCase& c) {
  Matrices matrices;
  for (const Input& input : c.inputs) {
    const int64_t columns = input.defined() ? input.shape[input.shape.rank() - 1] : 0;
    Matrix m(columns ? input.shape.elements() / columns : 0, columns);
    m.values = input.values;
    matrices.push_back(std::move(m));
  }
  return matrices;
}

inline void check_forward(const OpCase& c) {
  const Matrices expected = c.reference(reference_inputs(c));
  for (DType dtype : {DType::F64, DType::F32}) {
    Saved saved(TapeMode::Inference);
    const std::vector<Tensor> outputs = c.op(dtype).forward(saved, contiguous_inputs(c, dtype));
    ASSERT_EQ(outputs.size(), expected.size());
    for (size_t i = 0; i < outputs.size(); ++i)
      EXPECT_TRUE(near(to_doubles(outputs[i]), expected[i].values,
                       dtype == DType::F64 ? kFloat64Tolerance : c.float32_tolerance))
          << name_of(dtype) << " output " << i;
    // What a recording forward makes is no different.
    const Outcome recorded = run_case(c, dtype);
    for (size_t i = 0; i < outputs.size(); ++i)
      EXPECT_TRUE(near(to_doubles(recorded.outputs[i]), expected[i].values,
                       dtype == DType::F64 ? kFloat64Tolerance : c.float32_tolerance))
          << name_of(dtype) << " recorded output " << i;
  }
}

// The derivative of sum(d_output * output) along a direction of one input.
inline double difference(const OpCase& c, const Matrices& at, size_t input,
                         const std::vector<std::pair<int64_t, double>>& direction) {
  constexpr double h = 1e-3;
  const auto moved = [&](double distance) {
    Matrices x = at;
    for (const auto& [element, amount] : direction) x[input].values[element] += distance * amount;
    return c.reference(x);
  };
  const Matrices a = moved(2 * h), b = moved(h), d = moved(-h), e = moved(-2 * h);
  double sum = 0;
  for (size_t o = 0; o < a.size(); ++o) {
    const std::vector<double> start = start_values(c, o, static_cast<int64_t>(a[o].values.size()));
    for (size_t i = 0; i < start.size(); ++i)
      sum += start[i] * (8 * (b[o].values[i] - d[o].values[i]) - (a[o].values[i] - e[o].values[i])) / (12 * h);
  }
  return sum;
}

inline void check_gradients(const OpCase& c) {
  const Outcome outcome = run_case(c, DType::F64);
  const Matrices at = reference_inputs(c);
  double outputs = 0;
  for (const Tensor& output : outcome.outputs) outputs += static_cast<double>(output.elements());
  for (size_t i = 0; i < c.inputs.size(); ++i) {
    if (!c.inputs[i].defined()) continue;
    const std::vector<double> gradient = to_doubles(outcome.gradients[i]);
    const double bound =
        kDifferenceTolerance * std::max(1.0, largest_of(gradient)) * std::max(1.0, std::sqrt(outputs) / 30);
    const int64_t count = static_cast<int64_t>(gradient.size());
    // Every element of a small input, a fixed sample of a large one; and one direction that touches all.
    const int64_t stride = count <= 200 && outputs <= 3000 ? 1 : std::max<int64_t>(1, count / 7);
    for (int64_t e = 0; e < count; e += stride)
      ASSERT_NEAR(gradient[e], difference(c, at, i, {{e, 1.0}}), bound) << c.inputs[i].name << " element " << e;
    std::vector<std::pair<int64_t, double>> direction;
    const std::vector<double> amounts = random_values("direction", count, 1 / std::sqrt(static_cast<double>(count)));
    double along = 0;
    for (int64_t e = 0; e < count; ++e) {
      direction.push_back({e, amounts[e]});
      along += amounts[e] * gradient[e];
    }
    EXPECT_NEAR(along, difference(c, at, i, direction), bound) << c.inputs[i].name << " along a random direction";
  }
}

inline void check_float32_gradients(const OpCase& c) {
  const Outcome exact = run_case(c, DType::F64), single = run_case(c, DType::F32);
  for (size_t i = 0; i < c.inputs.size(); ++i)
    if (c.inputs[i].defined()) {
      EXPECT_TRUE(near(to_doubles(single.gradients[i]), to_doubles(exact.gradients[i]), c.float32_gradient_tolerance))
          << c.inputs[i].name;
    }
}

// The case with its inputs as bfloat16 holds them.
inline OpCase rounded_case(const OpCase& c) {
  OpCase rounded = c;
  for (Input& input : rounded.inputs)
    if (input.role != Role::Vector)
      for (double& value : input.values) value = bfloat16(value);
  return rounded;
}

// bfloat16 against float64, both from the inputs as bfloat16 holds them.
inline void check_bfloat16(const OpCase& c) {
  const OpCase rounded = rounded_case(c);
  const Outcome exact = run_case(rounded, DType::F64), half = run_case(rounded, DType::BF16);
  for (size_t i = 0; i < exact.outputs.size(); ++i)
    EXPECT_TRUE(near(to_doubles(half.outputs[i]), to_doubles(exact.outputs[i]), c.bfloat16_tolerance))
        << "output " << i;
  for (size_t i = 0; i < c.inputs.size(); ++i)
    if (c.inputs[i].defined()) {
      EXPECT_TRUE(near(to_doubles(half.gradients[i]), to_doubles(exact.gradients[i]), c.bfloat16_gradient_tolerance))
          << c.inputs[i].name;
    }
}

// modes[i] for input i; everything lies inside larger tensors. expected: what run_case gives in that dtype.
inline void check_guarded(const OpCase& c, DType dtype, const Outcome& expected, const std::vector<GradientMode>& modes,
                          Device device = {}, Margin margin = Margin::Odd) {
  // Other addresses may make a kernel add in another order.
  const double tolerance = dtype == DType::F64   ? kFloat64Tolerance
                           : dtype == DType::F32 ? c.float32_gradient_tolerance
                                                 : c.bfloat16_tolerance;
  const AnyOp op = c.op(dtype, device);
  std::vector<Guarded> inputs, starts, destinations;
  std::vector<Tensor> x;
  for (const Input& input : c.inputs) {
    inputs.emplace_back(input.defined() ? input.shape : Shape{1}, input.value_dtype(dtype), device, margin);
    if (input.defined()) inputs.back().set(input.values);
    x.push_back(input.defined() ? inputs.back().tensor() : Tensor{});
  }
  Saved saved(TapeMode::Recording);
  const std::vector<Tensor> outputs = op.forward(saved, x);
  for (size_t i = 0; i < outputs.size(); ++i)
    EXPECT_TRUE(near(to_doubles(outputs[i]), to_doubles(expected.outputs[i]), tolerance)) << "output " << i;
  std::vector<Tensor> d_outputs;
  for (size_t i = 0; i < outputs.size(); ++i) {
    starts.emplace_back(outputs[i].shape(), outputs[i].dtype(), start_device(c, i, outputs[i]), margin);
    starts.back().set(start_values(c, i, outputs[i].elements()));
    d_outputs.push_back(c.d_outputs[i] == OpCase::DOutput::Undefined ? Tensor{} : starts.back().tensor());
  }
  std::vector<GradientSlot> slots;
  std::vector<std::vector<double>> before;
  for (size_t i = 0; i < c.inputs.size(); ++i) {
    const Input& input = c.inputs[i];
    destinations.emplace_back(input.defined() ? input.shape : Shape{1}, input.gradient_dtype(dtype), device, margin);
    // What Overwrite must not let through, or what Accumulate adds to.
    before.push_back(random_values("before" + input.name, input.defined() ? input.shape.elements() : 0));
    if (modes[i] == GradientMode::Accumulate && input.defined()) destinations.back().set(before.back());
    slots.push_back(input.defined() ? GradientSlot(destinations.back().tensor(), modes[i]) : GradientSlot{});
  }
  op.backward(saved, d_outputs, slots);
  for (size_t i = 0; i < c.inputs.size(); ++i) {
    SCOPED_TRACE(c.inputs[i].name);
    EXPECT_TRUE(inputs[i].untouched()) << "an input was written";
    EXPECT_TRUE(destinations[i].surroundings_untouched()) << "memory beside a gradient was written";
    if (modes[i] == GradientMode::Ignore || !c.inputs[i].defined()) {
      EXPECT_TRUE(destinations[i].untouched()) << "an ignored gradient was written";
      continue;
    }
    std::vector<double> wanted = to_doubles(expected.gradients[i]);
    if (modes[i] == GradientMode::Accumulate)
      for (size_t e = 0; e < wanted.size(); ++e) wanted[e] += before[i][e];
    EXPECT_TRUE(near(to_doubles(destinations[i].tensor()), wanted, tolerance));
  }
  // The starts are slices of something else, so no op may take them over as its own memory.
  for (size_t i = 0; i < starts.size(); ++i) EXPECT_TRUE(starts[i].untouched()) << "d_output " << i << " was written";
}

// All gradients in one mode, and each in another than the rest.
inline std::vector<std::vector<GradientMode>> all_modes(size_t inputs) {
  std::vector<std::vector<GradientMode>> all;
  for (GradientMode mode : {GradientMode::Overwrite, GradientMode::Accumulate, GradientMode::Ignore})
    all.emplace_back(inputs, mode);
  for (size_t i = 0; inputs > 1 && i < inputs; ++i) {
    all.emplace_back(inputs, GradientMode::Overwrite)[i] = GradientMode::Ignore;
    all.emplace_back(inputs, GradientMode::Ignore)[i] = GradientMode::Accumulate;
  }
  return all;
}

inline void check_slots(const OpCase& c) {
  for (DType dtype : {DType::F64, DType::F32, DType::BF16}) {
    const Outcome expected = run_case(c, dtype);
    for (const std::vector<GradientMode>& modes : all_modes(c.inputs.size())) check_guarded(c, dtype, expected, modes);
  }
}

// Restores the number of threads.
class ThreadCount {
 public:
  ThreadCount() : before_(threads()) {}
  ~ThreadCount() { set_threads(before_); }

 private:
  int before_;
};

inline void check_threads(const OpCase& c) {
  const ThreadCount restore;
  for (DType dtype : {DType::F64, DType::F32, DType::BF16}) {
    set_threads(1);
    const Outcome one = run_case(c, dtype);
    for (int count : {2, 3, 4}) {
      set_threads(count);
      const Outcome other = run_case(c, dtype);
      for (size_t i = 0; i < one.outputs.size(); ++i)
        EXPECT_EQ(to_bytes(one.outputs[i]) == to_bytes(other.outputs[i]), true)
            << name_of(dtype) << " output " << i << ", " << count << " threads";
      for (size_t i = 0; i < one.gradients.size(); ++i)
        if (one.gradients[i].defined()) {
          EXPECT_EQ(to_bytes(one.gradients[i]) == to_bytes(other.gradients[i]), true)
              << name_of(dtype) << " gradient of " << c.inputs[i].name << ", " << count << " threads";
        }
    }
  }
}

// The tape gives the gradients that the op gives, from every output that has one.
inline void check_tape(const OpCase& c) {
  const Outcome expected = run_case(c, DType::F64);
  Tape tape(TapeMode::Recording);
  std::vector<Tensor> x = contiguous_inputs(c, DType::F64);
  for (Tensor& input : x)
    if (input.defined()) input = tape.watch(input);
  const std::vector<Tensor> roots = c.op(DType::F64).apply(tape, x);
  ASSERT_EQ(roots.size(), c.d_outputs.size());
  std::vector<Tensor> starts;
  for (size_t i = 0; i < roots.size(); ++i) starts.push_back(start_tensor(c, i, roots[i]));
  tape.backward(roots, starts);
  for (size_t i = 0; i < x.size(); ++i)
    if (x[i].defined()) {
      EXPECT_EQ(to_bytes(tape.gradient_of(x[i])), to_bytes(expected.gradients[i])) << c.inputs[i].name;
    }
}

inline void check_non_finite_of(const OpCase& c, std::initializer_list<DType> dtypes, Device device) {
  const Outcome plain = run_case(c, DType::F64);
  for (size_t i = 0; i < c.inputs.size(); ++i) {
    if (!c.inputs[i].defined()) continue;
    // An element that the result depends on.
    const std::vector<double> gradient = to_doubles(plain.gradients[i]);
    size_t element = 0;
    for (size_t e = 0; e < gradient.size(); ++e)
      if (std::abs(gradient[e]) > std::abs(gradient[element])) element = e;
    // NaN as arithmetic makes it, and one with other low bits, as a file may hold.
    for (double bad : {std::nan(""), -std::nan(""), std::nan("0x600000000"), std::numeric_limits<double>::infinity()})
      for (DType dtype : dtypes) {
        if (std::isinf(bad) && !c.inputs[i].infinity_visible) continue;
        OpCase spoilt = c;
        spoilt.inputs[i].values[element] = bad;
        Saved saved(TapeMode::Inference);
        bool visible = false;
        for (const Tensor& output : c.op(dtype, device).forward(saved, contiguous_inputs(spoilt, dtype, device)))
          for (double v : to_doubles(output)) visible |= !std::isfinite(v);
        EXPECT_TRUE(visible) << c.inputs[i].name << "[" << element << "] = " << bad << " vanishes in "
                             << name_of(dtype);
      }
  }
}

inline void check_non_finite(const OpCase& c) {
  check_non_finite_of(c, {DType::F64, DType::F32, DType::BF16}, Device{});
}

inline void check_cuda_of(const OpCase& c, std::initializer_list<DType> dtypes) {
  for (DType dtype : dtypes) {
    const bool half = dtype == DType::BF16;
    const OpCase rounded = half ? rounded_case(c) : c;
    const Outcome exact = run_case(rounded, DType::F64), device = run_case(rounded, dtype, *cuda_device());
    for (size_t i = 0; i < exact.outputs.size(); ++i)
      EXPECT_TRUE(near(to_doubles(device.outputs[i]), to_doubles(exact.outputs[i]),
                       half ? c.bfloat16_tolerance : c.float32_tolerance))
          << name_of(dtype) << " output " << i;
    for (size_t i = 0; i < c.inputs.size(); ++i)
      if (c.inputs[i].defined()) {
        EXPECT_TRUE(near(to_doubles(device.gradients[i]), to_doubles(exact.gradients[i]),
                         half ? c.bfloat16_gradient_tolerance : c.float32_gradient_tolerance))
            << name_of(dtype) << " gradient of " << c.inputs[i].name;
      }
  }
}

inline void check_cuda(const OpCase& c) { check_cuda_of(c, {DType::F32, DType::BF16}); }
inline void check_cuda_bfloat16(const OpCase& c) { check_cuda_of(c, {DType::BF16}); }
inline void check_cuda_float32(const OpCase& c) { check_cuda_of(c, {DType::F32}); }

inline void check_cuda_slots(const OpCase& c) {
  const size_t n = c.inputs.size();
  for (DType dtype : {DType::F32, DType::BF16}) {
    const Outcome expected = run_case(c, dtype, *cuda_device());
    for (const std::vector<GradientMode>& modes : all_modes(n))
      check_guarded(c, dtype, expected, modes, *cuda_device());
    for (GradientMode mode : {GradientMode::Overwrite, GradientMode::Accumulate})
      check_guarded(c, dtype, expected, std::vector(n, mode), *cuda_device(), Margin::Aligned);
  }
}

inline void check_cuda_bits(const OpCase& c) {
  for (DType dtype : {DType::F32, DType::BF16}) {
    const Outcome first = run_case(c, dtype, *cuda_device()), second = run_case(c, dtype, *cuda_device());
    for (size_t i = 0; i < first.outputs.size(); ++i)
      EXPECT_TRUE(to_bytes(first.outputs[i]) == to_bytes(second.outputs[i])) << name_of(dtype) << " output " << i;
    for (size_t i = 0; i < first.gradients.size(); ++i)
      if (first.gradients[i].defined()) {
        EXPECT_TRUE(to_bytes(first.gradients[i]) == to_bytes(second.gradients[i]))
            << name_of(dtype) << " gradient of " << c.inputs[i].name;
      }
  }
}

inline void check_cuda_non_finite(const OpCase& c) {
  check_non_finite_of(c, {DType::F32, DType::BF16}, *cuda_device());
}

}  // namespace gta::testing

#define GTA_OP_CASE_LOOP(cases, check)                   \
  const std::vector<::gta::testing::OpCase> all = cases; \
  ASSERT_FALSE(all.empty());                             \
  for (const ::gta::testing::OpCase& op_case : all) {    \
    SCOPED_TRACE(op_case.name);                          \
    ::gta::testing::check(op_case);                      \
    if (HasFatalFailure()) return;                       \
  }

#define GTA_OP_CASE_TEST(Suite, Name, cases, check) \
  TEST(Suite, Name) { GTA_OP_CASE_LOOP(cases, check) }

#define GTA_OP_CASE_CUDA_TEST(Suite, Name, cases, check) \
  TEST(Suite, Name) {                                    \
    GTA_NEEDS_CUDA();                                    \
    GTA_OP_CASE_LOOP(cases, check)                       \
  }

#define GTA_OP_CASE_CUDA_TESTS(Suite, cases)                                       \
  GTA_OP_CASE_CUDA_TEST(Suite, CudaIsNearTheReference, cases, check_cuda)          \
  GTA_OP_CASE_CUDA_TEST(Suite, CudaWritesWhatTheSlotsSay, cases, check_cuda_slots) \
  GTA_OP_CASE_CUDA_TEST(Suite, CudaGivesTheSameBitsTwice, cases, check_cuda_bits)  \
  GTA_OP_CASE_CUDA_TEST(Suite, CudaShowsNonFiniteInputs, cases, check_cuda_non_finite)

#define GTA_OP_CASE_TESTS(Suite, cases)                                                   \
  GTA_OP_CASE_TEST(Suite, ForwardIsTheReference, cases, check_forward)                    \
  GTA_OP_CASE_TEST(Suite, GradientsAreTheDifferences, cases, check_gradients)             \
  GTA_OP_CASE_TEST(Suite, Float32GradientsAreNearFloat64, cases, check_float32_gradients) \
  GTA_OP_CASE_TEST(Suite, Bfloat16IsNearFloat64, cases, check_bfloat16)                   \
  GTA_OP_CASE_TEST(Suite, WritesWhatTheSlotsSayAndNothingElse, cases, check_slots)        \
  GTA_OP_CASE_TEST(Suite, SameBitsForAnyNumberOfThreads, cases, check_threads)            \
  GTA_OP_CASE_TEST(Suite, TheTapeGivesTheSameGradients, cases, check_tape)                \
  GTA_OP_CASE_TEST(Suite, NonFiniteInputsStayVisible, cases, check_non_finite)            \
  GTA_OP_CASE_CUDA_TESTS(Suite, cases)
