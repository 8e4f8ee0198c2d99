// What is said of runs: variants, estimates, differences, findings, and what they are called.
#include "launch/compare/comparison.h"

#include <gtest/gtest.h>

#include "launch/compare/variants.h"
#include "launch/compare/words.h"
#include "tests/launch/compare/made_run.h"

namespace gta {
namespace {

using Compare = MadeRuns;

TEST_F(Compare, RunsOfOneConfigurationAreAVariantAndSeedsArePairs) {
  const Comparison c = compare_runs(make_six());
  ASSERT_EQ(c.variants.size(), 2U);
  const Variant &gqa = c.variants[0], &gta = c.variants[1];
  EXPECT_EQ(gqa.name, "gqa");
  EXPECT_EQ(gta.name, "gta");
  EXPECT_FALSE(gqa.difference);
  EXPECT_NEAR(gqa.validation_loss.mean, 3.2, 1e-12);
  EXPECT_NEAR(gqa.validation_loss.deviation, 0.1, 1e-12);
  EXPECT_NEAR(gqa.validation_loss.interval->high - 3.2, 4.302652729749 * 0.1 / std::sqrt(3.0), 1e-9);
  // -0.021, -0.022, -0.023: mean -0.022, deviation 0.001, t = -38.1 on two degrees of freedom.
  const Difference& d = *gta.difference;
  EXPECT_NEAR(d.of_pairs.mean, -0.022, 1e-12);
  EXPECT_NEAR(d.of_pairs.deviation, 0.001, 1e-12);
  EXPECT_NEAR(d.of_pairs.interval->low, -0.022 - 4.302652729749 * 0.001 / std::sqrt(3.0), 1e-9);
  const double t = 22 * std::sqrt(3.0);
  EXPECT_NEAR(*d.p_t, 1 - t / std::sqrt(2 + t * t), 1e-9) << "of two degrees of freedom the distribution has a formula";
  EXPECT_EQ(*d.p_t_holm, *d.p_t) << "one comparison needs no correction";
  EXPECT_DOUBLE_EQ(d.p_sign_flip, 0.25);
  EXPECT_GT(*d.correlation, 0.999);
  EXPECT_EQ(d.finding, Finding::Lower);
  EXPECT_TRUE(gta.best);
  EXPECT_FALSE(gqa.as_good_as_best);
  EXPECT_EQ(c.measure, Measure::LossPerToken);
  EXPECT_TRUE(c.fair()) << text_of(c.problems);
  EXPECT_NEAR(gta.bits_per_byte.mean, 3.178 / std::numbers::ln2 / 3.25, 1e-9);
  EXPECT_EQ(gta.seconds_per_step.mean, 0.5);
  EXPECT_EQ(gta.tokens_per_second.mean, 128);
  EXPECT_EQ(gta.memory_bytes.mean, 1020);
}

TEST_F(Compare, CurvesAreMeansWithTheirRangeAndDifferencesHaveTheirInterval) {
  const Comparison c = compare_runs(make_six([](MadeRun& run) {
    if (run.seed == 3) run.evaluate_every = 10;  // steps that not all have are no points
  }));
  const Variant& gta = c.variants[1];
  ASSERT_EQ(gta.validation.size(), 2U);
  EXPECT_EQ(gta.validation[0].step, 10);
  EXPECT_NEAR(gta.validation[0].mean, 3.2 - 0.022 + 1.0, 1e-12);
  EXPECT_NEAR(gta.validation[0].low, 3.1 - 0.021 + 1.0, 1e-12);
  EXPECT_NEAR(gta.validation[0].high, 3.3 - 0.023 + 1.0, 1e-12);
  EXPECT_EQ(gta.validation[0].tokens, 640);
  EXPECT_EQ(gta.validation[0].seconds, 5);
  EXPECT_EQ(gta.validation[0].flops, 640 * gta.cost.flops_per_token_training);
  EXPECT_EQ(gta.training.size(), 20U);
  // Two validations are no curve: of training losses then.
  ASSERT_EQ(gta.difference_over_training.size(), 20U);
  EXPECT_NEAR(gta.difference_over_training[4].mean, -0.022, 1e-12);
  EXPECT_NEAR(gta.difference_over_training[4].low, -0.022 - 4.302652729749 * 0.001 / std::sqrt(3.0), 1e-9);
}

TEST_F(Compare, OneSeedShowsNothing) {
  MadeRun gqa, gta;
  gta.type = "gta";
  gta.loss = 2;
  const Comparison c = compare_runs({make("a", gqa), make("b", gta)});
  const Difference& d = *c.variants[1].difference;
  EXPECT_EQ(d.finding, Finding::OneSeed);
  EXPECT_FALSE(d.of_pairs.interval);
  EXPECT_FALSE(d.p_t);
  EXPECT_FALSE(d.seeds_needed);
  EXPECT_NEAR(d.of_pairs.mean, -1, 1e-12);
  EXPECT_TRUE(c.variants[0].as_good_as_best) << "nothing is shown of it";
  EXPECT_EQ(words_of(c).substr(0, 27), "One seed: nothing is shown.");
}

TEST_F(Compare, SeedsThatOnlyOneVariantHasAreNoPairsAndAreNamed) {
  std::vector<std::string> runs = make_six();
  runs.pop_back();
  const Comparison c = compare_runs(runs);
  EXPECT_EQ(c.variants[1].difference->of_pairs.values.size(), 2U);
  EXPECT_NE(text_of(c.problems).find("missing runs: gta has no run of seed 3 that counts"), std::string::npos);
  const Comparison none = compare_runs({runs[0], runs[4]});
  EXPECT_EQ(none.variants[1].difference->finding, Finding::NoPair);
}

TEST_F(Compare, TheBaselineIsAVariantsNameOrARunsFolder) {
  const std::vector<std::string> runs = make_six();
  EXPECT_EQ(compare_runs(runs).options.baseline, "gqa");
  CompareOptions options;
  for (const std::string& baseline : {std::string("gta"), at("gta-2"), at("gta-2/"), at("gqa-1/../gta-3")}) {
    options.baseline = baseline;
    const Comparison c = compare_runs(runs, options);
    EXPECT_EQ(c.baseline().name, "gta") << baseline;
    EXPECT_NEAR(c.variants[1].difference->of_pairs.mean, 0.022, 1e-12);
  }
  options.baseline = "gtb";
  try {
    compare_runs(runs, options);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::BadInput);
    EXPECT_NE(std::string(error.what()).find("did you mean gta?"), std::string::npos) << error.what();
  }
}

TEST_F(Compare, TwoRunsOfOneSeedCountOnce) {
  const std::vector<std::string> six = make_six();
  std::vector<std::string> runs = six;
  runs.push_back(six[0]);
  MadeRun again, other;
  again.loss = 3.1;
  other.loss = 3.2;
  runs.push_back(make("again", again));
  runs.push_back(make("other", other));
  const Comparison c = compare_runs(runs);
  EXPECT_EQ(c.cells[6].reason, "is the same folder as gqa-1");
  EXPECT_EQ(c.cells[7].reason, "seed 1 is there already, by gqa-1");
  EXPECT_EQ(c.variants[0].validation_loss.values.at(1), 3.1);
  EXPECT_NE(text_of(c.notes).find("duplicate: gqa-1 and again are of one configuration and seed"), std::string::npos);
  EXPECT_NE(text_of(c.problems).find("ended with losses 3.1 and 3.2"), std::string::npos) << text_of(c.problems);
}

TEST_F(Compare, VariantsOfOneTypeAreNamedByWhatTellsThemApart) {
  std::vector<std::string> runs;
  for (const int64_t width : {4, 8})
    for (const int64_t layers : {2, 3}) {
      MadeRun made;
      made.type = "gta";
      made.change = [=](RunConfig& config) {
        config.model.attention.latent_dim = width;
        config.model.layers = layers;
      };
      runs.push_back(make(std::to_string(width) + std::to_string(layers), made));
    }
  runs.push_back(make("gqa", {}));
  const Comparison c = compare_runs(runs);
  std::vector<std::string> names;
  for (const Variant& variant : c.variants) names.push_back(variant.name);
  EXPECT_EQ(names, (std::vector<std::string>{"gta latent_dim=4 layers=2", "gta latent_dim=4 layers=3",
                                             "gta latent_dim=8 layers=2", "gta latent_dim=8 layers=3", "gqa"}));
  EXPECT_EQ(c.variants[1].adjusted, (std::map<std::string, std::string>{{"model.layers", "3"}}));
}

TEST_F(Compare, AnAblationNamesItsCellsAndSaysWhyOnesDoNotCount) {
  const std::vector<std::string> runs = make_six();
  CompareOptions options;
  for (size_t i = 0; i < runs.size(); ++i)
    options.cells[runs[i]] = {i < 3 ? "mine" : "<script>alert(1)</script>", static_cast<int64_t>(i % 3 + 1), ""};
  options.cells[at("never")] = {"mine", 4, "was not started"};
  options.cells[runs[2]].reason = "was killed";
  std::vector<std::string> all = runs;
  all.push_back(at("never"));
  const Comparison c = compare_runs(all, options);
  EXPECT_EQ(c.variants[0].name, "mine");
  EXPECT_EQ(c.variants[1].name, "<script>alert(1)</script>") << "text: who shows it escapes it";
  EXPECT_EQ(c.cells[6].variant, "mine");
  EXPECT_EQ(*c.cells[6].seed, 4);
  EXPECT_EQ(c.cells[6].reason, "was not started");
  EXPECT_EQ(c.variants[0].runs.size(), 2U);
  EXPECT_NE(text_of(c.problems).find("mine has no run of seed 3 that counts: was killed (gqa-3)"), std::string::npos)
      << text_of(c.problems);
}

TEST_F(Compare, OfTwoTokenizersOnlyBitsPerByteAreCompared) {
  const Comparison c = compare_runs(make_six([](MadeRun& run) {
    if (run.type != "gta") return;
    run.tokenizer = "another";
    run.data = "other tokens";
    run.bytes_per_token = 3.5;
  }));
  EXPECT_EQ(c.measure, Measure::BitsPerByte);
  const double expected = (3.178 / 3.5 - 3.2 / 3.25) / std::numbers::ln2;
  EXPECT_NEAR(c.variants[1].difference->of_pairs.mean, expected, 1e-12);
  EXPECT_NEAR(c.practical_difference, 0.005 / std::numbers::ln2 / 3.25, 1e-12);
  EXPECT_NEAR(c.variants[1].validation.back().mean, 3.178 / std::numbers::ln2 / 3.5, 1e-12);
  EXPECT_NE(text_of(c.problems).find("tokenizer: tokenizers differ, so only bits per byte are compared"),
            std::string::npos);
  EXPECT_NE(words_of(c).find("bits per byte"), std::string::npos);
  // The same configuration with another tokenizer is another variant.
  MadeRun other;
  other.tokenizer = "another";
  other.data = "other tokens";
  EXPECT_EQ(compare_runs({at("gqa-1"), make("other", other)}).variants.size(), 2U);
}

TEST_F(Compare, OtherDataAndAnotherValidationSetAreRefused) {
  const auto refusal = [&](const std::function<void(MadeRun&)>& change) -> std::string {
    try {
      compare_runs(make_six([&](MadeRun& run) {
        if (run.type == "gta" && run.seed == 2) change(run);
      }));
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::BadInput);
      return error.what();
    }
    return "";
  };
  const std::string data = refusal([](MadeRun& run) { run.data = "else"; });
  EXPECT_NE(data.find("trained on other data"), std::string::npos) << data;
  EXPECT_NE(data.find(hash_text(hash_bytes(std::string("else"))) + " (gta-2)"), std::string::npos) << data;
  const std::string scored = refusal([](MadeRun& run) { run.bytes_per_token = 3.25001; });
  EXPECT_NE(scored.find("scored on other text"), std::string::npos) << scored;
  EXPECT_NE(scored.find("3.250010 (gta-2)"), std::string::npos) << scored;
}

