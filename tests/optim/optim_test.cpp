#include <map>

#include "optim/adamw.h"
#include "optim/schedule.h"
#include "tests/op_case.h"

namespace gta::testing {
namespace {

TEST(Schedule, WarmsUpToThePeakAndEndsWhereItSays) {
  OptimizerConfig config;
  config.learning_rate = 2;
  config.schedule = {ScheduleType::Cosine, 10, 0, 0.25};
  for (ScheduleType type : {ScheduleType::Cosine, ScheduleType::Linear, ScheduleType::Constant, ScheduleType::Wsd}) {
    config.schedule.type = type;
    config.schedule.decay_steps = 20;
    SCOPED_TRACE(name_of(type));
    for (int64_t step = 0; step < 10; ++step) EXPECT_DOUBLE_EQ(learning_rate(config, step, 110), 2.0 * (step + 1) / 10);
    EXPECT_DOUBLE_EQ(learning_rate(config, 10, 110), 2);
    EXPECT_DOUBLE_EQ(learning_rate(config, 110, 110), type == ScheduleType::Constant ? 2 : 0.5);
    for (int64_t step = 10; step < 110; ++step) EXPECT_LE(learning_rate(config, step + 1, 110), learning_rate(config, step, 110));
  }
}

TEST(Schedule, HasTheShapeOfItsFormula) {
  OptimizerConfig config;
  config.learning_rate = 2;
  config.schedule = {ScheduleType::Cosine, 10, 20, 0.25};
  EXPECT_NEAR(learning_rate(config, 60, 110), 2 * (0.25 + 0.75 * 0.5), 1e-15);
  EXPECT_NEAR(learning_rate(config, 35, 110), 2 * (0.25 + 0.75 * (1 + std::sqrt(0.5)) / 2), 1e-15);
  config.schedule.type = ScheduleType::Linear;
  EXPECT_NEAR(learning_rate(config, 35, 110), 2 * (1 - 0.75 * 0.25), 1e-15);
  config.schedule.type = ScheduleType::Wsd;
  EXPECT_DOUBLE_EQ(learning_rate(config, 90, 110), 2);
  EXPECT_NEAR(learning_rate(config, 91, 110), 2 * (1 - 0.75 / 20), 1e-15);
  EXPECT_NEAR(learning_rate(config, 100, 110), 2 * (1 - 0.75 / 2), 1e-15);
  config.schedule = {ScheduleType::Cosine, 0, 0, 0};
  EXPECT_DOUBLE_EQ(learning_rate(config, 0, 110), 2) << "no warm-up";
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
      space.view(space.gradients(p.kind), p).copy_from(from_doubles(p.shape, random_values(name + p.name, p.elements(), deviation), state_dtype(space.dtype())));
  }
  std::vector<double> values(const Parameter& p) const { return to_doubles(space.view(space.values(p.kind), p)); }
};

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
      optimizer.step(rate, optimizer.gradient_norm());
      for (const Parameter& p : s.space.parameters()) {
        EXPECT_TRUE(near(s.values(p), expected[p.name][0], tolerance)) << p.name << " after " << t;
        EXPECT_TRUE(near(to_doubles(s.space.view(optimizer.exp_avg(p.kind), p)), expected[p.name][1], tolerance)) << p.name;
        EXPECT_TRUE(near(to_doubles(s.space.view(optimizer.exp_avg_sq(p.kind), p)), expected[p.name][2], tolerance)) << p.name;
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
  optimizer.step(0.1, optimizer.gradient_norm());
  std::vector<double> expected = g;
  for (double& m : expected) m *= 0.1;
  EXPECT_TRUE(near(to_doubles(optimizer.exp_avg(ParameterKind::Vector)), expected, 1e-14));
}

TEST(AdamW, TheNormShowsGradientsThatAreNotFinite) {
  for (DType dtype : {DType::F32, DType::F64})
    for (double bad : {std::nan(""), std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity()})
      for (const char* name : {"matrix", "vector"}) {
        Space s(dtype);
        AdamW optimizer(s.space, OptimizerConfig{});
        s.set_gradients("g");
        EXPECT_TRUE(std::isfinite(optimizer.gradient_norm()));
        const Parameter& p = s.space.find(name);
        std::vector<double> values = random_values("g", p.elements());
        values.back() = bad;
        s.space.view(s.space.gradients(p.kind), p).copy_from(from_doubles(p.shape, values, dtype));
        EXPECT_FALSE(std::isfinite(optimizer.gradient_norm())) << name << " " << bad;
      }
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
        for (AdamW* optimizer : {&on_cpu, &on_device, &once_more}) optimizer->step(0.05, norm);
      }
      for (const Parameter& p : cpu.space.parameters()) {
        EXPECT_TRUE(near(device.values(p), cpu.values(p), 1e-6)) << p.name;  // three updates of 0.05, each rounded as above
        EXPECT_TRUE(near(to_doubles(device.space.view(on_device.exp_avg(p.kind), p)), to_doubles(cpu.space.view(on_cpu.exp_avg(p.kind), p)), 1e-6)) << p.name;
        EXPECT_TRUE(near(to_doubles(device.space.view(on_device.exp_avg_sq(p.kind), p)), to_doubles(cpu.space.view(on_cpu.exp_avg_sq(p.kind), p)), 1e-6)) << p.name;
      }
      for (ParameterKind kind : kParameterKinds) EXPECT_TRUE(to_bytes(device.space.values(kind)) == to_bytes(again.space.values(kind)));
      if (dtype == DType::BF16) {
        std::vector<double> masters = to_doubles(device.space.values(ParameterKind::Matrix));
        for (double& master : masters) master = bfloat16(master);
        EXPECT_EQ(to_doubles(device.space.rounded_matrices()), masters);
      }
    }
}

TEST(AdamW, CudaShowsGradientsThatAreNotFinite) {
  GTA_NEEDS_CUDA();
  for (double bad : {std::nan(""), std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity()})
    for (int64_t element : {int64_t{0}, int64_t{7000 * 11}}) {
      Space s(DType::F32, 7001, *cuda_device());
      AdamW optimizer(s.space, OptimizerConfig{});
      const Parameter& p = s.space.find("matrix");
      std::vector<double> values = random_values("g", p.elements());
      s.set_gradients("g");
      EXPECT_TRUE(std::isfinite(optimizer.gradient_norm()));
      values[element] = bad;
      s.space.view(s.space.gradients(p.kind), p).copy_from(from_doubles(p.shape, values, DType::F32));
      EXPECT_FALSE(std::isfinite(optimizer.gradient_norm())) << element << " " << bad;
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
    optimizer.step(0.1, norm);
    const std::vector<char> bytes = to_bytes(s.space.values(ParameterKind::Matrix));
    if (first.empty()) first = bytes;
    EXPECT_TRUE(bytes == first) << count << " threads";
  }
}

}  // namespace
}  // namespace gta::testing
