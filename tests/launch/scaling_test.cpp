// The step of several ranks: limits, a case computed by hand, and the bytes that ranks of this process really send.
#include "launch/scaling.h"

#include <gtest/gtest.h>

#include <atomic>
#include <limits>
#include <thread>

#include "core/comm/communicator.h"
#include "core/comm/data_parallel.h"
#include "core/comm/thread_transport.h"
#include "core/parameter_space.h"
#include "launch/config/config.h"
#include "launch/plan.h"
#include "launch/training/agreement.h"
#include "layers/transformer/causal_lm.h"
#include "tests/small_model.h"

namespace gta {
namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();
constexpr double kRounding = 1e-12;  // of sums of a few hundred float64, relative
const RunSpeed kSpeed{SpeedSource::Assumed, 4e14};

RunConfig one_billion(const std::vector<std::string>& overrides = {}) {
  std::vector<std::string> all = {"train.dtype=bfloat16", "train.micro_batch_size=2"};
  all.insert(all.end(), overrides.begin(), overrides.end());
  return load_planned_config(std::string(GTA_SOURCE_DIR) + "/configs/runs/gta-1b.yaml", all);
}

Network network_of(int64_t ranks, double between = 50e9, double latency = 3e-6) {
  return {ranks, 8, between, 300e9, latency};
}

RankWork by_hand() {
  RankWork work;
  work.buckets = {{400, 200, 1, 3}, {200, 100, 2, 1}};
  work.vector_bytes = 100;
  work.head_seconds = 0.5;
  work.update_seconds = 0.25;
  return work;
}

TEST(Scaling, ACaseComputedByHand) {
  // 100 bytes a second and half a second for the one message: 2.5, 1.5 and 1 seconds for 400, 200 and 100 bytes.
  const Network network{2, 8, 0, 100, 0.5};
  EXPECT_DOUBLE_EQ(collective_seconds(network, 400), 2.5);
  const ScaledStep step = scaled_step(by_hand(), network);
  // Bucket 1 is here after 1 s and computed at 3, bucket 0 here after 2.5 and computed at 4.
  EXPECT_DOUBLE_EQ(step.weight_seconds, 2.5);
  EXPECT_DOUBLE_EQ(step.waiting_for_weights, 1);
  // Bucket 0 is complete at 3 and added up at 5.5, bucket 1 at 4 and 7; vectors go and come in 2 s. Backward ends at 4.
  EXPECT_DOUBLE_EQ(step.gradient_seconds, 6);
  EXPECT_DOUBLE_EQ(step.waiting_for_gradients, 5);
  EXPECT_EQ(step.weight_bytes, 150);
  EXPECT_EQ(step.gradient_bytes, 200 + 100 + 2 * 50);
  const int64_t own = sizeof(StepVote) + 2 * 8;
  EXPECT_EQ(step.agreement_bytes, own);
  EXPECT_DOUBLE_EQ(step.agreement_seconds, static_cast<double>(own) / 100 + 0.5 + 0.5);
  EXPECT_DOUBLE_EQ(step.computing, 7.5);
  EXPECT_DOUBLE_EQ(step.seconds(), 7.5 + 0.25 + 1 + 5 + step.agreement_seconds);
  EXPECT_DOUBLE_EQ(step.hidden(), 2.5);
  EXPECT_DOUBLE_EQ(efficiency(by_hand(), network), (2 * 7.5 + 2 * 0.25) / (2 * step.seconds()));
}

TEST(Scaling, OneRankSendsNothing) {
  const ScaledStep step = scaled_step(by_hand(), {.ranks = 1});
  EXPECT_EQ(step.bytes(), 0);
  EXPECT_EQ(step.communication(), 0);
  EXPECT_EQ(step.exposed(), 0);
  EXPECT_DOUBLE_EQ(step.seconds(), 7.75);
  EXPECT_DOUBLE_EQ(efficiency(by_hand(), {.ranks = 1}), 1);
  const RunConfig run = one_billion();
  EXPECT_NEAR(scaled_step(rank_work(run, kSpeed, 1), network_of(1)).seconds(),
              budget_of(run).training / static_cast<double>(run.train.steps) / kSpeed.flops_per_second, kRounding * 1e3)
      << "all FLOPs are somewhere between the buckets and the head";
}

TEST(Scaling, AnInfiniteNetworkHidesEverything) {
  const Network network{64, 8, kInfinite, kInfinite, 0};
  const RankWork work = rank_work(one_billion(), kSpeed, 64);
  const ScaledStep step = scaled_step(work, network);
  EXPECT_GT(step.bytes(), int64_t{6} << 30);
  EXPECT_EQ(step.communication(), 0);
  EXPECT_NEAR(step.exposed(), 0, kRounding);
  EXPECT_NEAR(efficiency(work, network), 1, kRounding);
}

TEST(Scaling, OneBucketHidesNothing) {
  const RankWork work = rank_work(one_billion({"train.bucket_mib=65536"}), kSpeed, 64);
  ASSERT_EQ(work.buckets.size(), 1u);
  const ScaledStep step = scaled_step(work, network_of(64));
  EXPECT_NEAR(step.exposed(), step.communication(), kRounding);
  EXPECT_NEAR(step.seconds(), step.computing + step.communication(), kRounding);
}

TEST(Scaling, WithoutLatencySmallerBucketsHideMore) {
  double before = 0;
  for (int64_t mib : {8, 64, 512, 2048, 65536}) {
    const RunConfig run = one_billion({"train.bucket_mib=" + std::to_string(mib)});
    const double exposed = scaled_step(rank_work(run, kSpeed, 64), network_of(64, 50e9, 0)).exposed();
    EXPECT_GT(exposed, before) << mib;
    before = exposed;
  }
}

TEST(Scaling, ASlowerNetworkAndALongerMessageTakeLonger) {
  const RankWork work = rank_work(one_billion(), kSpeed, 64);
  double before = 0;
  for (double between : {400e9, 50e9, 12.5e9, 1e9}) {
    const double seconds = scaled_step(work, network_of(64, between)).seconds();
    EXPECT_GT(seconds, before) << between;
    before = seconds;
  }
  before = 0;
  for (double latency : {0.0, 1e-6, 3e-6, 50e-6}) {
    const double seconds = scaled_step(work, network_of(64, 50e9, latency)).seconds();
    EXPECT_GT(seconds, before) << latency;
    before = seconds;
  }
}

TEST(Scaling, WhatStaysInANodeDoesNotCrossTheNetwork) {
  const int64_t bytes = 1 << 20;
  const auto seconds = [&](int64_t ranks, double between, double within) {
    return collective_seconds({ranks, 8, between, within, 0}, bytes);
  };
  const double part = static_cast<double>(bytes) / 16;
  EXPECT_DOUBLE_EQ(seconds(16, 1e6, 1e12), part * 8 / 1e6);
  EXPECT_DOUBLE_EQ(seconds(16, 1e12, 1e6), part * 7 / 1e6);
  EXPECT_DOUBLE_EQ(seconds(8, 1, 1e6), part * 2 * 7 / 1e6) << "one node needs no network";
  const int64_t odd = 12 << 10;  // whose last node has 4
  EXPECT_DOUBLE_EQ(collective_seconds({12, 8, 1e6, 1e12, 0}, odd), 1024.0 * 8 / 1e6);
  EXPECT_DOUBLE_EQ(collective_seconds({12, 1, 1e6, 1, 0}, odd), 1024.0 * 11 / 1e6) << "a GPU in each node";
  EXPECT_DOUBLE_EQ(collective_seconds({12, 8, kInfinite, kInfinite, 0.25}, odd), 11 * 0.25);
}

TEST(Scaling, OnlyOneMicroBatchHides) {
  const auto step = [](const char* micro_batch) {
    return scaled_step(rank_work(one_billion({micro_batch}), kSpeed, 64), network_of(64));
  };
  const ScaledStep one = step("train.micro_batch_size=2"), larger = step("train.micro_batch_size=8");
  EXPECT_NEAR(one.computing, larger.computing, kRounding * 1e3);
  EXPECT_GT(larger.hidden(), 1.5 * one.hidden());
}

TEST(Scaling, AnUpdateIsShardedOrEverybodys) {
  RunSpeed speed = kSpeed;
  speed.source = SpeedSource::Measured;
  speed.update_seconds = 8;
  EXPECT_DOUBLE_EQ(rank_work(one_billion(), speed, 4).update_seconds, 2);
  EXPECT_DOUBLE_EQ(rank_work(one_billion({"train.sharding=none"}), speed, 4).update_seconds, 8);
}

TEST(Scaling, TheBestBucketIsNoWorseThanAnyOther) {
  const RunConfig run = one_billion({"train.bucket_mib=32"});
  const Network network = network_of(1024);
  const BucketSize best = best_bucket_size(run, kSpeed, network);
  EXPECT_GT(best.mib, 256) << "1,023 messages for each bucket";
  for (int64_t mib : {1, 32, 256, 1024, 4096}) {
    const RunConfig other = one_billion({"train.bucket_mib=" + std::to_string(mib)});
    EXPECT_LE(best.step_seconds, scaled_step(rank_work(other, kSpeed, 1024), network).seconds()) << mib;
  }
  EXPECT_GT(best.largest_bytes, rank_work(run, kSpeed, 1024).largest_bucket_bytes());
  // What is taken where nothing is said is near it.
  for (int64_t ranks : {8, 64, 256, 1024}) {
    const double seconds = scaled_step(rank_work(one_billion(), kSpeed, ranks), network_of(ranks)).seconds();
    EXPECT_LE(seconds, 1.2 * best_bucket_size(run, kSpeed, network_of(ranks)).step_seconds) << ranks;
  }
  // In one node smaller ones gain less than a hundredth, for which nobody has to change anything.
  const auto in_a_node = [](const RunConfig& config) {
    return scaled_step(rank_work(config, kSpeed, 8), network_of(8)).seconds();
  };
  const RunConfig large = one_billion({"train.bucket_mib=128"});
  EXPECT_LT(in_a_node(run), in_a_node(large));
  EXPECT_EQ(best_bucket_size(large, kSpeed, network_of(8)).mib, 128);
}

TEST(Scaling, ValidationIsSharedAndSamplesAreNot) {
  RunBudget budget;
  budget.steps = 10;
  budget.validation = 80;
  budget.samples = 6;
  budget.diagnosis = 4;
  ScaledStep step;
  step.computing = 2;
  EXPECT_DOUBLE_EQ(run_seconds(budget, {SpeedSource::Given, 10}, step, 4), 20 + 2 + 0.6 + 0.4);
}

// Counts what a rank sends to others.
class Counting : public Transport {
 public:
  Counting(std::unique_ptr<Transport> transport, std::atomic<int64_t>& sent)
      : transport_(std::move(transport)), sent_(sent) {}
  int64_t rank() const override { return transport_->rank(); }
  int64_t ranks() const override { return transport_->ranks(); }
  std::string name() const override { return transport_->name(); }
  void all_to_all(const void* send, void* receive, int64_t bytes) override {
    sent_ += (ranks() - 1) * bytes;
    transport_->all_to_all(send, receive, bytes);
  }
  void all_gather(void* data, int64_t bytes) override {
    sent_ += (ranks() - 1) * bytes;
    transport_->all_gather(data, bytes);
  }
  void broadcast(void* data, int64_t bytes, int64_t root) override { transport_->broadcast(data, bytes, root); }
  void close() override { transport_->close(); }

