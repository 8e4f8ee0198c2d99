// Dependencies point one way:  core <- layers, optim, data <- checkpoints <- launch, and to the side
// layers, optim <- bench <- the commands `gta bench` and `gta plan --measure`, so that training needs no benchmark.
// Libraries have one place that includes them.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>

namespace {

namespace fs = std::filesystem;

const std::map<std::string, std::set<std::string>> kMayInclude = {
    {"core", {"core"}},
    {"layers", {"core", "layers"}},
    {"optim", {"core", "optim"}},
    {"data", {"core", "data"}},
    {"checkpoints", {"core", "layers", "optim", "data", "checkpoints"}},
    {"bench", {"core", "layers", "optim", "data", "bench"}},
    {"launch", {"core", "layers", "optim", "data", "checkpoints", "launch"}},
    {"launch/commands/ablation_reports.cpp", {"core", "layers", "optim", "data", "checkpoints", "bench", "launch"}},
    {"launch/commands/bench.cpp", {"core", "layers", "optim", "data", "checkpoints", "bench", "launch"}},
    {"launch/commands/bench_decode.cpp", {"core", "layers", "optim", "data", "checkpoints", "bench", "launch"}},
    {"launch/commands/plan.cpp", {"core", "layers", "optim", "data", "checkpoints", "bench", "launch"}}};

struct Place {
  std::string header, folder, other = folder;  // only files whose path starts with either include such headers
};
const Place kPlaces[] = {{"hdf5", "core/io/hdf5"},
                         {"H5", "core/io/hdf5"},
                         {"yaml-cpp", "launch/config", "launch/ablate/ablation_file"},
                         {"oneapi", "core/backends/"},
                         {"dnnl", "core/backends/"},
                         {"cudnn", "bench/cudnn_attention"},
                         {"cuda", "core/backends/cuda/"},
                         {"cublas", "core/backends/cuda/"},
                         {"nvtx", "core/backends/cuda/"},
                         {"boost", "launch/statistics/distributions"}};

// The complaint about one #include line of a file, or nothing.
std::string complaint(const std::string& file, const std::string& line) {
  const size_t hash = line.find_first_not_of(" \t");
  if (hash == std::string::npos || line[hash] != '#' || line.find("include", hash) == std::string::npos) return "";
  const size_t open = line.find_first_of("<\"", hash),
               close = open == std::string::npos ? open : line.find_first_of(">\"", open + 1);
  if (close == std::string::npos) return "";
  const std::string header = line.substr(open + 1, close - open - 1);
  for (const Place& place : kPlaces)
    if (header.rfind(place.header, 0) == 0 && file.rfind(place.folder, 0) != 0 && file.rfind(place.other, 0) != 0)
      return file + " includes " + header + ", which only " + place.folder + " may";
  if (line[open] == '<') return "";
  const std::string from = file.substr(0, file.find('/')), to = header.substr(0, header.find('/'));
  if (to == header) return file + " includes \"" + header + "\": includes are written from the repository root";
  const auto& allowed = kMayInclude.at(kMayInclude.count(file) ? file : from);
  if (kMayInclude.count(to) && !allowed.count(to)) return file + " includes " + header + ": the arrow points right";
  return "";
}

TEST(Arrows, PointLeft) {
  const fs::path root = GTA_SOURCE_DIR;
  int files = 0;
  for (const auto& [folder, allowed] : kMayInclude) {
    if (!fs::is_directory(root / folder)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      const std::string extension = entry.path().extension();
      if (extension != ".h" && extension != ".cpp" && extension != ".cu" && extension != ".cuh") continue;
      ++files;
      std::ifstream in(entry.path());
      for (std::string line; std::getline(in, line);) EXPECT_EQ(complaint(fs::relative(entry.path(), root), line), "");
    }
  }
  EXPECT_GT(files, 50);
}

TEST(Arrows, TheTestSeesWhatItForbids) {
  EXPECT_NE(complaint("core/tensor.h", "#include \"layers/linear/linear.h\""), "");
  EXPECT_NE(complaint("layers/linear/linear.h", "#include \"optim/adamw.h\""), "");
  EXPECT_NE(complaint("checkpoints/a.cpp", "  #  include \"launch/plan.h\""), "");
  EXPECT_NE(complaint("bench/step.cpp", "#include \"launch/plan.h\""), "");
  EXPECT_NE(complaint("layers/linear/linear.cpp", "#include \"bench/step.h\""), "");
  EXPECT_NE(complaint("launch/trainer.cpp", "#include \"bench/step.h\""), "");
  EXPECT_EQ(complaint("launch/commands/bench.cpp", "#include \"bench/step.h\""), "");
  EXPECT_NE(complaint("core/io/file.cpp", "#include <hdf5.h>"), "");
  EXPECT_NE(complaint("core/gemm.cpp", "#include <oneapi/dnnl/dnnl.h>"), "");
  EXPECT_NE(complaint("launch/main.cpp", "#include <yaml-cpp/yaml.h>"), "");
  EXPECT_NE(complaint("core/tape.cpp", "#include \"tape.h\""), "");
  EXPECT_NE(complaint("bench/kernels.cpp", "#include <cudnn_frontend.h>"), "");
  EXPECT_NE(complaint("layers/rope/rope_cuda.cu", "#include <cuda_runtime.h>"), "");
  EXPECT_NE(complaint("core/profiler.cpp", "#include <nvtx3/nvToolsExt.h>"), "");
  EXPECT_EQ(complaint("core/backends/cuda/nvtx.cpp", "#include <nvtx3/nvToolsExt.h>"), "");
  EXPECT_EQ(complaint("launch/main.cpp", "#include \"core/tensor.h\""), "");
  EXPECT_EQ(complaint("core/io/hdf5_image.cpp", "#include <hdf5.h>"), "");
  EXPECT_EQ(complaint("core/tape.cpp", "// #include \"layers/a.h\""), "");
}

}  // namespace
