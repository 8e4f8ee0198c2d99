#include "core/io/file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <functional>

#include "core/error.h"
#include "core/io/hash.h"
#include "core/io/unfinished.h"

namespace gta {
namespace {

class Files : public testing::Test {
 protected:
  Files() {
    std::string pattern = (std::filesystem::temp_directory_path() / "gta-files-XXXXXX").string();
    EXPECT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  ~Files() override { std::filesystem::remove_all(folder_); }
  std::string path(const std::string& name) const { return folder_ + "/" + name; }

  std::string folder_;
};

std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was refused";
}

TEST_F(Files, readsWhatItWrote) {
  File file(path("a"), File::Mode::Create);
  file.write_at("hello", 5, 3);
  file.sync();
  EXPECT_EQ(file.size(), 8);
  char text[5];
  file.read_at(text, 5, 3);
  EXPECT_EQ(std::string(text, 5), "hello");
  file.truncate(4);
  file.close();
  EXPECT_EQ(read_file(path("a")), std::string("\0\0\0h", 4));
}

TEST_F(Files, errorsNameThePathAndTheReason) {
  EXPECT_NE(message_of([&] { File(path("absent"), File::Mode::Read); }).find("absent] cannot open: No such file"),
            std::string::npos);
  EXPECT_NE(message_of([&] { File(path("no/folder"), File::Mode::Create); }).find("No such file"), std::string::npos);
  publish_text(path("short"), "123");
  char bytes[8];
  EXPECT_NE(message_of([&] {
              File(path("short"), File::Mode::Read).read_at(bytes, 8, 0);
            }).find("ends at byte 3: 5 more were expected"),
            std::string::npos);
  EXPECT_NE(message_of([&] { File(path("short"), File::Mode::Read).write_at("x", 1, 0); }).find("cannot write"),
            std::string::npos);
  EXPECT_NE(message_of([&] { read_file(path("short"), 2); }).find("has 3 bytes: at most 2"), std::string::npos);
  EXPECT_NE(message_of([&] { read_file(folder_); }).find("is not a regular file"), std::string::npos);
  EXPECT_NE(message_of([&] { list_directory(path("absent")); }).find("cannot list"), std::string::npos);
  EXPECT_NE(message_of([&] { File(path("short"), File::Mode::Read).truncate(1); }).find("cannot truncate"),
            std::string::npos);
  EXPECT_NE(
      message_of([&] { rename_path(path("absent"), path("there")); }).find("there] cannot rename to it: No such file"),
      std::string::npos);
  EXPECT_NE(message_of([&] { remove_tree(std::string(5000, 'x')); }).find("cannot remove"), std::string::npos);
  EXPECT_NE(message_of([&] { sync_directory(path("absent")); }).find("cannot open"), std::string::npos);
  EXPECT_NE(message_of([&] { File(folder_, File::Mode::Read).read_at(bytes, 8, 0); }).find("cannot read"),
            std::string::npos);
}

TEST_F(Files, resultsGoToTheEndOfTheirLinksAndNeverOntoWhatIsNoFile) {
  std::filesystem::create_directories(path("there"));
  std::filesystem::create_symlink("link-2", path("link-1"));
  std::filesystem::create_symlink("there/file", path("link-2"));
  for (const char* text : {"one", "two"}) {
    publish_text(path("link-1"), text);
    EXPECT_EQ(read_file(path("there/file")), text);
    EXPECT_TRUE(std::filesystem::is_symlink(path("link-1")) && std::filesystem::is_symlink(path("link-2")));
  }
  EXPECT_EQ(list_directory(path("there")), std::vector<std::string>{"file"}) << "nothing else is left there";

  ASSERT_EQ(::mkfifo(path("fifo").c_str(), 0644), 0);
  std::filesystem::create_symlink("self", path("self"));
  for (const auto& [name, said] : std::vector<std::pair<std::string, std::string>>{
           {"fifo", "is a device, a pipe or a socket: expected the name of a file"},
           {"there", "is a folder: expected the name of a file"},
           {"self", "is a symbolic link that leads nowhere"},
           {"no/file", "the folder " + path("no") + " does not exist"},
           {"no/", "does not exist"}}) {
    EXPECT_NE(message_of([&] { publish_text(path(name), "x"); }).find(name + "] "), std::string::npos) << name;
    EXPECT_NE(message_of([&] { output_file(path(name)); }).find(said), std::string::npos)
        << message_of([&] { output_file(path(name)); });
  }
  EXPECT_TRUE(std::filesystem::is_fifo(path("fifo")));
  EXPECT_EQ(output_file(path("new")), path("new"));
}

TEST_F(Files, aFolderBehindALinkToNowhereIsNotMadeAndTheLinkIsNamed) {
  std::filesystem::create_symlink("/nowhere/at/all", path("link"));
  for (const char* name : {"link", "link/in/it"})
    EXPECT_NE(message_of([&] {
                make_directories(path(name));
              }).find(path("link") + "] is a link to /nowhere/at/all, which is not there"),
              std::string::npos)
        << name;
}

TEST_F(Files, aFullDiskIsAnError) {
  if (!exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  const File file("/dev/full", File::Mode::ReadWrite);
  EXPECT_NE(message_of([&] { file.write_at("x", 1, 0); }).find("No space left"), std::string::npos);
}

// A file that may not grow beyond a limit takes a part of a write first, and refuses the rest.
TEST_F(Files, aShortWriteGoesOnUntilItIsAnError) {
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit limit = before;
  limit.rlim_cur = 10;
  const File file(path("a"), File::Mode::Create);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  const std::string message = message_of([&] { file.write_at("0123456789abcdef", 16, 0); });
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_NE(message.find("cannot write: File too large"), std::string::npos) << message;
  EXPECT_EQ(read_file(path("a")), "0123456789");
}

TEST_F(Files, whatCannotBeSyncedIsAnError) {
  ASSERT_EQ(std::system(("mkfifo " + path("pipe")).c_str()), 0);
  const File pipe(path("pipe"), File::Mode::ReadWrite);
  EXPECT_NE(message_of([&] { pipe.sync(); }).find("cannot sync to disk"), std::string::npos);
}

TEST_F(Files, aPublishedFileIsOldOrWhole) {
  publish_text(path("a"), "old");
  EXPECT_THROW(publish_file(path("a"),
                            [&](const std::string& temporary) {
                              publish_text(temporary, "half");
                              fail("writer", "a failure in the middle");
                            }),
               Error);
  EXPECT_EQ(read_file(path("a")), "old");
  EXPECT_EQ(list_directory(folder_), std::vector<std::string>{"a"});
  publish_text(path("a"), "new");
  EXPECT_EQ(read_file(path("a")), "new");
  EXPECT_EQ(list_directory(folder_), std::vector<std::string>{"a"});
}

TEST_F(Files, aPipeIsRefusedWithoutWaitingForItsWriter) {
  ASSERT_EQ(::mkfifo(path("pipe").c_str(), 0600), 0);
  EXPECT_NE(message_of([&] { read_file(path("pipe")); }).find("is not a regular file"), std::string::npos);
}

TEST_F(Files, foldersAreMadeListedAndRemoved) {
  make_directories(path("x/y"));
  publish_text(path("x/b"), "");
  publish_text(path("x/a"), "");
  EXPECT_EQ(list_directory(path("x")), (std::vector<std::string>{"a", "b", "y"}));
  EXPECT_TRUE(is_directory(path("x")) && exists(path("x/a")) && !is_directory(path("x/a")));
  sync_directory(path("x"));
  rename_path(path("x"), path("z"));
  EXPECT_FALSE(exists(path("x")));
  remove_tree(path("z"));
  remove_tree(path("z"));
  EXPECT_FALSE(exists(path("z")));
  EXPECT_EQ(parent_of("a/b"), "a");
  EXPECT_EQ(parent_of("a"), ".");
  publish_text(path("file"), "");
  EXPECT_THROW(make_directories(path("file/sub")), Error);
}

TEST_F(Files, aNameUnderWhichNoFolderCanBeIsBadInput) {
  publish_text(path("file"), "");
  for (const std::string& name :
       {path("file"), path("file/sub"), std::string("/proc/absent"), path(std::string(300, 'x'))}) {
    try {
      make_directories(name);
      ADD_FAILURE() << name;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::BadInput) << error.what();
    }
  }
  for (int code : {ENOSPC, EDQUOT, EIO, ENOMEM, EMFILE}) EXPECT_FALSE(refuses_the_name(code)) << code;
}

TEST_F(Files, whatIsUnfinishedIsRemovedAndNothingElse) {
  publish_text(path("kept"), "");
  publish_text(path("file"), "");
  make_directories(path("tree/sub"));
  publish_text(path("tree/sub/file"), "");
  { const Unfinished ended(path("kept")); }
  const Unfinished file(path("file")), tree(path("tree")), absent(path("absent"));
  remove_unfinished();
  EXPECT_EQ(list_directory(folder_), std::vector<std::string>{"kept"});
}

TEST_F(Files, aFileIsUnfinishedAsLongAsItHasNoNameOfItsOwn) {
  EXPECT_THROW(publish_file(path("a"),
                            [&](const std::string& temporary) {
                              write_synced(temporary, "half");
                              remove_unfinished();
                              EXPECT_FALSE(exists(temporary));
                            }),
               Error);
  publish_text(path("a"), "whole");
  remove_unfinished();
  EXPECT_EQ(read_file(path("a")), "whole");
}

// Values of the reference implementation, so that files hashed by one build verify with the next.
TEST(Hashes, areThoseOfXxh3) {
  EXPECT_EQ(hash_text(hash_bytes("")), "2d06800538d394c2");
  EXPECT_EQ(hash_text(0x1f), "000000000000001f");
  std::string text;
  for (int i = 0; i < 100000; ++i) text += static_cast<char>(i * 7);
  Hasher hasher;
  for (size_t at = 0; at < text.size(); at += 777)
    hasher.update(text.data() + at, std::min<size_t>(777, text.size() - at));
  EXPECT_EQ(hasher.digest(), hash_bytes(text));
  text[5000] ^= 1;
  EXPECT_NE(hasher.digest(), hash_bytes(text));
}

}  // namespace
}  // namespace gta
