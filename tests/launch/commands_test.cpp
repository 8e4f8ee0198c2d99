// Whole commands: their exit codes and what they say. 0 done, 1 failed, 2 wrong usage or input, 3 a check did not hold.
#include <sys/file.h>

#include <map>
#include <new>
#include <sstream>
#include <thread>

#include "core/io/hdf5.h"
#include "core/sanitizer.h"
#include "launch/command_line.h"
#include "launch/commands/commands.h"
#include "launch/loaded_model.h"
#include "launch/npy.h"
#include "tests/launch/small_run.h"

namespace gta {
namespace {

const std::string kFixture = std::string(GTA_SOURCE_DIR) + "/tests/fixtures/gta-tiny.h5";

class Commands : public SmallRun {
 protected:
  void expect(int code, const std::string& arguments, const std::string& said = "") {
    remove_tree(folder_ + "/err.txt");
    EXPECT_EQ(gta(arguments), code) << arguments << "\n" << errors();
    EXPECT_NE(errors().find(said), std::string::npos) << arguments << "\n" << errors() << "\nexpected: " << said;
  }
};

TEST(CommandsPage, IsNotStale) {
  EXPECT_EQ(read_file(std::string(GTA_SOURCE_DIR) + "/docs/commands.md"), commands_markdown())
      << "launch/command_line.cpp has changed: gta docs commands > docs/commands.md";
}

TEST_F(Commands, EveryProblemIsALineOfItsOwnThatBeginsAlike) {
  expect(2, "train " + folder_ + "/run.yaml --set model.layers=x --set train.setps=3 --set train.micro_batch_size=3");
  std::istringstream lines(errors());
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) EXPECT_EQ(line.find("gta: error: "), 0u) << line;
  EXPECT_EQ(count, 3) << errors();
}

TEST_F(Commands, UsageThatIsWrongEndsWithTwo) {
  expect(2, "trian");
  expect(2, "generate");
  publish_text(folder_ + "/model.yaml",
               "hidden_size: 32\nlayers: 1\nintermediate_size: 48\nheads: 4\nhead_dim: 8\nvocab_size: 100\nattention: "
               "{type: mha}\n");
  expect(2, "plan " + folder_ + "/model.yaml", "needs a sequence length");
  expect(0, "plan " + folder_ + "/model.yaml --sequence-length 16");
  expect(0, "plan " + folder_ + "/model.yaml --sequence-length 16 --device cuda");  // with a GPU or without
  expect(2, "plan " + folder_ + "/model.yaml --sequence-length 16 --device cuda:0",
         "expected cpu, cuda or auto, got 'cuda:0'");
  expect(2, "verify " + folder_ + "/absent.h5", "does not exist");
  expect(2, "verify " + kFixture + " --dtype float16", "got 'float16'");
  expect(2, "data inspect " + folder_ + "/text.txt", "is not an HDF5 file");
  expect(2, "inspect " + folder_ + "/text.txt", "is not an HDF5 file");
}

TEST_F(Commands, EvalWantsOneThingToScore) {
  ASSERT_EQ(train(load(), options("run")).outcome, TrainOutcome::Finished);
  const std::string run = folder_ + "/run", text = folder_ + "/text.txt", shards = folder_ + "/shards/train-00000.h5";
  expect(2, "eval " + run + " --text " + text + " --data " + shards, "expected one of");
  expect(2, "eval " + run + " --tokens " + folder_ + "/in.npy", "go together");
  expect(2, "eval " + run + " --text " + text + " --logits-out " + folder_ + "/out.npy", "go together");
  expect(2, "eval " + run + " --text " + folder_ + "/absent.txt", "there is no such file");
  expect(2, "eval " + run + " --tokens " + folder_ + "/absent.npy --logits-out " + folder_ + "/out.npy",
         "there is no such file");
  expect(0, "eval " + run + " --data " + shards + " --json");
  publish_text(folder_ + "/empty.txt", "");
  expect(2, "eval " + run + " --text " + folder_ + "/empty.txt", "there is no text to score");
  publish_text(folder_ + "/lines", "{\"text\": \"abc\"}\n");
  expect(2, "eval " + run + " --text " + folder_ + "/lines", "begins as JSON");
  expect(2, "eval " + run + " --tokens " + text + " --logits-out " + folder_ + "/missing/out.npy",
         "the folder " + folder_ + "/missing does not exist");

  const auto tokens = [&](const std::string& shape, const std::vector<int32_t>& values) {
    const std::string header = "{'descr': '<i4', 'fortran_order': False, 'shape': (" + shape + "), }\n";
    publish_text(folder_ + "/in.npy", std::string("\x93NUMPY\x01\x00", 8) + static_cast<char>(header.size()) + '\0' +
                                          header +
                                          std::string(reinterpret_cast<const char*>(values.data()), values.size() * 4));
    return "eval " + run + " --tokens " + folder_ + "/in.npy --logits-out " + folder_ + "/out.npy";
  };
  expect(0, tokens("2, 3", {1, 5, 6, 1, 7, 8}));
  EXPECT_EQ(read_file(folder_ + "/out.npy").size() % 64, 0u + 2 * 3 * 320 * 4 % 64);
  remove_tree(folder_ + "/out.npy");
  expect(2, tokens("6,", {1, 5, 6, 1, 7, 8}), "has 1 dimensions: expected (batch, sequence)");
  expect(2, tokens("2, 3", {1, 5, 6, 1, 7, 320}), "token 320 is outside the vocabulary of 320");
  expect(2, tokens("1, 17", std::vector<int32_t>(17, 5)), "17 tokens are more than max_sequence_length 16");
  EXPECT_FALSE(exists(folder_ + "/out.npy"));
  std::string longer;
  for (int i = 0; i < 40; ++i) longer += "ab cd ";
  expect(2, "generate " + run + " --prompt '" + longer + "'", "the model sees at most 16");
}

TEST_F(Commands, DataReadsWhatItWasGivenOrSaysWhyNot) {
  const std::string input = folder_ + "/lines.txt", named = folder_ + "/lines.JSONL", text = folder_ + "/text.txt";
  publish_text(input, "{\"text\": \"abc\"}\n{\"text\": null}\n");
  publish_text(named, "{\"text\": \"abc\", \"other\": \"b\"}\n");
  const std::string shards =
      "data shards --tokenizer " + folder_ + "/t.model --replace --out " + folder_ + "/made --input ";
  expect(2, shards + input, "lines.txt] begins as JSON and is not named .jsonl: say --format jsonl");
  expect(2, shards + input + " --format jsonl",
         "lines.txt:2] has null in the field 'text': expected a string; --skip-bad-lines");
  EXPECT_FALSE(exists(folder_ + "/made"));
  expect(0, shards + input + " --format jsonl --skip-bad-lines",
         "lines.txt:2] has null in the field 'text': expected a string: left out");
  EXPECT_NE(errors().find("1 bad lines were left out"), std::string::npos) << errors();
  expect(0, shards + named + " --field other", "1 documents, 1 bytes of text");
  expect(2, shards + text + " --field text", "text.txt] is text, which has no field 'text'");
  expect(2, shards + named + " --document-separator ''", "lines.JSONL] is JSON lines, each of which is a document");
  expect(0, shards + text + " --document-separator ''");
  expect(2, shards + text + " --format csv", "csv");
  expect(2, "data tokenizer --input " + text + " --vocab-size 320 --out " + folder_ + "/missing/t.model",
         "the folder " + folder_ + "/missing does not exist");
  expect(2, "data tokenizer --input " + text + " --vocab-size 320 --out " + folder_, "is a folder");
}

TEST_F(Commands, ATokenizerIsTrainedAsAskedAndSaysWhatItMakesOfTextItHasNotSeen) {
  std::string text;
  for (int i = 0; i < 40000; ++i) {
    text += std::to_string(i * 7919 % 10007) + " ";
    for (const int part : {i % 17, i / 17 % 19, i / 300 % 23}) text += static_cast<char>('a' + part);
    text += i % 9 ? "<|sep|>" : " of it\n";
  }
  publish_text(folder_ + "/numbers.txt", text);
  const std::string model = folder_ + "/numbers.model",
                    train = "data tokenizer --vocab-size 320 --out " + model + " --input " + folder_;
  expect(0,
         train + "/numbers.txt --split-digits --user-symbols '<|sep|>,<|a|>' --user-symbols '<|b|>' " +
             "--character-coverage 1",
         " kB of text that it was not trained on (2% of the text");
  const std::string before = read_file(model);
  expect(2, train + "/text.txt", "numbers.model] is there already: --replace writes it anew");
  EXPECT_EQ(read_file(model), before);
  const Tokenizer tokenizer = Tokenizer::load(model);
  EXPECT_EQ(tokenizer.encode("<|sep|><|a|><|b|>1234").size(), 1 + 3 + 4u) << "and the space before the text";
  publish_text(folder_ + "/short.txt", "few words only, of which nothing can be held out\n" + text.substr(0, 3000));
  expect(0, train + "/short.txt --replace", "no bytes a token are said");
  expect(2, train + "/numbers.txt --replace --user-symbols '<|a|>,two words'",
         "'two words' cannot be a symbol of yours");
  expect(2, train + "/numbers.txt --character-coverage 0.5", "--character-coverage: expected a number from 0.98 to 1");
}

TEST_F(Commands, DataShardsSaysWhatItTookForDocuments) {
  std::string text, joined;
  for (int i = 0; i < 300; ++i)
    text += "document " + std::to_string(i) + std::string(static_cast<size_t>(i), 'x') + "\n<|end|>\n";
  for (int i = 0; i < 60000; ++i) joined += "a short document<|end|>\n";
  publish_text(folder_ + "/many.txt", text);
  publish_text(folder_ + "/joined.txt", joined);
  publish_text(folder_ + "/list", folder_ + "/many.txt\n" + folder_ + "/text.txt\n");
  const std::string shards = "data shards --tokenizer " + folder_ + "/t.model --out " + folder_ + "/made ",
                    separated = "--document-separator '<[|]end[|]>' ";
  expect(0, shards + separated + "--hold-out 0.1 --files-from " + folder_ + "/list",
         "301 documents in 2 files; bytes of a document: least 11, median ");
  for (const char* part :
       {"/made/train-00000.h5: ", "/made/validation-00000.h5: ", "held out by the hash of their text: "})
    EXPECT_NE(errors().find(part), std::string::npos) << errors();
  EXPECT_EQ(errors().find("warning"), std::string::npos) << errors();
  expect(2, shards + separated + "--input " + folder_ + "/many.txt", "--replace writes all of them anew");
  expect(0, shards + separated + "--replace --input " + folder_ + "/joined.txt",
         "the document separator '<[|]end[|]>' stands within 60000 lines");
  EXPECT_NE(errors().find("joined.txt:1) and is the whole of 0"), std::string::npos) << errors();
  EXPECT_NE(errors().find("nothing is held out of 'train'"), std::string::npos) << errors();
  EXPECT_NE(errors().find("the document separator matches none of its lines as a whole"), std::string::npos);
  expect(0, shards + "--replace --input " + folder_ + "/joined.txt",
         "joined.txt is one document of more than a megabyte");
  EXPECT_NE(errors().find("--document-separator REGEX cuts at lines"), std::string::npos) << errors();
  expect(2, shards, "there is no input: name files with --input");
  publish_text(folder_ + "/list", folder_ + "/many.txt\n" + folder_ + "/absent\n");
  expect(2, shards + "--name other --files-from " + folder_ + "/list",
         "/list:2] there is no file '" + folder_ + "/absent'");
  publish_text(folder_ + "/list", "\n");
  expect(2, shards + "--name other --files-from - <" + folder_ + "/list", "standard input] names no files");
  publish_text(folder_ + "/list", folder_ + "/text.txt\n");
  expect(0, shards + "--name other --files-from - <" + folder_ + "/list", "1 documents in 1 files");
  expect(2, shards + "--input x --hold-out 1", "--hold-out: expected a number from 0 to 0.99, got '1'");
}

TEST_F(Commands, ValuesOfTheCommandLineAreCheckedAndSaidInItsOwnWords) {
  const std::string run = folder_ + "/run.yaml";
  for (const auto& [arguments, said] : std::vector<std::pair<std::string, std::string>>{
           {"plan " + run + " --sequence-length -5",
            "--sequence-length: expected an integer from 1 to 16777216, got '-5'; see 'gta plan --help'"},
           {"plan " + run + " --sequence-length 0",
            "--sequence-length: expected an integer from 1 to 16777216, got '0'"},
           {"plan " + run + " --sequence-length 1e3", "--sequence-length: expected an integer"},
           {"plan " + run + " --sequence-length 99999999999999999999", "--sequence-length: expected an integer"},
           {"generate x --prompt a --temperature nan", "--temperature: expected a number from 0 to 1000, got 'nan'"},
           {"generate x --prompt a --temperature inf", "--temperature: expected a number from 0 to 1000"},
           {"generate x --prompt a --temperature -0.1", "--temperature: expected a number from 0 to 1000"},
           {"generate x --prompt a --top-p 1.5", "--top-p: expected a number from 0 to 1, got '1.5'"},
           {"generate x --prompt a --top-p nan", "--top-p: expected a number from 0 to 1"},
           {"generate x --prompt a --top-k -1", "--top-k: expected an integer from 0 to "},
           {"generate x --prompt a --seed -1", "--seed: expected an integer from 0 to "},
           {"generate x --prompt a --max-tokens -1",
            "--max-tokens: expected an integer from 1 to 1000000000000000, got '-1'"},
           {"generate x --prompt a --max-tokens 9223372036854775807", "--max-tokens: expected an integer from 1 to "},
           {"eval x --data y --max-tokens -1", "--max-tokens: expected an integer from 0 to "},
           {"eval x --text y --window 0", "--window: expected an integer from 1 to "},
           {"train " + run + " --profile 0", "--profile: expected an integer from 1 to "},
           {"train " + run + " --threads 0", "--threads: expected an integer from 1 to 1024, got '0'"},
           {"train " + run + " --log-level loud",
            "--log-level: expected one of debug, info, warning, error, got 'loud'"},
           {"train " + run + " --run-dir ''", "--run-dir: expected a name, got ''"},
           {"data tokenizer --input x --out y --vocab-size 299",
            "--vocab-size: expected an integer from 300 to 1048576, got '299'"},
           {"data shards --input x --out y --tokenizer z --shard-tokens 0",
            "--shard-tokens: expected an integer from 1 to "},
           {"verify-resume " + run + " --kills -1", "--kills: expected an integer from 0 to "},
           {"verify-resume " + run + " --stops -1", "--stops: expected an integer from 0 to "},
           {"bench step " + run + " --data-sheet-tflops 0",
            "--data-sheet-tflops: expected a number above 0 to 1000000"},
           {"train", "'gta train' needs config (YAML, docs/configuration.md); see 'gta train --help'"},
           {"generate x", "'gta generate' needs --prompt (text to continue)"},
           {"data", "'gta data' needs one of the commands tokenizer, shards, inspect"},
           {"trian", "'trian' is no command of 'gta'; did you mean train?"},
           {"eval x --txt y", "'--txt' is no option of 'gta eval'; did you mean --text?"},
           {"generate x --promt a", "'--promt' is no option of 'gta generate'; did you mean --prompt?"},
           {"data shrds", "'shrds' is no command of 'gta data'; did you mean shards?; see 'gta data --help'"},
           {"docs config", "'config' is no command of 'gta docs'; did you mean configuration?"},
           {"docs nothing", "'nothing' is no command of 'gta docs'; see"},
           {"generate x --prompt a --temp 1", "'--temp' is no option of 'gta generate'; did you mean --temperature?"},
           {"data shards --holdout 0.1", "'--holdout' is no option of 'gta data shards'; did you mean --hold-out?"},
           {"train " + run + " --steps 10",
            "'--steps' is no option of 'gta train'; did you mean --set train.steps=VALUE?"},
           {"plan " + run + " --learning-rate=1",
            "'--learning-rate' is no option of 'gta plan'; did you mean --set optimizer.learning_rate=VALUE?"},
           {"eval x --steps 10", "'--steps' is no option of 'gta eval'; see"},
           {"data shards --input x --out y --tokenizer z --format json",
            "--format: expected one of auto, text, jsonl, got 'json'; did you mean jsonl?"},
           {"bench step " + run + " --dtype bf16",
            "--dtype: expected one of float32, bfloat16, float64, got 'bf16'; did you mean bfloat16?"},
           {"bench step " + run + " --recompute blocks",
            "--recompute: expected one of none, elementwise, block, got 'blocks'; did you mean block?"},
           {"verify " + kFixture + " --dtype float64 fp32",
            "--dtype: expected one of float32, bfloat16, float64, got 'fp32'; did you mean float32?"},
           {"plan x --log-level warn",
            "--log-level: expected one of debug, info, warning, error, got 'warn'; did you mean warning?"},
           {"generate x --prompt a --set model.rope_tetha=3",
            "[--set] model.rope_tetha cannot be changed for a trained model: expected one of " + loaded_model_keys() +
                "; did you mean model.rope_theta?"},
           {"plan x --set a=1 b=2", "'b' is no argument of 'gta plan'"},
           {"train " + run + " --max-tokens=4", "'--max-tokens' is no option of 'gta train'"},
           {"train " + run + " another.yaml", "'another.yaml' is no argument of 'gta train'"},
           {"generate x --prompt a --seed", "--seed needs a value"},
           {"generate x --prompt a --seed 1 --seed 2", "--seed is given 2 times: expected one"},
           {"eval x --text y --json=maybe", "--json takes no value"}}) {
    expect(2, arguments, "gta: error: " + said);
    EXPECT_EQ(errors().find("e+308"), std::string::npos) << errors();
  }
}

TEST_F(Commands, TheStartSaysHowManyThreadsCompute) {
  for (const char* threads : {"1 thread", "3 threads"})
    expect(0,
           fmt::format("train {0}/run.yaml --device cpu --set train.steps=2 --threads {1:.1} --run-dir {0}/with-{1:.1}",
                       folder_, threads),
           fmt::format("device   cpu, {}: products reach ", threads));
}

// A training that saves each step and keeps one checkpoint removes what others are about to read: they take the next.
TEST_F(Commands, ARunIsReadWhileItsTrainingPrunes) {
  const std::string run = folder_ + "/run", latest = run + "/checkpoints/latest",
                    train = "train " + folder_ + "/run.yaml --run-dir " + run +
                            " --set train.checkpoint.every_steps=1 --set train.checkpoint.keep=1";
  ASSERT_EQ(gta(train + " --set train.steps=2"), 0) << errors();
  std::thread beside([&] {
    const int status = std::system(
        ("sh -c 'echo $$ >" + folder_ + "/pid; exec " + kGta + " " + train + " --set train.steps=1000000' 2>/dev/null")
            .c_str());
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 75) << status;
  });
  std::string problems;
  for (int round = 0; round < 6; ++round)
    for (const std::string& command :
         {"inspect " + run, "inspect " + latest, "generate " + run + " --prompt a",
          "generate " + latest + " --prompt a --max-tokens 3", "eval " + run, "eval " + latest}) {
      const std::string said = folder_ + "/said.txt";
      const int status = std::system((kGta + " " + command + " >/dev/null 2>" + said).c_str());
      if (status != 0 || read_file(said).find("damaged") != std::string::npos)
        problems += command + ": " + read_file(said);
    }
  EXPECT_EQ(std::system(("kill $(cat " + folder_ + "/pid)").c_str()), 0);
  beside.join();
  EXPECT_EQ(problems, "");
}

