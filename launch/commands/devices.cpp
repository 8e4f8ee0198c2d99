#include <fmt/format.h>

#include "core/allocator.h"
#include "launch/commands/commands.h"

namespace gta {

int run_devices() {
  fmt::print("cpu\t{:.0f} GiB\n", static_cast<double>(memory_report(Device{}).limit) / (1 << 30));
  for (int i = 0; i < cuda_device_count(); ++i) fmt::print("cuda:{}\t{}\n", i, describe(Device{DeviceType::Cuda, i}));
  return 0;
}

}  // namespace gta
