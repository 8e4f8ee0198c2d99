// The list by which launch/gpu_check goes names every file of CUDA kernels, and none that is gone.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>

namespace gta {
namespace {

namespace fs = std::filesystem;

TEST(GpuKernels, TheListNamesEveryFile) {
  const fs::path root = GTA_SOURCE_DIR;
  std::set<std::string> listed;
  std::ifstream list(root / "launch/gpu_kernels");
  for (std::string line; std::getline(list, line);) {
    std::istringstream words(line.substr(0, line.find('#')));
    std::string source, program, filter, more;
    if (!(words >> source)) continue;
    EXPECT_TRUE(words >> program >> filter && !(words >> more)) << line;
    EXPECT_TRUE(fs::exists(root / source)) << source;
    listed.insert(source);
  }
  for (const char* folder : {"core", "layers", "optim"})
    for (const auto& entry : fs::recursive_directory_iterator(root / folder))
      if (entry.path().extension() == ".cu") {
        EXPECT_TRUE(listed.count(fs::relative(entry.path(), root))) << entry.path() << " is not in launch/gpu_kernels";
      }
}

}  // namespace
}  // namespace gta