TEST_F(Commands, OptionsThatWouldChangeNothingAreRefused) {
  ASSERT_EQ(train(load({"train.steps=2"}), options("run")).outcome, TrainOutcome::Finished);
  const std::string eval = "eval " + folder_ + "/run ", text = "--text " + folder_ + "/text.txt ",
                    data = "--data " + folder_ + "/shards/train-00000.h5 ",
                    longer = "--set model.max_sequence_length=64 ",
                    tokens = "--tokens " + folder_ + "/in.npy --logits-out " + folder_ + "/out.npy ";
  expect(
      2, eval + text + longer,
      "[--set] model.max_sequence_length changes nothing: a window has data.sequence_length tokens; give --window N");
  expect(2, eval + text + "--max-tokens 5", "--max-tokens is for --data SHARDS");
  expect(2, eval + tokens + "--max-tokens 5", "--max-tokens is for --data SHARDS");
  expect(2, eval + tokens + "--window 5", "--window is for --text and --data");
  expect(2, eval + tokens + "--json", "--json says nothing beside --logits-out");
  expect(2, eval + tokens + "--set data.document_mask=true", "data.document_mask changes nothing of --logits-out");
  expect(2, "generate " + folder_ + "/run --prompt a --set data.document_mask=true",
         "data.document_mask changes nothing: the prompt");
  expect(2, eval + text + "--window 17",
         "--window 17 is more than model.max_sequence_length 16: raise that with --set model.max_sequence_length=17");
  publish_text(folder_ + "/model.yaml",
               "hidden_size: 32\nlayers: 1\nintermediate_size: 48\nheads: 4\nhead_dim: 8\nvocab_size: 100\nattention: "
               "{type: mha}\n");
  expect(2, "bench step " + folder_ + "/model.yaml --set train.micro_batch_size=8",
         "--set train.micro_batch_size=8: changes nothing");

  // The same windows give the same loss, others another.
  const auto loss = [&](const std::string& arguments) {
    remove_tree(folder_ + "/out.txt");
    expect(0, arguments + "--json");
    return read_file(folder_ + "/out.txt");
  };
  for (const std::string& source : {text, data}) {
    const std::string plain = loss(eval + source);
    EXPECT_EQ(loss(eval + source + "--window 16 "), plain);
    EXPECT_NE(loss(eval + source + "--window 8 "), plain) << "less is seen of what came before";
    EXPECT_NE(loss(eval + source + "--window 64 " + longer), plain) << "more is";
  }
}

