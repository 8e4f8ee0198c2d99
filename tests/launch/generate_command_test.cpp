// gta generate as a program: many prompts, samples, a conversation on a terminal.
#include <fcntl.h>
#include <poll.h>
#include <pty.h>

#include <chrono>
#include <csignal>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "launch/trainer.h"
#include "tests/launch/small_run.h"

namespace gta {
namespace {

class GenerateCommandTest : public SmallRun {
 protected:
  void SetUp() override {
    SmallRun::SetUp();
    ASSERT_EQ(train(load({"train.steps=3", "model.max_sequence_length=64"}), options("run")).outcome,
              TrainOutcome::Finished);
  }
  // What `gta generate RUN ARGUMENTS` prints on stdout; standard error goes to errors().
  std::string said(const std::string& arguments, int code = 0, const std::string& input = "/dev/null") {
    for (const char* name : {"/out.txt", "/err.txt"})
      if (exists(folder_ + name)) remove_tree(folder_ + name);
    EXPECT_EQ(gta("generate " + folder_ + "/run --device cpu " + arguments + " <" + input), code) << errors();
    return exists(folder_ + "/out.txt") ? read_file(folder_ + "/out.txt") : "";
  }
  static std::vector<nlohmann::json> json_lines(const std::string& text) {
    std::vector<nlohmann::json> lines;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) lines.push_back(nlohmann::json::parse(line));
    return lines;
  }
  std::string prompts(const std::string& text) {
    publish_text(folder_ + "/prompts.jsonl", text);
    return folder_ + "/prompts.jsonl";
  }
};

TEST_F(GenerateCommandTest, AnswersAFileOfPromptsInItsOrderAndAsEachAlone) {
  const std::string file = prompts(
      "\xef\xbb\xbf{\"prompt\": \"abc\", \"max_tokens\": 30, \"id\": \"long\"}\n\n"
      "{\"prompt\": \"de f\", \"max_tokens\": 2, \"seed\": 5, \"logprobs\": true, \"id\": 7}\n"
      "{\"prompt\": \"\", \"temperature\": 0, \"max_tokens\": 3}\r\n"
      "{\"prompt\": \"g\", \"max_tokens\": 4, \"stop\": \"never there\"}");
  const std::string text = said("--batch " + file + " --batch-size 2 --max-tokens 9 --seed 11");
  const std::vector<nlohmann::json> answers = json_lines(text);
  ASSERT_EQ(answers.size(), 4u);
  EXPECT_EQ(answers[0]["id"], "long");
  EXPECT_EQ(answers[1]["id"], 7);
  EXPECT_EQ(answers[1]["logprobs"].size(), answers[1]["tokens"].size());
  EXPECT_FALSE(answers[0].contains("logprobs"));
  EXPECT_EQ(answers[2]["prompt_tokens"], 1) << "BOS";
  EXPECT_EQ(answers[3]["seed"], 11);
  EXPECT_NE(errors().find("4 prompts of"), std::string::npos) << errors();
  EXPECT_NE(errors().find("2 at once at most, cache"), std::string::npos) << errors();
  nlohmann::json alone = json_lines(said("--prompt 'de f' --max-tokens 2 --seed 5 --json --logprobs"))[0];
  EXPECT_EQ(alone["tokens"], answers[1]["tokens"]);
  EXPECT_EQ(alone["finish_reason"], answers[1]["finish_reason"]);
  said("--batch " + file + " --batch-size 2 --max-tokens 9 --seed 11 --out " + folder_ + "/answers.jsonl");
  EXPECT_EQ(read_file(folder_ + "/answers.jsonl"), text);
}

TEST_F(GenerateCommandTest, RefusesAFileOfPromptsLineByLineBeforeAnythingIsGenerated) {
  std::string longest;
  for (int i = 0; i < 200; ++i) longest += "q w ";
  const std::vector<std::pair<std::string, std::string>> lines = {
      {R"({"prompt": "good"})", ""},
      {R"({"prompt": 5})", "'prompt' is 5: expected a string"},
      {R"({"max_tokens": 5})", "has no field 'prompt' (it has: max_tokens)"},
      {R"(["prompt"])", "is an array: expected an object on each line"},
      {R"({"prompt": "a")", "is not JSON at byte"},
      {R"({"prompt": "a", "prompt": "b"})", "has 'prompt' twice"},
      {R"({"prompt": "a", "max_tokns": 3})", "'max_tokns' is no field of a prompt; did you mean max_tokens?"},
      {R"({"prompt": "a", "max_tokens": 0})", "'max_tokens' is 0: expected an integer from 1 to "},
      {R"({"prompt": "a", "max_tokens": 18446744073709551615})", "'max_tokens' is 18446744073709551615: expected"},
      {R"({"prompt": "a", "seed": -1})", "'seed' is -1: expected an integer from 0 to "},
      {R"({"prompt": "a", "seed": 1.5})", "'seed' is 1.5: expected an integer"},
      {R"({"prompt": "a", "temperature": 1001})", "'temperature' is 1001: expected a number from 0 to 1000"},
      {R"({"prompt": "a", "temperature": 1e999})", "has a number that is too large"},
      {R"({"prompt": "a", "top_p": 1.01})", "'top_p' is 1.01: expected a number from 0 to 1"},
      {R"({"prompt": "a", "min_p": "0.1"})", "'min_p' is a string: expected a number"},
      {R"({"prompt": "a", "repetition_penalty": 0})", "'repetition_penalty' is 0: expected a number from 0.01 to 100"},
      {R"({"prompt": "a", "stop": ["b", ""]})", "'stop' has an empty string"},
      {R"({"prompt": "a", "stop": [1]})", "'stop' is an array: expected an array of strings"},
      {R"({"prompt": "a", "logprobs": 1})", "'logprobs' is 1: expected true or false"},
      {R"({"prompt": "a", "id": {}})", "'id' is an object: expected a string or an integer"},
      {"{\"prompt\": \"" + longest + "\"}", "the model sees at most 64"}};
  for (size_t begin = 0; begin < lines.size(); begin += 10) {  // of more than twenty the rest is only counted
    std::string text;
    for (size_t i = begin; i < std::min(begin + 10, lines.size()); ++i) text += lines[i].first + "\n";
    EXPECT_EQ(said("--batch " + prompts(text) + " --out " + folder_ + "/answers.jsonl", 2), "");
    EXPECT_FALSE(exists(folder_ + "/answers.jsonl"));
    for (size_t i = begin; i < std::min(begin + 10, lines.size()); ++i) {
      const std::string place = "gta: error: [" + folder_ + "/prompts.jsonl:" + std::to_string(i - begin + 1) + "] ";
      EXPECT_EQ(errors().find(place + (lines[i].second.rfind("the model", 0) == 0 ? "" : lines[i].second)) !=
                    std::string::npos,
                !lines[i].second.empty())
          << place << lines[i].second << "\n"
          << errors();
    }
  }
  EXPECT_NE(errors().find("the model sees at most 64"), std::string::npos) << errors();
  said("--batch " + prompts("{\"prompt\": \"a\xff\"}\n" + std::string(100, '[') + std::string(100, ']') + "\n" +
                            R"({"prompt": {"a": )" + std::string(40, '[') + std::string(40, ']') + "}}\n"),
       2);
  EXPECT_NE(errors().find("prompts.jsonl:1] is not JSON at byte 14"), std::string::npos) << errors();
  EXPECT_NE(errors().find("prompts.jsonl:2] has more than 16 objects and arrays"), std::string::npos) << errors();
  EXPECT_NE(errors().find("prompts.jsonl:3] has more than 16 objects and arrays"), std::string::npos) << errors();
  said("--batch " + prompts("\n \n"), 2);
  EXPECT_NE(errors().find("has no line: expected a JSON object on each"), std::string::npos) << errors();
}

TEST_F(GenerateCommandTest, OptionsThatChangeNothingAreRefused) {
  const std::string file = prompts("{\"prompt\": \"a\"}\n");
  for (const auto& [arguments, problem] : std::vector<std::pair<std::string, std::string>>{
           {"--prompt a --interactive", "expected one of --prompt TEXT, --batch FILE, --interactive, not several"},
           {"--prompt a --out x", "--out is for --batch FILE"},
           {"--prompt a --batch-size 3", "--batch-size is for --batch FILE"},
           {"--batch " + file + " --samples 3", "--samples is for --prompt"},
           {"--batch " + file + " --json", "--json is for --prompt"},
           {"--prompt a --samples 3 --temperature 0", "would be the same text 3 times"},
           {"--prompt a --logprobs", "--logprobs is for --json or --batch FILE"},
           {"--batch " + folder_ + "/absent.jsonl", "there is no such file"},
           {"--batch " + file + " --out " + file, "is there already: expected the name of a new file"},
           {"--prompt a --stop ''", "--stop: expected a name, got ''"},
           {"--prompt a --min-p 1.1", "--min-p: expected a number from 0 to 1, got '1.1'"},
           {"--prompt a --repetition-penalty 0",
            "--repetition-penalty: expected a number from 0.01 to 100, got '0'"}}) {
    said(arguments, 2);
    EXPECT_NE(errors().find(problem), std::string::npos) << arguments << "\n" << errors();
  }
  EXPECT_EQ(read_file(file), "{\"prompt\": \"a\"}\n");
}

TEST_F(GenerateCommandTest, SamplesAreWhatTheirSeedsGiveAlone) {
  const std::string common = "--prompt abc --max-tokens 12 --temperature 1 ";
  std::string expected;
  for (int i = 0; i < 3; ++i)
    expected += "--- sample " + std::to_string(i + 1) + ", seed " + std::to_string(40 + i) + "\n" +
                said(common + "--seed " + std::to_string(40 + i));
  EXPECT_EQ(said(common + "--seed 40 --samples 3"), expected);
  const std::vector<nlohmann::json> answers = json_lines(said(common + "--seed 40 --samples 3 --json"));
  ASSERT_EQ(answers.size(), 3u);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(answers[i]["seed"], 40 + i);
    EXPECT_NE(expected.find("\nabc" + answers[i]["text"].get<std::string>() + "\n"), std::string::npos) << i;
  }
}

