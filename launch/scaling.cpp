#include "launch/scaling.h"

#include <algorithm>
#include <bit>

#include "core/comm/communicator.h"
#include "core/error.h"
#include "launch/plan.h"
#include "launch/training/agreement.h"

namespace gta {
namespace {

constexpr double kWorthChanging = 0.99;  // of a step's seconds

// Weights of blocks; what is not is looked up, or the head's.
bool of_a_block(const Parameter& parameter) { return parameter.name.find("layers.") != std::string::npos; }

// Seconds of a micro-batch.
struct MicroBatch {
  double blocks_forward, head, blocks_backward;
};
MicroBatch micro_batch_of(const RunConfig& run, const RunSpeed& speed) {
  const int64_t length = run.data.sequence_length;
  const double forward = plan_model(run.model, length).flops_per_token_forward,
               head = 2.0 * static_cast<double>(run.model.vocab_size * run.model.hidden_size),
               again = recomputed_flops_per_token(run.model, length, run.train.recompute), all = 3 * forward + again;
  // Where the speed is of model FLOPs, what is recomputed is in it.
  const double counted = speed.source == SpeedSource::Assumed ? all : 3 * forward;
  const double seconds = static_cast<double>(run.train.micro_batch_size * length) * counted / speed.flops_per_second;
  return {seconds * (forward - head) / all, seconds * 3 * head / all, seconds * (2 * (forward - head) + again) / all};
}

RankWork work_of(ParameterLayout layout, const RunConfig& run, const RunSpeed& speed, int64_t ranks) {
  const TrainConfig& train = run.train;
  ensure(train.global_batch_size % (train.micro_batch_size * ranks) == 0, "scaling",
         "{} sequences are no multiple of {} ranks x {}", train.global_batch_size, ranks, train.micro_batch_size);
  arrange_for(layout, train, ranks);
  const auto state = static_cast<int64_t>(size_of(state_dtype(train.dtype))),
             weight = static_cast<int64_t>(size_of(train.dtype));
  RankWork work;
  work.sharding = train.sharding;
  work.micro_batches = train.global_batch_size / (train.micro_batch_size * ranks);
  const bool shards = train.sharding == Sharding::Optimizer;
  work.update_seconds = speed.update_seconds / static_cast<double>(shards ? ranks : 1);
  std::vector<int64_t> in_blocks;  // elements
  int64_t all_in_blocks = 0;
  for (const FlatRange& bucket : layout.buckets()) {
    if (bucket.kind == ParameterKind::Vector) {
      work.vector_bytes = ranks > 1 ? Communicator::all_reduce_scratch(bucket.count * state, ranks) / 2 : 0;
      continue;
    }
    work.buckets.push_back({bucket.count * state, bucket.count * weight});
  }
  in_blocks.resize(work.buckets.size());
  for (const ParameterGroup& group : layout.groups()) {
    if (group.range.kind == ParameterKind::Vector ||
        !of_a_block(layout.parameters()[static_cast<size_t>(group.first_parameter)]))
      continue;
    in_blocks[static_cast<size_t>(group.bucket)] += group.range.count;
    all_in_blocks += group.range.count;
  }
  // Blocks are alike: a part of their weights takes such a part of their time, maps included.
  const MicroBatch seconds = micro_batch_of(run, speed);
  work.head_seconds = seconds.head;
  for (size_t b = 0; b < work.buckets.size(); ++b) {
    const double part = static_cast<double>(in_blocks[b]) / static_cast<double>(std::max<int64_t>(all_in_blocks, 1));
    work.buckets[b].forward_seconds = part * seconds.blocks_forward;
    work.buckets[b].backward_seconds = part * seconds.blocks_backward;
  }
  return work;
}

BucketSize bucket_size(const ParameterLayout& layout, const RunConfig& run, const RunSpeed& speed,
                       const Network& network) {
  const RankWork work = work_of(layout, run, speed, network.ranks);
  return {bucket_mib_of(run.train, network.ranks), scaled_step(work, network).seconds(), work.largest_bucket_bytes()};
}

}  // namespace

int64_t bytes_sent(const Network& network, int64_t bytes) { return bytes / network.ranks * (network.ranks - 1); }

double collective_seconds(const Network& network, int64_t bytes) {
  const int64_t ranks = network.ranks;
  const double part = static_cast<double>(bytes) / static_cast<double>(ranks);
  const int64_t left = ranks % network.ranks_of_node,  // in a node that is not full
      most = std::min(ranks, network.ranks_of_node), least = network.one_node() || left == 0 ? most : left;
  const double outside = network.one_node() ? 0 : part * static_cast<double>(ranks - least) / network.between_nodes,
               inside = most == 1 ? 0 : part * static_cast<double>(most - 1) / network.within_node;
  return std::max(outside, inside) + static_cast<double>(ranks - 1) * network.latency;
}

double RankWork::computing_seconds() const {
  double seconds = head_seconds;
  for (const BucketLoad& bucket : buckets) seconds += bucket.forward_seconds + bucket.backward_seconds;
  return static_cast<double>(micro_batches) * seconds;
}

int64_t RankWork::largest_bucket_bytes() const {
  int64_t bytes = 0;
  for (const BucketLoad& bucket : buckets) bytes = std::max(bytes, bucket.gradient_bytes);
  return bytes;
}

RankWork rank_work(const RunConfig& run, const RunSpeed& speed, int64_t ranks) {
  return work_of(layout_of(run.model), run, speed, ranks);
}

ScaledStep scaled_step(const RankWork& work, const Network& network) {
  ScaledStep step;
  step.computing = work.computing_seconds();
  step.update = work.update_seconds;
  const bool shards = work.sharding == Sharding::Optimizer;

  double gathered = 0, forward = 0, computed = 0;
  for (auto bucket = work.buckets.rbegin(); bucket != work.buckets.rend(); ++bucket) {
    if (shards) {
      gathered += collective_seconds(network, bucket->weight_bytes);
      step.weight_bytes += bytes_sent(network, bucket->weight_bytes);
      forward = std::max(forward, gathered);
    }
    forward += bucket->forward_seconds;
    computed += bucket->forward_seconds;
  }
  step.weight_seconds = gathered;
  step.waiting_for_weights = forward - computed;

  double complete = 0, summed = 0;
  const auto send = [&](int64_t bytes, int64_t collectives) {
    const double seconds = static_cast<double>(collectives) * collective_seconds(network, bytes);
    summed = std::max(summed, complete) + seconds;
    step.gradient_seconds += seconds;
    step.gradient_bytes += collectives * bytes_sent(network, bytes);
  };
  for (const BucketLoad& bucket : work.buckets) {
    complete += bucket.backward_seconds;
    send(bucket.gradient_bytes, shards ? 1 : 2);  // what is not sharded goes back to all
  }
  if (work.vector_bytes > 0) send(work.vector_bytes, 2);
  step.waiting_for_gradients = summed - complete;

  // A vote, by the hosts in as many rounds as ranks can be halved; squares and losses, by the devices.
  const int64_t own = static_cast<int64_t>(sizeof(StepVote)) + (1 + work.micro_batches) * 8;
  step.agreement_bytes = bytes_sent(network, own * network.ranks);
  const auto rounds = std::bit_width(static_cast<uint64_t>(network.ranks - 1));
  step.agreement_seconds = collective_seconds(network, own * network.ranks) + rounds * network.latency;
  return step;
}

double efficiency(const RankWork& work, const Network& network) {
  const auto ranks = static_cast<double>(network.ranks);
  const double alone =
      ranks * work.computing_seconds() + work.update_seconds * (work.sharding == Sharding::Optimizer ? ranks : 1);
  return alone / (ranks * scaled_step(work, network).seconds());
}

BucketSize best_bucket_size(const RunConfig& run, const RunSpeed& speed, const Network& network) {
  const ParameterLayout layout = layout_of(run.model);
  const BucketSize own = bucket_size(layout, run, speed, network);
  BucketSize best = own;
  RunConfig other = run;
  for (other.train.bucket_mib = 1; other.train.bucket_mib <= kLargestBucketMib; other.train.bucket_mib *= 2)
    if (const BucketSize size = bucket_size(layout, other, speed, network); size.step_seconds < best.step_seconds)
      best = size;
  return best.step_seconds < kWorthChanging * own.step_seconds ? best : own;
}

double run_seconds(const RunBudget& budget, const RunSpeed& speed, const ScaledStep& step, int64_t ranks) {
  return static_cast<double>(budget.steps) * step.seconds() +
         (budget.validation / static_cast<double>(ranks) + budget.diagnosis + budget.samples) / speed.flops_per_second;
}

}  // namespace gta