TEST_F(Commands, DamageIsRefusedByEveryCommandThatReads) {
  ASSERT_EQ(train(load(), options("run")).outcome, TrainOutcome::Finished);
  const auto damage = [](const std::string& path, int64_t at) {
    std::string bytes = read_file(path);
    bytes[static_cast<size_t>(at)] ^= 1;
    publish_text(path, bytes);
  };
  const std::string shard = folder_ + "/shards/train-00000.h5", checkpoint = folder_ + "/run/checkpoints/step-00000012";
  expect(0, "data inspect " + shard);
  damage(shard, hdf5::Reader(shard).dataset("/tokens").offset + 10);
  expect(2, "data inspect " + shard, "train-00000.h5] is damaged: tokens 0 to ");
  expect(2, "eval " + folder_ + "/run --data " + shard, "train-00000.h5] is damaged");
  expect(2, "train " + folder_ + "/run.yaml --run-dir " + folder_ + "/fresh", "train-00000.h5] is damaged");
  expect(1, "verify-resume " + folder_ + "/run.yaml --run-dir " + folder_ + "/resume",
         "training did not end well: see ");
  damage(checkpoint + "/rank-0000-of-0001.h5", 100000);
  for (const std::string& command :
       {std::string("inspect "), std::string("generate --prompt a "), "eval --text " + folder_ + "/text.txt "})
    expect(2, command + checkpoint, "step-00000012] is damaged");
  expect(0, "generate --prompt a " + folder_ + "/run", "skips a damaged checkpoint");
  publish_text(folder_ + "/t.model", "no tokenizer");
  expect(2, "train " + folder_ + "/run.yaml --run-dir " + folder_ + "/fresh", "t.model] is not a sentencepiece model");
}

