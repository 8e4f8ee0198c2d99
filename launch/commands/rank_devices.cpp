// gta devices --ranks: what ranks say to each other, tried before a training depends on it. Every collective of the
// host and of the chosen device, small and large: that its sums are right to the bit, and how fast it is.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "core/backends/memory_kernels.h"
#include "core/clock.h"
#include "core/comm/gpu_transport.h"
#include "core/comm/nccl_transport.h"
#include "core/comm/verdict.h"
#include "core/comm/watchdog.h"
#include "core/log.h"
#include "core/tensor.h"
#include "launch/as_rank.h"
#include "launch/commands/commands.h"

namespace gta {
namespace {

constexpr double kSecondsOfEach = 0.3;  // that a collective of one size is repeated
constexpr int64_t kMostRepeats = 1000;

// What rank r brings for element i: sums of these round, so that another order of ranks has other bits.
float value_of(int64_t rank, int64_t i) {
  return (static_cast<float>(rank) + 1.1f) / static_cast<float>(1 + (i + 7 * rank) % 1021);
}

enum class Kind : uint8_t { ReduceScatter, AllReduce, AllGather };
constexpr std::pair<Kind, const char*> kKinds[] = {
    {Kind::ReduceScatter, "reduce-scatter"}, {Kind::AllReduce, "all-reduce"}, {Kind::AllGather, "all-gather"}};

struct Timing {
  double seconds;
  bool right;
};

class Trial {
 public:
  Trial(Communicator& ranks, Watchdog& watchdog, const Device& device, int64_t bytes)
      : ranks_(ranks),
        watchdog_(watchdog),
        device_(device),
        slice_(bytes / 4 / ranks.ranks() / 16 * 16),
        count_(slice_ * ranks.ranks()) {
    std::vector<float> own(static_cast<size_t>(count_));
    for (int64_t i = 0; i < count_; ++i) own[static_cast<size_t>(i)] = value_of(ranks.rank(), i);
    original_ = Tensor::from<float>({count_}, own).to(device, Purpose::Workspace);
    if (device.type == DeviceType::Cpu) original_ = original_.clone(Purpose::Workspace);
    work_ = original_.clone(Purpose::Workspace);
  }

  int64_t bytes() const { return count_ * 4; }

  // The most that any rank took, of one; whether all have what they should.
  Timing run(Kind kind, const char* name) {
    watchdog_.at(0, fmt::format("{} of {} bytes", name, bytes()));
    work_.copy_from(original_);
    const bool right = once(kind) && is_right(kind);
    const double first = most(timed(kind, 1));
    const int64_t repeats =
        std::clamp<int64_t>(static_cast<int64_t>(kSecondsOfEach / std::max(first, 1e-9)), 1, kMostRepeats);
    const double seconds = most(timed(kind, repeats)) / static_cast<double>(repeats);
    const std::vector<int64_t> all = ranks_.gather("results", int64_t{right});
    for (size_t rank = 0; rank < all.size(); ++rank)
      if (all[rank] == 0)
        log::write(log::Level::Error,
                   fmt::format("{} has wrong sums of {} of {} bytes on {}",
                               rank_name(ranks_.hosts(), static_cast<int64_t>(rank)), name, bytes(), name_of(device_)));
    return {seconds, std::find(all.begin(), all.end(), 0) == all.end()};
  }

