#include "launch/training/announcement.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <utility>

#include "checkpoints/reader.h"
#include "core/io/file.h"
#include "core/log.h"
#include "core/parallel.h"
#include "data/shards.h"
#include "launch/plan.h"
#include "launch/progress.h"
#include "optim/schedule.h"

namespace gta {
namespace {

void announce_data(const Training& t) {
  const Mixture& sampler = t.data.sampler;
  const double samples =
      static_cast<double>(t.config.train.steps) * static_cast<double>(t.config.train.global_batch_size);
  for (int64_t i = 0; i < sampler.sources(); ++i) {
    const double share = static_cast<double>(sampler.parts(i)) / static_cast<double>(sampler.period());
    log::info("data     {}{} samples of {} tokens an epoch, {:.2f} epochs in all",
              sampler.sources() > 1 ? fmt::format("source {}, {:.2f}% of the samples: ", i, 100 * share) : "",
              sampler.samples_per_epoch(i), t.config.data.sequence_length,
              samples * share / static_cast<double>(sampler.samples_per_epoch(i)));
  }
  std::vector<std::string> paths = t.config.data.validation;
  for (const TokenShard& shard : t.data.shards) paths.push_back(shard.summary().path);
  warn_of_missing_shards(paths);
  if (const double share = t.data.unsampled().share(); share > 0.01)
    log::warning("{}", describe_unsampled(t.data));
  else if (share > 0)
    log::info("data     {}", describe_unsampled(t.data));
  const int64_t scored = t.validation ? t.validation->scored_tokens() : 0;
  log::info("data     {} validation tokens{}; tokens see {}", scored,
            t.validation && t.validation->tokens_in_all() > scored
                ? fmt::format(" of {}, in windows all over them", t.validation->tokens_in_all())
                : "",
            t.data.document_mask == DocumentMask::On ? "their own document only"
                                                     : "the documents before theirs in the sample");
}

// "ranks    4 on 2 hosts: node1 (2), node2 (2); Open MPI v4.1.4; ..."
void announce_ranks(const Training& t) {
  const Communicator& ranks = t.ranks.communicator;
  if (t.ranks.alone()) return;
  std::map<std::string, int64_t> by_host;
  for (const std::string& host : ranks.hosts()) ++by_host[host];
  std::string hosts;
  for (const auto& [host, count] : by_host) {
    if (hosts.size() > 200) {  // of a thousand hosts the first tell enough
      hosts += ", ...";
      break;
    }
    hosts += fmt::format("{}{} ({})", hosts.empty() ? "" : ", ", host, count);
  }
  log::info("ranks    {} on {} host{}: {}; {} thread{} each; {}; {}", ranks.ranks(), by_host.size(),
            by_host.size() == 1 ? "" : "s", hosts, threads(), threads() == 1 ? "" : "s", ranks.transport_of(t.device),
            t.config.train.sharding == Sharding::Optimizer ? "each updates its share of the weights"
                                                           : "each updates all weights");
}

}  // namespace

std::vector<std::string> what_has_no_effect(const Training& t) {
  std::vector<std::string> notes;
  const TrainConfig& train = t.config.train;
  const auto [every, keep] = std::pair(train.checkpoint.every_steps, train.checkpoint.keep_every_steps);
  if (keep > 0 && train.steps % keep != 0) {
    int64_t first = 0;  // step that is saved and a multiple of keep
    if (every == 0 || __builtin_mul_overflow(keep / std::gcd(keep, every), every, &first) || first > train.steps)
      notes.push_back(
          fmt::format("train.checkpoint.keep_every_steps {} keeps nothing: checkpoints are saved {}, and none falls "
                      "on a multiple of it",
                      keep, every == 0 ? "at the end only" : fmt::format("every {} steps", every)));
  }
  if (train.evaluate_every_steps > 0 && !t.validation)
    notes.push_back("train.evaluate_every_steps has no effect: data.validation is empty");
  if (train.sample_every_steps > 0 && train.sample_prompts.empty())
    notes.push_back("train.sample_every_steps has no effect: train.sample_prompts is empty");
  const ScheduleConfig& schedule = t.config.optimizer.schedule;
  if (schedule.decay_steps > 0 && schedule.type != ScheduleType::Wsd)
    notes.push_back(
        fmt::format("optimizer.schedule.decay_steps has no effect: the schedule is {}", name_of(schedule.type)));

  std::map<uint64_t, std::string> trained;  // by content
  for (const TokenShard& shard : t.data.shards)
    if (const auto [found, is_new] = trained.emplace(shard.content_hash(), shard.summary().path); !is_new)
      notes.push_back(fmt::format("data.train has the same shard twice, and trains on it twice as often: {} and {}",
                                  found->second, shard.summary().path));
  for (const std::string& path : t.config.data.validation)
    if (const auto found = trained.find(TokenShard(path).content_hash()); found != trained.end())
      notes.push_back(
          fmt::format("data.validation has what the run is trained on: {} is {}; its loss says nothing about text "
                      "that the model has not seen",
                      path, found->second));
  return notes;
}

void warn_of_room(const Training& t, const std::string& directory) {
  const CheckpointPolicy& policy = t.config.train.checkpoint;
  const int64_t every = policy.every_steps, keep = policy.keep, keep_every = policy.keep_every_steps;
  const std::optional<int64_t> free = free_bytes(directory);
  if (!free) return;
  // Masters and both moments of every parameter; headers and tokenizer are small beside them.
  const double bytes = 3.0 * static_cast<double>(t.space.parameter_count()) *
                       static_cast<double>(size_of(state_dtype(t.config.train.dtype)));
  const auto saves_until = [](int64_t step, int64_t period) { return period > 0 ? step / period : 0; };
  const int64_t last = t.config.train.steps, now = t.position.step,
                saves = saves_until(last, every) - saves_until(now, every) + (every == 0 || last % every != 0),
                there = static_cast<int64_t>(list_checkpoints(directory).size());
  int64_t for_good = 0;  // beside the newest
  if (int64_t both = 0;
      every > 0 && keep_every > 0 && !__builtin_mul_overflow(keep_every / std::gcd(keep_every, every), every, &both))
    for_good = std::max<int64_t>(0, saves_until(last, both) - saves_until(now, both) - keep - 1);
  // While the newest is written, `keep` others lie beside it; those that are there give way.
  const int64_t more = std::min(saves, std::max<int64_t>(1, keep + 1 - there)) + for_good;
  if (saves == 0 || static_cast<double>(more) * bytes <= static_cast<double>(*free)) return;
  constexpr double gib = 1 << 30;
  log::warning(
      "{} more checkpoints of {:.2f} GiB are to lie in {} at once, {:.2f} GiB together, and its disk has {:.2f} GiB "
      "free: "
      "free some, or lower train.checkpoint.keep; a save that finds no room is a warning, and training goes on",
      more, bytes / gib, directory, static_cast<double>(more) * bytes / gib, static_cast<double>(*free) / gib);
}

void announce(const Training& t, double peak_flops) {
  const Plan plan = plan_model(t.config.model, t.config.data.sequence_length);
  const MemoryPlan memory =
      plan_memory(t.config.model, training_shape(t.config, t.device.type, t.ranks.communicator.ranks()));
  constexpr double mib = 1 << 20;
  log::info(
      "model    {}: {} parameters, {} layers of {}, {} tokens in the vocabulary, cache {} numbers per token and "
      "layer",
      name_of(t.config.model.attention.type), count_text(static_cast<double>(plan.parameters)), t.config.model.layers,
      t.config.model.hidden_size, t.config.model.vocab_size, plan.cache_numbers_per_token_and_layer);
  log::info(
      "device   {}{}: products reach {:.0f} GFLOP/s in {} (SOL, below, is how much of that the run reaches); "
      "training costs {} FLOP per token",
      describe(t.device),
      t.device.type == DeviceType::Cpu ? fmt::format(", {} thread{}", threads(), threads() == 1 ? "" : "s") : "",
      peak_flops / 1e9, name_of(t.config.train.dtype), count_text(plan.flops_per_token_training));
  const std::string saving = fmt::format("saving {:.0f}", memory.checkpoint_staging / mib);
  const bool gpu = t.device.type == DeviceType::Cuda;
  log::info(
      "memory   parameters {:.0f}, gradients {:.0f}, optimizer {:.0f}, activations {:.0f}, workspace {:.0f}{}: "
      "{:.0f} MiB{}",
      memory.parameters / mib, memory.gradients / mib, memory.optimizer / mib, memory.activations / mib,
      memory.workspace / mib,
      gpu ? "" : fmt::format(", kept for reuse {:.0f}, {}", memory.kept_for_reuse / mib, saving), memory.total / mib,
      gpu ? " of the device's; " + saving + " MiB of the CPU's" : "");
  announce_ranks(t);
  announce_data(t);
}

}  // namespace gta
