// A model out of a checkpoint, of a run or from elsewhere.
#include "launch/loaded_model.h"

#include "checkpoints/model_state.h"
#include "checkpoints/writer.h"
#include "launch/evaluate.h"
#include "tests/launch/small_run.h"

namespace gta {
namespace {

class LoadedModelTest : public SmallRun {
 protected:
  double loss_of(const std::string& checkpoint) {
    const LoadedModel loaded = load_model(folder_ + "/" + checkpoint, "cpu");
    const std::string text = read_file(folder_ + "/text.txt").substr(0, 500);
    return evaluate(*loaded.model, EvaluationSet::from_text(text, loaded.tokenizer, 16), 4, DocumentMask::Off).loss;
  }
  // The weights of a checkpoint under another configuration.
  void write_with(const std::string& config, const std::string& directory) {
    const LoadedModel loaded = load_model(folder_ + "/run", "cpu");
    write_checkpoint(folder_ + "/" + directory,
                     {{}, config, loaded.tokenizer.bytes(), weight_ranges(*loaded.space, RangesOf::Owner)});
  }
};

TEST_F(LoadedModelTest, NeedsNoRunAroundTheModel) {
  ASSERT_EQ(train(load({"train.steps=3"}), options("run")).outcome, TrainOutcome::Finished);
  const std::string whole = to_yaml(load_model(folder_ + "/run", "cpu").config);
  const size_t begin = whole.find("model:"), end = whole.find("\ndata:");
  ASSERT_LT(begin, end);
  const std::string model = whole.substr(begin, end - begin) + "\n";
  write_with(model, "imported");
  EXPECT_EQ(loss_of("imported"), loss_of("run"));
  EXPECT_EQ(load_model(folder_ + "/imported", "cpu").config.data.sequence_length, 16);
  EXPECT_EQ(load_model(folder_ + "/imported", "cpu", {"model.max_sequence_length=64"}).config.data.sequence_length, 16);
  EXPECT_EQ(gta("eval " + folder_ + "/imported --text " + folder_ + "/text.txt"), 0) << errors();
  EXPECT_EQ(gta("generate " + folder_ + "/imported --prompt abc --max-tokens 3"), 0) << errors();
  EXPECT_EQ(gta("inspect " + folder_ + "/imported"), 0) << errors();
  EXPECT_EQ(train(load({"train.steps=2", "train.init_from=" + folder_ + "/imported"}), options("on")).outcome,
            TrainOutcome::Finished);

  // What the weights do not tell has to be said; a run's file has to be a whole one.
  for (const auto& [cut, said] : {std::pair{"  max_sequence_length: 16\n", "model.max_sequence_length: is missing"},
                                  {"  vocab_size: 320\n", "model.vocab_size: is missing"}}) {
    std::string without = model;
    ASSERT_NE(without.find(cut), std::string::npos) << model;
    without.erase(without.find(cut), std::string(cut).size());
    write_with(without, "lacking");
    try {
      load_model(folder_ + "/lacking", "cpu");
      ADD_FAILURE() << "expected: " << said;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::BadInput);
      EXPECT_NE(std::string(error.what()).find(said), std::string::npos) << error.what();
    }
  }
  write_with(model + "train:\n  steps: 3\n", "half");
  EXPECT_THROW(load_model(folder_ + "/half", "cpu"), Error);
}

}  // namespace
}  // namespace gta
