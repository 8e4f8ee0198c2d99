// An ablation's file, what it expands to, and what is made equal.
#include "launch/ablate/ablation_file.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "launch/ablate/cells.h"
#include "launch/ablate/search.h"
#include "launch/config/config.h"
#include "launch/plan.h"
#include "tests/launch/small_run.h"

namespace gta {
namespace {

constexpr const char* kFile = R"(name: abc
base: run.yaml
baseline: gqa
seeds: [3, 1]
set: {train.steps: 10, optimizer: {learning_rate: 2.0e-3}}
variants:
  gta: {model.attention.type: gta}
  gqa: {model.attention.type: gqa}
)";

class AblationFiles : public SmallRun {
 protected:
  std::string write(const std::string& text) {
    publish_text(folder_ + "/ablation.yaml", text);
    return folder_ + "/ablation.yaml";
  }
  AblationFile read(const std::string& text, const std::vector<std::string>& overrides = {}) {
    return read_ablation(write(text), overrides);
  }
  std::string refusal(const std::string& text) {
    try {
      arms_of(read(text));
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::BadInput);
      return error.what();
    }
    return "nothing";
  }
};

TEST_F(AblationFiles, ExpandToOrdinaryRunsSeedAfterSeedTheBaselineFirst) {
  const AblationFile file = read(kFile, {"train.steps=11"});
  const std::vector<Arm> arms = arms_of(file);
  const std::vector<CellPlan> cells = cells_of(file, arms);
  std::string names;
  for (const CellPlan& cell : cells) names += cell.name + " ";
  EXPECT_EQ(names, "gqa-seed-3 gta-seed-3 gqa-seed-1 gta-seed-1 ");
  const RunConfig& config = cells[1].config;
  EXPECT_EQ(config.seed, 3);
  EXPECT_EQ(config.name, "gta-seed-3");
  EXPECT_EQ(config.model.attention.type, AttentionType::Gta);
  EXPECT_EQ(config.train.steps, 11);  // the command line's, over the file's
  EXPECT_EQ(config.optimizer.learning_rate, 2e-3);
  EXPECT_EQ(config.data.tokenizer, folder_ + "/t.model");
  // What a cell trains is what its file says.
  const RunConfig again = parse_run_config(to_yaml(config), "again");
  EXPECT_TRUE(differences(config, again).empty());
}

TEST_F(AblationFiles, ResolvedTheyMeanTheSameElsewhere) {
  ASSERT_EQ(std::system(("mkdir " + folder_ + "/other").c_str()), 0);
  for (const std::string& more :
       {std::string(),
        std::string("equal: flops\nadjust: [train.steps, model.layers]\ntolerance: 0.3\nunmatched: true\n"
                    "sizes: {small: {model.layers: 1}, '7': {}}\ncompare: {practical_difference: 0.01}\n"
                    "tune: {keys: {optimizer.learning_rate: [1.0e-3, 2.0e-3]}, seeds: [8, 9], steps: 3}\n"
                    "test: [shards/train-*.h5]\n")}) {
    std::string text = kFile + more;
    text.replace(text.find("train.steps: 10"), 15, "train.steps: 10, data.train: [shards/*.h5]");
    const AblationFile file = read(text);
    const std::string resolved = to_yaml(file);
    publish_text(folder_ + "/other/resolved.yaml", resolved);
    const AblationFile again = read_ablation(folder_ + "/other/resolved.yaml", {});
    EXPECT_EQ(to_yaml(again), resolved);
    const std::vector<CellPlan> cells = cells_of(file, arms_of(file)), others = cells_of(again, arms_of(again));
    ASSERT_EQ(cells.size(), others.size());
    for (size_t i = 0; i < cells.size(); ++i) EXPECT_EQ(to_yaml(cells[i].config), to_yaml(others[i].config));
    if (!more.empty()) EXPECT_EQ(again.test.size(), 1u);
  }
}

