// Records of runs that nobody trained: their losses fall as losses do, a little different in each variant and seed.
#pragma once

#include <fmt/format.h>

#include <cmath>
#include <string>
#include <vector>

#include "core/random.h"
#include "launch/compare/comparison.h"
#include "launch/compare/supplements.h"
#include "launch/config/config.h"

namespace gta {

struct MadeVariant {
  std::string type;
  double effect = 0;  // of its loss at the end
};

inline const std::vector<MadeVariant> kSevenVariants = {
    {"gqa", 0}, {"mha", 0.004}, {"mqa", 0.031}, {"mla", -0.012}, {"gva", 0.009}, {"gha", -0.002}, {"gta", -0.034}};

inline std::string made_config(const std::string& type, int64_t seed, int64_t steps) {
  return fmt::format(R"(name: made-{0}
seed: {1}
model: {{hidden_size: 256, layers: 4, intermediate_size: 512, heads: 8, head_dim: 32,
  vocab_size: 2048, max_sequence_length: 128,
  attention: {{type: {0}, query_heads: 2, key_heads: 1, latent_heads: 1, latent_dim: 64, kv_heads: 2,
    value_heads: 4, kv_lora_rank: 64, nope_dim: 32, rope_dim: 16, value_dim: 32}}}}
data: {{tokenizer: kjv.model, train: [train-0.h5], validation: [validation-0.h5], sequence_length: 128}}
optimizer: {{learning_rate: 3.0e-3, schedule: {{type: cosine, warmup_steps: 50, final_ratio: 0.1}}}}
train: {{steps: {2}, global_batch_size: 16, micro_batch_size: 16, evaluate_every_steps: {3}}}
)",
                     type, seed, steps, std::max<int64_t>(1, steps / 8));
}

inline RunRecord made_record(const MadeVariant& variant, int64_t seed, int64_t steps) {
  RunRecord run;
  run.folder = fmt::format("runs/made/cells/{}-seed-{}", variant.type, seed);
  run.state = RunState::Done;
  run.config = parse_run_config(made_config(variant.type, seed, steps), "made");
  run.environment = {{"gta", "0.1.0"},
                     {"commit", "0123456789abcdef"},
                     {"compiler", "GCC 12.2.0"},
                     {"device", "cpu"},
                     {"processor", "A processor of two cores"},
                     {"threads", "2"}};
  run.data_hash = 0x1234;
  run.tokenizer_hash = 0x5678;
  run.order = SampleOrder::Shuffle;
  run.next_sample = steps * 16;
  run.checkpoint_step = run.last_step = steps;
  const RandomStream shared(static_cast<uint64_t>(seed), "shared"),
      own(static_cast<uint64_t>(seed), "own " + variant.type);
  const double luck = 0.03 * (shared.uniform(0) - 0.5) + 0.006 * (own.uniform(0) - 0.5);
  const auto loss_at = [&](int64_t step) {
    const auto t = static_cast<double>(step);
    return 2.9 + 4.7 * std::exp(-t / 90) + (variant.effect + luck) * (1 - std::exp(-t / 200));
  };
  const int64_t width = (steps + 255) / 256;
  constexpr double kSecondsPerStep = 0.11, kTokensPerStep = 16 * 128;
  for (int64_t step = width; step <= steps; step += width)
    run.training.push_back({step, static_cast<int64_t>(kTokensPerStep) * step,
                            kSecondsPerStep * static_cast<double>(step),
                            loss_at(step) + 0.1 * (shared.uniform(static_cast<uint64_t>(step)) - 0.5) +
                                0.02 * (own.uniform(static_cast<uint64_t>(step)) - 0.5)});
  for (int64_t i = 1; i <= 8; ++i) {
    const int64_t step = i * steps / 8;
    const double loss = loss_at(step) + 0.04;
    run.validation.push_back({step, static_cast<int64_t>(kTokensPerStep) * step,
                              kSecondsPerStep * static_cast<double>(step), loss, loss * 0.43, std::exp(loss)});
  }
  run.final = run.validation.back();
  run.seconds_per_step = kSecondsPerStep * (1 + 0.05 * own.uniform(1));
  run.tokens_per_second = kTokensPerStep / run.seconds_per_step;
  run.memory_bytes = 90e6 + 1e6 * std::floor(10 * own.uniform(2));
  run.seconds = kSecondsPerStep * static_cast<double>(steps);
  return run;
}

