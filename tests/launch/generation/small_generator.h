// A tokenizer that was trained on letters, and models of random weights over it, with a vocabulary larger than its own.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/io/file.h"
#include "core/random.h"
#include "launch/generation/requests.h"
#include "launch/sampling.h"
#include "tests/small_model.h"

namespace gta {

class SmallGenerator : public ::testing::Test {
 protected:
  static constexpr int64_t kLongest = 150;

  static Tokenizer trained_tokenizer() {
    const std::string folder = ::testing::TempDir() + "/gta-generator-" + std::to_string(getpid());
    make_directories(folder);
    train_tokenizer({letters(6000, 3)}, 300, folder + "/t.model");
    const Tokenizer trained = Tokenizer::load(folder + "/t.model");
    remove_tree(folder);
    return trained;
  }
  static std::string letters(uint64_t count, uint64_t seed) {
    const RandomStream random(seed, "text");
    std::string text;
    for (uint64_t i = 0; i < count; ++i)
      text +=
          std::string(1, static_cast<char>('a' + random.bits(i) % 17)) + (random.bits(i + 100000) % 4 == 0 ? " " : "");
    return text;
  }
  void use_model(AttentionType type) {
    ModelConfig config = testing::small_model(type);
    config.vocab_size = 400;
    config.max_sequence_length = kLongest;
    model_.reset();
    space_ = std::make_unique<ParameterSpace>();
    model_ = std::make_unique<CausalLm>(*space_, config);
    space_->allocate(DType::F32, Device{}, SpaceUse::Inference);
    space_->initialize(5);
  }
  GenerationRequest request(const std::string& prompt, int64_t most, double temperature, uint64_t seed) const {
    GenerationRequest made{prompt, prompt_tokens(model_->config(), tokenizer_, prompt), {}};
    made.options.max_tokens = most;
    made.options.temperature = temperature;
    made.options.seed = seed;
    made.options.log_probabilities = LogProbabilities::OfPicked;
    return made;
  }
  // What the request gives by itself.
  Continuation alone(const GenerationRequest& request, int64_t prefill_chunk) const {
    return alone(request, CacheOptions{model_->dtype(), prefill_chunk});
  }
  Continuation alone(const GenerationRequest& request, const CacheOptions& cached) const {
    std::optional<Continuation> answer;
    generate_samples(*model_, tokenizer_, request.prompt, request.options, 1, cached,
                     {.ends = [&](const Continuation& end) { answer = end; }});
    return *answer;
  }

  const Tokenizer tokenizer_ = trained_tokenizer();
  std::unique_ptr<ParameterSpace> space_;
  std::unique_ptr<CausalLm> model_;
};

}  // namespace gta
