// Each kind of unfairness, brought into a run's own files, is found and named; what is fair is not.
#include <gtest/gtest.h>

#include "launch/compare/variants.h"
#include "tests/launch/compare/made_run.h"
#include "tests/launch/other_value.h"

namespace gta {
namespace {

class Fairness : public MadeRuns {
 protected:
  // Of six runs, the second of gta changed.
  Comparison with_one(const std::function<void(MadeRun&)>& change, const CompareOptions& options = {}) {
    return compare_runs(make_six([&](MadeRun& run) {
                          if (run.type == "gta" && run.seed == 2) change(run);
                        }),
                        options);
  }
  void expect_problem(const std::function<void(MadeRun&)>& change, const std::string& text) {
    const Comparison c = with_one(change);
    EXPECT_FALSE(c.fair());
    EXPECT_NE(text_of(c.problems).find(text), std::string::npos)
        << "expected " << text << "\ngot " << text_of(c.problems);
  }
  void expect_note(const std::function<void(MadeRun&)>& change, const std::string& text) {
    const Comparison c = with_one(change);
    EXPECT_TRUE(c.fair()) << text_of(c.problems);
    EXPECT_NE(text_of(c.notes).find(text), std::string::npos) << "expected " << text << "\ngot " << text_of(c.notes);
  }
};

TEST_F(Fairness, NothingIsFoundWhereNothingIs) {
  const Comparison c = with_one([](MadeRun&) {});
  EXPECT_EQ(text_of(c.problems), "");
  EXPECT_NE(text_of(c.notes).find("one learning rate served all variants"), std::string::npos);
  // What changes no training: where things lie, how they are computed, how often it is looked.
  EXPECT_TRUE(with_one([](MadeRun& run) {
                run.change = [](RunConfig& config) {
                  config.data.tokenizer = "/elsewhere/t.model";
                  config.train.micro_batch_size = 1;
                  config.train.recompute = Recompute::Block;
                  config.train.evaluate_every_steps = 5;
                };
              }).fair());
}

TEST_F(Fairness, AnotherSchedule) {
  const auto change = [](MadeRun& run) {
    run.change = [](RunConfig& config) { config.optimizer.schedule.warmup_steps = 3; };
  };
  expect_problem(change,
                 "configuration: optimizer.schedule.warmup_steps differs: 0 (gqa, gta warmup_steps=0), 3 (gta "
                 "warmup_steps=3)");
  expect_problem(change, "missing runs: gta warmup_steps=0 has no run of seed 2 that counts");
}

TEST_F(Fairness, ValuesOfASearchMayDiffer) {
  const std::vector<std::string> runs = make_six([](MadeRun& run) {
    if (run.type == "gta") run.change = [](RunConfig& config) { config.optimizer.learning_rate *= 2; };
  });
  EXPECT_NE(text_of(compare_runs(runs).problems).find("configuration: optimizer.learning_rate differs"),
            std::string::npos);
  CompareOptions options;
  options.searched = {"optimizer.learning_rate"};
  EXPECT_EQ(text_of(compare_runs(runs, options).problems), "");
  options.searched = {"optimizer.weight_decay"};
  EXPECT_FALSE(compare_runs(runs, options).fair());
}

TEST_F(Fairness, ThatOneLearningRateServedAllIsNotSaidAfterASearch) {
  CompareOptions options;
  options.searched = {"optimizer.learning_rate"};
  EXPECT_EQ(text_of(compare_runs(make_six(), options).notes).find("one learning rate served all"), std::string::npos);
}

TEST_F(Fairness, AConfigurationThatWasEditedAfterTheTraining) {
  const std::vector<std::string> runs = make_six();
  MadeRun edited;
  edited.seed = 2;
  edited.change = [](RunConfig& config) { config.optimizer.weight_decay = 0.2; };
  publish_text(at("gqa-2/config.yaml"), to_yaml(config_of(edited)));
  EXPECT_NE(text_of(compare_runs(runs).problems)
                .find("configuration: gqa-2: config.yaml has other values than the newest checkpoint of "
                      "optimizer.weight_decay"),
            std::string::npos);
}

TEST_F(Fairness, AnotherOrderOfTheData) {
  expect_problem(
      [](MadeRun& run) { run.order = SampleOrder::Network; },
      "sample order: the rule of the order of samples differs: network (gta-2), shuffle (gqa-1, gqa-2, gqa-3 "
      "and 2 more)");
  expect_problem([](MadeRun& run) { run.samples_beyond = 4; },
                 "sample order: samples that were taken differ: 84 at step 20, where 80 are expected (gta-2), as many");
}

TEST_F(Fairness, OtherInitialParameters) {
  expect_problem([](MadeRun& run) { run.initial["model.norm.weight"] = "fedcba9876543210"; },
                 "initial parameters: of seed 2 gqa-2 and gta-2 began with other values of model.norm.weight (32): "
                 "0123456789abcdef and fedcba9876543210");
  expect_problem([](MadeRun& run) { run.initial_seed = 7; },
                 "initial parameters: gta-2 began with the parameters of seed 7, and its configuration has 2");
  const Comparison fair = with_one([](MadeRun& run) { run.initial["model.layers.0.own.weight"] = "0000000000000000"; });
  EXPECT_TRUE(fair.fair()) << "what only one of them has says nothing";
}

TEST_F(Fairness, InitialParametersThatAreNotRecordedOrDamagedAreSaid) {
  const std::vector<std::string> runs = make_six();
  remove_tree(at("gqa-3/initial.json"));
  Comparison c = compare_runs(runs);
  EXPECT_TRUE(c.fair()) << text_of(c.problems);
  EXPECT_NE(text_of(c.notes).find("initial parameters: hashes of initial parameters are not recorded of gqa-3"),
            std::string::npos);
  for (const std::string damaged :
       {"", "[", "[]", "{}", R"({"seed": 1})", R"({"seed": "1", "parameters": {}})", R"({"seed": 1, "parameters": []})",
        R"({"seed": 1, "parameters": {"a": 3}})", R"({"seed": 1, "parameters": {"a": {"shape": [1], "hash": "x"}}})",
        R"({"seed": 1, "parameters": {"a": {"shape": [-1], "hash": "0123456789abcdef"}}})"}) {
    publish_text(at("gqa-3/initial.json"), damaged);
    c = compare_runs(runs);
    EXPECT_NE(text_of(c.notes).find("files: [gqa-3/initial.json] is damaged"), std::string::npos) << damaged << "\n"
                                                                                                  << text_of(c.notes);
  }
}

TEST_F(Fairness, AnotherProgramOrDevice) {
  const auto said = [](const char* key, const char* value) {
    return [=](MadeRun& run) { run.environment[key] = value; };
  };
  const std::string others = " (gqa-1, gqa-2, gqa-3 and 2 more)";
  expect_problem(said("gta", "0.0.9"), "program: the version of gta differs: 0.0.9 (gta-2), 0.1.0" + others);
  expect_problem(said("commit", "abd"), "program: the commit differs: abc" + others + ", abd (gta-2)");
  expect_problem(said("compiler", "13.0"), "program: the compiler differs: 12.2.0" + others);
  expect_problem(said("device", "cuda"), "device: the device differs: cpu" + others + ", cuda (gta-2)");
  expect_problem(said("vector_width", "AVX-512"), "device: the vector width differs: AVX-512 (gta-2), AVX2");
  expect_problem(said("products", "two"), "device: the library of products differs");
  expect_problem(said("processor", "q"), "device: the processor differs");
  expect_note(said("threads", "3"), "");
  expect_note([](MadeRun& run) { run.environment.erase("commit"); }, "program: the commit is not recorded of gta-2");
  const Comparison dirty = compare_runs(make_six([](MadeRun& run) { run.environment["commit"] = "abc-dirty"; }));
  EXPECT_NE(text_of(dirty.notes).find("program: the program was built from a tree with changes"), std::string::npos);
}

TEST_F(Fairness, WhatWasChangedMidway) {
  expect_problem(
      [](MadeRun& run) {
        run.history = "# Changed while it trained:\n# from step 11 on, optimizer.learning_rate: 0.003 -> 0.001\n";
      },
      "changed midway: gta-2: from step 11 on, optimizer.learning_rate: 0.003 -> 0.001");
  expect_note(
      [](MadeRun& run) {
        run.history = "# Changed while it trained:\n# from step 11 on, train.log_every_steps: 10 -> 1\n";
      },
      "changed midway: gta-2: from step 11 on, train.log_every_steps: 10 -> 1");
}

TEST_F(Fairness, ARunThatDoesNotCount) {
  expect_problem([](MadeRun& run) { run.last_step = 12; },
                 "missing runs: gta has no run of seed 2 that counts: ends at step 12 of 20 (gta-2)");
  expect_problem(
      [](MadeRun& run) { run.loss = NAN; },
      "missing runs: gta has no run of seed 2 that counts: its validation loss at the end is no number (gta-2)");
  const Comparison c = compare_runs(make_six([](MadeRun& run) {
    if (run.type == "gta") run.last_step = 12;
  }));
  EXPECT_EQ(c.variants.size(), 1U);
  EXPECT_NE(text_of(c.problems).find("missing runs: gta has no run that counts: ends at step 12 of 20 (gta-1)"),
            std::string::npos);
}

TEST_F(Fairness, ValidationFilesOfOtherNames) {
  const auto other = [](MadeRun& run) {
    run.change = [](RunConfig& config) { config.data.validation = {"/data/other.h5"}; };
  };
  expect_note(other, "validation: files of the validation set have other names: other.h5 (gta-2), validation.h5 (");
  // Where bits per byte do not tell that they hold the same text.
  expect_problem(
      [&](MadeRun& run) {
        other(run);
        run.bytes_per_token = INFINITY;
      },
      "validation: files of the validation set have other names");
}

TEST_F(Fairness, WhatMayDifferIsTheModelOrWhatIsNamed) {
  const auto rates = [](MadeRun& run) {
    if (run.type == "gta") run.change = [](RunConfig& config) { config.optimizer.learning_rate = 0.5; };
  };
  const Comparison both = compare_runs(make_six(rates));
  EXPECT_NE(text_of(both.problems).find("configuration: optimizer.learning_rate differs: "), std::string::npos);
  CompareOptions options;
  options.varied = {"model.", "optimizer.learning_rate"};
  EXPECT_TRUE(compare_runs(make_six(rates), options).fair());
  options.varied = {"optimizer.learning_rate"};
  EXPECT_NE(
      text_of(compare_runs(make_six(rates), options).problems).find("configuration: model.attention.type differs"),
      std::string::npos);
  // Of one model whatever differs is meant.
  const Comparison alone = compare_runs(make_six([&](MadeRun& run) {
    rates(run);
    run.type = "gqa";
  }));
  EXPECT_EQ(alone.variants.size(), 2U);
  EXPECT_TRUE(alone.fair()) << text_of(alone.problems);
}

TEST_F(Fairness, EqualFlopsAllowStepsAndASchedulesLengthInProportion) {
  CompareOptions options;
  options.equal = Budget::Flops;
  options.tolerance = 1;
  const auto compared = [&](int64_t warmup) {
    std::vector<std::string> runs;
    for (const std::string type : {"gqa", "gta"}) {
      MadeRun made;
      made.type = type;
      if (type == "gta") made.steps = made.last_step = 40;
      made.change = [=](RunConfig& config) { config.optimizer.schedule.warmup_steps = type == "gta" ? warmup : 2; };
      runs.push_back(make(type, made));
    }
    return text_of(compare_runs(runs, options).problems);
  };
  EXPECT_EQ(compared(4).find("configuration"), std::string::npos) << compared(4);
  EXPECT_NE(compared(9).find("configuration: optimizer.schedule.warmup_steps differs"), std::string::npos);
}

TEST_F(Fairness, EveryKeyThatCountsIsASettingAndTellsVariantsApart) {
  const RunConfig config = config_of({});
  int counted = 0;
  for (const ConfigKey& key : config_keys()) {
    const std::optional<OtherValue> other = other_value(config, key);
    if (!other) continue;
    const bool differs = settings_of(other->before) != settings_of(other->after);
    EXPECT_EQ(differs, changes_training(key.path)) << key.path;
    counted += differs;
  }
  EXPECT_GT(counted, 30);
  EXPECT_FALSE(changes_training("seed"));
  EXPECT_TRUE(changes_training("train.dtype"));
  EXPECT_TRUE(changes_training("train.some_key_of_tomorrow"));
}

}  // namespace
}  // namespace gta
