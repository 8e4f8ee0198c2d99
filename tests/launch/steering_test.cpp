// What of a run may be changed while it trains, and what becomes of it: each key's rule on resume, the schedule, the
// history in config.yaml.
#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "checkpoints/model_state.h"
#include "core/error.h"
#include "launch/config/history.h"
#include "launch/resume.h"
#include "launch/training/step.h"
#include "tests/launch/other_value.h"
#include "tests/launch/small_run.h"

namespace gta {
namespace {

class Steering : public SmallRun {
 protected:
  std::string said_by(const std::vector<std::string>& overrides, const std::string& run) {
    testing::internal::CaptureStderr();
    try {
      train(load(overrides), options(run));
    } catch (const std::exception& error) {
      ADD_FAILURE() << error.what();
    }
    return testing::internal::GetCapturedStderr();
  }
  std::string refusal(const std::vector<std::string>& overrides, const std::string& run) {
    try {
      train(load(overrides), options(run));
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::BadInput) << error.what();
      return error.what();
    }
    return "nothing was refused";
  }
  std::vector<double> losses(const std::string& run) {
    std::istringstream rows(read_file(folder_ + "/" + run + "/metrics.jsonl"));
    std::vector<double> found;
    for (std::string row; std::getline(rows, row);)
      if (const auto json = nlohmann::json::parse(row); json.contains("loss")) found.push_back(json.at("loss"));
    return found;
  }
  static void expect_part(const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << text << "\n  lacks: " << part;
  }
};

TEST_F(Steering, EachKeyIsRefusedOrNotedAsItsRuleSays) {
  train(load({"train.steps=3"}), options("run"));
  const Checkpoint checkpoint = Checkpoint::open(resolve_checkpoint(folder_ + "/run"));
  const RunConfig config = load({"train.steps=6"}).config;
  const Tokenizer tokenizer = Tokenizer::load(config.data.tokenizer);
  size_t keys = 0;
  for (const ConfigKey& key : config_keys()) {
    const auto other = other_value(config, key);
    if (!other) continue;
    ++keys;
    std::vector<ConfigDifference> changes;
    std::string refused;
    try {
      changes =
          check_resume("run", checkpoint, other->before, other->after, tokenizer, checkpoint.position().data_hash);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::BadInput);
      refused = error.what();
    }
    if (key.path == "train.init_from") {
      EXPECT_TRUE(refused.empty() && changes.empty()) << "it had its effect";
      continue;
    }
    EXPECT_EQ(refused.find("\n  " + key.path + ": ") != std::string::npos, key.resume == OnResume::Fixed)
        << key.path << ": " << refused;
    ASSERT_EQ(changes.size(), key.resume == OnResume::Fixed ? 0u : 1u) << key.path;
    if (changes.empty()) continue;
    const std::vector<std::string> notes =
        describe_changes(changes, other->before, other->after, checkpoint.position());
    ASSERT_FALSE(notes.empty()) << key.path;
    expect_part(notes.front(), key.path + ": ");
    expect_part(with_changes("", 3, changes), "\n# from step 4 on, " + key.path + ": ");
  }
  EXPECT_GT(keys, 60u);
}

// The same steps made by hand from the same checkpoint, without a run that goes on.
TEST_F(Steering, ALearningRateChangedAtAStepEqualsARunThatHadThatScheduleFromThere) {
  const std::vector<std::string> first = {"train.steps=5", "optimizer.schedule.steps=12"};
  const std::vector<std::string> then = {"train.steps=9",
                                         "optimizer.schedule.steps=12",
                                         "optimizer.schedule.type=linear",
                                         "optimizer.learning_rate=3e-3",
                                         "optimizer.clip_norm=0.5",
                                         "optimizer.weight_decay=0.02",
                                         "optimizer.betas=[0.8, 0.9]",
                                         "train.z_loss=1e-3"};
  ASSERT_EQ(train(load(first), options("run")).step, 5);
  OneRank alone;
  Training by_hand(load(then).config, device_from_name("auto"), alone.ranks());
  by_hand.allocate();
  {
    const Checkpoint checkpoint = Checkpoint::open(resolve_checkpoint(folder_ + "/run"));
    load_training(checkpoint, by_hand.space, *by_hand.optimizer);
    by_hand.position = checkpoint.position();
  }
  const TrainHooks nothing;
  TrainingStep step(by_hand, nothing);
  CheckpointSaver nowhere(folder_ + "/nowhere", 1, 0, false);
  while (!by_hand.at_end()) step.update(*step.add_gradients([] { return false; }), nowhere);

  const std::string said = said_by(then, "run");
  expect_part(said, "changed since the checkpoint: optimizer.learning_rate: 0.01 -> 0.003");
  expect_part(said, "the learning rate of step 6 is ");
  ParameterSpace resumed;
  CausalLm model(resumed, by_hand.config.model);
  resumed.allocate(DType::F32, Device{}, SpaceUse::Inference);
  load_weights(Checkpoint::open(resolve_checkpoint(folder_ + "/run")), resumed);
  for (ParameterKind kind : {ParameterKind::Matrix, ParameterKind::Vector})
    EXPECT_EQ(resumed.values(kind).to_vector<float>(), by_hand.space.values(kind).to_vector<float>());
}

