#include "launch/environment.h"

#include <commit.h>  // written by the build: cmake/Commit.cmake
#include <fmt/format.h>
#include <sys/utsname.h>

#include <chrono>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/allocator.h"
#include "core/comm/nccl_transport.h"
#include "core/gemm.h"
#include "core/io/file.h"
#include "core/parallel.h"
#include "launch/run_program.h"
#include "optim/schedule.h"

namespace gta {
namespace {

#if defined(GTA_CUDA_ON_HOST)
constexpr const char* kBackends = ", cuda (kernels executed on the CPU, for tests)";
#elif defined(GTA_CUDA)
constexpr const char* kBackends = ", cuda";
#else
constexpr const char* kBackends = "";
#endif

std::string processor() {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line))
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  return "unknown";
}

const char* vector_width() {
#if defined(__AVX512F__)
  return "AVX-512";
#elif defined(__AVX2__)
  return "AVX2";
#else
  return "baseline";
#endif
}

std::string command_line() {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  std::string text;
  for (std::string word; std::getline(file, word, '\0');) {
    // As one types it: what lies in folders with spaces is told from its neighbours.
    const bool plain = !word.empty() && word.find_first_of(" \t\n'\"") == std::string::npos;
    text += (text.empty() ? "" : " ") + (plain ? word : in_single_quotes(word));
  }
  return text;
}

}  // namespace

std::string version_text() {
  return fmt::format("gta {} (commit {})\ncompiler {}, kernels for {}\nbackends: cpu{}\n", GTA_VERSION, GTA_COMMIT,
                     __VERSION__, vector_width(), kBackends);
}

std::string environment_json(const Device& device) {
  utsname system{};
  uname(&system);
  const std::time_t now = std::time(nullptr);
  char time[32];
  std::strftime(time, sizeof time, "%Y-%m-%dT%H:%M:%SZ", std::gmtime(&now));
  return nlohmann::json{{"gta", GTA_VERSION},
                        {"commit", GTA_COMMIT},
                        {"compiler", __VERSION__},
                        {"vector_width", vector_width()},
                        {"device", describe(device)},
                        {"products", GTA_DISPATCH(device, product_library)},
                        {"processor", processor()},
                        {"processors", std::thread::hardware_concurrency()},
                        {"threads", threads()},
                        {"memory_bytes", memory_report(Device{}).limit},
                        {"system", std::string(system.sysname) + " " + system.release},
                        {"schedule_version", kScheduleVersion},
                        {"command", command_line()},
                        {"started", time}}
             .dump(2, ' ', false, nlohmann::json::error_handler_t::replace) +  // a command line may hold any bytes
         "\n";
}

std::vector<std::pair<std::string, std::string>> program_facts(const Device& device) {
  const bool gpu = device.type == DeviceType::Cuda;
  return {{"version", GTA_VERSION},
          {"commit", GTA_COMMIT},
          {"compiler", __VERSION__},
          {"vector width", vector_width()},
          {"kind of device", gpu ? "cuda" : "cpu"},
          {"NCCL", gpu ? nccl_version() : "none"},
          {"library of products", GTA_DISPATCH(device, product_library)}};
}

std::vector<std::string> changes_since(const std::string& earlier_file, const Device& device, ScheduleType schedule) {
  std::string text;
  try {
    text = read_file(earlier_file, 1 << 20);
  } catch (const Error&) {
    return {};
  }
  const nlohmann::json before = nlohmann::json::parse(text, nullptr, false),
                       now = nlohmann::json::parse(environment_json(device));
  if (!before.is_object()) return {};
  std::vector<std::string> lines;
  for (const char* key : {"gta", "compiler", "vector_width", "device", "products", "processor"}) {
    if (device.type == DeviceType::Cuda && std::string(key) == "processor") continue;
    const auto found = before.find(key);
    if (found != before.end() && found->is_string() && *found != now.at(key))
      lines.push_back(fmt::format("since the last start, sums may round otherwise: {}: {} -> {}", key,
                                  found->get<std::string>().substr(0, 200), now.at(key).get<std::string>()));
  }
  if (before.value("schedule_version", nlohmann::json(1)) != kScheduleVersion && schedule != ScheduleType::Constant)
    lines.push_back(
        "since the last start, the learning rate follows a rule that reaches final_ratio at the last step (before: one "
        "step after it), and is a little "
        "lower or higher than it would have been");
  return lines;
}

}  // namespace gta
