#include "tests/fuzz/target.h"

#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <stdexcept>

#include "core/error.h"
#include "core/io/file.h"
#include "core/io/hash.h"

namespace gta::fuzz {
namespace {

constexpr Target kTargets[] = {
    {"configuration", read_configuration}, {"shard", read_shard},       {"tokenizer", read_tokenizer},
    {"checkpoint", read_checkpoint},       {"npy", read_npy},           {"text", read_text},
    {"safetensors", read_safetensors},     {"gguf", read_gguf},         {"questions", read_questions},
    {"hf_config", read_hf_config},         {"hf_index", read_hf_index}, {"run_folder", read_run_folder},
    {"ablation", read_ablation},
};

class Folder {
 public:
  Folder() : path_((std::filesystem::temp_directory_path() / "gta-fuzz-XXXXXX").string()) {
    if (!::mkdtemp(path_.data())) throw std::runtime_error("no temporary folder");
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace

std::span<const Target> targets() { return kTargets; }

bool taken(const std::function<void()>& reader) {
  try {
    reader();
    return true;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::BadInput) throw;
    return false;
  }
}

void expect(bool holds, const char* promise) {
  if (!holds) throw std::logic_error(promise);
}

std::string scratch_folder() {
  static const Folder folder;
  return folder.path();
}

std::string scratch_folder(const std::string& name) {
  const std::string folder = scratch_folder() + "/" + name;
  if (!exists(folder)) make_directories(folder);
  return folder;
}

std::string sealed(const std::string& name, const std::string& json) {
  return fmt::format("{{\"{0}_xxh3\": \"{1}\", \"{0}\":\n{2}}}\n", name, hash_text(hash_bytes(json)), json);
}

std::string scratch_file(const std::string& name, const std::string& bytes) {
  const std::string path = scratch_folder() + "/" + name;
  // Emptying a file first makes some file systems wait for the disk.
  const File file(path, exists(path) ? File::Mode::ReadWrite : File::Mode::Create);
  file.write_at(bytes.data(), static_cast<int64_t>(bytes.size()), 0);
  file.truncate(static_cast<int64_t>(bytes.size()));
  return path;
}

}  // namespace gta::fuzz
