// A file or folder that a command makes: written under a temporary name, and given its own when all of it is there and
// has been seen to hold. Nothing is written over but what the command may replace, and nothing half written has the
// name; where a signal ends the program (launch/signals.h), nothing of it is left. After SIGKILL PATH.tmp-PID is.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "core/io/unfinished.h"

namespace gta {

class NewOutput {
 public:
  enum class Kind : uint8_t { File, Folder };
  // Error(BadInput) about `option` where something has the name, or nothing can be made there. may_replace(path):
  // what has the name goes once the new one is whole; its Error says why it may not.
  NewOutput(const std::string& option, const std::string& path, Kind kind,
            std::function<void(const std::string&)> may_replace = {});
  ~NewOutput();  // what has no name of its own yet goes
  NewOutput(const NewOutput&) = delete;
  NewOutput& operator=(const NewOutput&) = delete;

  const std::string& path() const { return path_; }  // as it will be
  // Its name until then: of an empty folder, or of no file yet.
  const std::string& begin();
  void publish();

 private:
  void check() const;

  std::string option_, path_, temporary_;
  Unfinished unfinished_;
  Kind kind_;
  std::function<void(const std::string&)> may_replace_;
  bool published_ = false;
};

}  // namespace gta
