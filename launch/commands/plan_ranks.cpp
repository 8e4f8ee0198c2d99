#include "launch/commands/plan_ranks.h"

#include <fmt/format.h>

#include <algorithm>

#include "launch/plan.h"

namespace gta {
namespace {

constexpr double kGiga = 1e9, kMib = 1 << 20;
constexpr double kReachedOfNvlink = 0.75;  // what collectives reach of a data sheet's; assumed, and said

// Three digits of a number of bytes.
std::string people_bytes(double bytes) {
  if (bytes >= 1e9) return fmt::format("{:.3g} GB", bytes / 1e9);
  if (bytes >= 1e6) return fmt::format("{:.3g} MB", bytes / 1e6);
  return bytes >= 1e3 ? fmt::format("{:.3g} KB", bytes / 1e3) : fmt::format("{:.0f} bytes", bytes);
}

std::string people_seconds(double seconds) {
  if (seconds >= 1) return fmt::format("{:.3g} s", seconds);
  return fmt::format("{:.3g} ms", 1e3 * seconds);
}

}  // namespace

RanksPlan plan_ranks(const PlanCommand& command, const RunConfig& run, const std::optional<Gpu>& gpu, DeviceType device,
                     const RunSpeed& speed) {
  RanksPlan plan;
  Network& network = plan.network;
  network.ranks = command.gpus;
  network.ranks_of_node = command.gpus_per_node;
  network.latency = command.latency_us / 1e6;
  network.between_nodes = command.network_gbs * kGiga;
  require(network.one_node() || network.between_nodes > 0, "--network",
          "is missing: {} GPUs, {} in a node, need the GB/s that one sends between nodes (400 Gbit/s each: --network "
          "50)",
          network.ranks, network.ranks_of_node);
  if (command.node_network_gbs > 0) {
    network.within_node = command.node_network_gbs * kGiga;
    plan.source_of_node = "given";
  } else if (gpu && gpu->nvlink > 0) {
    network.within_node = kReachedOfNvlink * gpu->nvlink;
    plan.source_of_node = fmt::format("{:.0f}% assumed of NVLink's data sheet", 100 * kReachedOfNvlink);
  } else {
    require(network.ranks == 1 || network.between_nodes > 0, "--node-network",
            "is missing: nothing is known of what {} sends within a node; give its GB/s", gpu ? gpu->name : "a rank");
    network.within_node = network.between_nodes;
    plan.source_of_node = "as between nodes";
  }
  const std::string problem = too_many_ranges(run, network.ranks);
  require(problem.empty(), "train.bucket_mib", "{}", problem);
  plan.work = rank_work(run, speed, network.ranks);
  plan.step = scaled_step(plan.work, network);
  plan.efficiency = efficiency(plan.work, network);
  plan.best = best_bucket_size(run, speed, network);
  plan.on_gpus = device == DeviceType::Cuda;
  const TrainConfig& train = run.train;
  plan.dtype = train.dtype;
  plan.bucket_mib = bucket_mib_of(train, network.ranks);
  plan.micro_batch = train.micro_batch_size;
  plan.batch = train.global_batch_size;
  plan.tokens = train.global_batch_size * run.data.sequence_length;
  plan.checkpoint_every = train.checkpoint.every_steps;
  plan.state_bytes =
      3 * static_cast<int64_t>(size_of(state_dtype(train.dtype))) * layout_of(run.model).parameter_count();
  plan.storage = command.storage_gbs * kGiga;
  return plan;
}

nlohmann::ordered_json json_of(const RanksPlan& plan) {
  const ScaledStep& step = plan.step;
  const Network& network = plan.network;
  nlohmann::ordered_json json = {
      {"gpus", network.ranks},
      {"gpus_per_node", network.ranks_of_node},
      {"within_node_bytes_per_second", network.within_node},
      {"within_node_source", plan.source_of_node},
      {"latency_seconds", network.latency},
      {"sequences_of_each", plan.batch / network.ranks},
      {"micro_batches", plan.work.micro_batches},
      {"sent_bytes",
       {{"gradients", step.gradient_bytes},
        {"weights", step.weight_bytes},
        {"agreement", step.agreement_bytes},
        {"total", step.bytes()}}},
      {"network_seconds",
       {{"gradients", step.gradient_seconds},
        {"weights", step.weight_seconds},
        {"agreement", step.agreement_seconds},
        {"total", step.communication()}}},
      {"waited_seconds",
       {{"gradients", step.waiting_for_gradients},
        {"weights", step.waiting_for_weights},
        {"agreement", step.agreement_seconds},
        {"total", step.exposed()}}},
      {"hidden_seconds", step.hidden()},
      {"computing_seconds", step.computing},
      {"update_seconds", step.update},
      {"step_seconds", step.seconds()},
      {"tokens_per_second", plan.tokens_per_second()},
      {"efficiency", plan.efficiency},
      {"buckets", plan.work.buckets.size()},
      {"bucket_mib", plan.bucket_mib},
      {"best_bucket_mib", plan.best.mib},
      {"best_bucket_step_seconds", plan.best.step_seconds},
      {"checkpoint", {{"bytes", plan.state_bytes}, {"bytes_of_each", plan.state_bytes_of_rank()}}}};
  if (network.between_nodes > 0) json["between_nodes_bytes_per_second"] = network.between_nodes;
  if (plan.storage > 0) json["checkpoint"]["seconds"] = static_cast<double>(plan.state_bytes) / plan.storage;
  return json;
}

void print_ranks(const RanksPlan& plan) {
  const ScaledStep& step = plan.step;
  const Network& network = plan.network;
  const char* const name = ranks_name(plan.on_gpus);
  const auto bytes = [](int64_t count) { return people_bytes(static_cast<double>(count)); };
  std::string rates;
  if (network.ranks > 1 && network.ranks_of_node > 1)
    rates += fmt::format(", {:.0f} GB/s within it ({})", network.within_node / kGiga, plan.source_of_node);
  if (!network.one_node()) rates += fmt::format(", {:.3g} GB/s between nodes", network.between_nodes / kGiga);
  fmt::print("scaling     {} {}, {} in a node{}, {:.3g} us a message\n", network.ranks, name,
             std::min(network.ranks, network.ranks_of_node), rates, 1e6 * network.latency);
  fmt::print("share       {} of {} sequences a step, micro-batches {} x {}\n", plan.batch / network.ranks, plan.batch,
             plan.work.micro_batches, plan.micro_batch);
  fmt::print(
      "sends       {} of gradients in {}, {} of weights in {}, {} to agree; each rank and step, and receives as "
      "much\n",
      bytes(step.gradient_bytes), name_of(state_dtype(plan.dtype)), bytes(step.weight_bytes), name_of(plan.dtype),
      bytes(step.agreement_bytes));
  fmt::print("step        {}: computing {}{}; waiting {} for gradients, {} for weights, {} to agree\n",
             people_seconds(step.seconds()), people_seconds(step.computing),
             step.update > 0 ? ", update " + people_seconds(step.update) : "",
             people_seconds(step.waiting_for_gradients), people_seconds(step.waiting_for_weights),
             people_seconds(step.agreement_seconds));
  if (network.ranks > 1)
    fmt::print("network     {} a step busy, of which backward and forward hide {} ({:.0f}%)\n",
               people_seconds(step.communication()), people_seconds(step.hidden()),
               step.communication() > 0 ? 100 * step.hidden() / step.communication() : 100.0);
  fmt::print("speed       {} tokens/s, {:.1f}% of {} times what one does\n", people_count(plan.tokens_per_second()),
             100 * plan.efficiency, network.ranks);
  if (plan.best.mib != plan.bucket_mib) {
    const int64_t more = plan.best.largest_bytes - plan.work.largest_bucket_bytes();
    fmt::print("buckets     {} of {} MiB; train.bucket_mib={} would make a step {}{}\n", plan.work.buckets.size(),
               plan.bucket_mib, plan.best.mib, people_seconds(plan.best.step_seconds),
               more > 0 ? fmt::format(", for {:.0f} MiB of memory more", static_cast<double>(more) / kMib) : "");
  }
  std::string seconds;
  if (plan.storage > 0) {
    const double save = static_cast<double>(plan.state_bytes) / plan.storage,
                 between = static_cast<double>(plan.checkpoint_every) * step.seconds();
    seconds = fmt::format("; {} to write beside training, and to read at a start, at {:.3g} GB/s of storage",
                          people_seconds(save), plan.storage / kGiga);
    if (plan.checkpoint_every > 0 && save > between)
      seconds += fmt::format("; {} steps, after which the next is due, take {}: raise train.checkpoint.every_steps",
                             plan.checkpoint_every, people_seconds(between));
  }
  fmt::print("checkpoint  {}, {} of each{}\n", bytes(plan.state_bytes), bytes(plan.state_bytes_of_rank()), seconds);
}

}  // namespace gta
