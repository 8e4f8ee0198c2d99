// Where commands put what they were asked for: stdout, and the files that are named. Nothing is lost in silence,
// nothing else is touched.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <sstream>

#include "launch/run_folder.h"
#include "tests/launch/small_run.h"

namespace gta {
namespace {

const std::string kFixture = std::string(GTA_SOURCE_DIR) + "/tests/fixtures/gta-tiny.h5";

class Results : public SmallRun {
 protected:
  void SetUp() override {
    SmallRun::SetUp();
    publish_text(folder_ + "/in.npy", npy());
  }
  // Tokens int32 (1, 3).
  static std::string npy() {
    const std::string header = "{'descr': '<i4', 'fortran_order': False, 'shape': (1, 3), }\n";
    const int32_t values[] = {1, 5, 6};
    return std::string("\x93NUMPY\x01\x00", 8) + static_cast<char>(header.size()) + '\0' + header +
           std::string(reinterpret_cast<const char*>(values), sizeof values);
  }
  // Exit code of a line of the shell, in which GTA stands for the program; `errors` is what it says.
  int shell(std::string line) {
    for (size_t at = line.find("GTA "); at != std::string::npos; at = line.find("GTA ", at + kGta.size()))
      line.replace(at, 3, kGta);
    remove_tree(folder_ + "/err.txt");
    const int status = std::system(("exec 2>" + folder_ + "/err.txt; " + line).c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  void train_one() { ASSERT_EQ(gta("train " + folder_ + "/run.yaml --run-dir " + folder_ + "/run"), 0) << errors(); }
};

TEST_F(Results, ThatAFullDiskDoesNotTakeAreAFailureOfEveryCommand) {
  if (!exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  train_one();
  const std::string run = folder_ + "/run", text = " --text " + folder_ + "/text.txt",
                    plan = "plan " + folder_ + "/run.yaml --set model.vocab_size=320";
  for (const std::string& command :
       {"eval " + run + text, "eval " + run + text + " --json", "generate " + run + " --prompt a --max-tokens 3", plan,
        plan + " --json", "verify " + kFixture + " --dtype float32", "inspect " + run,
        "data inspect " + folder_ + "/shards/train-00000.h5",
        "bench ops " + folder_ + "/run.yaml --set model.vocab_size=320 --only swiglu --repeats 1 --json",
        std::string("docs configuration"), std::string("devices"), std::string("--help"), std::string("--version"),
        std::string("eval --help"), std::string()}) {
    EXPECT_EQ(shell("GTA " + command + " >/dev/full"), 1) << command;
    EXPECT_NE(errors().find("gta: error: [stdout] the result cannot be written: "), std::string::npos)
        << command << "\n"
        << errors();
    EXPECT_EQ(shell("GTA " + command + " >/dev/null"), 0) << command << "\n" << errors();
  }
  EXPECT_EQ(shell("GTA devices >&-"), 1);
  EXPECT_NE(errors().find("[stdout] the result cannot be written: Bad file descriptor"), std::string::npos) << errors();
}

// The numbers 0 to 2 would go to the next files that are opened, a checkpoint's among them, and messages into those.
TEST_F(Results, StandardStreamsThatTheCallerClosedAreNeverFilesOfARun) {
  for (const char* closed : {"2>&-", ">&- 2>&-", "<&- >&- 2>&-"}) {
    const std::string run = folder_ + "/" + std::to_string(std::string_view(closed).size());
    EXPECT_EQ(shell("GTA train " + folder_ + "/run.yaml --run-dir " + run + " " + closed), 0);
    EXPECT_EQ(read_file(run + "/run.lock").find_first_not_of("0123456789"), std::string::npos)
        << closed << ": " << read_file(run + "/run.lock");
    EXPECT_EQ(shell("GTA inspect " + run + " >/dev/null"), 0) << errors();
    std::istringstream rows(read_file(run + "/metrics.jsonl"));
    int count = 0;
    for (std::string row; std::getline(rows, row); ++count)
      EXPECT_TRUE(row.starts_with("{") && row.ends_with("}")) << closed << ": " << row;
    EXPECT_GE(count, 12) << closed;
  }
}

TEST_F(Results, GoThroughASymbolicLinkThatStays) {
  train_one();
  make_directories(folder_ + "/elsewhere");
  for (const auto& [link, target] :
       {std::pair{"logits.npy", "elsewhere/real.npy"}, {"new.model", "elsewhere/real.model"}})
    ASSERT_EQ(symlink(target, (folder_ + "/" + link).c_str()), 0);
  EXPECT_EQ(
      shell("GTA eval " + folder_ + "/run --tokens " + folder_ + "/in.npy --logits-out " + folder_ + "/logits.npy"), 0)
      << errors();
  EXPECT_EQ(
      shell("GTA data tokenizer --input " + folder_ + "/text.txt --vocab-size 320 --out " + folder_ + "/new.model"), 0)
      << errors();
  for (const char* link : {"/logits.npy", "/new.model"}) {
    struct stat info {};
    ASSERT_EQ(lstat((folder_ + link).c_str(), &info), 0);
    EXPECT_TRUE(S_ISLNK(info.st_mode)) << link;
  }
  EXPECT_GT(read_file(folder_ + "/elsewhere/real.npy").size(), 3u * 320 * 4);
  EXPECT_EQ(read_file(folder_ + "/elsewhere/real.model"), read_file(folder_ + "/t.model"));
}

TEST_F(Results, AreNeverWrittenOverWhatIsRead) {
  train_one();
  const std::string text = folder_ + "/text.txt", tokens = folder_ + "/in.npy";
  const std::string weights = resolve_checkpoint(folder_ + "/run") + "/rank-0000-of-0001.h5";
  ASSERT_EQ(link(text.c_str(), (folder_ + "/other-name.txt").c_str()), 0);
  ASSERT_EQ(symlink("in.npy", (folder_ + "/link.npy").c_str()), 0);
  make_directories(folder_ + "/own");
  ASSERT_EQ(link(text.c_str(), (folder_ + "/own/train-00000.h5").c_str()), 0);
  const std::string eval = "eval " + folder_ + "/run --tokens " + tokens + " --logits-out ";
  for (const auto& [command, said] :
       {std::pair{"data tokenizer --input " + text + " --vocab-size 320 --out " + text, "is " + text},
        {"data tokenizer --input " + text + " --vocab-size 320 --out " + folder_ + "/other-name.txt", "is " + text},
        {eval + tokens, "is " + tokens},
        {eval + folder_ + "/link.npy", "is " + tokens},
        {eval + weights, "is a file of " + folder_ + "/run"},
        {"data shards --tokenizer " + folder_ + "/t.model --input " + text + " --out " + folder_ + "/own",
         "is " + text}}) {
    const std::string before = read_file(text), npy = read_file(tokens), h5 = read_file(weights);
    EXPECT_EQ(shell("GTA " + command), 2) << command << "\n" << errors();
    EXPECT_NE(errors().find(said + ", which is read: choose another name"), std::string::npos) << errors();
    EXPECT_EQ(read_file(text), before);
    EXPECT_EQ(read_file(tokens), npy);
    EXPECT_EQ(read_file(weights), h5);
  }
}

TEST_F(Results, OfShardsFollowTheSameRules) {
  const std::string shards = "data shards --tokenizer " + folder_ + "/t.model --input " + folder_ + "/text.txt --out ";
  make_directories(folder_ + "/linked");
  make_directories(folder_ + "/elsewhere");
  ASSERT_EQ(symlink("../elsewhere/real.h5", (folder_ + "/linked/train-00000.h5").c_str()), 0);
  EXPECT_EQ(shell("GTA " + shards + folder_ + "/linked"), 0) << errors();
  struct stat info {};
  ASSERT_EQ(lstat((folder_ + "/linked/train-00000.h5").c_str(), &info), 0);
  EXPECT_TRUE(S_ISLNK(info.st_mode));
  EXPECT_EQ(read_file(folder_ + "/elsewhere/real.h5"), read_file(folder_ + "/shards/train-00000.h5"));

  make_directories(folder_ + "/piped");
  ASSERT_EQ(mkfifo((folder_ + "/piped/train-00000.h5").c_str(), 0644), 0);
  EXPECT_EQ(shell("GTA " + shards + folder_ + "/piped"), 2);
  EXPECT_NE(errors().find("is a device, a pipe or a socket"), std::string::npos) << errors();
  EXPECT_EQ(shell("GTA " + shards + folder_ + "/text.txt/below"), 2);
  EXPECT_NE(errors().find("cannot be a folder: " + folder_ + "/text.txt is a file"), std::string::npos) << errors();
}

// The name that a file has while it is written is no longer than a name may be.
TEST_F(Results, HaveNamesAsLongAsTheSystemAllows) {
  const std::string out = "data tokenizer --input " + folder_ + "/text.txt --vocab-size 320 --out " + folder_ + "/";
  EXPECT_EQ(shell("GTA " + out + std::string(255, 'a')), 0) << errors();
  EXPECT_EQ(read_file(folder_ + "/" + std::string(255, 'a')), read_file(folder_ + "/t.model"));
  EXPECT_EQ(shell("GTA " + out + std::string(256, 'a')), 2);
  EXPECT_NE(errors().find("is too long for the name of a file"), std::string::npos) << errors();
  const std::string shards = "data shards --tokenizer " + folder_ + "/t.model --input " + folder_ + "/text.txt --out " +
                             folder_ + "/long --name ";
  EXPECT_EQ(shell("GTA " + shards + std::string(246, 'a')), 0) << errors();
  EXPECT_EQ(shell("GTA " + shards + std::string(247, 'a')), 2);
  EXPECT_NE(errors().find("is too long for the name of a file"), std::string::npos) << errors();
}

TEST_F(Results, AreNoFileWhereADeviceAPipeOrAFolderHasTheName) {
  train_one();
  ASSERT_EQ(mkfifo((folder_ + "/fifo").c_str(), 0644), 0);
  make_directories(folder_ + "/folder");
  ASSERT_EQ(symlink("loop", (folder_ + "/loop").c_str()), 0);
  std::vector<std::pair<std::string, std::string>> names = {
      {"fifo", "is a device, a pipe or a socket"},
      {"folder", "is a folder: expected the name of a file"},
      {"loop", "is a symbolic link that leads nowhere"},
      {"absent/file", "the folder " + folder_ + "/absent does not exist"}};
  // Only root makes one; the real ones are not risked here.
  if (mknod((folder_ + "/null").c_str(), S_IFCHR | 0666, makedev(1, 3)) == 0)
    names.emplace_back("null", "is a device, a pipe or a socket");
  // A pipe has no name that a file could be renamed to.
  EXPECT_EQ(shell("{ GTA data tokenizer --input " + folder_ +
                  "/no-work-is-done --vocab-size 320 --out /dev/stdout; "
                  "echo $? >" +
                  folder_ + "/code; } | cat"),
            0);
  EXPECT_EQ(read_file(folder_ + "/code"), "2\n");
  EXPECT_NE(errors().find("/dev/stdout] is a device, a pipe or a socket"), std::string::npos) << errors();
  for (const auto& [name, said] : names) {
    struct stat before {
    }, after{};
    lstat((folder_ + "/" + name).c_str(), &before);
    for (const std::string& command :
         {"eval " + folder_ + "/run --tokens " + folder_ + "/in.npy --logits-out " + folder_ + "/" + name,
          "data tokenizer --input " + folder_ + "/no-work-is-done --vocab-size 320 --out " + folder_ + "/" + name}) {
      EXPECT_EQ(shell("GTA " + command), 2) << command << "\n" << errors();
      EXPECT_NE(errors().find(said), std::string::npos) << command << "\n" << errors();
    }
    lstat((folder_ + "/" + name).c_str(), &after);
    EXPECT_EQ(before.st_mode, after.st_mode) << name;
    EXPECT_EQ(before.st_ino, after.st_ino) << name;
  }
}

TEST_F(Results, VerifyResumeEmptiesNoFolderThatIsNotItsOwn) {
  const std::string precious = folder_ + "/precious", command = "ulimit -t 1; GTA verify-resume " + folder_ +
                                                                "/run.yaml --set train.steps=1000000 --run-dir " +
                                                                precious;
  make_directories(precious + "/whole");
  publish_text(precious + "/whole/thesis.txt", "years of work");
  publish_text(precious + "/whole.log", "a diary");
  EXPECT_EQ(shell(command), 2) << errors();
  EXPECT_NE(errors().find("precious] holds something that verify-resume did not make"), std::string::npos) << errors();
  EXPECT_EQ(read_file(precious + "/whole/thesis.txt"), "years of work");
  EXPECT_EQ(read_file(precious + "/whole.log"), "a diary");

  remove_tree(precious);
  EXPECT_EQ(shell(command), 1) << "the training dies of its limit, and leaves a folder that is this command's";
  publish_text(precious + "/notes.txt", "added by hand");
  EXPECT_EQ(shell(command), 1) << errors();
  EXPECT_NE(errors().find("training did not end well"), std::string::npos) << errors();
  EXPECT_EQ(read_file(precious + "/notes.txt"), "added by hand");
}

TEST_F(Results, ARunsFolderIsTheSameHoweverItsNameEnds) {
  train_one();
  for (const char* ending : {"/", "/.", "//./"})
    EXPECT_EQ(shell("GTA train " + folder_ + "/run.yaml --fresh --run-dir " + folder_ + "/run" + ending), 0)
        << errors();
  EXPECT_TRUE(exists(folder_ + "/run.before-3/metrics.jsonl"));
  EXPECT_EQ(shell("cd " + folder_ + "/run; GTA train " + folder_ + "/run.yaml --fresh --run-dir ."), 2);
  EXPECT_NE(errors().find("cannot be moved aside"), std::string::npos) << errors();
  EXPECT_EQ(shell("cd " + folder_ + "/run; GTA train " + folder_ + "/run.yaml --fresh --run-dir .."), 2)
      << "it holds the run, the text and the shards";

  // A link to a larger disk leads there afterwards too.
  make_directories(folder_ + "/disk");
  rename_path(folder_ + "/run", folder_ + "/disk/run");
  ASSERT_EQ(symlink("disk/run", (folder_ + "/run").c_str()), 0);
  EXPECT_EQ(shell("GTA train " + folder_ + "/run.yaml --fresh --run-dir " + folder_ + "/run/"), 0) << errors();
  EXPECT_TRUE(exists(folder_ + "/disk/run/metrics.jsonl"));
  EXPECT_TRUE(exists(folder_ + "/disk/run.before-1/metrics.jsonl"));
}

TEST(FolderName, HasNoEndingThatSaysNothing) {
  for (const auto& [given, name] : std::vector<std::pair<std::string, std::string>>{{"x", "x"},
                                                                                    {"x/", "x"},
                                                                                    {"x/.", "x"},
                                                                                    {"x/.//", "x"},
                                                                                    {"a/x/./", "a/x"},
                                                                                    {"/", "/"},
                                                                                    {".", "."},
                                                                                    {"./", "."},
                                                                                    {"..", ".."},
                                                                                    {"x/..", "x/.."},
                                                                                    {"x.", "x."},
                                                                                    {"", ""}})
    EXPECT_EQ(folder_name(given), name) << given;
}

}  // namespace
}  // namespace gta
