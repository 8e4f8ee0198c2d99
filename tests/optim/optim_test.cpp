#include <map>

#include "optim/adamw.h"
#include "optim/schedule.h"
#include "tests/op_case.h"

namespace gta::testing {
namespace {

TEST(Schedule, WarmsUpToThePeakAndEndsWhereItSays) {
  OptimizerConfig config;
  config.learning_rate = 2;
  config.schedule = {.warmup_steps = 10, .final_ratio = 0.25};
  for (ScheduleType type : {ScheduleType::Cosine, ScheduleType::Linear, ScheduleType::Constant, ScheduleType::Wsd}) {
    config.schedule.type = type;
    config.schedule.decay_steps = 20;
    SCOPED_TRACE(name_of(type));
    for (int64_t step = 0; step < 10; ++step) EXPECT_DOUBLE_EQ(learning_rate(config, step, 110), 2.0 * (step + 1) / 10);
    EXPECT_DOUBLE_EQ(learning_rate(config, 10, 110), 2);
    EXPECT_DOUBLE_EQ(learning_rate(config, 109, 110), type == ScheduleType::Constant ? 2 : 0.5) << "the last step";
    for (int64_t step = 10; step < 109; ++step)
      EXPECT_LE(learning_rate(config, step + 1, 110), learning_rate(config, step, 110));
  }
}

TEST(Schedule, HasTheShapeOfItsFormula) {
  OptimizerConfig config;
  config.learning_rate = 2;
  config.schedule = {.warmup_steps = 10, .decay_steps = 20, .final_ratio = 0.25};
  EXPECT_NEAR(learning_rate(config, 60, 111), 2 * (0.25 + 0.75 * 0.5), 1e-15);
  EXPECT_NEAR(learning_rate(config, 35, 111), 2 * (0.25 + 0.75 * (1 + std::sqrt(0.5)) / 2), 1e-15);
  config.schedule.type = ScheduleType::Linear;
  EXPECT_NEAR(learning_rate(config, 35, 111), 2 * (1 - 0.75 * 0.25), 1e-15);
  config.schedule.type = ScheduleType::Wsd;
  EXPECT_DOUBLE_EQ(learning_rate(config, 89, 110), 2);
  EXPECT_NEAR(learning_rate(config, 90, 110), 2 * (1 - 0.75 / 20), 1e-15);
  EXPECT_NEAR(learning_rate(config, 99, 110), 2 * (1 - 0.75 / 2), 1e-15);
  config.schedule = {.final_ratio = 0};
  EXPECT_DOUBLE_EQ(learning_rate(config, 0, 110), 2) << "no warm-up";
}

TEST(Schedule, MayHaveALengthOfItsOwnAfterWhichTheRateStays) {
  OptimizerConfig own;
  own.learning_rate = 2;
  for (ScheduleType type : {ScheduleType::Cosine, ScheduleType::Linear, ScheduleType::Constant, ScheduleType::Wsd}) {
    SCOPED_TRACE(name_of(type));
    own.schedule = {.type = type, .warmup_steps = 10, .decay_steps = 20, .final_ratio = 0.25};
    OptimizerConfig as_long_as_the_run = own;
    own.schedule.steps = 60;
    for (int64_t step = 0; step < 60; ++step)
      EXPECT_EQ(learning_rate(own, step, 80), learning_rate(as_long_as_the_run, step, 60)) << step;
    for (int64_t step = 60; step < 80; ++step)
      EXPECT_DOUBLE_EQ(learning_rate(own, step, 80), type == ScheduleType::Constant ? 2 : 0.5) << step;
  }
}

TEST(Schedule, TheLastStepHasTheFinalRatioHoweverShortTheRun) {
  OptimizerConfig config;
  config.learning_rate = 1;
  const auto rates = [&](ScheduleType type, int64_t warmup, int64_t decay, int64_t steps) {
    config.schedule = {.type = type, .warmup_steps = warmup, .decay_steps = decay, .final_ratio = 0.1};
    std::vector<double> all;
    for (int64_t step = 0; step < steps; ++step) all.push_back(learning_rate(config, step, steps));
    return all;
  };
  const auto expect = [](const std::vector<double>& found, const std::vector<double>& expected) {
    ASSERT_EQ(found.size(), expected.size());
    for (size_t i = 0; i < found.size(); ++i) EXPECT_NEAR(found[i], expected[i], 1e-12) << i;
  };
  expect(rates(ScheduleType::Linear, 0, 0, 10), {1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1});
  expect(rates(ScheduleType::Linear, 2, 0, 6), {0.5, 1, 1, 0.7, 0.4, 0.1});
  expect(rates(ScheduleType::Cosine, 0, 0, 5),
         {1, 0.1 + 0.45 * (1 + std::sqrt(0.5)), 0.55, 0.1 + 0.45 * (1 - std::sqrt(0.5)), 0.1});
  expect(rates(ScheduleType::Wsd, 0, 4, 6), {1, 1, 0.775, 0.55, 0.325, 0.1});
  expect(rates(ScheduleType::Wsd, 1, 1, 4), {1, 1, 1, 0.1});
  expect(rates(ScheduleType::Wsd, 0, 2, 2), {0.55, 0.1});
  for (ScheduleType type : {ScheduleType::Cosine, ScheduleType::Linear, ScheduleType::Wsd}) {
    expect(rates(type, 0, 1, 1), {0.1});
    expect(rates(type, 2, 1, 3), {0.5, 1, 0.1});
  }
  expect(rates(ScheduleType::Cosine, 2, 0, 2), {0.5, 1});  // nothing but warm-up
}

struct Space {
  ParameterSpace space;
  explicit Space(DType dtype, int64_t rows = 37, Device device = {}) {
    space.add({{"matrix", {rows, 11}, Initializer::normal(1)}});
    space.add({{"vector", {13}, Initializer::normal(1)}});
    space.allocate(dtype, device, SpaceUse::Training);
    space.initialize(1);
  }
  void set_gradients(const std::string& name, double deviation = 1) {
    for (const Parameter& p : space.parameters())
      space.view(space.gradients(p.kind), p)
          .copy_from(
              from_doubles(p.shape, random_values(name + p.name, p.elements(), deviation), state_dtype(space.dtype())));
  }
  std::vector<double> values(const Parameter& p) const { return to_doubles(space.view(space.values(p.kind), p)); }
};

// One update, as the training loop makes it; what became of it.
UpdateOutcome step(AdamW& optimizer, double rate, const std::vector<double>& losses = {1.0}) {
  const Device device = optimizer.exp_avg().whole(ParameterKind::Matrix).device();
  optimizer.step(rate, optimizer.sum_of_squares(),
                 Tensor::from<double>({static_cast<int64_t>(losses.size())}, losses).to(device, Purpose::Workspace));
  return UpdateOutcome(optimizer.outcome());
}

TEST(AdamW, IsThePlainLoop) {
  OptimizerConfig config;
  config.clip_norm = 3;
  config.weight_decay = 0.2;
  // Float32: each of ten updates rounds the weight once; an update is about the learning rate, 0.05.
  for (auto [dtype, tolerance] : {std::pair{DType::F64, 1e-13}, {DType::F32, 1e-6}}) {
    Space s(dtype);
    AdamW optimizer(s.space, config);
    std::map<std::string, std::array<std::vector<double>, 3>> expected;  // w, m, v
    for (const Parameter& p : s.space.parameters())
      expected[p.name] = {s.values(p), std::vector<double>(p.elements()), std::vector<double>(p.elements())};
    for (int t = 1; t <= 10; ++t) {
      const double rate = 0.05 / t;
      s.set_gradients("gradient" + std::to_string(t), t == 3 ? 0.01 : 1);  // the third is not clipped
      double squares = 0;
      for (const Parameter& p : s.space.parameters())
        for (double g : to_doubles(s.space.view(s.space.gradients(p.kind), p))) squares += g * g;
      EXPECT_NEAR(optimizer.gradient_norm(), std::sqrt(squares), 1e-12 * std::sqrt(squares));
      EXPECT_EQ(std::sqrt(squares) > 3, t != 3);
      for (const Parameter& p : s.space.parameters()) {
        auto& [w, m, v] = expected[p.name];
        const std::vector<double> gradient = to_doubles(s.space.view(s.space.gradients(p.kind), p));
        for (size_t i = 0; i < w.size(); ++i) {
          const double g = gradient[i] * std::min(1.0, 3 / (std::sqrt(squares) + 1e-6));
          m[i] = 0.9 * m[i] + 0.1 * g;
          v[i] = 0.95 * v[i] + 0.05 * g * g;
          if (p.kind == ParameterKind::Matrix) w[i] *= 1 - rate * 0.2;
          w[i] -= rate * (m[i] / (1 - std::pow(0.9, t))) / (std::sqrt(v[i] / (1 - std::pow(0.95, t))) + 1e-8);
        }
      }
      const UpdateOutcome outcome = step(optimizer, rate, {0.25, 0.5, -2.0});
      EXPECT_TRUE(outcome.applied);
      EXPECT_EQ(outcome.loss, -1.25) << "the sum of its parts";
      EXPECT_EQ(outcome.gradient_norm, optimizer.gradient_norm());
      EXPECT_EQ(outcome.updates, t);
      for (const Parameter& p : s.space.parameters()) {
        EXPECT_TRUE(near(s.values(p), expected[p.name][0], tolerance)) << p.name << " after " << t;
        EXPECT_TRUE(
            near(to_doubles(s.space.view(optimizer.exp_avg().whole(p.kind), p)), expected[p.name][1], tolerance))
            << p.name;
        EXPECT_TRUE(
            near(to_doubles(s.space.view(optimizer.exp_avg_sq().whole(p.kind), p)), expected[p.name][2], tolerance))
            << p.name;
      }
    }
    EXPECT_EQ(optimizer.updates(), 10);
  }
}

TEST(AdamW, ClippingByZeroIsNone) {
  OptimizerConfig config;
  config.clip_norm = 0;
  Space s(DType::F64);
  AdamW optimizer(s.space, config);
  s.set_gradients("g", 100);
  const std::vector<double> g = to_doubles(s.space.gradients(ParameterKind::Vector));
  step(optimizer, 0.1);
  std::vector<double> expected = g;
  for (double& m : expected) m *= 0.1;
  EXPECT_TRUE(near(to_doubles(optimizer.exp_avg().whole(ParameterKind::Vector)), expected, 1e-14));
}

// What was gathered over the ranks, a row for each: parts of the loss, the squares, and what is not asked for.
void expect_sums_of_rows(Device device) {
  // Their sum depends on the order in which they are added.
  const std::vector<double> rows{1e16,  0.375, 4, -7,  //
                                 -1e16, 3,     5, -7,  //
                                 1,     1e-3,  9, -7};
  double loss = 0, squares = 0, transposed = 0;
  for (size_t row = 0; row < 3; ++row) {
    for (size_t column : {0, 1}) loss += rows[row * 4 + column];
    squares += rows[row * 4 + 2];
  }
  for (size_t column : {0, 1})
    for (size_t row = 0; row < 3; ++row) transposed += rows[row * 4 + column];
  ASSERT_NE(loss, transposed) << "the test would see no order";
  const Tensor gathered = Tensor::from<double>({3, 4}, rows).to(device, Purpose::Workspace);
  const Tensor one_row = Tensor::from<double>({6}, {1e16, 0.375, -1e16, 3, 1, 1e-3}).to(device, Purpose::Workspace);
  const Tensor nine_and_nine = Tensor::from<double>({2, 1}, {9, 9}).to(device, Purpose::Workspace);
  Space one(DType::F32, 37, device), other(DType::F32, 37, device);
  AdamW by_rows(one.space, OptimizerConfig{}), by_row(other.space, OptimizerConfig{});
  for (Space* space : {&one, &other}) space->set_gradients("g");
  by_rows.step(0.1, gathered.column_slice(2, 1), gathered.column_slice(0, 2));
  by_row.step(0.1, nine_and_nine, one_row);
  const UpdateOutcome outcome(by_rows.outcome());
  EXPECT_EQ(outcome.loss, loss);
  EXPECT_EQ(outcome.gradient_norm, std::sqrt(squares));
  EXPECT_TRUE(outcome.applied);
  EXPECT_TRUE(to_bytes(one.space.values(ParameterKind::Matrix)) == to_bytes(other.space.values(ParameterKind::Matrix)));
  EXPECT_TRUE(UpdateOutcome(by_row.outcome()).loss == loss);

  const double nan = std::nan("");
  by_rows.step(0.1, Tensor::from<double>({2, 1}, {1, nan}).to(device, Purpose::Workspace), one_row);
  EXPECT_FALSE(UpdateOutcome(by_rows.outcome()).applied) << "of the last rank";
}

TEST(AdamW, AddsWhatEveryRankSaidInTheOrderOfRanks) { expect_sums_of_rows(Device{}); }

TEST(AdamW, CudaAddsWhatEveryRankSaidInTheOrderOfRanks) {
  GTA_NEEDS_CUDA();
  expect_sums_of_rows(*cuda_device());
}

// A gradient or a loss that is not finite: nothing changes but what is said of it, and the next update is as if there
// had been none.
void expect_skipped(Device device, DType dtype) {
  SCOPED_TRACE(name_of(device) + " " + name_of(dtype));
  for (double bad : {std::nan(""), std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity()})
    for (const char* where : {"first of the matrix", "last of the matrix", "last of the vector", "loss"}) {
      SCOPED_TRACE(fmt::format("{} {}", where, bad));
      const std::string place = where;
      Space s(dtype, 7001, device), undisturbed(dtype, 7001, device);
      AdamW optimizer(s.space, OptimizerConfig{}), other(undisturbed.space, OptimizerConfig{});
      for (Space* space : {&s, &undisturbed}) space->set_gradients("g");
      EXPECT_TRUE(step(optimizer, 0.1).applied);
      EXPECT_TRUE(step(other, 0.1).applied);
      const Parameter& p = s.space.find(place.find("vector") == std::string::npos ? "matrix" : "vector");
      std::vector<double> values = random_values("g" + p.name, p.elements());
      if (place != "loss") values[place.find("first") == std::string::npos ? values.size() - 1 : 0] = bad;
      s.space.view(s.space.gradients(p.kind), p).copy_from(from_doubles(p.shape, values, state_dtype(dtype)));
      const std::vector<char> before = to_bytes(s.space.values(ParameterKind::Matrix));
      const UpdateOutcome outcome = step(optimizer, 0.1, {1.0, place == "loss" ? bad : 1.0});
      EXPECT_FALSE(outcome.applied);
      EXPECT_EQ(std::isfinite(outcome.gradient_norm), place == "loss");
      EXPECT_EQ(std::isfinite(outcome.loss), place != "loss");
      EXPECT_EQ(outcome.updates, 1);
      EXPECT_TRUE(to_bytes(s.space.values(ParameterKind::Matrix)) == before);
      for (Space* space : {&s, &undisturbed}) space->set_gradients("h");
      EXPECT_TRUE(step(optimizer, 0.1).applied);
      EXPECT_TRUE(step(other, 0.1).applied);
      for (ParameterKind kind : kParameterKinds) {
        EXPECT_TRUE(to_bytes(s.space.values(kind)) == to_bytes(undisturbed.space.values(kind)));
        EXPECT_TRUE(to_bytes(optimizer.exp_avg().whole(kind)) == to_bytes(other.exp_avg().whole(kind)));
        EXPECT_TRUE(to_bytes(optimizer.exp_avg_sq().whole(kind)) == to_bytes(other.exp_avg_sq().whole(kind)));
      }
    }
}

TEST(AdamW, SkipsWhatIsNotFinite) {
  for (DType dtype : {DType::F32, DType::F64, DType::BF16}) expect_skipped(Device{}, dtype);
}

TEST(AdamW, CudaSkipsWhatIsNotFinite) {
  GTA_NEEDS_CUDA();
  for (DType dtype : {DType::F32, DType::BF16}) expect_skipped(*cuda_device(), dtype);
}

TEST(AdamW, GoesOnFromAGivenNumberOfUpdates) {
  Space s(DType::F64), other(DType::F64);
  AdamW optimizer(s.space, OptimizerConfig{}), fresh(other.space, OptimizerConfig{});
  optimizer.set_updates(41);
  EXPECT_EQ(optimizer.updates(), 41);
  for (Space* space : {&s, &other}) space->set_gradients("g");
  EXPECT_EQ(step(optimizer, 0.1).updates, 42);
  EXPECT_EQ(step(fresh, 0.1).updates, 1);
  EXPECT_FALSE(to_bytes(s.space.values(ParameterKind::Matrix)) == to_bytes(other.space.values(ParameterKind::Matrix)))
      << "corrections of the 42nd";
}

TEST(AdamW, CudaUpdatesLikeTheCpu) {
  GTA_NEEDS_CUDA();
  OptimizerConfig config;
  config.weight_decay = 0.2;
  // The second is more than one piece of the sum of squares.
  for (int64_t rows : {37, 7001})
    for (DType dtype : {DType::F32, DType::BF16}) {
      SCOPED_TRACE(fmt::format("{} rows, {}", rows, name_of(dtype)));
      Space cpu(dtype, rows), device(dtype, rows, *cuda_device()), again(dtype, rows, *cuda_device());
      AdamW on_cpu(cpu.space, config), on_device(device.space, config), once_more(again.space, config);
      for (int t = 1; t <= 3; ++t) {
        for (Space* s : {&cpu, &device, &again}) s->set_gradients("gradient" + std::to_string(t), t == 3 ? 0.001 : 1);
        const double norm = on_cpu.gradient_norm();
        EXPECT_NEAR(on_device.gradient_norm(), norm, 1e-13 * norm) << "both are sums of doubles";
        EXPECT_EQ(on_device.gradient_norm(), once_more.gradient_norm());
        for (AdamW* optimizer : {&on_cpu, &on_device, &once_more}) {
          const UpdateOutcome outcome = step(*optimizer, 0.05, {0.25, 0.5});
          EXPECT_TRUE(outcome.applied);
          EXPECT_EQ(outcome.loss, 0.75);
          EXPECT_EQ(outcome.updates, t);
        }
      }
      for (const Parameter& p : cpu.space.parameters()) {
        // three updates of 0.05, each rounded as above
        EXPECT_TRUE(near(device.values(p), cpu.values(p), 1e-6)) << p.name;
        EXPECT_TRUE(near(to_doubles(device.space.view(on_device.exp_avg().whole(p.kind), p)),
                         to_doubles(cpu.space.view(on_cpu.exp_avg().whole(p.kind), p)), 1e-6))
            << p.name;
        EXPECT_TRUE(near(to_doubles(device.space.view(on_device.exp_avg_sq().whole(p.kind), p)),
                         to_doubles(cpu.space.view(on_cpu.exp_avg_sq().whole(p.kind), p)), 1e-6))
            << p.name;
      }
      for (ParameterKind kind : kParameterKinds)
        EXPECT_TRUE(to_bytes(device.space.values(kind)) == to_bytes(again.space.values(kind)));
      if (dtype == DType::BF16) {
        std::vector<double> masters = to_doubles(device.space.values(ParameterKind::Matrix));
        for (double& master : masters) master = bfloat16(master);
        EXPECT_EQ(to_doubles(device.space.weights(ParameterKind::Matrix)), masters);
      }
    }
}

TEST(AdamW, SameBitsForAnyNumberOfThreads) {
  const ThreadCount restore;
  std::vector<char> first;
  double norm = 0;
  for (int count : {1, 2, 3, 4}) {
    set_threads(count);
    Space s(DType::F32, 7001);
    AdamW optimizer(s.space, OptimizerConfig{});
    s.set_gradients("g");
    if (first.empty()) norm = optimizer.gradient_norm();
    EXPECT_EQ(optimizer.gradient_norm(), norm);
    step(optimizer, 0.1);
    const std::vector<char> bytes = to_bytes(s.space.values(ParameterKind::Matrix));
    if (first.empty()) first = bytes;
    EXPECT_TRUE(bytes == first) << count << " threads";
  }
}

}  // namespace
}  // namespace gta::testing
