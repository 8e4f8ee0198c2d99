// Files with every return code checked, and the two ways in which something appears whole or not at all. Errors are
// Error(Failed) with the path and the system's reason.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace gta {

class File {
 public:
  enum class Mode : uint8_t { Read, ReadWrite, Create };  // Create: new or emptied
  File(std::string path, Mode mode);
  ~File();  // closes without a check: call close() where it matters
  File(File&& other) noexcept;
  File& operator=(File&&) = delete;

  const std::string& path() const { return path_; }
  int descriptor() const { return descriptor_; }
  int64_t size() const;
  void read_at(void* to, int64_t bytes, int64_t offset) const;  // exactly, or Error
  void write_at(const void* from, int64_t bytes, int64_t offset) const;
  void truncate(int64_t bytes) const;
  void sync() const;
  void close();

 private:
  std::string path_;
  int descriptor_ = -1;
};

// Error(BadInput) where a folder, a pipe or a socket has this name: before it is opened, which may wait for a pipe's
// other end.
void require_file(const std::string& path);
std::string read_file(const std::string& path, int64_t limit = int64_t{1} << 40);  // a larger file is refused
bool exists(const std::string& path);                              // an Error where the system does not let us know
bool is_directory(const std::string& path);                        // the same
std::vector<std::string> list_directory(const std::string& path);  // names, sorted, without . and ..
// Where a symbolic link leads behind which nothing is, as on a disk that is not mounted; of other paths nothing.
std::optional<std::string> nowhere_behind(const std::string& path);
void make_directories(const std::string& path);  // and those around it; Error(Failed) behind a link to nowhere
void remove_tree(const std::string& path);       // no error when absent
void sync_directory(const std::string& path);
void rename_path(const std::string& from, const std::string& to);
std::string parent_of(const std::string& path);

// Where a result named `path` is written: the end of its symbolic links, so that they stay. Error(BadInput) where no
// file can be: a device, a pipe or a folder has the name, its folder does not exist or cannot be written, the name is
// too long; and where the file is one of `inputs`, or lies in one that is a folder, by whatever name. Commands ask
// before they begin to work, publish_file() asks again.
std::string output_file(const std::string& path, const std::vector<std::string>& inputs = {});

// Whether an errno says that nothing can be made under a name, now or later: its place is read-only, or no folder. Not
// that there is no room, no memory, or a disk in trouble.
bool refuses_the_name(int code);

// Error(BadInput) where there is no folder `path` and none can be made, or no file can be made in it.
void check_output_folder(const std::string& path);
// Error(BadInput) where nothing can be made in a folder that is there: found by making something.
void try_to_write_in(const std::string& folder);
// What an ordinary user may still write to the disk on which a folder lies; nothing where the system does not say.
std::optional<int64_t> free_bytes(const std::string& folder);

// The name under which an output_file() is written before it has its own.
std::string temporary_name(const std::string& file);

// Writes temporary_name(output_file(path)) through `write`, syncs, renames, syncs the folder: path is the old file or
// the whole new one.
void publish_file(const std::string& path, const std::function<void(const std::string& temporary)>& write);
void publish_text(const std::string& path, const std::string& text);
// A new or emptied file of this text, on disk: for one that gets its name later, with its folder or by a rename.
void write_synced(const std::string& path, const std::string& text);

}  // namespace gta
