// One description of an op's case yields every check of that op.
//
// A case says what the inputs are, how to make the op for a dtype, and what it must compute, written plainly in double (the reference).
// From it follow, with GTA_OP_CASE_TESTS(Suite, cases()):
//   forward in float64 and float32 against the reference;   gradients in float64 against differences of the reference;
//   gradients in float32 against those in float64;           inputs and destinations that are slices inside larger tensors full of NaN,
//   which must neither be read nor written;                  Overwrite, Accumulate and Ignore;   the same bits for 1 to 4 threads;
//   the same gradients through the tape;                     a NaN or infinity of an input that stays visible in the outputs.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "core/parallel.h"
#include "core/random.h"
#include "core/tape.h"

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
  for (int64_t i = 0; i < count; ++i) values[i] = static_cast<float>(deviation * stream.normal(static_cast<uint64_t>(i)));
  return values;
}

struct Input {
  std::string name;
  Shape shape;  // rank 0: an undefined tensor
  std::vector<double> values;
  bool infinity_visible = true;  // false where an infinity has a finite limit, as in a sigmoid

  static Input random(const std::string& name, const Shape& shape, double deviation = 1) {
    return {name, shape, random_values(name, shape.elements(), deviation)};
  }
  static Input undefined(const std::string& name) { return {name, {}, {}}; }
  bool defined() const { return shape.rank() > 0; }
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
    return [&]<size_t... i>(std::index_sequence<i...>) { return f(x[i]...); }(std::make_index_sequence<inputs>{});
  };
  return {[=](Tape& tape, const std::vector<Tensor>& x) { return as_vector(spread([&](const auto&... t) { return tape.apply(op, t...); }, x)); },
          [=](Saved& saved, const std::vector<Tensor>& x) {
            spread([&](const auto&... t) { op.check(t...); }, x);
            return as_vector(spread([&](const auto&... t) { return op.forward(saved, t...); }, x));
          },
          [=](const Saved& saved, std::span<Tensor> d_outputs, std::span<GradientSlot> d_inputs) { op.backward(saved, d_outputs, d_inputs); }};
}

struct OpCase {
  std::string name;
  std::vector<Input> inputs;
  std::function<AnyOp(DType)> op;
  std::function<Matrices(const Matrices&)> reference;
  // Relative to the largest magnitude of the tensor compared. Each case says why its float32 bound is what it is.
  double float32_tolerance = 2e-6;
  double float32_gradient_tolerance = 5e-6;
  // The gradient that backward starts from, by output: random, all ones (a loss), or undefined (an output that nothing used).
  enum class DOutput { Random, Ones, Undefined };
  std::vector<DOutput> d_outputs = {DOutput::Random};
};

// Some 1e3 additions of rounding 1e-16 each, for sums of up to a few thousand products.
inline constexpr double kFloat64Tolerance = 1e-12;
// Five-point differences with step 1e-3: truncation about 1e-13, rounding 1e-16 / 1e-3 of the outputs' size.
inline constexpr double kDifferenceTolerance = 1e-8;

inline Tensor to_tensor(const Shape& shape, const std::vector<double>& values, DType dtype) {
  if (dtype == DType::F64) return Tensor::from<double>(shape, values);
  return Tensor::from<float>(shape, std::vector<float>(values.begin(), values.end()));
}

inline std::vector<double> to_doubles(const Tensor& tensor) {
  if (tensor.dtype() == DType::F64) return tensor.to_vector<double>();
  const std::vector<float> values = tensor.to_vector<float>();
  return {values.begin(), values.end()};
}

