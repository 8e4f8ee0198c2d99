// Files that are read for as long as the process lives, more of them than it may hold open at once.
//
// The `most` that were read last stay open; another one is opened again when it is read. A file that was replaced or
// removed meanwhile is the new one, or an error: who reads checks what came.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "core/io/file.h"

namespace gta {

class OpenFiles {
 public:
  OpenFiles();  // as many as suit the process's limit: a quarter of it, at most 64
  explicit OpenFiles(size_t most);

  // Open for reading, and for as long as it is held. Safe from any thread.
  std::shared_ptr<const File> open(const std::string& path);

 private:
  using Files = std::list<std::shared_ptr<const File>>;  // the last read first

  size_t most_;
  std::mutex mutex_;
  Files files_;
  std::unordered_map<std::string, Files::iterator> places_;
};

// Descriptors that the process may have: raises the soft limit to the hard one, which needs no privilege.
void raise_descriptor_limit();

}  // namespace gta
