#include "core/tape.h"

#include "tests/op_case.h"

namespace gta::testing {
namespace {

// y = factor x, written through the slot as it says.
struct ScaleOp {
  static constexpr const char* name = "scale";
  double factor;
  static void scale(const Tensor& x, double factor, const Tensor& y, GradientMode mode) {
    for (int64_t r = 0; r < x.rows(); ++r)
      for (int64_t c = 0; c < x.columns(); ++c) {
        double& to = y.data<double>()[r * y.pitch() + c];
        to = (mode == GradientMode::Accumulate ? to : 0) + factor * x.data<double>()[r * x.pitch() + c];
      }
  }
  void check(const Tensor&) const {}
  Tensor forward(Saved&, const Tensor& x) const {
    Tensor y = Tensor::empty({x.rows(), x.columns()}, DType::F64, {});
    scale(x, factor, y, GradientMode::Overwrite);
    return y;
  }
  void backward(const Saved&, std::span<Tensor> d_outputs, std::span<GradientSlot> d_inputs) const {
    if (d_inputs[0].wanted()) scale(d_outputs[0], factor, d_inputs[0].destination(), d_inputs[0].mode());
  }
};

// y = a + b, whose gradient is handed over to both.
struct AddOp {
  static constexpr const char* name = "add";
  void check(const Tensor&, const Tensor&) const {}
  Tensor forward(Saved&, const Tensor& a, const Tensor& b) const {
    Tensor y = a.clone();
    ScaleOp::scale(b, 1, y, GradientMode::Accumulate);
    return y;
  }
  void backward(const Saved&, std::span<Tensor> d_outputs, std::span<GradientSlot> d_inputs) const {
    d_inputs[0].give(d_outputs[0]);
    d_inputs[1].give(d_outputs[0]);
  }
};

// Two outputs: 2x and 3x; records which gradients came.
struct ForkOp {
  static constexpr const char* name = "fork";
  std::vector<bool>* came;
  void check(const Tensor&) const {}
  std::array<Tensor, 2> forward(Saved& saved, const Tensor& x) const {
    return {ScaleOp{2}.forward(saved, x), ScaleOp{3}.forward(saved, x)};
  }
  void backward(const Saved&, std::span<Tensor> d_outputs, std::span<GradientSlot> d_inputs) const {
    *came = {d_outputs[0].defined(), d_outputs[1].defined()};
    GradientMode mode = d_inputs[0].mode();
    for (int i : {0, 1})
      if (d_outputs[i].defined()) {
        ScaleOp::scale(d_outputs[i], 2.0 + i, d_inputs[0].destination(), mode);
        mode = GradientMode::Accumulate;
      }
  }
};

Tensor filled(int64_t rows, int64_t columns, double value) {
  return Tensor::from<double>({rows, columns}, std::vector<double>(rows * columns, value));
}
std::vector<double> constant(int64_t count, double value) { return std::vector<double>(count, value); }

TEST(Tape, AddsTheGradientsWhereBranchesMeet) {
  Tape tape(TapeMode::Recording);
  const Tensor x = tape.watch(filled(3, 5, 1));
  const Tensor y = tape.apply(AddOp{}, tape.apply(AddOp{}, tape.apply(ScaleOp{2}, x), tape.apply(ScaleOp{3}, x)),
                              tape.apply(ScaleOp{5}, x));
  tape.backward(y, filled(3, 5, 1));
  EXPECT_EQ(to_doubles(tape.gradient_of(x)), constant(15, 10));
}

TEST(Tape, AGradientGivenToTwoInputsIsNotChangedForOneThroughTheOther) {
  Tape tape(TapeMode::Recording);
  const Tensor a = tape.watch(filled(2, 3, 1)), b = tape.watch(filled(2, 3, 1));
  const Tensor d = filled(2, 3, 1);
  // a is used again, earlier: its gradient is added to after add gave both the same tensor.
  const Tensor more = tape.apply(ScaleOp{7}, a);
  const Tensor y = tape.apply(AddOp{}, tape.apply(AddOp{}, a, b), more);
  tape.backward(y, d);
  EXPECT_EQ(to_doubles(tape.gradient_of(a)), constant(6, 8));
  EXPECT_EQ(to_doubles(tape.gradient_of(b)), constant(6, 1));
  EXPECT_EQ(to_doubles(d), constant(6, 1)) << "the caller's own gradient";
}

TEST(Tape, OneTensorMayBeBothInputsOfAnOp) {
  Tape tape(TapeMode::Recording);
  const Tensor x = tape.watch(filled(2, 3, 1)), d = filled(2, 3, 1);
  tape.backward(tape.apply(AddOp{}, x, x), d);
  EXPECT_EQ(to_doubles(tape.gradient_of(x)), constant(6, 2));
  EXPECT_EQ(to_doubles(d), constant(6, 1));
}

// Small blocks that the allocator hands out next hold NaN: memory that nobody wrote must show.
void spoil_free_memory() {
  std::vector<Tensor> held;
  for (int i = 0; i < 100; ++i) held.push_back(filled(8, 8, std::nan("")));
}

TEST(Tape, ColumnSlicesShareTheGradientOfTheirTensor) {
  for (bool watched : {true, false}) {
    spoil_free_memory();
    Tape tape(TapeMode::Recording);
    const Tensor x = tape.watch(filled(2, 7, 1)), h = watched ? x : tape.apply(ScaleOp{1}, x);
    // [0, 3) twice, [2, 5) once: they overlap in column 2; [5, 7) is not used.
    const Tensor left =
        tape.apply(AddOp{}, tape.apply(ScaleOp{2}, h.column_slice(0, 3)), tape.apply(ScaleOp{3}, h.column_slice(0, 3)));
    tape.backward(tape.apply(AddOp{}, left, tape.apply(ScaleOp{10}, h.column_slice(2, 3))), filled(2, 3, 1));
    EXPECT_EQ(to_doubles(tape.gradient_of(x)), (std::vector<double>{5, 5, 15, 10, 10, 0, 0, 5, 5, 15, 10, 10, 0, 0}))
        << (watched ? "leaf" : "inner value");
  }
}

TEST(Tape, AnUnusedOutputHasNoGradient) {
  std::vector<bool> came;
  Tape tape(TapeMode::Recording);
  const Tensor x = tape.watch(filled(2, 2, 1));
  const auto [two, three] = tape.apply(ForkOp{&came}, x);
  tape.backward(three, filled(2, 2, 1));
  EXPECT_EQ(came, (std::vector<bool>{false, true}));
  EXPECT_EQ(to_doubles(tape.gradient_of(x)), constant(4, 3));
}

TEST(Tape, AnOpThatTheRootDoesNotDependOnIsNotPlayed) {
  std::vector<bool> came;
  Tape tape(TapeMode::Recording);
  const Tensor x = tape.watch(filled(2, 2, 1));
  tape.apply(ForkOp{&came}, x);
  tape.backward(tape.apply(ScaleOp{4}, x), filled(2, 2, 1));
  EXPECT_TRUE(came.empty());
  EXPECT_EQ(to_doubles(tape.gradient_of(x)), constant(4, 4));
}

TEST(Tape, GradientsOfParametersAccumulate) {
  ParameterSpace space;
  const Weight* w = space.add({{"w", {2, 3}, Initializer::ones()}});
  space.allocate(DType::F64, {}, SpaceUse::Training);
  for (int step = 1; step <= 3; ++step) {
    Tape tape(TapeMode::Recording);
    // Used twice, as a tied embedding is.
    tape.backward(tape.apply(AddOp{}, tape.apply(ScaleOp{2}, tape.use(*w)), tape.apply(ScaleOp{3}, tape.use(*w))),
                  filled(2, 3, 1));
    EXPECT_EQ(to_doubles(w->gradient), constant(6, 5.0 * step));
  }
  space.zero_gradients();
  EXPECT_EQ(to_doubles(w->gradient), constant(6, 0));
}

TEST(Tape, RefusesWhatItCannotPlay) {
  Tape inference(TapeMode::Inference);
  const Tensor x = filled(2, 2, 1);
  EXPECT_FALSE(inference.watch(x).link());
  const auto expect = [](const std::string& part, const std::function<void()>& f) {
    try {
      f();
      ADD_FAILURE() << "nothing was refused; expected: " << part;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("[tape] " + part), std::string::npos) << error.what();
    }
  };
  expect("backward on a tape that does not record", [&] { inference.backward(x, x); });
  Tape tape(TapeMode::Recording);
  expect("backward from a tensor that is not on the tape", [&] { tape.backward(x, x); });
  expect("the tensor is not on the tape", [&] { tape.gradient_of(x); });
  const Tensor y = tape.apply(ScaleOp{2}, tape.watch(x));
  expect("backward from float64 (2, 2) needs the gradient to start with", [&] { tape.backward(y); });
  for (const Tensor& start : {filled(2, 3, 1), filled(3, 2, 1), Tensor::zeros({2, 2}, DType::F32, {})})
    expect("backward from float64 (2, 2) cannot start with the gradient", [&] { tape.backward(y, start); });
  expect("backward from a slice", [&] { tape.backward(y.column_slice(0, 1), filled(2, 1, 1)); });
  GradientSlot ignored;
  expect("a gradient was asked for that nobody wants", [&] { ignored.destination(); });
  ParameterSpace space;
  const Weight* w = space.add({{"w", {2, 3}, Initializer::ones()}});
  space.allocate(DType::F64, {}, SpaceUse::Inference);
  expect("cannot record: the parameter space was allocated without gradients", [&] { tape.use(*w); });
  EXPECT_NO_THROW(inference.use(*w));
}

// y = a + 0 b, of which b's gradient, all sevens, is made in forward already.
struct EarlyOp {
  static constexpr const char* name = "early";
  void check(const Tensor&, const Tensor&) const {}
  Tensor forward(Saved&, std::span<GradientSlot> d_weights, const Tensor& a, const Tensor&) const {
    EXPECT_FALSE(d_weights[0].wanted()) << "no weight";
    if (d_weights[1].wanted()) ScaleOp::scale(filled(2, 3, 7), 1, d_weights[1].destination(), d_weights[1].mode());
    return a.clone();
  }
  void backward(const Saved&, std::span<Tensor> d_outputs, std::span<GradientSlot> d_inputs) const {
    d_inputs[0].give(d_outputs[0]);
  }
};

struct ThreeWeights {
  ParameterSpace space;
  const Weight *a, *b, *c;
  ThreeWeights() {
    for (const Weight** weight : {&a, &b, &c})
      *weight = space.add({{weight == &a ? "a" : weight == &b ? "b" : "c", {2, 3}, Initializer::ones()}});
    space.allocate(DType::F64, {}, SpaceUse::Training);
    space.initialize(1);
  }
};

TEST(Tape, SaysWhenTheGradientOfAWeightIsComplete) {
  const ThreeWeights w;
  std::vector<const Weight*> heard;
  std::vector<double> of_a;
  Tape tape(TapeMode::Recording, Recompute::None, [&](const Weight& weight) {
    heard.push_back(&weight);
    if (&weight == w.a) of_a = to_doubles(weight.gradient);
  });
  // a is used early, late, twice by one op, and where the root does not look.
  const Tensor first = tape.apply(ScaleOp{2}, tape.use(*w.a));
  tape.apply(ScaleOp{5}, tape.use(*w.a));
  const Tensor second = tape.apply(AddOp{}, first, tape.use(*w.b)), twice = tape.use(*w.a);
  const Tensor third = tape.apply(AddOp{}, twice, twice);
  tape.use(*w.c);  // and no op takes it
  tape.backward(tape.apply(AddOp{}, second, third), filled(2, 3, 1));
  EXPECT_EQ(heard, (std::vector<const Weight*>{w.b, w.a})) << "a after its first use, which is played last";
  EXPECT_EQ(of_a, constant(6, 4));
  EXPECT_EQ(to_doubles(w.a->gradient), constant(6, 4));
}

TEST(Tape, WhatTheRootDoesNotReachIsCompleteToo) {
  const ThreeWeights w;
  std::vector<const Weight*> heard;
  Tape tape(TapeMode::Recording, Recompute::None, [&](const Weight& weight) { heard.push_back(&weight); });
  const Tensor a = tape.apply(ScaleOp{2}, tape.use(*w.a));
  tape.apply(ScaleOp{2}, tape.use(*w.b));
  const Tape::Function f = [&](Tape& inner, const std::vector<Tensor>& inputs) {
    return std::vector<Tensor>{inner.apply(AddOp{}, inputs[0], inner.use(*w.c))};
  };
  tape.checkpoint("f", f, {a});
  tape.backward(a, filled(2, 3, 1));
  EXPECT_EQ(heard, (std::vector<const Weight*>{w.c, w.b, w.a}));
}

TEST(Tape, SaysItFromInsideOfCheckpointsWithinCheckpoints) {
  const ThreeWeights w;
  std::vector<const Weight*> heard;
  std::vector<std::vector<double>> gradients;
  Tape tape(TapeMode::Recording, Recompute::None, [&](const Weight& weight) {
    heard.push_back(&weight);
    gradients.push_back(to_doubles(weight.gradient));
  });
  const Tape::Function inner_f = [&](Tape& inner, const std::vector<Tensor>& inputs) {
    return std::vector<Tensor>{inner.apply(AddOp{}, inner.apply(AddOp{}, inputs[0], inner.use(*w.a)), inner.use(*w.b))};
  };
  const Tape::Function f = [&](Tape& inner, const std::vector<Tensor>& inputs) {
    const Tensor x = inner.apply(AddOp{}, inputs[0], inner.use(*w.c));
    return std::vector<Tensor>{inner.apply(AddOp{}, inner.checkpoint("inner", inner_f, {x})[0], inner.use(*w.b))};
  };
  const Tensor x = tape.apply(ScaleOp{1}, tape.use(*w.a));  // a once more, outside
  tape.backward(tape.checkpoint("f", f, {x})[0], filled(2, 3, 1));
  EXPECT_EQ(heard, (std::vector<const Weight*>{w.b, w.c, w.a}));
  EXPECT_EQ(gradients, (std::vector<std::vector<double>>{constant(6, 2), constant(6, 1), constant(6, 2)}));
}

TEST(Tape, GradientsMadeInForwardGoToTheirSlotsAndAreCompleteInBackward) {
  const ThreeWeights w;
  std::vector<const Weight*> heard;
  Tape tape(TapeMode::Recording, Recompute::None, [&](const Weight& weight) { heard.push_back(&weight); });
  const Tensor x = tape.watch(filled(2, 3, 1)), y = tape.apply(EarlyOp{}, x, tape.use(*w.b));
  EXPECT_EQ(to_doubles(w.b->gradient), constant(6, 7));
  EXPECT_TRUE(heard.empty());
  tape.backward(y, filled(2, 3, 1));
  EXPECT_EQ(heard, (std::vector<const Weight*>{w.b}));
  EXPECT_EQ(to_doubles(w.b->gradient), constant(6, 7));
  Tape inference(TapeMode::Inference);
  inference.apply(EarlyOp{}, x, inference.use(*w.b));
  EXPECT_EQ(to_doubles(w.b->gradient), constant(6, 7)) << "nobody records";
}

}  // namespace
}  // namespace gta::testing
