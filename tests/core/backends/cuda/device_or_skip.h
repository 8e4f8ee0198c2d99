// The CUDA device of the tests of this folder, which nvcc compiles too: op_case.h, made for ops, is more than they need.
#pragma once

#include <gtest/gtest.h>

#include "core/device.h"
#include "core/error.h"

namespace gta::cuda {

inline Device device_or_cpu() {
  try {
    return device_from_name("cuda");
  } catch (const Error&) {
    return Device{};
  }
}
#define GTA_DEVICE_OR_SKIP(device)       \
  const Device device = device_or_cpu(); \
  if (device.type != DeviceType::Cuda) GTEST_SKIP() << "no CUDA device is here"

}  // namespace gta::cuda
