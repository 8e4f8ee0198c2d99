#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "checkpoints/exports/gguf.h"
#include "checkpoints/exports/safetensors.h"
#include "checkpoints/reader.h"
#include "core/io/file.h"
#include "core/io/hash.h"
#include "core/io/hdf5.h"
#include "launch/commands/commands.h"

namespace gta {
namespace {

struct Statistics {
  double smallest = INFINITY, largest = -INFINITY, sum = 0, squares = 0;
  int64_t not_finite = 0, count = 0;
  void add(double x) {
    ++count;
    if (!std::isfinite(x)) {
      ++not_finite;
      return;
    }
    smallest = std::min(smallest, x);
    largest = std::max(largest, x);
    sum += x;
    squares += x * x;
  }
};

std::string statistics_of(const std::vector<double>& values) {
  if (values.empty()) return "empty";
  Statistics s;
  for (double x : values) s.add(x);
  const double n = static_cast<double>(std::max<int64_t>(1, s.count - s.not_finite)), mean = s.sum / n;
  return fmt::format("min {:.4g} max {:.4g} mean {:.4g} deviation {:.4g}{}", s.smallest, s.largest, mean,
                     std::sqrt(std::max(0.0, s.squares / n - mean * mean)),
                     s.not_finite ? fmt::format(" NOT FINITE {}", s.not_finite) : "");
}

std::string line_of_values(const std::string& name, const char* type, const std::vector<int64_t>& shape,
                           const std::string& statistics) {
  return fmt::format("{:<64} {:<8} ({}) {}\n", name, type, fmt::join(shape, ", "), statistics);
}

std::string statistics_of(const std::vector<float>& values) {
  return statistics_of(std::vector<double>(values.begin(), values.end()));
}

void inspect_safetensors(const std::string& path) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  for (const SafeTensor& tensor : file.tensors())
    fmt::print("{}",
               line_of_values(tensor.name, name_of(tensor.format), tensor.shape, statistics_of(file.read(tensor))));
}

struct GgufValueText {
  template <class T>
  std::string operator()(const std::vector<T>& values) const {
    if constexpr (std::is_same_v<T, std::string>)
      return fmt::format("[{} texts]", values.size());
    else
      return values.size() > 8 ? fmt::format("[{} numbers]", values.size())
                               : fmt::format("[{}]", fmt::join(values, ", "));
  }
  std::string operator()(const std::string& text) const {
    return text.find('\n') == std::string::npos ? text : fmt::format("{} bytes of text", text.size());
  }
  template <class T>
  std::string operator()(const T& value) const {
    return fmt::format("{}", value);
  }
};

void inspect_gguf(const std::string& path) {
  const GgufFile file = GgufFile::open(path);
  for (const auto& [name, value] : file.keys()) fmt::print("{:<64} {}\n", name, std::visit(GgufValueText{}, value));
  for (const GgufTensor& tensor : file.tensors())
    fmt::print("{}", line_of_values(tensor.name, name_of(tensor.type), tensor.shape, statistics_of(file.read(tensor))));
}

void inspect_hdf5(const std::string& path) {
  const hdf5::Reader file(path);
  for (const auto& [name, dataset] : file.datasets())
    fmt::print("{}",
               line_of_values(name, name_of(dataset.dtype), dataset.shape, statistics_of(file.read_double(name))));
}

bool begins_with(const std::string& path, const std::string& magic) {
  const File file(path, File::Mode::Read);
  if (file.size() < static_cast<int64_t>(magic.size())) return false;
  std::string first(magic.size(), '\0');
  file.read_at(first.data(), static_cast<int64_t>(first.size()), 0);
  return first == magic;
}

void inspect_file(const std::string& path) {
  require_file(path);
  if (path.ends_with(".safetensors")) return inspect_safetensors(path);
  if (begins_with(path, "GGUF")) return inspect_gguf(path);
  inspect_hdf5(path);
}

std::vector<double> values_of(const std::string& bytes, DType dtype) {
  return dispatch_floating(dtype, "inspect", [&](auto zero) {
    std::vector<decltype(zero)> stored(bytes.size() / sizeof zero);
    std::memcpy(stored.data(), bytes.data(), stored.size() * sizeof zero);
    return std::vector<double>(stored.begin(), stored.end());
  });
}

std::string line_of_range(const Checkpoint& checkpoint, const ManifestEntry& entry) {
  const std::string bytes = checkpoint.read(entry);
  if (entry.part == kTokenizerPart)
    return line_of_values("/" + entry.part, name_of(entry.dtype), entry.shape, "xxh3 " + hash_text(entry.hash));
  // A part of a parameter says which.
  const std::string which = entry.whole() ? "" : fmt::format("@{}+{}", entry.first, entry.count);
  return line_of_values(fmt::format("/{}/{}{}", entry.part, entry.parameter, which), name_of(entry.dtype), entry.shape,
                        statistics_of(values_of(bytes, entry.dtype)));
}

std::string lines_of(const Checkpoint& checkpoint) {
  const TrainingPosition& p = checkpoint.position();
  std::string text = fmt::format("{}: step {}, {} tokens, next sample {}, {} updates, {} skipped steps\n",
                                 checkpoint.path(), p.step, p.tokens, p.next_sample, p.updates, p.skipped_steps);
  for (const ManifestFile& file : checkpoint.files())
    text += fmt::format("{} {} bytes, xxh3 {}\n", file.name, file.bytes, hash_text(file.hash));
  checkpoint.verify();
  text += "every hash holds\n";
  // Weights first: they are what most look for.
  std::vector<const ManifestEntry*> entries;
  for (const ManifestEntry& entry : checkpoint.entries()) entries.push_back(&entry);
  std::stable_partition(entries.begin(), entries.end(),
                        [](const ManifestEntry* entry) { return entry->part == "master"; });
  for (const ManifestEntry* entry : entries) text += line_of_range(checkpoint, *entry);
  return text;
}

}  // namespace

int run_inspect(const InspectCommand& command) {
  if (!is_directory(command.file)) {
    inspect_file(command.file);
    return 0;
  }
  // All of it before any is shown: a training beside may remove an older checkpoint while it is read, and then it is
  // another one that is newest.
  std::string text;
  CheckpointUse use;
  use.load = [&](const Checkpoint& checkpoint) { text = lines_of(checkpoint); };
  use_checkpoint(command.file, use);
  fmt::print("{}", text);
  return 0;
}

}  // namespace gta
