// A command of this program in a process of its own, whose output goes into a file. It is this very program, also where
// another one has its file's name by now. It is told to end (TERM) when this process ends, however that comes about: a
// training then saves. What the terminal sends at Ctrl-C does not reach it.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

namespace gta {

class ChildProcess {
 public:
  // `gta WORDS`; output: appended to. From the thread that stays for as long as it runs. Error(Failed) where it
  // cannot be started.
  ChildProcess(const std::vector<std::string>& words, const std::string& output);
  ~ChildProcess();  // waits for it
  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&&) = delete;

  void signal(int number) const;
  // Its exit code, or 128 + the signal that ended it; nothing while it runs.
  std::optional<int> ended();

 private:
  pid_t id_ = -1;
  std::optional<int> code_;
};

}  // namespace gta
