#include "core/device.h"

#include "core/dtype.h"

namespace gta {

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
  if (name == "cpu" || name == "auto") return Device{};
  if (name.rfind("cuda", 0) == 0) fail_without_cuda(name.c_str());
  bad_input("device", "expected cpu, cuda or auto, got '{}'", name);
}

void fail_without_cuda(const char* kernel) {
  bad_input("device", "'{}' needs CUDA and this build of gta has the CPU backend alone: use --device cpu", kernel);
}

DType dtype_from_name(std::string_view name) {
  for (DType dtype : {DType::F32, DType::F64, DType::BF16, DType::I32, DType::U8, DType::U16, DType::U32, DType::U64})
    if (name == name_of(dtype)) return dtype;
  bad_input("dtype", "expected float32, float64, bfloat16, int32, uint8, uint16, uint32 or uint64, got '{}'", name);
}

}  // namespace gta