// Exit code 2 says that nothing was started.
TEST_F(Commands, DamageThatIsMetInTheMiddleOfATrainingIsAFailure) {
  const Tokenizer tokenizer = Tokenizer::load(folder_ + "/t.model");
  const std::vector<std::string> shards =
      write_shards(tokenizer, {folder_ + "/documents.txt"}, {}, folder_ + "/many", "m", 1000000);
  const std::vector<std::string> others =
      write_shards(tokenizer, {folder_ + "/text.txt"}, {}, folder_ + "/many", "n", 1000000);
  std::string bytes = read_file(others[0]);
  bytes[static_cast<size_t>(hdf5::Reader(others[0]).dataset("/tokens").offset) + 10] ^= 1;
  publish_text(others[0], bytes);
  const std::string arguments = "train " + folder_ +
                                "/run.yaml --set train.steps=400 --set train.global_batch_size=1 --set "
                                "train.micro_batch_size=1 --set data.validation=[] "
                                "--set 'data.train=[{shards: " +
                                folder_ + "/many/m-00000.h5, weight: 100}, {shards: " + folder_ +
                                "/many/n-00000.h5, weight: 1}]' --run-dir ";
  expect(1, arguments + folder_ + "/middle", "n-00000.h5] is damaged");
  EXPECT_GT(read_file(folder_ + "/middle/metrics.jsonl").size(), 0u) << "this test wants a step before the damage";
}

