// What the kernel's control groups allow this process: containers and job schedulers set limits there, in any group
// from the process's own outwards, and the smallest one holds.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace gta {

class ControlGroups {
 public:
  // The list of groups and the folder that shows them; version 1 and version 2, also beside each other.
  explicit ControlGroups(std::string membership = "/proc/self/cgroup", std::string mount = "/sys/fs/cgroup");

  std::optional<double> processors() const;  // quota / period; nothing: no limit
  std::optional<int64_t> memory_bytes() const;

 private:
  std::string membership_, mount_;
};

}  // namespace gta
