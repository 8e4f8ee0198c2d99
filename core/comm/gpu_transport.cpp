#include "core/comm/gpu_transport.h"

#include <algorithm>

#include "core/comm/communicator.h"
#include "core/comm/nccl_transport.h"
#include "core/comm/verdict.h"
#include "core/error.h"

namespace gta {

const char* name_of(GpuTransport transport) {
  switch (transport) {
    case GpuTransport::Auto:
      return "auto";
    case GpuTransport::Nccl:
      return "nccl";
    case GpuTransport::Host:
      return "host";
  }
  return "?";
}

namespace {

// By rank, what no two devices have in common.
std::vector<std::string> identities(Communicator& ranks, const Device& device) {
  return ranks.gather_text("devices", ranks.hosts()[static_cast<size_t>(ranks.rank())] + " " + identity_of(device));
}

}  // namespace

Device device_of_rank(const Communicator& ranks, const std::string& name) {
  Device device = device_from_name(name);
  const bool numbered = name.find(':') != std::string::npos;
  if (device.type == DeviceType::Cuda && !numbered)
    device.index = static_cast<int>(ranks.local_rank() % cuda_device_count());
  return device;
}

int64_t ranks_that_share(Communicator& ranks, const Device& device) {
  if (ranks.ranks() == 1) return 1;
  const std::vector<std::string> all = identities(ranks, device);
  return std::count(all.begin(), all.end(), all[static_cast<size_t>(ranks.rank())]);
}

void connect_gpus(Communicator& ranks, const Device& device, GpuTransport transport) {
  if (ranks.ranks() == 1 || transport == GpuTransport::Host) return;
  if (device.type != DeviceType::Cuda) {
    if (transport == GpuTransport::Auto) return;
    throw Error(ErrorKind::BadInput, "train.gpu_transport",
                "nccl wants a GPU for each rank, and these ranks compute on CPUs: set it to auto, or see --device")
        .as_agreed();
  }
  const std::vector<std::string> all = identities(ranks, device);
  for (auto one = all.begin(); one != all.end(); ++one) {
    const auto other = std::find(all.begin(), one, *one);
    if (other == one) continue;
    if (transport == GpuTransport::Auto) return;
    throw Error(ErrorKind::BadInput, "train.gpu_transport",
                fmt::format("nccl wants a GPU for each rank, and {} and {} have the same one: start fewer ranks on the "
                            "host, or set it to host",
                            rank_name(ranks.hosts(), other - all.begin()), rank_name(ranks.hosts(), one - all.begin())))
        .as_agreed();
  }
  if (transport == GpuTransport::Auto && !has_nccl()) return;
  ranks.use(device, nccl_transport(ranks, device));
}

}  // namespace gta
