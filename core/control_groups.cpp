#include "core/control_groups.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <utility>
#include <vector>

namespace gta {
namespace {

// Of every group from the process's own to the outermost, the folder that shows it; version 2's if `controller` is
// empty.
std::vector<std::string> folders(const std::string& membership, const std::string& mount,
                                 const std::string& controller) {
  std::vector<std::string> found;
  std::ifstream file(membership);
  for (std::string line; std::getline(file, line);) {  // number:controller,controller:/path
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (controller.empty() ? !controllers.empty()
                           : ("," + controllers + ",").find("," + controller + ",") == std::string::npos)
      continue;
    std::string path = line.substr(second + 1);
    while (path.size() > 1 && path.back() == '/') path.pop_back();
    const std::string root = controller.empty() ? mount : mount + "/" + controller;
    for (; path.size() > 1; path.resize(path.rfind('/'))) found.push_back(root + path);
    found.push_back(root);
  }
  return found;
}

template <class T>
void lower(std::optional<T>& limit, T other) {
  if (!limit || other < *limit) limit = other;
}

template <class T>
std::optional<T> number_in(const std::string& path) {
  std::ifstream file(path);
  T value = 0;
  if (file >> value) return value;
  return std::nullopt;
}

}  // namespace

ControlGroups::ControlGroups(std::string membership, std::string mount)
    : membership_(std::move(membership)), mount_(std::move(mount)) {}

std::optional<double> ControlGroups::processors() const {
  std::optional<double> limit;
  for (const std::string& folder : folders(membership_, mount_, "")) {
    std::ifstream file(folder + "/cpu.max");  // "quota period" in microseconds, or "max period"
    double quota = 0, period = 0;
    if (file >> quota >> period && quota > 0 && period > 0) lower(limit, quota / period);
  }
  for (const std::string& folder : folders(membership_, mount_, "cpu")) {
    const auto quota = number_in<double>(folder + "/cpu.cfs_quota_us"),
               period = number_in<double>(folder + "/cpu.cfs_period_us");
    if (quota && period && *quota > 0 && *period > 0) lower(limit, *quota / *period);
  }
  return limit;
}

std::optional<int64_t> ControlGroups::memory_bytes() const {
  std::optional<int64_t> limit;
  for (const auto& [controller, file] : {std::pair{"", "/memory.max"}, {"memory", "/memory.limit_in_bytes"}})
    for (const std::string& folder : folders(membership_, mount_, controller))
      if (const auto bytes = number_in<int64_t>(folder + file); bytes && *bytes > 0) lower(limit, *bytes);
  return limit;
}

}  // namespace gta