 private:
  std::unique_ptr<Transport> transport_;
  std::atomic<int64_t>& sent_;
};

// What rank 0 sends of a step's gradients and weights.
int64_t sent_in_a_step(const RunConfig& run, int64_t ranks) {
  constexpr int64_t kHeader = 64;  // that ranks of a host compare before each collective
  const Meeting meeting(ranks);
  std::vector<std::atomic<int64_t>> sent(static_cast<size_t>(ranks));
  std::atomic<int64_t> of_step = 0;
  std::vector<std::thread> threads;
  for (int64_t rank = 0; rank < ranks; ++rank)
    threads.emplace_back([&, rank] {
      std::atomic<int64_t>& own = sent[static_cast<size_t>(rank)];
      Communicator communicator([&, rank] { return std::make_unique<Counting>(meeting.join(rank)(), own); });
      ParameterSpace space;
      const CausalLm model(space, run.model);
      space.allocate(run.train.dtype, Device{}, SpaceUse::Training, rank_share(run.train, rank, ranks));
      DataParallel parallel(space, communicator);
      const int64_t before = own, begun = communicator.whereabouts().begun, said = communicator.traffic().bytes;
      const Tensor tokens = Tensor::zeros({1, 8}, DType::I32, Device{}, Purpose::Data);
      Tape tape(TapeMode::Recording, Recompute::None, parallel.gradients_complete());
      tape.backward(model.loss(tape, tokens, tokens, 1.0));
      parallel.finish_gradients();
      parallel.begin_weights();
      parallel.finish_weights();
      const int64_t collectives = communicator.whereabouts().begun - begun;
      const int64_t sent_here = own - before - collectives * kHeader * (ranks - 1);
      EXPECT_EQ(communicator.traffic().bytes - said, sent_here);
      EXPECT_GT(communicator.traffic().seconds, 0);
      if (rank == 0) of_step = sent_here;
      communicator.finish();
    });
  for (std::thread& thread : threads) thread.join();
  return of_step;
}

TEST(Scaling, BytesAreWhatRanksSend) {
  for (DType dtype : {DType::F32, DType::BF16})
    for (Sharding sharding : {Sharding::Optimizer, Sharding::None})
      for (int64_t ranks : {2, 3}) {
        SCOPED_TRACE(fmt::format("{} {} {} ranks", name_of(dtype), name_of(sharding), ranks));
        RunConfig run;
        run.model = testing::small_model(AttentionType::Gta);
        run.model.vocab_size = 200000;  // several buckets of 1 MiB
        run.data.sequence_length = 8;
        run.train.dtype = dtype;
        run.train.sharding = sharding;
        run.train.bucket_mib = 1;
        run.train.micro_batch_size = 1;
        run.train.global_batch_size = ranks;
        run.model.tie_embeddings = false;
        const ScaledStep step = scaled_step(rank_work(run, kSpeed, ranks), {ranks, 8, 0, 1e9, 0});
        EXPECT_EQ(step.gradient_bytes + step.weight_bytes, sent_in_a_step(run, ranks));
        EXPECT_EQ(step.weight_bytes == 0, sharding == Sharding::None);
      }
}

TEST(Scaling, SendsAllButItsOwnPart) {
  const RunConfig run = one_billion();
  const int64_t elements = layout_of(run.model).parameter_count();
  for (int64_t ranks : {2, 8, 1024}) {
    const ScaledStep step = scaled_step(rank_work(run, kSpeed, ranks), network_of(ranks));
    const double part = static_cast<double>(elements) * static_cast<double>(ranks - 1) / static_cast<double>(ranks);
    // Padding, and vectors that go both ways, are less than a thousandth.
    EXPECT_NEAR(static_cast<double>(step.gradient_bytes), 4 * part, 4e-3 * part) << ranks;
    EXPECT_NEAR(static_cast<double>(step.weight_bytes), 2 * part, 2e-3 * part) << ranks;
  }
}

}  // namespace
}  // namespace gta
