#include "launch/config/gpus.h"

#include <fmt/ranges.h>
#include <gpus_yaml.h>
#include <yaml-cpp/yaml.h>

#include <cstdlib>

#include "core/error.h"

namespace gta {
namespace {

constexpr double kGib = 1 << 30, kTera = 1e12, kGiga = 1e9;

std::vector<Gpu> read_table() {
  std::vector<Gpu> gpus;
  for (const auto& row : YAML::Load(kGpusYaml)) {
    const YAML::Node& of = row.second;
    gpus.push_back({row.first.as<std::string>(), static_cast<int64_t>(of["memory_gib"].as<double>() * kGib),
                    of["bfloat16_tflops"].as<double>() * kTera, of["float32_tflops"].as<double>() * kTera,
                    of["bandwidth_gbs"].as<double>() * kGiga, of["nvlink_gbs"].as<double>(0) * kGiga,
                    of["source"].as<std::string>()});
  }
  return gpus;
}

std::vector<std::string> parts_of(const std::string& text) {
  std::vector<std::string> parts = {""};
  for (char c : text) {
    if (c == ':')
      parts.emplace_back();
    else
      parts.back() += c;
  }
  return parts;
}

}  // namespace

const std::vector<Gpu>& known_gpus() {
  static const std::vector<Gpu> gpus = read_table();
  return gpus;
}

Gpu gpu_named(const std::string& text) {
  std::vector<std::string> names;
  for (const Gpu& gpu : known_gpus()) {
    if (gpu.name == text) return gpu;
    names.push_back(gpu.name);
  }
  const std::vector<std::string> parts = parts_of(text);
  double numbers[3] = {};
  bool good = parts.size() == 4 && !parts[0].empty();
  for (size_t i = 0; good && i < 3; ++i) {
    char* end = nullptr;
    numbers[i] = std::strtod(parts[i + 1].c_str(), &end);
    good = !parts[i + 1].empty() && *end == '\0' && numbers[i] > 0 && numbers[i] < 1e6;
  }
  require(good, "--gpu",
          "expected {}, or NAME:GIB:TFLOPS:GBPS (memory, products, bandwidth; as mine:24:165:1008), got '{}'",
          fmt::join(names, ", "), text);
  return {parts[0],           static_cast<int64_t>(numbers[0] * kGib),
          numbers[1] * kTera, numbers[1] * kTera,
          numbers[2] * kGiga, 0,
          "the command line"};
}

double peak_flops(const Gpu& gpu, DType dtype) {
  if (dtype == DType::BF16) return gpu.bfloat16_flops;
  return dtype == DType::F32 ? gpu.float32_flops : 0;
}

}  // namespace gta