inline std::vector<RunRecord> made_records(const std::vector<MadeVariant>& variants, int64_t seeds,
                                           int64_t steps = 800) {
  std::vector<RunRecord> runs;
  for (const MadeVariant& variant : variants)
    for (int64_t seed = 1; seed <= seeds; ++seed) runs.push_back(made_record(variant, seed, steps));
  return runs;
}

// Everything that a comparison may have.
inline Supplements made_supplements(const Comparison& comparison, int64_t sizes = 5) {
  Supplements all;
  Comparison with_rows = comparison;
  std::vector<ScalingPoint> points;
  for (const Variant& variant : comparison.variants) {
    const double effect = comparison.measured(variant).mean - 2.94;
    for (size_t run : variant.runs) {
      const RandomStream random(run, "rows");
      LastRows& rows = with_rows.runs[run].last_rows;
      rows.breakdown_step = rows.diagnosis_step = comparison.runs[run].last_step;
      for (int64_t bucket = 0; bucket < 8; ++bucket) {
        const int64_t from = bucket == 0 ? 1 : (int64_t{1} << (bucket - 1)) + 1, to = int64_t{1} << bucket;
        const std::string label = from >= to ? std::to_string(to) : fmt::format("{}-{}", from, to);
        const auto b = static_cast<double>(bucket);
        rows.breakdown["loss/position/" + label] =
            2.8 + 2.5 * std::exp(-b) + effect + 0.02 * random.uniform(static_cast<uint64_t>(bucket));
        if (bucket > 3)
          rows.breakdown["loss/document/" + label] =
              3 - 0.05 * b + effect + 0.02 * random.uniform(20 + static_cast<uint64_t>(bucket));
      }
      for (int64_t layer = 0; layer < 4; ++layer) {
        const double noise = random.uniform(40 + static_cast<uint64_t>(layer));
        const auto at = [&](const char* key) -> double& {
          return rows.diagnosis[fmt::format("{}/layers.{}", key, layer)];
        };
        const auto l = static_cast<double>(layer);
        at("map_entropy") = 2.5 - 0.3 * l + 0.1 * noise;
        at("map_similarity") = 0.4 + 0.1 * l + 0.05 * noise;
        at("key_rank") = 20 + l + noise;
        at("value_rank") = 28 - l + noise;
        if (variant.name == "gta") at("latent_rank") = 40 + noise;
        at("largest_score") = 5 + l + noise;
        at("gradient_norm") = 0.2 + 0.02 * noise;
        at("update_norm") = 0.01 + 0.001 * noise;
      }
      rows.diagnosis["gradient_norm/embed_tokens"] = 0.3;
      rows.diagnosis["gradient_norm/norm"] = 0.05;
      rows.diagnosis["gradient_norm/lm_head"] = 0.25;
    }
    for (int64_t i = 0; i < sizes; ++i) {
      ScalingPoint point{variant.name, fmt::format("size-{}", i), 1e15 * std::pow(4, i), 1e6 * std::pow(2, i), {}};
      for (const auto& [seed, loss] : comparison.measured(variant).values)
        point.losses[seed] = 1.7 + 60 * std::pow(point.compute, -0.11) + (effect + 0.3 * (loss - 2.94 - effect)) / 2;
      points.push_back(point);
    }
    all.decode_tokens_per_second[variant.name] = 800 + 300 * effect + static_cast<double>(variant.name.size() * 10);
  }
  all.profiles = profiles_of(with_rows);
  all.scaling = scaling_study(points, comparison.baseline().name, 200);
  return all;
}

}  // namespace gta