TEST_F(Compare, EqualBudgetsAreThoseWithinTheTolerance) {
  CompareOptions options;
  options.equal = Budget::Parameters;
  const Comparison off = compare_runs(make_six(), options);
  EXPECT_NE(text_of(off.problems).find("budget: parameters of gta are"), std::string::npos) << text_of(off.problems);
  options.tolerance = 0.5;
  const Comparison near = compare_runs(make_six(), options);
  EXPECT_TRUE(near.fair()) << text_of(near.problems);
  EXPECT_EQ(near.equal_budgets.front(), Budget::Parameters);
}

// Differences of three pairs.
Difference of(std::map<int64_t, double> values, std::vector<Difference*> others = {}) {
  std::map<int64_t, double> zeros;
  for (const auto& [seed, value] : values) zeros[seed] = 0;
  Difference d = difference_between(Estimate(std::move(values)), Estimate(std::move(zeros)));
  others.insert(others.begin(), &d);
  conclude(others, kPracticalDifference);
  add_power(others);
  return d;
}

TEST(Finding, RestsOnTheIntervalTheCorrectionAndWhatMatters) {
  EXPECT_EQ(of({}).finding, Finding::NoPair);
  EXPECT_EQ(of({{1, 3}}).finding, Finding::OneSeed);
  EXPECT_EQ(of({{1, 0.1}, {2, 0.11}, {3, 0.12}}).finding, Finding::Higher);
  EXPECT_EQ(of({{1, -0.1}, {2, -0.11}, {3, -0.12}}).finding, Finding::Lower);
  EXPECT_EQ(of({{1, 0.1}, {2, -0.11}, {3, 0.12}}).finding, Finding::NotShown);
  EXPECT_EQ(of({{1, 0.001}, {2, 0.0011}, {3, 0.0012}}).finding, Finding::PracticallyEqual) << "however sure it is";
  EXPECT_EQ(of({{1, 0.0035}, {2, 0.0045}, {3, 0.0055}}).finding, Finding::ShownButSmall)
      << "shown, and its interval reaches beyond what does not matter";
  EXPECT_EQ(of({{1, 0}, {2, 0}, {3, 0}}).finding, Finding::PracticallyEqual);
  EXPECT_TRUE(is_shown(Finding::ShownButSmall));
  EXPECT_FALSE(is_shown(Finding::PracticallyEqual));
}

