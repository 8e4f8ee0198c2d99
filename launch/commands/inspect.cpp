#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstring>

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

std::string line_of_values(const std::string& name, DType dtype, const std::vector<int64_t>& shape,
                           const std::string& statistics) {
  return fmt::format("{:<64} {:<8} ({}) {}\n", name, name_of(dtype), fmt::join(shape, ", "), statistics);
}

void inspect_hdf5(const std::string& path) {
  const hdf5::Reader file(path);
  for (const auto& [name, dataset] : file.datasets())
    fmt::print("{}", line_of_values(name, dataset.dtype, dataset.shape, statistics_of(file.read_double(name))));
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
    return line_of_values("/" + entry.part, entry.dtype, entry.shape, "xxh3 " + hash_text(entry.hash));
  // A part of a parameter says which.
  const std::string which = entry.whole() ? "" : fmt::format("@{}+{}", entry.first, entry.count);
  return line_of_values(fmt::format("/{}/{}{}", entry.part, entry.parameter, which), entry.dtype, entry.shape,
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
    inspect_hdf5(command.file);
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