inline std::vector<char> to_bytes(const Tensor& tensor) {
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
inline ::testing::AssertionResult near(const std::vector<double>& actual, const std::vector<double>& expected, double tolerance) {
  if (actual.size() != expected.size()) return ::testing::AssertionFailure() << actual.size() << " elements, expected " << expected.size();
  const double bound = tolerance * std::max(largest_of(expected), 1e-30);
  for (size_t i = 0; i < actual.size(); ++i)
    if (!(std::abs(actual[i] - expected[i]) <= bound))
      return ::testing::AssertionFailure() << "element " << i << " is " << actual[i] << ", expected " << expected[i] << " within " << bound;
  return ::testing::AssertionSuccess();
}

// A tensor that is a slice of rows and columns of a larger one, which is full of a NaN that no arithmetic makes.
class Guarded {
 public:
  Guarded(const Shape& shape, DType dtype) {
    const int64_t columns = shape[shape.rank() - 1], rows = columns ? shape.elements() / columns : 0;
    whole_ = Tensor::empty({rows + 2, columns + 8}, dtype, Device{}, Purpose::Data);
    fill(whole_);
    inner_ = whole_.row_slice(1, rows).column_slice(3, columns).reshape(shape);
    remember();
  }
  const Tensor& tensor() const { return inner_; }
  void set(const std::vector<double>& values) {
    inner_.copy_from(to_tensor(inner_.shape(), values, inner_.dtype()));
    remember();
  }
  void remember() { before_ = to_bytes(whole_); }
  bool untouched() const { return to_bytes(whole_) == before_; }
  // Whether all but the slice is as it was.
  bool surroundings_untouched() const {
    Tensor now = whole_.clone(), was = whole_.clone();
    std::memcpy(was.raw_data(), before_.data(), before_.size());
    const Tensor hole = now.row_slice(1, inner_.rows()).column_slice(3, inner_.columns());
    hole.copy_from(was.row_slice(1, inner_.rows()).column_slice(3, inner_.columns()));
    return to_bytes(now) == before_;
  }

 private:
  static void fill(const Tensor& tensor) {
    if (tensor.dtype() == DType::F64)
      std::fill_n(tensor.data<double>(), tensor.elements(), std::nan("0x5e5e"));
    else
      std::fill_n(tensor.data<float>(), tensor.elements(), std::nanf("0x5e5e"));
  }
  Tensor whole_, inner_;
  std::vector<char> before_;
};

// Runs a case in one dtype: what it gives forward and backward.
struct Outcome {
  std::vector<Tensor> outputs, gradients;  // gradients by input, undefined for an undefined input
};

inline std::vector<Tensor> contiguous_inputs(const OpCase& c, DType dtype) {
  std::vector<Tensor> inputs;
  for (const Input& input : c.inputs) inputs.push_back(input.defined() ? to_tensor(input.shape, input.values, dtype) : Tensor{});
  return inputs;
}

// The gradient to start from: the same numbers in every dtype.
inline std::vector<double> start_values(const OpCase& c, size_t output, int64_t count) {
  switch (c.d_outputs.at(output)) {
    case OpCase::DOutput::Random:
      return random_values("d_output" + std::to_string(output), count);
    case OpCase::DOutput::Ones:
      return std::vector<double>(count, 1.0);
    case OpCase::DOutput::Undefined:
      break;
  }
  return std::vector<double>(count, 0.0);
}

inline Tensor start_tensor(const OpCase& c, size_t output, const Tensor& like) {
  if (c.d_outputs.at(output) == OpCase::DOutput::Undefined) return {};
  return to_tensor(like.shape(), start_values(c, output, like.elements()), like.dtype());
}

inline Outcome run_case(const OpCase& c, DType dtype) {
  const AnyOp op = c.op(dtype);
  Outcome outcome;
  Saved saved(TapeMode::Recording);
  outcome.outputs = op.forward(saved, contiguous_inputs(c, dtype));
  std::vector<Tensor> d_outputs;
  for (size_t i = 0; i < outcome.outputs.size(); ++i) d_outputs.push_back(start_tensor(c, i, outcome.outputs[i]));
  std::vector<GradientSlot> slots;
  for (const Input& input : c.inputs) {
    outcome.gradients.push_back(input.defined() ? to_tensor(input.shape, std::vector<double>(input.shape.elements(), std::nan("")), dtype) : Tensor{});
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
      EXPECT_TRUE(near(to_doubles(outputs[i]), expected[i].values, dtype == DType::F64 ? kFloat64Tolerance : c.float32_tolerance))
          << name_of(dtype) << " output " << i;
    // What a recording forward makes is no different.
    const Outcome recorded = run_case(c, dtype);
    for (size_t i = 0; i < outputs.size(); ++i)
      EXPECT_TRUE(near(to_doubles(recorded.outputs[i]), expected[i].values, dtype == DType::F64 ? kFloat64Tolerance : c.float32_tolerance))
          << name_of(dtype) << " recorded output " << i;
  }
}

// The derivative of sum(d_output * output) along a direction of one input.
inline double difference(const OpCase& c, const Matrices& at, size_t input, const std::vector<std::pair<int64_t, double>>& direction) {
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
    const double bound = kDifferenceTolerance * std::max(1.0, largest_of(gradient)) * std::max(1.0, std::sqrt(outputs) / 30);
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
      EXPECT_TRUE(near(to_doubles(single.gradients[i]), to_doubles(exact.gradients[i]), c.float32_gradient_tolerance)) << c.inputs[i].name;
    }
}

