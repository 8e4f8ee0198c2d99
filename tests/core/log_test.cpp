#include "core/log.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "core/error.h"

namespace gta {
namespace {

// The library's words: "Failed opening file ... for writing: Is a directory".
TEST(Log, AFileThatCannotBeWrittenIsNamedWithItsReason) {
  char folder[] = "/tmp/gta-log-XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  try {
    log::attach_file(folder);
    ADD_FAILURE() << "a folder was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Failed);
    EXPECT_EQ(std::string(error.what()), "[" + std::string(folder) + "] the log cannot be written: Is a directory");
  }
  std::filesystem::remove(folder);
}

}  // namespace
}  // namespace gta
