// The peer computes the same model as ours: the fixtures' weights give the fixtures' logits, loss, gradients and steps
// in PyTorch too.
#include <gtest/gtest.h>

#include <cstdlib>

#include "core/io/file.h"

namespace gta {
namespace {

const std::string kSource = GTA_SOURCE_DIR;

bool has(const std::string& python, const std::string& expression) {
  return std::system((python + " -c 'import torch; " + expression + "' 2>/dev/null").c_str()) == 0;
}

TEST(Peers, TorchComputesTheFixtures) {
  const char* given = std::getenv("GTA_PEER_PYTHON");
  const std::string python = given ? given : "/usr/bin/python3";
  if (!has(python, "import numpy") ||
      (!has(python, "import h5py") && std::system("/usr/bin/python3 -c 'import h5py' 2>/dev/null") != 0))
    GTEST_SKIP()
        << "needs a Python with PyTorch (GTA_PEER_PYTHON or /usr/bin/python3), and h5py for it or for /usr/bin/python3";
  std::vector<std::string> modes = {"eager"};
  if (has(python, "torch.nn.functional.scaled_dot_product_attention")) modes.push_back("sdpa");
  std::string fixtures;
  int count = 0;
  for (const std::string& name : list_directory(kSource + "/tests/fixtures"))
    if (name.ends_with(".h5")) {
      fixtures += " " + kSource + "/tests/fixtures/" + name;
      ++count;
    }
  EXPECT_GE(count, 14);  // every variant
  for (const std::string& mode : modes)
    EXPECT_EQ(std::system((python + " " + kSource + "/bench/peers/torch_step.py --mode " + mode +
                           " --threads 1 --check" + fixtures)
                              .c_str()),
              0)
        << mode;
}

}  // namespace
}  // namespace gta
