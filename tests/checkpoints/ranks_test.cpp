// Two ranks, each a thread with memory of its own, train as one does on both their samples (core/comm/data_parallel.h).
// What they save loads on any number of ranks.
#include <gtest/gtest.h>

#include <numeric>
#include <thread>

#include "checkpoints/model_state.h"
#include "checkpoints/writer.h"
#include "core/comm/data_parallel.h"
#include "core/comm/thread_transport.h"
#include "layers/transformer/causal_lm.h"
#include "tests/checkpoints/test_state.h"
#include "tests/small_model.h"

namespace gta::testing {
namespace {

constexpr int64_t kSamples = 2, kLength = 9, kSteps = 5;
constexpr double kRate = 0.01;

Tensor sample(int64_t step, int64_t index) {
  std::vector<int32_t> ids(kLength);
  for (int64_t i = 0; i < kLength; ++i)
    ids[static_cast<size_t>(i)] = static_cast<int32_t>((step * 31 + index * 17 + i * i * 5) % 50);
  return Tensor::from<int32_t>({1, kLength}, ids);
}

struct Rank {
  Rank(const ModelConfig& config, DType dtype, const RankShare& share) : model(space, config) {
    space.allocate(dtype, {}, SpaceUse::Training, share);
    space.initialize(7);
    optimizer.emplace(space, OptimizerConfig{});
  }
  ParameterSpace space;
  CausalLm model;
  std::optional<AdamW> optimizer;
  std::vector<Tensor> losses;
};

constexpr double kLabelWeight = 1.0 / (kSamples * kLength);

void train_alone(Rank& rank, Recompute recompute) {
  for (int64_t step = 0; step < kSteps; ++step) {
    rank.space.zero_gradients();
    std::vector<double> losses;
    for (int64_t i = 0; i < kSamples; ++i) {
      Tape tape(TapeMode::Recording, recompute);
      const Tensor loss = rank.model.loss(tape, sample(step, i), sample(step, i + 1), kLabelWeight);
      tape.backward(loss);
      losses.push_back(loss.to_vector<double>()[0]);
    }
    rank.optimizer->step(kRate, rank.optimizer->sum_of_squares(), Tensor::from<double>({kSamples}, losses));
  }
}

// One rank of several.
void train_together(Rank& rank, Communicator& comm, Recompute recompute) {
  DataParallel together(rank.space, comm);
  for (int64_t step = 0; step < kSteps; ++step) {
    rank.space.zero_gradients();
    Tape tape(TapeMode::Recording, recompute, together.gradients_complete(), together.weights_needed());
    const Tensor loss = rank.model.loss(tape, sample(step, comm.rank()), sample(step, comm.rank() + 1), kLabelWeight);
    tape.backward(loss);
    together.finish_gradients();
    const std::vector<double> losses = comm.gather("losses", loss.to_vector<double>()[0]),
                              squares = comm.gather("squares", rank.optimizer->sum_of_squares().to_vector<double>()[0]);
    rank.optimizer->step(kRate, Tensor::from<double>({1}, {std::accumulate(squares.begin(), squares.end(), 0.0)}),
                         Tensor::from<double>({comm.ranks()}, losses));
    together.begin_weights();
  }
  together.finish_weights();
}

std::vector<std::unique_ptr<Rank>> make_ranks(const ModelConfig& config, DType dtype, int64_t count,
                                              Sharding sharding = Sharding::Optimizer) {
  std::vector<std::unique_ptr<Rank>> ranks;
  for (int64_t r = 0; r < count; ++r)
    ranks.push_back(std::make_unique<Rank>(config, dtype, RankShare{r, count, sharding, 4 * 1500}));
  return ranks;
}

std::vector<double> weight_values(const ParameterSpace& space, const Parameter& parameter) {
  return to_doubles(space.view(space.weights(parameter.kind), space.find(parameter.name)));
}

void train_together(std::vector<std::unique_ptr<Rank>>& ranks, Recompute recompute) {
  const Meeting meeting(static_cast<int64_t>(ranks.size()));
  std::vector<std::thread> threads;
  for (size_t r = 0; r < ranks.size(); ++r)
    threads.emplace_back([&, r] {
      Communicator comm(meeting.join(static_cast<int64_t>(r)));
      train_together(*ranks[r], comm, recompute);
      comm.finish();
    });
  for (std::thread& thread : threads) thread.join();
}

// The bytes of what every range holds.
std::map<std::string, std::vector<char>> held_bytes(const std::vector<StateRange>& ranges) {
  std::map<std::string, std::vector<char>> bytes;
  for (const StateRange& range : ranges) {
    std::vector<char>& whole = bytes[range.part + " " + range.parameter];
    const auto size = static_cast<int64_t>(size_of(range.dtype));
    whole.resize(static_cast<size_t>(range.elements() * size));
    std::memcpy(whole.data() + range.first * size, range.data, static_cast<size_t>(range.bytes()));
  }
  return bytes;
}

TEST(Ranks, TwoTrainAsOneDoesOnBothTheirSamples) {
  for (AttentionType type : kAttentionTypes)
    for (bool tied : {false, true})
      for (Recompute recompute : {Recompute::None, Recompute::Elementwise, Recompute::Block})
        for (Sharding sharding : {Sharding::Optimizer, Sharding::None}) {
          SCOPED_TRACE(fmt::format("{} {} {}", name_of(type), tied ? "tied" : "untied", name_of(recompute)));
          ModelConfig config = small_model(type);
          config.tie_embeddings = tied;
          auto one = make_ranks(config, DType::F64, 1), two = make_ranks(config, DType::F64, 2, sharding);
          train_alone(*one[0], recompute);
          train_together(two, recompute);
          for (const Parameter& parameter : one[0]->space.parameters()) {
            const std::vector<double> expected = weight_values(one[0]->space, parameter),
                                      first = weight_values(two[0]->space, parameter);
            // Sums in another order; ten thousand times what an update of 0.01 rounds to.
            for (size_t i = 0; i < expected.size(); ++i)
              ASSERT_NEAR(first[i], expected[i], 1e-11) << parameter.name << " " << i;
            EXPECT_EQ(first, weight_values(two[1]->space, parameter)) << parameter.name;
          }
        }
}

TEST(Ranks, HoldTheirPartOfMastersAndMomentsAlone) {
  const ModelConfig config = small_model(AttentionType::Gta);
  const auto elements = [](const FlatBuffer& buffer) {
    int64_t count = 0;
    for (const FlatRange& range : buffer.ranges()) count += range.count;
    return count;
  };
  const auto one = make_ranks(config, DType::BF16, 1), three = make_ranks(config, DType::BF16, 3);
  const int64_t vectors = one[0]->space.layout().flat_size(ParameterKind::Vector);
  for (const auto& rank : three) {
    const int64_t matrices = rank->space.layout().flat_size(ParameterKind::Matrix);
    EXPECT_EQ(elements(rank->space.masters()), matrices / 3 + vectors);
    EXPECT_EQ(elements(rank->optimizer->exp_avg()), matrices / 3 + vectors);
    EXPECT_EQ(elements(rank->optimizer->exp_avg_sq()), matrices / 3 + vectors);
    EXPECT_EQ(elements(rank->space.gradients()), matrices + vectors);
    EXPECT_THROW(rank->space.values(ParameterKind::Matrix), Error) << "not all are here";
  }
}

TEST(Ranks, BeginWithTheSameWeightsWhateverTheyHoldOfThem) {
  for (DType dtype : {DType::F64, DType::F32, DType::BF16}) {
    const ModelConfig config = small_model(AttentionType::Mla);
    const auto one = make_ranks(config, dtype, 1), three = make_ranks(config, dtype, 3);
    std::map<std::string, std::vector<char>> masters = held_bytes(weight_ranges(one[0]->space, RangesOf::Owner));
    std::vector<StateRange> owned;
    for (const auto& rank : three) {
      for (const Parameter& parameter : one[0]->space.parameters())
        EXPECT_EQ(weight_values(rank->space, parameter), weight_values(one[0]->space, parameter)) << parameter.name;
      for (const StateRange& range : weight_ranges(rank->space, RangesOf::Owner)) owned.push_back(range);
    }
    EXPECT_TRUE(held_bytes(owned) == masters) << name_of(dtype);
  }
}

TEST(Ranks, WhatTwoSaveLoadsAsOneAndAsThree) {
  for (DType dtype : {DType::F32, DType::BF16}) {
    const ModelConfig config = small_model(AttentionType::Gta);
    auto two = make_ranks(config, dtype, 2);
    train_together(two, Recompute::None);
    TrainingState state;
    state.position.step = kSteps;
    state.position.updates = kSteps;
    state.config_yaml = "name: ranks\n";
    state.tokenizer = "no tokenizer";
    const test::TemporaryFolder folder;
    const std::string unpublished = prepare(folder.path(), kSteps);
    std::vector<RankFile> files;
    std::vector<StateRange> all;
    for (const auto& rank : two) {
      state.ranges = training_ranges(rank->space, *rank->optimizer, RangesOf::Owner);
      all.insert(all.end(), state.ranges.begin(), state.ranges.end());
      StatePieces pieces(state.ranges);
      files.push_back(write_own_file(unpublished, static_cast<int64_t>(files.size()), 2, state, pieces));
    }
    const std::map<std::string, std::vector<char>> saved = held_bytes(all);
    const Checkpoint checkpoint = Checkpoint::open(publish(unpublished, state.position, state.config_yaml, files));
    EXPECT_EQ(checkpoint.files().size(), 2u);
    for (int64_t count : {1, 3}) {
      auto loaded = make_ranks(config, dtype, count);
      std::vector<StateRange> owned;
      for (const auto& rank : loaded) {
        load_training(checkpoint, rank->space, *rank->optimizer);
        EXPECT_EQ(rank->optimizer->updates(), kSteps);
        for (const StateRange& range : training_ranges(rank->space, *rank->optimizer, RangesOf::Owner))
          owned.push_back(range);
        // Vectors are given back to every rank.
        for (const Parameter& parameter : two[0]->space.parameters())
          if (parameter.kind == ParameterKind::Vector || count == 1) {
            EXPECT_EQ(weight_values(rank->space, parameter), weight_values(two[0]->space, parameter)) << parameter.name;
          }
      }
      EXPECT_TRUE(held_bytes(owned) == saved) << count << " ranks";
    }
  }
}

}  // namespace
}  // namespace gta::testing
