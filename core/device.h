// Where memory lives and kernels run, and the one dispatch between backends.
//
// A kernel is declared once with GTA_KERNEL and defined once per backend under the same name and signature, in
// namespace gta::cpu and, in builds that have it, gta::cuda. GTA_DISPATCH picks by device. These two macros hold the
// only #if on CUDA for that purpose.
#pragma once

#include <cstdint>
#include <string>

#include "core/error.h"

namespace gta {

// Meta has no memory and no kernels: its tensors are only counted (plan says with it what a step will hold). Kernels on
// it do nothing.
enum class DeviceType : uint8_t { Cpu, Cuda, Meta };

struct Device {
  DeviceType type = DeviceType::Cpu;
  int index = 0;
  friend bool operator==(const Device&, const Device&) = default;
};

// The meta device that counts what one of the given type would hold.
inline Device meta_of(DeviceType type) { return {DeviceType::Meta, static_cast<int>(type)}; }
// A device's type; of a meta device, the type that it stands for.
inline DeviceType memory_type(const Device& device) {
  return device.type == DeviceType::Meta ? static_cast<DeviceType>(device.index) : device.type;
}

std::string name_of(const Device& device);  // "cpu", "cuda:0", "meta"
// "cpu", "cuda", "cuda:N", "auto"; Error(BadInput) when this build or machine lacks it
Device device_from_name(const std::string& name);
[[noreturn]] void fail_without_cuda(const char* kernel);  // says how to get a build that has it
std::string describe(const Device& device);               // its name, and of a GPU its model and size
int cuda_device_count();                                  // 0 in a build without CUDA
std::string identity_of(const Device& device);            // of a GPU its UUID, which no other one has; else ""

inline void require_cpu(const Device& device, const char* kernel) {
  if (device.type != DeviceType::Cpu) fail_without_cuda(kernel);
}

// A kernel on the meta device. Its arguments are evaluated all the same: asking a slot for its destination is what
// allocates it.
template <class R, class... Arguments>
R nothing(Arguments&&...) {
  return R();
}

// An ordered queue of work on one device. On the CPU work is done when the call returns, so the CPU's stream has no
// handle.
struct Stream {
  Device device;
  void* handle = nullptr;
};

}  // namespace gta

#define GTA_KERNEL(signature) \
  namespace cpu {             \
  signature;                  \
  }                           \
  namespace cuda {            \
  signature;                  \
  }

#ifdef GTA_CUDA
#define GTA_DISPATCH_BACKEND(device, name, ...) \
  ((device).type == ::gta::DeviceType::Cuda ? cuda::name(__VA_ARGS__) : cpu::name(__VA_ARGS__))
#else
#define GTA_DISPATCH_BACKEND(device, name, ...) (::gta::require_cpu(device, #name), cpu::name(__VA_ARGS__))
#endif
#define GTA_DISPATCH(device, name, ...)                                                                     \
  ((device).type == ::gta::DeviceType::Meta ? ::gta::nothing<decltype(cpu::name(__VA_ARGS__))>(__VA_ARGS__) \
                                            : GTA_DISPATCH_BACKEND(device, name, __VA_ARGS__))