TEST_F(Commands, WhoseMistakeItIsDecidesTheExitCode) {
  const std::pair<ErrorKind, int> codes[] = {{ErrorKind::BadInput, 2},
                                             {ErrorKind::Failed, 1},
                                             {ErrorKind::Internal, 1},
                                             {ErrorKind::OutOfMemory, 1},
                                             {ErrorKind::CheckFailed, kExitCheckFailed}};
  for (const auto& [kind, code] : codes) {
    testing::internal::CaptureStderr();
    EXPECT_EQ(report(Error(kind, "swiglu", "expected one thing, got another")), code);
    const std::string said = testing::internal::GetCapturedStderr();
    EXPECT_NE(said.find("gta: error: [swiglu] expected one thing, got another\n"), std::string::npos) << said;
    EXPECT_EQ(said.find("this is a mistake in gta itself") != std::string::npos, kind == ErrorKind::Internal) << said;
  }
}

// Only the order of calls shows what a power cut would leave.
// The shards change under the uninterrupted run, which has them open: the interrupted one trains on others.
TEST_F(Commands, VerifyResumeSeesADifference) {
  const std::string base = folder_ + "/resume";
  const pid_t child = fork();
  if (child == 0) {
    execl(kGta.c_str(), "gta", "verify-resume", (folder_ + "/run.yaml").c_str(), "--run-dir", base.c_str(), "--set",
          "train.steps=600", "--set", "train.checkpoint.every_steps=20", "--kills", "1", "--stops", "1", "--log-level",
          "error", nullptr);
    _exit(127);
  }
  int status = 0;
  while (!exists(base + "/whole/metrics.jsonl") && waitpid(child, &status, WNOHANG) == 0) usleep(5000);
  publish_text(folder_ + "/other.txt", read_file(folder_ + "/text.txt").substr(1000));
  write_shards(Tokenizer::load(folder_ + "/t.model"), {folder_ + "/other.txt"}, {}, folder_ + "/shards", "train");
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), kExitCheckFailed);
}