// modes[i] for input i; everything lies inside larger tensors.
inline void check_guarded(const OpCase& c, DType dtype, const std::vector<GradientMode>& modes) {
  const Outcome expected = run_case(c, dtype);
  // Other addresses may make a kernel add in another order.
  const double tolerance = dtype == DType::F64 ? kFloat64Tolerance : c.float32_gradient_tolerance;
  const AnyOp op = c.op(dtype);
  std::vector<Guarded> inputs, starts, destinations;
  std::vector<Tensor> x;
  for (const Input& input : c.inputs) {
    inputs.emplace_back(input.defined() ? input.shape : Shape{1}, dtype);
    if (input.defined()) inputs.back().set(input.values);
    x.push_back(input.defined() ? inputs.back().tensor() : Tensor{});
  }
  Saved saved(TapeMode::Recording);
  const std::vector<Tensor> outputs = op.forward(saved, x);
  for (size_t i = 0; i < outputs.size(); ++i)
    EXPECT_TRUE(near(to_doubles(outputs[i]), to_doubles(expected.outputs[i]), tolerance)) << "output " << i;
  std::vector<Tensor> d_outputs;
  for (size_t i = 0; i < outputs.size(); ++i) {
    starts.emplace_back(outputs[i].shape(), outputs[i].dtype());
    starts.back().set(start_values(c, i, outputs[i].elements()));
    d_outputs.push_back(c.d_outputs[i] == OpCase::DOutput::Undefined ? Tensor{} : starts.back().tensor());
  }
  std::vector<GradientSlot> slots;
  std::vector<std::vector<double>> before;
  for (size_t i = 0; i < c.inputs.size(); ++i) {
    const Input& input = c.inputs[i];
    destinations.emplace_back(input.defined() ? input.shape : Shape{1}, dtype);
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

inline void check_slots(const OpCase& c) {
  const size_t n = c.inputs.size();
  for (DType dtype : {DType::F64, DType::F32}) {
    check_guarded(c, dtype, std::vector(n, GradientMode::Overwrite));
    check_guarded(c, dtype, std::vector(n, GradientMode::Accumulate));
    check_guarded(c, dtype, std::vector(n, GradientMode::Ignore));
    for (size_t i = 0; n > 1 && i < n; ++i) {
      std::vector<GradientMode> modes(n, GradientMode::Overwrite);
      modes[i] = GradientMode::Ignore;
      check_guarded(c, dtype, modes);
      modes.assign(n, GradientMode::Ignore);
      modes[i] = GradientMode::Accumulate;
      check_guarded(c, dtype, modes);
    }
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
  for (DType dtype : {DType::F64, DType::F32}) {
    set_threads(1);
    const Outcome one = run_case(c, dtype);
    for (int count : {2, 3, 4}) {
      set_threads(count);
      const Outcome other = run_case(c, dtype);
      for (size_t i = 0; i < one.outputs.size(); ++i)
        EXPECT_EQ(to_bytes(one.outputs[i]) == to_bytes(other.outputs[i]), true) << name_of(dtype) << " output " << i << ", " << count << " threads";
      for (size_t i = 0; i < one.gradients.size(); ++i)
        if (one.gradients[i].defined()) {
          EXPECT_EQ(to_bytes(one.gradients[i]) == to_bytes(other.gradients[i]), true)
              << name_of(dtype) << " gradient of " << c.inputs[i].name << ", " << count << " threads";
        }
    }
  }
}

// Ops of one output: the tape gives the gradients that the op gives.
inline void check_tape(const OpCase& c) {
  if (c.d_outputs.size() != 1) return;
  const Outcome expected = run_case(c, DType::F64);
  Tape tape(TapeMode::Recording);
  std::vector<Tensor> x = contiguous_inputs(c, DType::F64);
  for (Tensor& input : x)
    if (input.defined()) input = tape.watch(input);
  const Tensor root = c.op(DType::F64).apply(tape, x)[0];
  tape.backward(root, start_tensor(c, 0, root));
  for (size_t i = 0; i < x.size(); ++i)
    if (x[i].defined()) {
      EXPECT_EQ(to_bytes(tape.gradient_of(x[i])), to_bytes(expected.gradients[i])) << c.inputs[i].name;
    }
}

inline void check_non_finite(const OpCase& c) {
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
      for (DType dtype : {DType::F64, DType::F32}) {
        if (std::isinf(bad) && !c.inputs[i].infinity_visible) continue;
        OpCase spoilt = c;
        spoilt.inputs[i].values[element] = bad;
        Saved saved(TapeMode::Inference);
        bool visible = false;
        for (const Tensor& output : c.op(dtype).forward(saved, contiguous_inputs(spoilt, dtype)))
          for (double v : to_doubles(output)) visible |= !std::isfinite(v);
        EXPECT_TRUE(visible) << c.inputs[i].name << "[" << element << "] = " << bad << " vanishes in " << name_of(dtype);
      }
  }
}

}  // namespace gta::testing

#define GTA_OP_CASE_TEST(Suite, Name, cases, check)             \
  TEST(Suite, Name) {                                            \
    const std::vector<::gta::testing::OpCase> all = cases;       \
    ASSERT_FALSE(all.empty());                                   \
    for (const ::gta::testing::OpCase& op_case : all) {          \
      SCOPED_TRACE(op_case.name);                                \
      ::gta::testing::check(op_case);                            \
      if (HasFatalFailure()) return;                             \
    }                                                            \
  }

#define GTA_OP_CASE_TESTS(Suite, cases)                                             \
  GTA_OP_CASE_TEST(Suite, ForwardIsTheReference, cases, check_forward)              \
  GTA_OP_CASE_TEST(Suite, GradientsAreTheDifferences, cases, check_gradients)       \
  GTA_OP_CASE_TEST(Suite, Float32GradientsAreNearFloat64, cases, check_float32_gradients) \
  GTA_OP_CASE_TEST(Suite, WritesWhatTheSlotsSayAndNothingElse, cases, check_slots)  \
  GTA_OP_CASE_TEST(Suite, SameBitsForAnyNumberOfThreads, cases, check_threads)      \
  GTA_OP_CASE_TEST(Suite, TheTapeGivesTheSameGradients, cases, check_tape)          \
  GTA_OP_CASE_TEST(Suite, NonFiniteInputsStayVisible, cases, check_non_finite)
