// The CUDA device that tests run on as well, where the build has CUDA and the machine a device.
#pragma once

#include <gtest/gtest.h>

#include <optional>

#include "core/device.h"

namespace gta {

inline std::optional<Device> cuda_device() {
  if (cuda_device_count() == 0) return std::nullopt;
  return device_from_name("cuda");
}

}  // namespace gta

// Skips the rest of a test, visibly.
#define GTA_NEEDS_CUDA() \
  if (!::gta::cuda_device()) GTEST_SKIP() << "this build or machine has no CUDA device"