// A second of processor time, then the kernel ends the process with a signal of its own.
TEST_F(Commands, VerifyResumeSaysThatATrainingDied) {
  const std::string base = folder_ + "/died";
  const int status =
      std::system(("ulimit -t 1; " + kGta + " verify-resume " + folder_ +
                   "/run.yaml --set train.steps=1000000 --run-dir " + base + " 2>" + folder_ + "/died.txt")
                      .c_str());
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 1);
  const std::string text = read_file(folder_ + "/died.txt");
  EXPECT_NE(text.find("training did not end well: see " + base + "/whole.log"), std::string::npos) << text;
}

// Killed without a chance to end what it has started.
TEST_F(Commands, VerifyResumeTakesItsTrainingAlongWhenItDies) {
  const std::string base = folder_ + "/dying", config = folder_ + "/run.yaml";
  const pid_t child = fork();
  if (child == 0) {
    execl(kGta.c_str(), "gta", "verify-resume", config.c_str(), "--run-dir", base.c_str(), "--set",
          "train.steps=1000000", nullptr);
    _exit(127);
  }
  const std::string lock = base + "/whole/run.lock";
  while (!exists(base + "/whole/metrics.jsonl") && waitpid(child, nullptr, WNOHANG) == 0)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  const File file(lock, File::Mode::ReadWrite);
  EXPECT_EQ(flock(file.descriptor(), LOCK_EX), 0) << "waits for ever for a training that goes on";
}

