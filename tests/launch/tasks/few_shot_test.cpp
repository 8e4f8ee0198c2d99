#include "launch/tasks/few_shot.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "core/error.h"
#include "core/io/file.h"

namespace gta {
namespace {

class FewShot : public testing::Test {
 protected:
  FewShot() : path_(testing::TempDir() + "/gta-few-shot-" + std::to_string(getpid()) + ".jsonl") {}
  ~FewShot() override { remove_tree(path_); }
  Task read(const std::string& text) {
    publish_text(path_, text);
    return read_task(path_, {});
  }
  Task with_examples(const std::string& question, const std::string& examples, int64_t count) {
    Task task = read(question);
    add_examples(task, read(examples), count, path_);
    return task;
  }
  std::string path_;
};

// What lm-evaluation-harness 0.4.13 made of the same lines (tests/interop/lm_eval_check.py --prompts prints it).
TEST_F(FewShot, ExamplesAreThoseOfTheHarness) {
  const Task piqa = with_examples(
      R"({"goal": "How?", "sol1": "so", "sol2": "or so ", "label": 1})",
      R"({"goal": "every naïve then even her with made when on they one at hath [title] your them 7 go them", )"
      R"("sol1": "said but,", "sol2": "Israel even there her he 12 your land said?", "label": 0})"
      "\n"
      R"({"goal": "before and were for made before every 中文 be shall also", "sol1": "God up there man", )"
      R"("sol2": "her his when their are man", "label": 1})"
      "\n"
      R"({"goal": "they have [title] not there saying 中文 men were also shall", "sol1": "us for", )"
      R"("sol2": "naïve when us", "label": 1})",
      2);
  const std::string before =
      "Question: before and were for made before every 中文 be shall also\nAnswer: her his when their are "
      "man\n\nQuestion: every naïve then even her with made when on they one at hath [title] your them 7 go "
      "them\nAnswer: said but,\n\n";
  ASSERT_EQ(piqa.items[0].pairs.size(), 2u);
  for (const TaskItem::Pair& pair : piqa.items[0].pairs) EXPECT_EQ(pair.context, before + "Question: How?\nAnswer:");
  EXPECT_EQ(piqa.items[0].pairs[1].continuation, " or so ");

  const Task winogrande = with_examples(
      R"({"sentence": "Ann saw Bea because _ was  there. ", "option1": "Ann", "option2": "Bea", "answer": "2"})",
      R"({"sentence": "on let 7 not into said her Über come her and men naïve even out naïve the, _ before Über )"
      R"(thy you?", "option1": "me", "option2": "upon", "answer": "2"})"
      "\n"
      R"({"sentence": "ye hath before all day you made was came children which to no, _ a upon ye is and.", )"
      R"("option1": "had", "option2": "shall", "answer": "2"})"
      "\n"
      R"({"sentence": "said and up if from my son one of also even hand it it Israel in _ unto 12", "option1": "was", )"
      R"("option2": "from", "answer": "2"})",
      2);
  EXPECT_EQ(winogrande.items[0].pairs[0].context,
            "ye hath before all day you made was came children which to no, shall a upon ye is and.\n\n"
            "on let 7 not into said her Über come her and men naïve even out naïve the, upon before Über thy you?"
            "\n\nAnn saw Bea because Ann");

  const Task lambada =
      with_examples(R"({"text": "one two  three"})",
                    R"({"text": "as into people people me 12 Israel are hath Über one had and  to"})"
                    "\n"
                    R"({"text": "house when be house into them every with which? made"})"
                    "\n"
                    R"({"text": "thou upon when also thou the no for thou king for that land unto my we was are )"
                    R"(hath,\n saying"})",
                    2);
  EXPECT_EQ(lambada.items[0].pairs[0].context,
            "house when be house into them every with which?  made\n\n"
            "as into people people me 12 Israel are hath Über one had and   to\n\none two ");
  EXPECT_EQ(lambada.items[0].pairs[0].continuation, " three");
}

TEST_F(FewShot, EveryQuestionHasExamplesOfItsOwn) {
  std::string questions, examples;
  for (int i = 0; i < 3; ++i)
    questions += R"({"context": "q", "choices": ["a", "b"], "answer": 0})"
                 "\n";
  for (int i = 0; i < 30; ++i)
    examples += R"({"context": "e)" + std::to_string(i) +
                R"(", "choices": ["a", "b"], "answer": 1})"
                "\n";
  const Task task = with_examples(questions, examples, 3);
  EXPECT_EQ(task.items[0].pairs[0].context, "e24 b\n\ne14 b\n\ne3 b\n\nq");  // random.Random(1234).sample(range(30), 3)
  EXPECT_EQ(task.items[1].pairs[1].context, "e0 b\n\ne2 b\n\ne29 b\n\nq");
  EXPECT_EQ(task.items[2].pairs[0].context, "e25 b\n\ne18 b\n\ne1 b\n\nq");
}

TEST_F(FewShot, FewerExamplesThanAskedForAreRefused) {
  try {
    const std::string line = R"({"context": "q", "choices": ["a", "b"], "answer": 0})";
    with_examples(line, line, 2);
    ADD_FAILURE() << "was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::BadInput);
    EXPECT_NE(std::string(error.what()).find("has 1 examples: expected at least the 2 of --few-shot"),
              std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace gta
