#include "checkpoints/writer.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "checkpoints/manifest.h"
#include "checkpoints/range_hashes.h"
#include "checkpoints/reader.h"
#include "core/io/file.h"
#include "core/io/hash.h"
#include "core/io/hdf5.h"
#include "core/log.h"

namespace gta {
namespace {

constexpr const char* kTemporary = ".tmp-";
constexpr std::string_view kStart = ".start-";
constexpr const char* kSetAside = ".set-aside";  // no name that list_checkpoints knows

// A whole parameter keeps its shape; a part of one is a row of numbers, named by its first element.
std::string dataset_name(const StateRange& range) {
  return range.whole() ? fmt::format("/{}/{}", range.part, range.parameter)
                       : fmt::format("/{}/{}@{}", range.part, range.parameter, range.first);
}

uint64_t write_hashed(const File& file, StatePieces& pieces, size_t range, int64_t start) {
  Hasher hasher;
  pieces.read(range, [&](const char* data, int64_t offset, int64_t bytes) {
    file.write_at(data, bytes, start + offset);
    hasher.update(data, static_cast<size_t>(bytes));
  });
  return hasher.digest();
}

// A header that the disk swallowed shows here: no range's hash covers it, and the file's is of what the file holds.
void check_headers(const std::string& path, const std::vector<hdf5::Dataset>& expected) {
  const hdf5::Reader reader(path);
  for (const hdf5::Dataset& dataset : expected) {
    const hdf5::Dataset& found = reader.dataset(dataset.name);
    if (found.shape != dataset.shape || found.offset != dataset.offset || found.bytes() != dataset.bytes())
      fail(path, "was not written as it should: {} reads back with another shape or place", dataset.name);
  }
}

// The temporary name of something in a folder of checkpoints.
std::string temporary_path(const std::string& directory, const std::string& name, int64_t start) {
  return directory + "/" + kTemporary + name + (start > 0 ? fmt::format("{}{}", kStart, start) : "");
}

// Of whoever made a temporary name; 0 where that is not known.
int64_t start_of(const std::string& temporary) {
  const size_t at = temporary.rfind(kStart);
  if (at == std::string::npos) return 0;
  const std::string digits = temporary.substr(at + kStart.size());
  if (digits.empty() || digits.size() > 18 || digits.find_first_not_of("0123456789") != std::string::npos) return 0;
  return std::stoll(digits);
}

void point_latest(const std::string& directory, const std::string& name, int64_t start) {
  const std::string link = directory + "/latest", temporary = temporary_path(directory, "latest", start);
  ::unlink(temporary.c_str());
  if (::symlink(name.c_str(), temporary.c_str()) != 0) fail(link, "cannot be made: {}", std::strerror(errno));
  rename_path(temporary, link);
}

// Out of sight in one step, then removed: a half-removed folder must not look like a checkpoint.
void remove_checkpoint(const std::string& directory, const std::string& name, int64_t start) {
  const std::string gone = temporary_path(directory, "removed-" + name, start);
  remove_tree(gone);
  rename_path(directory + "/" + name, gone);
  remove_tree(gone);
}

// What interrupted writers left, up to this start. Nothing that list_checkpoints names.
void remove_leftovers(const std::string& directory, int64_t start) {
  for (const std::string& name : list_directory(directory)) {
    if (name.starts_with(kTemporary) && (start == 0 || start_of(name) <= start)) remove_tree(directory + "/" + name);
    if (name.ends_with(kReplaced) && exists(directory + "/" + name.substr(0, name.size() - std::strlen(kReplaced))))
      remove_checkpoint(directory, name, start);
  }
}

// temporary becomes directory/name. What had that name is left under a temporary name, or under name.replaced where the
// file system cannot exchange two names in one call (NFS): list_checkpoints knows that name, so that no moment is
// without the old or the new one.
void put_in_place(const std::string& directory, const std::string& temporary, const std::string& name) {
  const std::string path = directory + "/" + name;
  if (exists(path)) {
    if (::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, path.c_str(), RENAME_EXCHANGE) == 0) return;
    if (errno != EINVAL && errno != ENOSYS) fail(path, "cannot be replaced: {}", std::strerror(errno));
    rename_path(path, path + kReplaced);
  }
  rename_path(temporary, path);
}

// What was read back, or was sent, and is not as it should be is no input from outside.
template <class F>
auto underway(F&& f) {
  try {
    return f();
  } catch (const Error& error) {
    throw error.underway();
  }
}

// The manifest's text, when a reader of it would find all of the checkpoint.
std::string whole_manifest(const std::string& folder, const TrainingPosition& position, const std::string& config_yaml,
                           const std::vector<RankFile>& files) {
  Manifest manifest;
  manifest.position = position;
  manifest.config_yaml = config_yaml;
  manifest.world_size = static_cast<int64_t>(files.size());
  for (int64_t rank = 0; rank < manifest.world_size; ++rank) {
    const RankFile& written = files[static_cast<size_t>(rank)];
    if (const std::string name = rank_file_name(rank, manifest.world_size); written.file.name != name)
      fail(folder, "cannot be published: expected {} of rank {}, it wrote {}", name, rank, written.file.name);
    manifest.files.push_back(written.file);
    manifest.entries.insert(manifest.entries.end(), written.entries.begin(), written.entries.end());
  }
  check_files(folder, manifest.files);
  std::string text = to_json(manifest);
  if (static_cast<int64_t>(text.size()) > kMostManifestBytes)
    fail(folder, "cannot be published: {} ranges take a manifest of {} bytes, at most are {}", manifest.entries.size(),
         text.size(), kMostManifestBytes);
  if (const std::string missing = what_is_missing(parse_manifest(text, folder + "/manifest.json")); !missing.empty())
    fail(folder, "cannot be published: no rank wrote {}", missing);
  return text;
}

void write_manifest(const std::string& path, const std::string& text) {
  write_synced(path, text);
  if (read_file(path) != text) fail(path, "was not written as it should: it reads back differently");
}

}  // namespace

