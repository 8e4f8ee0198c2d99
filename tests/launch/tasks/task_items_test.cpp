#include "launch/tasks/task_items.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "core/error.h"
#include "core/io/file.h"

namespace gta {
namespace {

class TaskItems : public testing::Test {
 protected:
  TaskItems() : path_(testing::TempDir() + "/gta-task-" + std::to_string(getpid()) + ".jsonl") {}
  ~TaskItems() override { remove_tree(path_); }
  Task read(const std::string& text, std::optional<TaskFields> fields = {}) {
    publish_text(path_, text);
    return read_task(path_, fields);
  }
  void expect_refusal(const std::string& text, const std::string& problem, std::optional<TaskFields> fields = {}) {
    try {
      read(text, fields);
      ADD_FAILURE() << text << " was taken";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::BadInput);
      EXPECT_NE(std::string(error.what()).find(path_ + ":1] " + problem), std::string::npos) << error.what();
    }
  }
  std::string path_;
};

struct Expected {
  TaskFields fields;
  std::vector<std::pair<std::string, std::string>> pairs;
  size_t answer;
};

void expect_item(const Task& task, const Expected& expected) {
  EXPECT_EQ(name_of(task.fields), std::string(name_of(expected.fields)));
  ASSERT_EQ(task.items.size(), 1u);
  const TaskItem& item = task.items[0];
  ASSERT_EQ(item.pairs.size(), expected.pairs.size());
  for (size_t i = 0; i < expected.pairs.size(); ++i) {
    EXPECT_EQ(item.pairs[i].context, expected.pairs[i].first);
    EXPECT_EQ(item.pairs[i].continuation, expected.pairs[i].second);
  }
  EXPECT_EQ(item.answer, expected.answer);
}

// What lm-evaluation-harness 0.4.13 made of the same lines (tests/interop/lm_eval_check.py prints it).
TEST_F(TaskItems, AreThePromptsOfTheHarness) {
  expect_item(read(R"({"ind": 4, "activity_label": "Removing ice", "ctx_a": "A man [step] is  seen.", )"
                   R"("ctx_b": "he THEN", "ctx": "not used", )"
                   R"("endings": [" runs. [title] Stop", "b", "c  d", "[x]e "], "label": "2"})"),
              {TaskFields::HellaSwag,
               {{"Removing ice: A man is seen. He then", " runs.. Stop"},
                {"Removing ice: A man is seen. He then", " b"},
                {"Removing ice: A man is seen. He then", " c d"},
                {"Removing ice: A man is seen. He then", " e"}},
               2});
  expect_item(read(R"({"goal": "How?", "sol1": "so", "sol2": "or so ", "label": 1})"),
              {TaskFields::Piqa, {{"Question: How?\nAnswer:", " so"}, {"Question: How?\nAnswer:", " or so "}}, 1});
  expect_item(
      read(R"({"id": "1", "question": "Why?", "choices": {"text": ["x", "y", "z"], "label": ["A", "B", "C"]}, )"
           R"("answerKey": "C"})"),
      {TaskFields::Arc,
       {{"Question: Why?\nAnswer:", " x"}, {"Question: Why?\nAnswer:", " y"}, {"Question: Why?\nAnswer:", " z"}},
       2});
  expect_item(
      read(R"({"sentence": "Ann saw Bea because _ was  there. ", "option1": "Ann", "option2": "Bea", "answer": "2"})"),
      {TaskFields::WinoGrande,
       {{"Ann saw Bea because Ann", " was  there."}, {"Ann saw Bea because Bea", " was  there."}},
       1});
  const std::string boolq = "Some text.\nQuestion: is it so?\nAnswer:";
  for (const char* answer : {R"("answer": true)", R"("label": 1)"})
    expect_item(read(R"({"question": "is it so", "passage": "Some text.", )" + std::string(answer) + "}"),
                {TaskFields::BoolQ, {{boolq, " no"}, {boolq, " yes"}}, 1});
  expect_item(read(R"({"text": "one two  three"})"), {TaskFields::Lambada, {{"one two ", " three"}}, 0});
  expect_item(read(R"({"text": "one"})"), {TaskFields::Lambada, {{"", " one"}}, 0});
  expect_item(read(R"({"context": "a b", "choices": ["c", "d"], "answer": 0, "text": "beside"})"),
              {TaskFields::Plain, {{"a b", " c"}, {"a b", " d"}}, 0});
}

TEST_F(TaskItems, OfNoKindOrWithoutARightAnswerAreRefused) {
  expect_refusal(
      R"({"prompt": "a", "b": 1})",
      "has the fields prompt, b: expected those of one of hellaswag (activity_label, endings, label), piqa (");
  expect_refusal(R"({"context": "a", "choices": ["b", "c"], "answer": 0, "passage": "p", "question": "q"})",
                 "may be of boolq (question, passage), plain (context, choices, answer): say which with --task-fields");
  expect_refusal(R"({"goal": "a", "sol1": "b", "sol2": "c", "label": -1})",
                 "'label' is -1: expected an integer from 0 to 1");
  expect_refusal(R"({"goal": "a", "sol1": "b", "sol2": "", "label": 1})", "has nothing in choice 2");
  expect_refusal(R"({"activity_label": "a", "ctx_a": "b", "ctx_b": "", "endings": ["x", "y"], "label": ""})",
                 "'label' is '': expected the right one, from 0 to 1");
  expect_refusal(R"({"activity_label": "a", "ctx_a": "b", "endings": ["x", "y"], "label": 1})", "has no field 'ctx'");
  expect_refusal(R"({"activity_label": "a", "ctx": "b", "endings": ["x", "[y]"], "label": 1})",
                 "has nothing in choice 2");
  expect_refusal(R"({"question": "a", "choices": {"text": ["x", "y"], "label": ["A", "B"]}, "answerKey": "E"})",
                 "'answerKey' is 'E': expected one of A, B");
  expect_refusal(R"({"question": "a", "choices": {"text": ["x", "y"], "label": ["A"]}, "answerKey": "A"})",
                 "has 2 choices and 1 labels of them");
  expect_refusal(R"({"sentence": "no gap", "option1": "a", "option2": "b", "answer": "1"})", "'sentence' has no _");
  expect_refusal(R"({"sentence": "gap _ ", "option1": "a", "option2": "b", "answer": "1"})",
                 "'sentence' has nothing behind");
  expect_refusal(R"({"text": "ends "})", "'text' has no last word");
  expect_refusal(R"({"context": "a", "choices": ["b"], "answer": 0})", "has 1 choices: expected from 2 to 1000");
  const std::string long_context(size_t{23} << 20, 'a');
  expect_refusal(fmt::format(R"({{"context": "{}", "choices": ["b", "c", "d"], "answer": 0}})", long_context),
                 "has a context of 24117248 bytes for each of 3 choices: at most 64 MiB");
  expect_refusal(R"({"context": "a", "choices": ["b", "c"], "answer": 2})",
                 "'answer' is 2: expected an integer from 0 to 1");
  expect_refusal(R"({"text": "a b"})", "has no field 'goal'", TaskFields::Piqa);
}

// The first line says what the others have to be.
TEST_F(TaskItems, EveryLineHasTheFieldsOfTheFirst) {
  publish_text(path_, "{\"text\": \"a b\"}\n{\"goal\": 1}\n{\"text\": \"c\"}\n{\"text\": 2}\n");
  try {
    read_task(path_, {});
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(path_ + ":2] has no field 'text'"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find(path_ + ":4] 'text' is 2: expected a string"), std::string::npos);
  }
}

}  // namespace
}  // namespace gta