TEST_F(GenerateCommandTest, AConversationTakesLinesFromAnything) {
  publish_text(folder_ + "/lines.txt", "abc\n\n\xff\nde");
  const std::string text = said("--interactive --max-tokens 3 --temperature 0", 0, folder_ + "/lines.txt");
  EXPECT_NE(errors().find("the line is no UTF-8 at byte 0"), std::string::npos) << errors();
  const std::string first = said("--prompt abc --max-tokens 3 --temperature 0");
  EXPECT_EQ(text.find(first.substr(3)), 0u) << text << first;
  EXPECT_EQ(text.back(), '\n');
  EXPECT_EQ(said("--interactive", 0), "") << "no line, no answer";
}

// A program on a terminal of its own.
class OnTerminal {
 public:
  explicit OnTerminal(const std::vector<std::string>& words) {
    process_ = ::forkpty(&terminal_, nullptr, nullptr, nullptr);
    if (process_ != 0) return;
    std::vector<char*> arguments;
    for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    ::execv(arguments[0], arguments.data());
    _exit(127);
  }
  ~OnTerminal() {
    ::kill(process_, SIGKILL);
    if (!ended_) ::waitpid(process_, nullptr, 0);
    ::close(terminal_);
  }
  void type(const std::string& text) {
    ASSERT_EQ(::write(terminal_, text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  // Reads until `text` was shown, from behind what was waited for before; false after a minute or at the end.
  bool waits_for(const std::string& text) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (true) {
      const size_t at = screen_.find(text, seen_);
      if (at != std::string::npos) {
        seen_ = at + text.size();
        return true;
      }
      pollfd poll{terminal_, POLLIN, 0};
      char buffer[4096];
      const ssize_t count = ::poll(&poll, 1, 1000) > 0 ? ::read(terminal_, buffer, sizeof buffer) : 0;
      if (count < 0 || std::chrono::steady_clock::now() > end) return false;
      screen_.append(buffer, static_cast<size_t>(count));
    }
  }
  int exit_code() {
    while (waits_for(std::string(1, '\0'))) {
    }
    int status = 0;
    ::waitpid(process_, &status, 0);
    ended_ = true;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  const std::string& screen() const { return screen_; }

 private:
  pid_t process_ = 0;
  int terminal_ = -1;
  bool ended_ = false;
  std::string screen_;
  size_t seen_ = 0;
};

TEST_F(GenerateCommandTest, CtrlCStopsAnAnswerAndNotTheProgramAndCtrlDEndsIt) {
  OnTerminal program({kGta, "generate", folder_ + "/run", "--device", "cpu", "--interactive", "--max-tokens",
                      "1000000000", "--temperature", "1", "--set", "model.max_sequence_length=1000000", "--set",
                      "model.rope_theta=1e6"});
  ASSERT_TRUE(program.waits_for("Ctrl-D ends")) << program.screen();
  ASSERT_TRUE(program.waits_for("> ")) << program.screen();
  // While it waits: what was typed goes, and it waits again.
  program.type("dropped\x03");
  ASSERT_TRUE(program.waits_for("\n> ")) << program.screen();
  // Models end a document now and then; the stopped answer is one of several.
  bool stopped = false;
  for (int i = 0; i < 20 && !stopped; ++i) {
    program.type("abc\n");
    ASSERT_TRUE(program.waits_for("abc\r\n")) << program.screen();
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    program.type("\x03");
    ASSERT_TRUE(program.waits_for("> ")) << program.screen();
    stopped = program.screen().find("(stopped)") != std::string::npos;
  }
  EXPECT_TRUE(stopped) << program.screen();
  program.type("\x04");
  EXPECT_EQ(program.exit_code(), 0) << program.screen();
}

}  // namespace
}  // namespace gta