TEST_F(Commands, MemoryThatTheSystemDoesNotHaveIsSaid) {
  if (kAddressSanitizer || kThreadSanitizer) GTEST_SKIP() << "a sanitizer's shadow memory does not fit under ulimit -v";
  ASSERT_EQ(train(load({"train.steps=2"}), options("run")).outcome, TrainOutcome::Finished);
  ASSERT_EQ(std::system(("yes word | head -c 500M >" + folder_ + "/huge.txt").c_str()), 0);
  const int status =
      std::system(("ulimit -v 600000; " + kGta + " eval " + folder_ + "/run --threads 1 --device cpu --text " +
                   folder_ + "/huge.txt 2>" + folder_ + "/memory.txt")
                      .c_str());
  EXPECT_EQ(WEXITSTATUS(status), 1);
  const std::string text = read_file(folder_ + "/memory.txt");
  for (const char* part : {"the system has no memory left", "raise the limit on it (ulimit -v"})
    EXPECT_NE(text.find(part), std::string::npos) << text;
  EXPECT_EQ(text.find("train.micro_batch_size"), std::string::npos) << text;
}

// sentencepiece, for one, throws on threads of its own, where nobody can catch it.
TEST(EndOfTheProgram, MemoryThatALibrarysThreadDoesNotFindIsSaidWithTheCodeOfAFailure) {
  const auto end = [] {
    std::string words[] = {"gta", "--version"};
    char* arguments[] = {words[0].data(), words[1].data()};
    run_command_line(2, arguments);
    std::thread([] { throw std::bad_alloc(); }).join();
  };
  EXPECT_EXIT(end(), testing::ExitedWithCode(1),
              "^gta: error: .memory. the system has no memory left\ngta: error: free some memory, raise the limit");
}