TEST_F(AblationFiles, SizesAndUnmatchedVariantsAreArmsOfTheirOwn) {
  const std::string text = std::string(kFile) +
                           "equal: parameters\nadjust: [model.intermediate_size]\nunmatched: true\ntolerance: 0.01\n"
                           "sizes: {small: {model.layers: 1}, large: {model.layers: 3}}\n";
  std::string names;
  for (const Arm& arm : arms_of(read(text))) names += arm.name + " ";
  EXPECT_EQ(names, "gqa-small gta-small gta-unmatched-small gqa-large gta-large gta-unmatched-large ");
}

TEST_F(AblationFiles, SayEverythingThatIsWrongWithItsPlace) {
  const std::string said = refusal(R"(name: a/b
base: run.yaml
baseline: gqq
seeds: [1, 1, -2]
set: {train.step: 10}
variants:
  gqa: {model.attention.type: gqa}
  gta: {model.attention.type: gtaa}
equal: parameter
adjust: [model.vocab_size]
tolerance: 2
seds: 1
name: b
)");
  for (const char* part :
       {":1:7: name: expected letters", ":4:12: seeds: 1 is given twice", ":4:15: seeds: expected integer",
        ":5:7: train.step: is no key; did you mean train.steps?", ":8:31: model.attention.type: expected one of",
        ":9:8: equal: expected one of", "did you mean parameters?", ":10:9: adjust: model.vocab_size is no key",
        ":11:12: tolerance: expected number", ":12:1: seds: is no key of an ablation; did you mean seeds?",
        ":13:1: name: is given twice"})
    EXPECT_NE(said.find(part), std::string::npos) << part << "\nin\n" << said;
  EXPECT_NE(refusal(std::string(kFile) + "equal: parameters\n").find("needs adjust"), std::string::npos);
  EXPECT_NE(refusal(std::string(kFile) + "adjust: [model.layers]\n").find("changes nothing without equal"),
            std::string::npos);
  EXPECT_NE(refusal(std::string(kFile) + "tune: {keys: {optimizer.learning_rate: [1, 2]}, seeds: [1]}\n")
                .find("has seeds of its own"),
            std::string::npos);
  EXPECT_NE(
      refusal(std::string(kFile) + "tune: {keys: {train.steps: [1, 2]}, seeds: [7]}\n").find("whose value is a number"),
      std::string::npos);
  EXPECT_NE(refusal("name: a\nbase: run.yaml\nbaseline: gqq\nseeds: [1]\nvariants: {gqa: {seed: 4}}\n")
                .find("which the ablation gives each cell"),
            std::string::npos);
  EXPECT_NE(refusal("name: a\nbase: run.yaml\nbaseline: gqq\nseeds: [1]\nvariants: {gqa: {model.layers: 1}}\n")
                .find(":3:11: baseline: expected one of the variants gqa, got 'gqq'; did you mean gqa?"),
            std::string::npos);
  EXPECT_NE(refusal("name: a\n").find("variants: is missing"), std::string::npos);
  // Of sizes these would be the folders of reports without adjustments.
  for (const char* name : {"unmatched", "a-unmatched"})
    EXPECT_NE(refusal(std::string(kFile) + "sizes: {" + name + ": {model.layers: 1}}\n")
                  .find(fmt::format("sizes.{}: is what the report of unmatched variants is called", name)),
              std::string::npos);
  // The largest seed of a configuration is the largest here.
  EXPECT_NE(refusal("name: a\nbase: run.yaml\nbaseline: gqa\nseeds: [9000000000000001]\nvariants: {gqa: {}}\n")
                .find("seeds: expected integer, 0 to 9000000000000000"),
            std::string::npos);
  EXPECT_NE(refusal("[1]\n").find("expected a mapping"), std::string::npos);
}

TEST_F(AblationFiles, ConfigurationsOfVariantsAreCheckedTogether) {
  const std::string said = refusal(
      "name: a\nbase: run.yaml\nbaseline: gqa\nseeds: [1]\nvariants:\n"
      "  gqa: {model.attention: {type: gqa, kv_heads: 3}}\n"
      "  gta: {model.attention: {type: gta, query_heads: 3}}\n");
  EXPECT_NE(said.find("variant gqa"), std::string::npos) << said;
  EXPECT_NE(said.find("variant gta"), std::string::npos) << said;
}

