// This build against the oracle's fixtures: the committed ones always, fresh seeds and the larger shapes where the
// oracle and PyTorch are.
#include "launch/verify_comparison.h"

#include <gtest/gtest.h>

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <filesystem>

#include "core/error.h"
#include "core/io/file.h"
#include "core/random.h"
#include "tests/cuda_device.h"

namespace gta {
namespace {

const std::string kSource = GTA_SOURCE_DIR;

std::vector<std::string> committed_fixtures() {
  std::vector<std::string> paths;
  for (const std::string& name : list_directory(kSource + "/tests/fixtures"))
    if (name.ends_with(".h5")) paths.push_back(kSource + "/tests/fixtures/" + name);
  return paths;
}

void expect_holds(const std::string& path, const Device& device = {}) {
  const std::vector<VerifyReport> reports = verify_fixture(path, {DType::F64, DType::F32, DType::BF16}, device);
  ASSERT_EQ(reports.size(), 3u);
  for (const VerifyReport& report : reports) {
    EXPECT_EQ(report.device, report.dtype == DType::F64 ? Device{} : device);
    for (const VerifyRow& row : report.rows)
      EXPECT_LE(row.error, row.tolerance)
          << path << " " << name_of(report.dtype) << ": " << row.what << " " << row.worst << " error " << row.error;
  }
}

bool holds(const std::string& path, DType dtype) {
  const std::vector<VerifyReport> reports = verify_fixture(path, {dtype}, Device{});
  return reports.back().dtype == dtype &&
         std::all_of(reports.begin(), reports.end(), [](const VerifyReport& report) { return report.holds(); });
}

TEST(Verify, HoldsForEveryCommittedFixture) {
  ASSERT_GE(committed_fixtures().size(), 15u);
  for (const std::string& path : committed_fixtures()) expect_holds(path);
}

TEST(Verify, HoldsForEveryCommittedFixtureOnACudaDevice) {
  GTA_NEEDS_CUDA();
  for (const std::string& path : committed_fixtures()) expect_holds(path, *cuda_device());
}

TEST(Verify, HoldsForFreshSeedsAndLargerShapes) {
  const char* given = std::getenv("GTA_ORACLE");
  const std::string oracle = given ? given : kSource + "/../shared/reference/attention_reference.py";
  const std::string python = "/usr/bin/python3";
  if (!exists(oracle) || std::system((python + " -c 'import torch, h5py' 2>/dev/null").c_str()) != 0)
    GTEST_SKIP() << "needs the oracle (GTA_ORACLE) and python3 with torch and h5py";
  const std::string folder = testing::TempDir() + "/gta-fresh-" + std::to_string(::getpid());
  make_directories(folder);
  const auto seed = static_cast<unsigned>(std::time(nullptr) % 1000000);
  for (const char* name : {"mha-tiny",
                           "gqa-tiny",
                           "mqa-tiny",
                           "mla-tiny",
                           "gva-tiny",
                           "gha-tiny",
                           "gta-tiny",
                           "gta-grouped-tiny",
                           "gta-direct-tiny",
                           "gta-silu-tiny",
                           "gta-relu2-tiny",
                           "gta-odd",
                           "gta-64-128-wide",
                           "gta-64-128-two-copies-wide",
                           "gta-64-64-wide",
                           "gta-64-256-wide",
                           "gta-not-nested-wide",
                           "gqa-128-wide",
                           "gva-64-128-wide",
                           "gha-64-128-wide",
                           "mla-96-64-wide"}) {
    SCOPED_TRACE(std::string(name) + " seed " + std::to_string(seed));
    const std::string path = folder + "/" + name + ".h5";
    ASSERT_EQ(std::system((python + " " + oracle + " --case " + name + " --seed " + std::to_string(seed) + " --out " +
                           path + " >/dev/null")
                              .c_str()),
              0);
    expect_holds(path);
    if (const std::optional<Device> device = cuda_device()) expect_holds(path, *device);
  }
  remove_tree(folder);
}

TEST(Verify, DoesNotHoldForAFixtureOfAnotherModel) {
  // gqa's numbers under a configuration that says mha: parameters of the wrong shape are refused, not compared.
  const std::string folder = testing::TempDir() + "/gta-verify-" + std::to_string(::getpid());
  make_directories(folder);
  std::string bytes = read_file(kSource + "/tests/fixtures/gqa-tiny.h5");
  const size_t at = bytes.find("\"type\": \"gqa\", \"kv_heads\": 2");
  ASSERT_NE(at, std::string::npos);
  bytes.replace(at + 9, 3, "mha");
  publish_text(folder + "/wrong.h5", bytes);
  EXPECT_THROW(verify_fixture(folder + "/wrong.h5", {DType::F64}, Device{}), Error);
  remove_tree(folder);
}

TEST(Verify, AFixtureThatWasChangedIsRefusedOrDoesNotHold) {
  const std::string folder = testing::TempDir() + "/gta-changed-" + std::to_string(::getpid()),
                    path = folder + "/changed.h5";
  make_directories(folder);
  const auto change = [&](const std::string& python) {
    publish_text(path, read_file(kSource + "/tests/fixtures/gta-tiny.h5"));
    return std::system(("/usr/bin/python3 -c \"import h5py, numpy as np; f = h5py.File('" + path + "', 'r+'); " +
                        python + "\" 2>/dev/null")
                           .c_str()) == 0;
  };
  if (!change("")) GTEST_SKIP() << "python3-h5py is not installed";
  const auto refused = [&](const std::string& python) -> std::string {
    EXPECT_TRUE(change(python)) << python;
    try {
      verify_fixture(path, {DType::F64}, Device{});
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::BadInput) << error.what();
      return error.what();
    }
    return "nothing was refused";
  };
  EXPECT_NE(refused("f.attrs['steps'] = 9").find("tokens do not have the shape"), std::string::npos);
  EXPECT_NE(refused("v = f['losses'][:9]; del f['losses']; f['losses'] = v").find("has 9 losses for 10 steps"),
            std::string::npos);
  EXPECT_NE(
      refused("v = f['init/model.norm.weight'][:5]; del f['init/model.norm.weight']; f['init/model.norm.weight'] = v")
          .find("does not have the shape (32)"),
      std::string::npos);
  EXPECT_NE(refused("f['tokens'][0, 0, 0] = 1000").find("token 1000 is outside the vocabulary"), std::string::npos);
  ASSERT_TRUE(change("f['init/model.layers.9.extra'] = np.zeros(3)"));
  EXPECT_THROW(verify_fixture(path, {DType::F64}, Device{}), Error) << "a parameter that the model lacks";
  for (const char* python :
       {"f['logits'][1, 2, 3] = np.nan", "f['final/model.norm.weight'][3] = np.nan",
        "f['grad/model.embed_tokens.weight'][0, 0] += 1", "v = f['logits'][:, :5]; del f['logits']; f['logits'] = v",
        "f['cache_per_token'][()] = 1", "f['losses'][9] *= 1.1", "f['grad_norm'][()] *= 2"}) {
    ASSERT_TRUE(change(python)) << python;
    for (DType dtype : {DType::F64, DType::F32, DType::BF16}) EXPECT_FALSE(holds(path, dtype)) << python;
  }
  remove_tree(folder);
}

std::vector<double> random_vector(const char* name, uint64_t count, double deviation = 1) {
  const RandomStream stream(1, name);
  std::vector<double> values(count);
  for (uint64_t i = 0; i < count; ++i) values[i] = deviation * stream.normal(i);
  return values;
}

TEST(VerifyComparison, AGradientFivePercentTooLargeIsSeenThroughTheRoundingOfBfloat16) {
  // Rounding of 3% in the mean square hides 5% from a bound on elements and from one on L2, and has no direction
  // itself.
  const VerifyTolerance allowed = verify_tolerance(DType::BF16);
  for (double factor : {1.0, 1.05, 0.95}) {
    TensorComparison gradients;
    for (int step = 0; step < 10; ++step) {
      const std::vector<double> want = random_vector(("want" + std::to_string(step)).c_str(), 1000),
                                noise = random_vector(("noise" + std::to_string(step)).c_str(), 1000, 0.03);
      std::vector<double> got(1000);
      for (size_t i = 0; i < got.size(); ++i) got[i] = factor * want[i] + noise[i];
      gradients.add("w", got, want);
    }
    EXPECT_TRUE(gradients.elements("", allowed.gradients).holds());
    EXPECT_TRUE(gradients.l2("", allowed.step_gradients).holds());
    EXPECT_EQ(gradients.scale("", allowed.step_scale).holds(), factor == 1) << factor;
  }
}

TEST(VerifyComparison, ATensorWhoseTrueValueIsZeroIsMeasuredAgainstTheWholeGradient) {
  TensorComparison gradients;
  gradients.add("w", random_vector("w", 1000), random_vector("w", 1000));
  gradients.add("zero", random_vector("rounding", 10, 1e-8), std::vector<double>(10, 0.0));
  EXPECT_LT(gradients.elements("", 0).error, 2e-7);
  EXPECT_GT(gradients.elements("", 0).error, 2e-8);
  EXPECT_LT(gradients.l2("", 0).error, 2e-7);
  EXPECT_EQ(gradients.l2("", 0).worst, "zero");
}

TEST(VerifyComparison, OneUnluckyStepIsNotTheMedianButIsTheWorstElement) {
  TensorComparison gradients;
  for (int step = 0; step < 3; ++step) gradients.add("w", {1, 2 + (step == 1 ? 0.5 : 0)}, {1, 2});
  EXPECT_EQ(gradients.l2("", 0).error, 0);
  EXPECT_EQ(gradients.scale("", 0).error, 0);
  EXPECT_DOUBLE_EQ(gradients.elements("", 0).error, 0.25);
}

TEST(VerifyComparison, NotANumberAndAnotherNumberOfElementsNeverHold) {
  for (const std::vector<double>& got : {std::vector<double>{1, NAN}, {1, INFINITY}, {1}, {1, 2, 3}, {}}) {
    TensorComparison values;
    for (int step = 0; step < 3; ++step) values.add("w", step == 1 ? got : std::vector<double>{1, 2}, {1, 2});
    for (const VerifyRow& row : {values.elements("", 1e9), values.l2("", 1e9), values.scale("", 1e9)})
      EXPECT_FALSE(row.holds()) << got.size();
  }
  TensorComparison values;
  values.add("w", {1, 2}, {1, NAN});
  EXPECT_FALSE(values.l2("", 1e9).holds());
}

TEST(Verify, AnErrorAboveItsToleranceOrNotANumberDoesNotHold) {
  VerifyReport report = verify_fixture(kSource + "/tests/fixtures/gta-tiny.h5", {DType::F32}, Device{}).back();
  EXPECT_TRUE(report.holds());
  report.rows.back().error = 2 * report.rows.back().tolerance + 1e-300;
  EXPECT_FALSE(report.holds());
  report.rows.back().error = NAN;
  EXPECT_FALSE(report.holds());
}

}  // namespace
}  // namespace gta
