// The script of an array of cells.
#include "launch/ablate/slurm.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace gta {
namespace {

TEST(ArrayScript, NamesFoldersWithSpacesAndRefusesThoseThatItsLinesCannotName) {
  const auto script = [](const std::string& folder) {
    return array_script({"abc", folder, {"/a/it's.yaml"}, {"gqa-seed-1"}, {}, 1});
  };
  const std::string text = script("/my runs/abc");
  EXPECT_NE(text.find("#SBATCH --output=\"/my runs/abc/slurm/%A_%a.out\"\n"), std::string::npos) << text;
  EXPECT_NE(text.find("arguments=('/a/it'\\''s.yaml')\n"), std::string::npos) << text;
  for (const char* folder : {"/a\"b", "/a%jb", "/a\\b", "/a\nrm x\n#"}) EXPECT_THROW(script(folder), Error) << folder;
}

}  // namespace
}  // namespace gta