// Of the paper's models; the counts are what `gta plan` says of the configuration that comes out.
TEST(Matcher, MeetsEveryBudgetForEveryVariant) {
  struct Case {
    Budget budget;
    double tolerance;
    std::vector<std::string> keys;
  };
  const Case cases[] = {
      {Budget::Parameters, 0.005, {"model.intermediate_size"}},
      {Budget::Flops, 0.001, {"train.steps"}},
      {Budget::Flops, 0.005, {"model.intermediate_size"}},
      {Budget::AttentionFlops,
       0.05,
       {"model.head_dim", "model.attention.nope_dim", "model.attention.value_dim", "model.heads"}},
      {Budget::CacheBytes,
       0.05,
       {"model.attention.kv_lora_rank", "model.attention.kv_heads", "model.head_dim", "model.layers"}}};
  for (const char* of : {"gqa-160m", "gta-1b"}) {
    RunConfig base;
    base.model = load_model_config(std::string(GTA_SOURCE_DIR) + "/configs/models/" + of + ".yaml", {});
    base.data.sequence_length = 2048;
    base.train.steps = 10'000;
    base.train.global_batch_size = 64;
    base.train.dtype = DType::BF16;
    base.optimizer.schedule.warmup_steps = 500;
    for (const Case& c : cases)
      for (AttentionType type : {AttentionType::Mha, AttentionType::Mqa, AttentionType::Gqa, AttentionType::Mla,
                                 AttentionType::Gva, AttentionType::Gha, AttentionType::Gta}) {
        RunConfig variant = base;
        AttentionConfig& a = variant.model.attention;
        const int64_t groups = variant.model.heads / 4;
        a = {.type = type,
             .query_heads = groups,
             .key_heads = 1,
             .latent_heads = 1,
             .latent_dim = 128,
             .kv_heads = groups,
             .value_heads = 4,
             .kv_lora_rank = 256,
             .nope_dim = 64,
             .rope_dim = 32,
             .value_dim = 64};
        const double target = cost_of(base).of(c.budget);
        const Match match = match_budget(variant, {c.budget, target, c.tolerance, c.keys}, name_of(type));
        const Plan plan = plan_model(match.config.model, 2048);
        double got = 0;
        if (c.budget == Budget::Parameters) got = static_cast<double>(plan.parameters);
        if (c.budget == Budget::Flops)
          got = plan.flops_per_token_training * 64 * 2048 * static_cast<double>(match.config.train.steps);
        if (c.budget == Budget::CacheBytes)
          got = static_cast<double>(plan.cache_numbers_per_token_and_layer * match.config.model.layers * 2);
        if (c.budget == Budget::AttentionFlops) {
          const double decoder = type == AttentionType::Gta
                                     ? static_cast<double>(match.config.model.attention.latent_dim *
                                                           match.config.model.heads * match.config.model.head_dim)
                                     : 0;
          got = 2 * static_cast<double>(match.config.model.layers) *
                (static_cast<double>(plan.map_multiply_adds) * 1024.5 + decoder);
        }
        EXPECT_LE(std::abs(got / target - 1), c.tolerance) << of << " " << name_of(type) << " " << name_of(c.budget);
        EXPECT_NEAR(match.off, got / target - 1, 1e-12);
        if (match.config.train.steps != 10'000)
          EXPECT_NEAR(static_cast<double>(match.config.optimizer.schedule.warmup_steps) /
                          static_cast<double>(match.config.train.steps),
                      0.05, 1e-4);
      }
  }
}

TEST(Matcher, TakesTheCoarsestStepThatIsNearEnoughAndLeavesWhatIsEqual) {
  RunConfig base;
  base.model = load_model_config(std::string(GTA_SOURCE_DIR) + "/configs/models/gqa-160m.yaml", {});
  base.data.sequence_length = 128;
  const double target = cost_of(base).of(Budget::Parameters);
  EXPECT_TRUE(
      match_budget(base, {Budget::Parameters, target, 0, {"model.intermediate_size"}}, "a").adjustments.empty());
  RunConfig other = base;
  other.model.intermediate_size = 1000;
  Match match = match_budget(other, {Budget::Parameters, target, 0, {"model.intermediate_size"}}, "a");
  EXPECT_EQ(describe(match.adjustments), "model.intermediate_size 1000 -> 1920");
  other.model.layers = 23;
  match = match_budget(other, {Budget::Parameters, target, 0.005, {"model.intermediate_size"}}, "a");
  EXPECT_EQ(match.adjustments[0].after % 32, 0);
  match = match_budget(other, {Budget::Parameters, target, 2e-4, {"model.intermediate_size"}}, "a");
  EXPECT_NE(match.adjustments[0].after % 32, 0);
}

TEST(Matcher, RefusesWhatCannotBeMetAndNamesTheNearest) {
  RunConfig base;
  base.model = load_model_config(std::string(GTA_SOURCE_DIR) + "/configs/models/gqa-160m.yaml", {});
  base.data.sequence_length = 128;
  const auto refusal = [&](Budget budget, double factor, std::vector<std::string> keys) {
    try {
      match_budget(base, {budget, factor * cost_of(base).of(budget), 0.005, std::move(keys)}, "it");
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("nothing");
  };
  EXPECT_NE(refusal(Budget::CacheBytes, 0.4, {"model.attention.kv_heads"})
                .find("the nearest is 12288 (-16.67%) with model.attention.kv_heads 3 -> 1"),
            std::string::npos)
      << refusal(Budget::CacheBytes, 0.4, {"model.attention.kv_heads"});
  EXPECT_NE(refusal(Budget::AttentionFlops, 0.5, {"model.intermediate_size"}).find("with no change"),
            std::string::npos);
  EXPECT_NE(refusal(Budget::CacheBytes, 0.5, {"model.attention.latent_dim"}).find("has none of the keys"),
            std::string::npos);
}

TEST(Search, TakesTheLowestMeanAndWidensOnceWhereABestIsAtTheEdge) {
  const std::vector<TrialResult> results = {{"a", 1, 7, 3.0}, {"a", 2, 7, 2.0},      {"a", 4, 7, 2.5},
                                            {"a", 1, 8, 3.0}, {"a", 2, 8, 2.0},      {"a", 4, 8, 1.0},
                                            {"b", 1, 7, 1.0}, {"b", 2, 7, INFINITY}, {"b", 4, 7, 2.0}};
  EXPECT_EQ(best_value(results, "a"), 4);  // 1.75 against 2
  EXPECT_EQ(best_value(results, "b"), 1);
  EXPECT_FALSE(best_value(results, "c"));
  EXPECT_FALSE(best_value({{"a", 1, 7, NAN}}, "a"));
  const ConfigKey& key = *find_config_key("optimizer.learning_rate");
  EXPECT_EQ(widened({1, 2, 4}, results, key), (std::vector<double>{0.5, 1, 2, 4, 8}));
  EXPECT_EQ(widened({1, 2, 4}, {{"a", 1, 7, 3}, {"a", 2, 7, 2}, {"a", 4, 7, 3}}, key), (std::vector<double>{1, 2, 4}));
}

TEST(Search, WidensToNoValueThatTheKeyCannotHave) {
  const ConfigKey& decay = *find_config_key("optimizer.weight_decay");
  EXPECT_EQ(widened({0, 0.1}, {{"a", 0, 7, 1}, {"a", 0.1, 7, 2}}, decay), (std::vector<double>{0, 0.1}));
  const ConfigKey& ratio = *find_config_key("optimizer.schedule.final_ratio");
  const std::vector<TrialResult> rising = {{"a", 0.5, 7, 2}, {"a", 1, 7, 1}};
  EXPECT_EQ(widened({0.5, 1}, rising, ratio), (std::vector<double>{0.5, 1}));
  EXPECT_EQ(widened({0.5, 1}, rising, *find_config_key("optimizer.learning_rate")), (std::vector<double>{0.5, 1, 2}));
}

}  // namespace
}  // namespace gta