TEST(Finding, HoldsAfterTheCorrectionForAllComparisons) {
  // p = 0.034 alone; of two comparisons 0.069.
  const std::map<int64_t, double> values = {{1, 0.10}, {2, 0.13}, {3, 0.19}};
  const Difference alone = of(values);
  EXPECT_EQ(alone.finding, Finding::Higher) << *alone.p_t;
  Difference noise = of({{1, 0.1}, {2, -0.11}, {3, 0.12}});
  const Difference with_another = of(values, {&noise});
  EXPECT_EQ(with_another.finding, Finding::NotShown);
  EXPECT_DOUBLE_EQ(*with_another.p_t_holm, 2 * *with_another.p_t);
  EXPECT_EQ(*with_another.p_t, *alone.p_t);
  EXPECT_GT(*with_another.smallest_shown_corrected, *with_another.smallest_shown);
  EXPECT_GE(*with_another.seeds_needed_corrected, *with_another.seeds_needed);
}

// SciPy 1.17.1: smallest |d| with power 0.8 of a two-sided t test of three, deviation 0.045825756949558406, by
// scipy.stats.nct; and the first n whose power at mean 0.14 is 0.8.
TEST(Finding, WhatSeedsCanShowIsSciPys) {
  const Difference d = of({{1, 0.10}, {2, 0.13}, {3, 0.19}});
  EXPECT_NEAR(d.of_pairs.deviation, 0.045825756949558406, 1e-15);
  EXPECT_NEAR(*d.p_t, 0.03390821692070408, 1e-12);
  EXPECT_NEAR(*d.smallest_shown, 0.14957726638130647, 1e-9);
  EXPECT_EQ(*d.seeds_needed, 4);
}

TEST_F(Compare, WordsSayWhatIsShownAndWhatItWouldTake) {
  EXPECT_EQ(
      words_of(compare_runs(make_six())),
      "2 variants, seeds 1, 2, 3. The baseline gqa ends at 3.2000 nats per token (95% interval 2.9516 to 3.4484) of "
      "the validation set. gta ends 0.0220 lower (95% interval -0.0245 to -0.0195; p = 0.00069): a difference is "
      "shown. Differences are taken seed by seed; p is Student's, after Holm's correction for the number of "
      "comparisons. With 3 pairs the signs alone could not give a p below 0.25: what is shown rests on differences "
      "being distributed normally.");
  const std::string words = words_of(compare_runs(make_six([](MadeRun& run) {
    if (run.type == "gta") run.loss += 0.03 * static_cast<double>(run.seed);
  })));
  EXPECT_NE(words.find("gta ends 0.0380 higher (95% interval -0.0340 to 0.1100; p = 0.15): no difference is shown. To "
                       "show a difference of this size with 80% power takes 7 seeds, 4 more than there are; the "
                       "smallest that these 3 could have shown is 0.0947."),
            std::string::npos)
      << words;
}

}  // namespace
}  // namespace gta
