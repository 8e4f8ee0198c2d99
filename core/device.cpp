#include "core/device.h"

#include <charconv>
#include <cstdlib>
#include <mutex>

#include "core/dtype.h"
#include "core/log.h"

namespace gta {

namespace cuda {
#ifdef GTA_CUDA
std::string no_device_because();  // empty when there is one
int device_count();
std::string device_description(const Device& device);
std::string device_uuid(const Device& device);
#else
int device_count() { return 0; }
#endif
}  // namespace cuda

namespace {

// Whether a CUDA device is what it says; tests can build the backend such that the CPU executes its kernels.
#ifdef GTA_CUDA_ON_HOST
constexpr bool kGpu = false;
#else
constexpr bool kGpu = true;
#endif

// Where the CPU executes CUDA kernels, auto is still the CPU, unless a test wants to see what a machine with a GPU
// would do.
bool auto_is_cuda() {
  static const bool asked = kGpu || std::getenv("GTA_HOST_CUDA_AUTO");
  return asked && cuda::device_count() > 0;
}

[[maybe_unused]] bool index_after(const std::string& name, const std::string& prefix, int& index) {
  if (!name.starts_with(prefix)) return false;
  const char* const end = name.data() + name.size();
  const auto [last, error] = std::from_chars(name.data() + prefix.size(), end, index);
  return error == std::errc{} && last == end && index >= 0;
}

}  // namespace

std::string name_of(const Device& device) {
  switch (device.type) {
    case DeviceType::Cpu:
      return "cpu";
    case DeviceType::Cuda:
      return "cuda:" + std::to_string(device.index);
    case DeviceType::Meta:
      return "meta";
  }
  return "?";
}

Device device_from_name(const std::string& name) {
  if (name == "cpu") return Device{};
  if (name == "auto") return auto_is_cuda() ? Device{DeviceType::Cuda, 0} : Device{};
  int index = 0;
  if (name.rfind("cuda", 0) == 0 && (name.size() == 4 || index_after(name, "cuda:", index))) {
#ifdef GTA_CUDA
    if (const std::string reason = cuda::no_device_because(); !reason.empty())
      bad_input("device", "{} cannot be used: {}; --device cpu can", name, reason);
    if (index >= cuda::device_count())
      bad_input("device", "{} is not there: this machine has cuda:0 to cuda:{}", name, cuda::device_count() - 1);
    static std::once_flag said;
    if (!kGpu)
      std::call_once(said, [] {
        log::warning("this build executes CUDA kernels on the CPU, for tests: nothing it shows is a result of a GPU");
      });
    return Device{DeviceType::Cuda, index};
#else
    fail_without_cuda(name.c_str());
#endif
  }
  bad_input("device", "expected cpu, cuda, cuda:N or auto, got '{}'", name);
}

void fail_without_cuda(const char* kernel) {
  bad_input("device",
            "'{}' needs CUDA and this build of gta has the CPU backend alone: use --device cpu, or install the CUDA "
            "Toolkit 13 (NVIDIA's package, "
            "https://developer.nvidia.com/cuda-downloads) and build with cmake --preset cuda",
            kernel);
}

int cuda_device_count() { return cuda::device_count(); }

std::string describe(const Device& device) {
#ifdef GTA_CUDA
  if (device.type == DeviceType::Cuda) return cuda::device_description(device);
#endif
  return name_of(device);
}

std::string identity_of([[maybe_unused]] const Device& device) {
#ifdef GTA_CUDA
  if (device.type == DeviceType::Cuda) return cuda::device_uuid(device);
#endif
  return "";
}

DType dtype_from_name(std::string_view name) {
  for (DType dtype : {DType::F32, DType::F64, DType::BF16, DType::I32, DType::U8, DType::U16, DType::U32, DType::U64})
    if (name == name_of(dtype)) return dtype;
  bad_input("dtype", "expected float32, float64, bfloat16, int32, uint8, uint16, uint32 or uint64, got '{}'", name);
}

}  // namespace gta
