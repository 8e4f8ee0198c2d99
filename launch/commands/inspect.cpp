#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

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

std::string statistics_of(const hdf5::Reader& file, const hdf5::Dataset& dataset) {
  if (dataset.elements() == 0) return "empty";
  Statistics s;
  for (double x : file.read_double(dataset.name)) s.add(x);
  const double n = static_cast<double>(std::max<int64_t>(1, s.count - s.not_finite)), mean = s.sum / n;
  return fmt::format("min {:.4g} max {:.4g} mean {:.4g} deviation {:.4g}{}", s.smallest, s.largest, mean,
                     std::sqrt(std::max(0.0, s.squares / n - mean * mean)),
                     s.not_finite ? fmt::format(" NOT FINITE {}", s.not_finite) : "");
}

void inspect_hdf5(const std::string& path) {
  const hdf5::Reader file(path);
  for (const auto& [name, dataset] : file.datasets())
    fmt::print("{:<64} {:<8} ({}) {}\n", name, name_of(dataset.dtype), fmt::join(dataset.shape, ", "),
               statistics_of(file, dataset));
}

}  // namespace

int run_inspect(const InspectCommand& command) {
  if (!is_directory(command.file)) {
    inspect_hdf5(command.file);
    return 0;
  }
  const Checkpoint checkpoint = Checkpoint::open(resolve_checkpoint(command.file));
  const TrainingPosition& p = checkpoint.position();
  fmt::print("{}: step {}, {} tokens, next sample {}, {} updates, {} skipped steps\n", checkpoint.path(), p.step,
             p.tokens, p.next_sample, p.updates, p.skipped_steps);
  for (const ManifestFile& file : checkpoint.files())
    fmt::print("{} {} bytes, xxh3 {}\n", file.name, file.bytes, hash_text(file.hash));
  checkpoint.verify();
  fmt::print("every hash holds\n");
  for (const ManifestFile& file : checkpoint.files()) inspect_hdf5(checkpoint.path() + "/" + file.name);
  return 0;
}

}  // namespace gta