TEST_F(Steering, ALengthInTokensHoldsWhateverTheBatchesWere) {
  // 5 steps of 4 x 16 tokens, then the rest of 640 in steps of 8 x 16.
  ASSERT_EQ(train(load({"train.steps=0", "train.tokens=320"}), options("run")).step, 5);
  const std::vector<std::string> larger = {"train.steps=0", "train.tokens=640", "train.global_batch_size=8"};
  const std::string said = said_by(larger, "run");
  expect_part(said, "704 tokens in all after the last step");
  expect_part(said, "step 8/8");
  EXPECT_EQ(train(load(larger), options("run")).outcome, TrainOutcome::NothingToDo);
}

TEST_F(Steering, WhatARunBeganWithStaysInItsConfiguration) {
  train(load(), options("base"));
  const std::string base = folder_ + "/base";
  train(load({"train.init_from=" + base, "train.steps=4"}), options("run"));
  train(load({"train.steps=5"}), options("run"));
  expect_part(read_file(folder_ + "/run/config.yaml"), "init_from: \"" + base);
  expect_part(said_by({"train.steps=6", "train.init_from=" + folder_ + "/run"}, "run"),
              "has no effect on a run that goes on");
  expect_part(read_file(folder_ + "/run/config.yaml"), "init_from: \"" + base);
}

TEST_F(Steering, ShardsThatAreMissingAreSaid) {
  publish_text(folder_ + "/shards/train-00002.h5", read_file(folder_ + "/shards/train-00000.h5"));
  const std::string said = said_by({}, "run");
  expect_part(said, "shards/train-00001.h5 is not there, and ");
  expect_part(said, "train-00002.h5 is: the set was not written to its end");
}

TEST_F(Steering, WhatWasChangedStandsInTheConfigurationWithItsStep) {
  const std::string title = "# Changed while it trained:\n", run = folder_ + "/run";
  train(load({"train.steps=4"}), options("run"));
  EXPECT_EQ(read_file(run + "/config.yaml").find(title), std::string::npos);
  train(load({"train.steps=6", "optimizer.learning_rate=5e-3"}), options("run"));
  const std::string first = title +
                            "# from step 5 on, optimizer.learning_rate: 0.01 -> 0.005\n"
                            "# from step 5 on, train.steps: 4 -> 6\n";
  EXPECT_EQ(history_of(read_file(run + "/config.yaml")), first);
  train(load({"train.steps=8", "optimizer.learning_rate=5e-3", "optimizer.clip_norm=0"}), options("run"));
  const std::string second = first +
                             "# from step 7 on, optimizer.clip_norm: 1.0 -> 0.0\n"
                             "# from step 7 on, train.steps: 6 -> 8\n";
  const std::string text = read_file(run + "/config.yaml");
  EXPECT_EQ(history_of(text), second);
  EXPECT_EQ(Checkpoint::open(resolve_checkpoint(run)).config_yaml(), text);
  // The file is the run's configuration of now, and whoever goes on with it changes nothing.
  EXPECT_EQ(train(load_run_config(run + "/config.yaml", {}), options("run")).outcome, TrainOutcome::NothingToDo);
  EXPECT_EQ(read_file(run + "/config.yaml"), text);
  // What was changed after the checkpoint that a run goes on from is not its history.
  for (const char* lost : {"step-00000008", "latest"}) remove_tree(run + "/checkpoints/" + std::string(lost));
  const std::vector<std::string> left = list_checkpoints(run + "/checkpoints");
  ASSERT_EQ(left.back(), "step-00000006");
  train(load({"train.steps=8", "optimizer.learning_rate=5e-3"}), options("run"));
  EXPECT_EQ(history_of(read_file(run + "/config.yaml")), first + "# from step 7 on, train.steps: 6 -> 8\n");
}

TEST_F(Steering, ALongerRunSaysWhatBecomesOfItsLearningRate) {
  train(load({"train.steps=6"}), options("stretched"));
  const std::string said = said_by({"train.steps=8"}, "stretched");
  expect_part(said,
              "the learning rate of step 7 is 0.00186; by the checkpoint's configuration it was 0.001 (the "
              "schedule is as long as the run: --set optimizer.schedule.steps=6 leaves it as it was)");
  // What would leave it is not said where it would not.
  train(load({"train.steps=6"}), options("changed"));
  const std::string changed = said_by({"train.steps=8", "optimizer.learning_rate=5e-3"}, "changed");
  expect_part(changed, "the learning rate of step 7 is 0.000");
  EXPECT_EQ(changed.find("leaves it as it was"), std::string::npos) << changed;
  train(load({"train.steps=6"}), options("kept"));
  EXPECT_EQ(said_by({"train.steps=8", "optimizer.schedule.steps=6"}, "kept").find("the learning rate of step"),
            std::string::npos);
}