std::string temporary_folder(const std::string& directory, int64_t step, int64_t start) {
  return temporary_path(directory, checkpoint_name(step), start);
}

std::string prepare(const std::string& directory, int64_t step, int64_t start) {
  if (!exists(directory)) {
    make_directories(directory);
    sync_directory(parent_of(directory));
  }
  sync_directory(directory);  // whatever the leftovers were replaced by is on disk before they go
  try {
    remove_leftovers(directory, start);
  } catch (const Error& error) {
    // Another user's, or open elsewhere on a network's file system. It is in nobody's way.
    log::warning("what an earlier save left behind stays, and takes room: {}", error.what());
  }
  std::string folder = temporary_folder(directory, step, start);
  make_directories(folder);
  return folder;
}

RankFile write_own_file(const std::string& folder, int64_t rank, int64_t world_size, const TrainingState& state,
                        StatePieces& pieces) {
  ensure(0 <= rank && rank < world_size, "checkpoint", "rank {} of {} cannot save", rank, world_size);
  RankFile written;
  written.file.name = rank_file_name(rank, world_size);
  const std::string path = folder + "/" + written.file.name;
  hdf5::Writer writer(path);
  for (const StateRange& range : state.ranges) {
    writer.add(dataset_name(range), range.whole() ? range.shape : std::vector<int64_t>{range.count}, range.dtype);
  }
  const auto tokenizer_bytes = static_cast<int64_t>(state.tokenizer.size());
  if (rank == 0) writer.add("/tokenizer", {tokenizer_bytes}, DType::U8);
  writer.set_integer("format_version", 1);
  writer.set_integer("step", state.position.step);
  const std::vector<hdf5::Dataset> datasets = writer.close();

  File file(path, File::Mode::ReadWrite);
  const auto offset_of = [&](size_t i) {
    return std::max<int64_t>(0, datasets[i].offset);  // none is given to a dataset without elements
  };
  for (size_t i = 0; i < state.ranges.size(); ++i) {
    const StateRange& range = state.ranges[i];
    written.entries.push_back({range.part, range.parameter, range.shape, range.dtype, range.first, range.count,
                               written.file.name, offset_of(i), write_hashed(file, pieces, i, offset_of(i))});
  }
  if (rank == 0) {
    const int64_t offset = offset_of(state.ranges.size());
    file.write_at(state.tokenizer.data(), tokenizer_bytes, offset);
    written.entries.push_back({kTokenizerPart,
                               "",
                               {tokenizer_bytes},
                               DType::U8,
                               0,
                               tokenizer_bytes,
                               written.file.name,
                               offset,
                               hash_bytes(state.tokenizer)});
  }
  file.sync();
  return underway([&] {
    check_headers(path, datasets);
    written.file.bytes = file.size();
    file.close();
    // Read back before anything is published: what is on disk is what was hashed on its way there.
    written.file.hash = hash_checked(folder, written.file, written.entries);
    return written;
  });
}

