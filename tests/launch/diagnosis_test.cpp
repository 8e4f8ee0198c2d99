// What a run says of its inside, and that saying so changes nothing.
#include <cmath>

#include "launch/metrics.h"
#include "tests/launch/ranks_of_small_run.h"

namespace gta {
namespace {

class Diagnoses : public RanksOfSmallRun {
 protected:
  std::map<int64_t, std::map<std::string, double>> diagnoses(const std::string& run) {
    std::map<int64_t, std::map<std::string, double>> found;
    for (const MetricsRow& row : read_metrics(folder_ + "/" + run + "/metrics.jsonl"))
      if (const auto* diagnosis = std::get_if<DiagnosisRow>(&row)) found[diagnosis->step] = diagnosis->values;
    return found;
  }
};

TEST_F(Diagnoses, ChangeNoBitOfATraining) {
  for (const char* type : {"gta", "mla", "gqa"})
    for (const char* dtype : {"float32", "bfloat16"})
      for (const int64_t ranks : {1, 2}) {
        const auto run = [&](int64_t every) {
          const std::string name = fmt::format("{}-{}-{}-{}", type, dtype, ranks, every);
          expect_ended_well(
              train_as(ranks, name,
                       {fmt::format("model.attention.type={}", type), fmt::format("train.dtype={}", dtype),
                        "train.steps=6", fmt::format("train.diagnose_every_steps={}", every)}));
          return std::pair(weights(name), losses(name));
        };
        EXPECT_EQ(run(0), run(1)) << type << " " << dtype << ", ranks " << ranks;
        EXPECT_EQ(diagnoses(fmt::format("{}-{}-{}-1", type, dtype, ranks)).size(), 6U);
      }
}

// Parts are "layers.0" of "model.layers.0.mlp.up_proj.weight", or "norm" of "model.norm.weight".
TEST_F(Diagnoses, UpdateNormsAreOfWhatTheMastersChangeBy) {
  for (const char* dtype : {"float32", "bfloat16"}) {
    WatchedRun o = options(dtype);
    std::vector<std::map<std::string, std::vector<double>>> masters;  // before each update, by parameter
    o.before_update = [&](int64_t, ParameterSpace& space) {
      masters.emplace_back();
      for (const Parameter& p : space.parameters())
        masters.back()[p.name] = to_doubles(space.view(space.values(p.kind), p));
    };
    ASSERT_EQ(
        train(load({fmt::format("train.dtype={}", dtype), "train.steps=4", "train.diagnose_every_steps=1"}), o).outcome,
        TrainOutcome::Finished);
    ASSERT_EQ(masters.size(), 4U);
    auto rows = diagnoses(dtype);
    for (size_t step = 0; step + 1 < masters.size(); ++step) {
      std::map<std::string, double> squares;
      for (const auto& [name, before] : masters[step])
        for (size_t i = 0; i < before.size(); ++i) {
          const std::string part = name.find("layers.0.") != std::string::npos   ? "layers.0"
                                   : name.find("layers.1.") != std::string::npos ? "layers.1"
                                   : name == "model.norm.weight"                 ? "norm"
                                   : name == "lm_head.weight"                    ? "lm_head"
                                                                                 : "embed_tokens";
          const double change = masters[step + 1].at(name)[i] - before[i];
          squares["update_norm/" + part] += change * change;
        }
      for (const auto& [name, sum] : squares) {
        EXPECT_GT(sum, 0) << name;
        // The change is rounded to float32 once more.
        EXPECT_NEAR(rows.at(static_cast<int64_t>(step) + 1).at(name), std::sqrt(sum), 1e-6 * std::sqrt(sum)) << name;
      }
    }
  }
}

TEST_F(Diagnoses, OfWeightsThatAreNoNumbersAreNull) {
  WatchedRun o = options("broken");
  o.before_update = [](int64_t step, ParameterSpace& space) {
    if (step != 0) return;
    const Parameter& p = space.find("model.layers.1.self_attn.k_proj.weight");
    set(space.values(p.kind), p.offset, NAN);
  };
  ASSERT_EQ(train(load({"train.steps=4", "train.diagnose_every_steps=1"}), o).outcome, TrainOutcome::Finished);
  const auto rows = diagnoses("broken");
  for (const int64_t step : {2, 3, 4}) {
    const std::map<std::string, double>& values = rows.at(step);
    EXPECT_TRUE(std::isfinite(values.at("map_entropy/layers.0")) && std::isfinite(values.at("key_rank/layers.0")));
    for (const char* name : {"map_entropy", "map_similarity", "key_rank", "largest_score"})
      EXPECT_TRUE(std::isnan(values.at(std::string(name) + "/layers.1"))) << name;
    EXPECT_EQ(values.at("update_norm/layers.0"), 0) << "the step is skipped";
  }
  const std::string text = read_file(folder_ + "/broken/metrics.jsonl");
  EXPECT_NE(text.find("\"map_entropy/layers.1\":null"), std::string::npos);
}

TEST_F(Diagnoses, OfOneMapAndOfOneToken) {
  ASSERT_EQ(train(load({"train.steps=2", "train.diagnose_every_steps=2", "model.attention.query_heads=1"}),
                  options("one-map"))
                .outcome,
            TrainOutcome::Finished);
  const std::map<std::string, double> one_map = diagnoses("one-map").at(2);
  EXPECT_EQ(one_map.count("map_similarity/layers.0"), 0U) << "there is no other map";
  EXPECT_GT(one_map.at("map_entropy/layers.0"), 0);
  ASSERT_EQ(train(load({"train.steps=2", "train.diagnose_every_steps=2", "data.sequence_length=1",
                        "train.evaluate_every_steps=2"}),
                  options("one-token"))
                .outcome,
            TrainOutcome::Finished);
  const std::map<std::string, double> one_token = diagnoses("one-token").at(2);
  EXPECT_EQ(one_token.at("map_entropy/layers.0"), 0);
  EXPECT_NEAR(one_token.at("map_similarity/layers.0"), 1, 1e-12);
  EXPECT_TRUE(one_token.at("key_rank/layers.0") >= 1 && one_token.at("key_rank/layers.0") <= 2) << "of two sequences";
}

}  // namespace
}  // namespace gta