TEST_F(Steering, ARunMovesToASmallerMicroBatchAndKeepsItsBatch) {
  for (const char* run : {"moved", "same"}) train(load({"train.steps=6"}), options(run));
  const std::string said = said_by({"train.micro_batch_size=1"}, "moved");
  expect_part(said, "train.micro_batch_size: 2 -> 1 (sums round otherwise, all else stays)");
  train(load(), options("same"));
  const std::vector<double> moved = losses("moved"), same = losses("same");
  ASSERT_EQ(moved.size(), 12u);
  ASSERT_EQ(same.size(), 12u);
  for (size_t i = 0; i < 12; ++i) EXPECT_NEAR(moved[i], same[i], i < 6 ? 0 : 1e-4) << i;
}

// What was chosen stays, also where a larger one would fit; another one is said, with the reason.
TEST_F(Steering, AnAutomaticMicroBatchStaysWhereItCanAndIsSaidWhereItCannot) {
  train(load({"train.steps=3"}), options("run"));
  const auto going_on = [&](const std::string& steps, const std::string& batch) {
    return said_by({"train.micro_batch_size=auto", "train.steps=" + steps, "train.global_batch_size=" + batch}, "run");
  };
  const auto chosen = [&] {
    return parse_run_config(read_file(folder_ + "/run/config.yaml"), "run").train.micro_batch_size;
  };
  std::string said = going_on("4", "4");
  EXPECT_EQ(said.find("micro_batch_size"), std::string::npos) << said;
  EXPECT_EQ(chosen(), 2) << "4 would fit";
  said = going_on("5", "8");
  EXPECT_EQ(said.find("micro_batch_size"), std::string::npos) << said;
  EXPECT_EQ(chosen(), 2) << "8 would fit";
  said = going_on("6", "3");
  expect_part(said, "train.micro_batch_size: 2 -> 3 (sums round otherwise, all else stays)");
  expect_part(said, "train.micro_batch_size is auto: 2 does not divide train.global_batch_size 3, 3 is the largest");
  EXPECT_EQ(chosen(), 3);
}

TEST_F(Steering, AnotherBatchGoesOnWithTheNextSample) {
  train(load({"train.steps=6"}), options("run"));
  const std::string said = said_by({"train.global_batch_size=8"}, "run");
  expect_part(said, fmt::format("train.global_batch_size: 4 -> 8 ({} tokens in all after the last step)",
                                (6 * 4 + 6 * 8) * 16));
  const TrainingPosition position = Checkpoint::open(resolve_checkpoint(folder_ + "/run")).position();
  EXPECT_EQ(position.next_sample, 6 * 4 + 6 * 8);
  EXPECT_EQ(position.tokens, (6 * 4 + 6 * 8) * 16);
}

TEST_F(Steering, ARunGoesOnInTheOrderOfSamplesThatItBeganWith) {
  for (const char* run : {"old", "new"}) train(load({"train.steps=3"}), options(run));
  const std::string manifest = resolve_checkpoint(folder_ + "/old") + "/manifest.json";
  Manifest parsed = parse_manifest(read_file(manifest), manifest);
  EXPECT_EQ(parsed.position.order, SampleOrder::Shuffle);
  parsed.position.order = SampleOrder::Network;
  publish_text(manifest, to_json(parsed));

  OneRank alone;
  Training by_hand(load({"train.steps=5"}).config, device_from_name("auto"), alone.ranks());
  by_hand.data.sampler.set_order(SampleOrder::Network);
  by_hand.allocate();
  load_training(Checkpoint::open(resolve_checkpoint(folder_ + "/old")), by_hand.space, *by_hand.optimizer);
  by_hand.position = parsed.position;
  const TrainHooks nothing;
  TrainingStep step(by_hand, nothing);
  CheckpointSaver nowhere(folder_ + "/nowhere", 1, 0, false);
  std::vector<double> expected;
  while (!by_hand.at_end())
    expected.push_back(UpdateOutcome(step.update(*step.add_gradients([] { return false; }), nowhere).outcome).loss);

  for (const char* run : {"old", "new"}) train(load({"train.steps=5"}), options(run));
  const std::vector<double> old_order = losses("old"), new_order = losses("new");
  ASSERT_EQ(old_order.size(), 5u);
  for (size_t i = 3; i < 5; ++i) {
    EXPECT_EQ(old_order[i], expected[i - 3]);
    EXPECT_NE(old_order[i], new_order[i]);
  }
  EXPECT_EQ(Checkpoint::open(resolve_checkpoint(folder_ + "/old")).position().order, SampleOrder::Network);
}

TEST_F(Steering, ARunMayGoOnInBfloat16AndBackButNotInFloat64) {
  train(load({"train.steps=4"}), options("run"));
  expect_part(said_by({"train.steps=6", "train.dtype=bfloat16"}, "run"), "train.dtype: float32 -> bfloat16");
  expect_part(said_by({"train.steps=8"}, "run"), "train.dtype: bfloat16 -> float32");
  expect_part(refusal({"train.steps=9", "train.dtype=float64"}, "run"), "is float32 (");
}

}  // namespace
}  // namespace gta