std::string publish(const std::string& folder, const TrainingPosition& position, const std::string& config_yaml,
                    const std::vector<RankFile>& files, const WritePermit& permit) {
  const std::string directory = parent_of(folder), name = checkpoint_name(position.step), path = directory + "/" + name;
  ensure(folder == temporary_folder(directory, position.step, permit.start), "checkpoint",
         "{} was not prepared for step {}", folder, position.step);
  try {
    underway([&] {
      write_manifest(folder + "/manifest.json", whole_manifest(folder, position, config_yaml, files));
      sync_directory(folder);
      permit.check();
      put_in_place(directory, folder, name);
    });
  } catch (...) {
    give_up(folder);
    throw;
  }
  // From here on the folder is the old checkpoint, which the disk may still know as the one of this step.
  sync_directory(directory);
  try {
    permit.check();
    point_latest(directory, name, permit.start);
    remove_leftovers(directory, permit.start);
  } catch (const Error& error) {
    log::warning("the checkpoint of step {} is saved, but: {}", position.step, error.what());
  }
  return path;
}

void give_up(const std::string& folder) {
  try {
    remove_tree(folder);
  } catch (const Error&) {
  }
}

std::string write_checkpoint(const std::string& directory, const TrainingState& state) {
  StatePieces pieces(state.ranges);
  return write_checkpoint(directory, state, pieces);
}

std::string write_checkpoint(const std::string& directory, const TrainingState& state, StatePieces& pieces) {
  const std::string folder = prepare(directory, state.position.step);
  RankFile written;
  try {
    written = write_own_file(folder, 0, 1, state, pieces);
  } catch (...) {
    give_up(folder);
    throw;
  }
  return publish(folder, state.position, state.config_yaml, {written});
}

void set_aside(const std::string& directory, const std::vector<std::string>& names, const WritePermit& permit) {
  if (names.empty()) return;
  for (const std::string& name : names) {
    const std::string path = directory + "/" + name, aside = path + kSetAside;
    permit.check();
    remove_tree(aside);
    rename_path(path, aside);
  }
  if (const std::vector<std::string> left = list_checkpoints(directory); !left.empty())
    point_latest(directory, left.back(), permit.start);
  sync_directory(directory);
}

void prune_checkpoints(const std::string& directory, int64_t keep, int64_t keep_every_steps,
                       const WritePermit& permit) {
  std::vector<std::string> names = list_checkpoints(directory);
  if (names.empty()) return;
  Checkpoint::open(directory + "/" + names.back()).verify();
  const std::string sound = find_newest_sound(directory).value_or("");
  const auto stays = [&](size_t i) {
    const int64_t step = step_of(names[i]);
    return names.size() - i <= static_cast<size_t>(std::max<int64_t>(keep, 1)) ||
           (keep_every_steps > 0 && step % keep_every_steps == 0) || directory + "/" + names[i] == sound;
  };
  for (size_t i = 0; i < names.size(); ++i) {
    if (stays(i)) continue;
    permit.check();
    remove_checkpoint(directory, names[i], permit.start);
  }
  permit.check();
  remove_leftovers(directory, permit.start);
}

}  // namespace gta