 private:
  bool once(Kind kind) {
    begin(kind).wait();
    return true;
  }
  Pending begin(Kind kind) {
    switch (kind) {
      case Kind::ReduceScatter:
        return ranks_.reduce_scatter("trial: reduce-scatter", work_);
      case Kind::AllReduce:
        return ranks_.all_reduce("trial: all-reduce", work_);
      case Kind::AllGather:
        return ranks_.all_gather("trial: all-gather", work_);
    }
    return {};
  }
  double timed(Kind kind, int64_t repeats) {
    GTA_DISPATCH(device_, synchronize, Stream{device_});
    ranks_.gather("all are here", 0);
    const Clock::time_point start = Clock::now();
    for (int64_t i = 0; i < repeats; ++i) {
      begin(kind).wait();
      watchdog_.progress();
    }
    GTA_DISPATCH(device_, synchronize, Stream{device_});
    return seconds_since(start);
  }
  double most(double seconds) {
    const std::vector<double> all = ranks_.gather("seconds", seconds);
    return *std::max_element(all.begin(), all.end());
  }
  bool is_right(Kind kind) const {
    const std::vector<float> got = work_.to_vector<float>();
    for (int64_t i = 0; i < count_; ++i) {
      const int64_t part = i / slice_;
      float expected = value_of(ranks_.rank(), i);
      if (kind == Kind::AllGather) {
        expected = value_of(part, i);
      } else if (kind == Kind::AllReduce || part == ranks_.rank()) {
        expected = value_of(0, i);
        for (int64_t r = 1; r < ranks_.ranks(); ++r) expected += value_of(r, i);
      }
      if (got[static_cast<size_t>(i)] != expected) return false;
    }
    return true;
  }

  Communicator& ranks_;
  Watchdog& watchdog_;
  Device device_;
  int64_t slice_, count_;
  Tensor original_, work_;
};

// Whether all was right.
bool try_transport(Communicator& ranks, Watchdog& watchdog, const Device& device) {
  if (ranks.leads())
    fmt::print("\n{} by {}\n", device.type == DeviceType::Cpu ? "memory of the hosts" : "memory of the GPUs",
               ranks.transport_of(device));
  bool right = true;
  for (int64_t bytes : {int64_t{4} << 10, int64_t{1} << 20, int64_t{64} << 20}) {
    std::optional<Trial> trial;
    ranks.together("memory", [&] { trial.emplace(ranks, watchdog, device, bytes); });
    for (const auto& [kind, name] : kKinds) {
      const Timing timing = trial->run(kind, name);
      right &= timing.right;
      // What a rank sends, and receives: its parts for the others, twice where sums go back to all.
      const double sent = static_cast<double>(trial->bytes()) * static_cast<double>(ranks.ranks() - 1) /
                          static_cast<double>(ranks.ranks()) * (kind == Kind::AllReduce ? 2 : 1);
      if (ranks.leads())
        fmt::print("  {:<14} {:>9.3f} MiB  {:>10.3f} ms  {:>8.2f} GB/s each way  {}\n", name,
                   static_cast<double>(trial->bytes()) / (1 << 20), 1e3 * timing.seconds, sent / timing.seconds / 1e9,
                   timing.right ? "right" : "WRONG");
    }
  }
  return right;
}

int try_ranks(const DevicesCommand& command, Communicator& ranks) {
  if (ranks.ranks() == 1)
    bad_input("--ranks", "there is one rank: start it by mpirun or srun, as in mpirun -n 2 gta devices --ranks");
  Watchdog watchdog(ranks, {.timeout = 30});
  bool right = true;
  watched(watchdog, [&] {
    Device device;
    ranks.together("device", [&] { device = device_of_rank(ranks, command.device); });
    const std::vector<std::string> devices = ranks.gather_text("devices", describe(device));
    if (ranks.leads()) {
      fmt::print("{} ranks by {}\n", ranks.ranks(), ranks.transport());
      for (int64_t rank = 0; rank < ranks.ranks(); ++rank)
        fmt::print("  {}: {}\n", rank_name(ranks.hosts(), rank), devices[static_cast<size_t>(rank)]);
    }
    right &= try_transport(ranks, watchdog, {});
    if (device.type != DeviceType::Cpu) {
      right &= try_transport(ranks, watchdog, device);
      connect_gpus(ranks, device, GpuTransport::Auto);
      if (ranks.transport_of(device) == nccl_version()) right &= try_transport(ranks, watchdog, device);
    }
  });
  return right ? 0 : kExitCheckFailed;
}

}  // namespace

int run_rank_devices(const DevicesCommand& command) {
  return work_as_rank([&](Communicator& ranks) { return try_ranks(command, ranks); });
}

}  // namespace gta