TEST_F(Commands, WhatTheyWriteIsOnDiskBeforeItHasItsName) {
  if (std::system("strace -qq -o /dev/null true >/dev/null 2>&1") != 0)
    GTEST_SKIP() << "strace is not installed, or tracing is not allowed here";
  const std::string trace = folder_ + "/trace";
  for (const std::string& arguments :
       {"data tokenizer --vocab-size 320 --input " + folder_ + "/text.txt --out " + folder_ + "/new/a.model",
        "data shards --shard-tokens 300 --document-separator '[abc].*' --tokenizer " + folder_ + "/t.model --input " +
            folder_ + "/text.txt --out " + folder_ + "/new --name a"}) {
    make_directories(folder_ + "/new");
    ASSERT_EQ(std::system(("ASAN_OPTIONS=detect_leaks=0:$ASAN_OPTIONS strace -f -y -o " + trace +
                           " -e trace=pwrite64,fsync,rename " + kGta + " " + arguments + " 2>/dev/null")
                              .c_str()),
              0);
    std::istringstream lines(read_file(trace));
    std::map<std::string, bool> on_disk;  // by path: nothing was written since the last fsync
    int renamed = 0;
    std::string last;
    for (std::string line; std::getline(lines, line);) {
      const std::string described = line.substr(std::min(line.find('<'), line.size() - 1) + 1),
                        path = described.substr(0, described.find('>'));
      if (line.find("pwrite64(") != std::string::npos) on_disk[path] = false;
      if (line.find("fsync(") != std::string::npos) on_disk[path] = true;
      if (const size_t at = line.find("rename(\""); at != std::string::npos) {
        const std::string from = line.substr(at + 8, line.find('"', at + 8) - at - 8);
        EXPECT_TRUE(on_disk.count(from) && on_disk[from]) << line;
        on_disk[folder_ + "/new"] = false;
        last = from;
        ++renamed;
      }
    }
    EXPECT_GE(renamed, 1) << arguments;
    EXPECT_TRUE(last.find("/a.model.") != std::string::npos || last.find("/a-00000.h5.") != std::string::npos)
        << "when the first shard is there, all are; the last was " << last;
    EXPECT_TRUE(on_disk[folder_ + "/new"]) << "the new names are not synced: " << arguments;
  }
  EXPECT_TRUE(exists(folder_ + "/new/a-00001.h5")) << "one shard alone has no order";
}

TEST_F(Commands, AFixtureThatDoesNotHoldEndsWithThree) {
  expect(0, "verify " + kFixture);  // float64 on the CPU, the others on whatever device there is
  for (const char* said : {"float64 on cpu", "float32 on ", "bfloat16 on "})
    EXPECT_NE(read_file(folder_ + "/out.txt").find(said), std::string::npos) << said;
  publish_text(folder_ + "/wrong.h5", read_file(kFixture));
  const std::string python = "/usr/bin/python3 -c \"import h5py; f = h5py.File('" + folder_ +
                             "/wrong.h5', 'r+'); f['losses'][3] += 0.01\" 2>/dev/null";
  if (std::system(python.c_str()) != 0) GTEST_SKIP() << "python3-h5py is not installed";
  expect(kExitCheckFailed, "verify " + folder_ + "/wrong.h5 --dtype float64");
  EXPECT_NE(read_file(folder_ + "/out.txt").find("FAIL  losses"), std::string::npos);
}

}  // namespace
}  // namespace gta
