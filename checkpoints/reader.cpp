#include "checkpoints/reader.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>
#include <sstream>

#include "checkpoints/range_hashes.h"
#include "core/backends/memory_kernels.h"
#include "core/comm/verdict.h"
#include "core/io/file.h"
#include "core/io/hash.h"
#include "core/log.h"

namespace gta {
namespace {

using Key = std::pair<std::string, std::string>;  // part, parameter
using RangesByKey = std::map<Key, std::vector<const StateRange*>>;

RangesByKey by_key(const std::vector<StateRange>& ranges) {
  RangesByKey found;
  for (const StateRange& range : ranges) found[{range.part, range.parameter}].push_back(&range);
  return found;
}

// What both have; nothing when first >= second.
Elements common(const StateRange& range, const ManifestEntry& entry) {
  return {std::max(range.first, entry.first), std::min(range.first + range.count, entry.first + entry.count)};
}

// The entry's bytes from `offset` on, to their places in a range. No product is larger than the entry or the range.
void take(const StateRange& range, const ManifestEntry& entry, int64_t offset, const char* data, int64_t bytes) {
  const auto size = static_cast<int64_t>(size_of(entry.dtype));
  const auto [first, last] = common(range, entry);
  if (first >= last) return;
  const int64_t both = (first - entry.first) * size, begin = std::max(both, offset),
                end = std::min((last - entry.first) * size, offset + bytes);
  if (begin < end)
    GTA_DISPATCH(range.device, copy_from_host, Stream{range.device},
                 static_cast<char*>(range.data) + (first - range.first) * size + (begin - both), end - begin,
                 data + (begin - offset), end - begin, 1, end - begin);
}

std::string stem_of(const std::string& name) {
  return name.ends_with(kReplaced) ? name.substr(0, name.size() - std::strlen(kReplaced)) : name;
}

// Of a checkpoint's folder; nothing for other names.
std::optional<int64_t> step_named(const std::string& name) {
  const std::string stem = stem_of(name);
  if (stem.size() < 13 || stem.size() > 20 || !stem.starts_with("step-") ||
      stem.find_first_not_of("0123456789", 5) != std::string::npos)
    return std::nullopt;
  return step_of(stem);
}

std::string shape_text(const std::vector<int64_t>& shape) { return fmt::format("({})", fmt::join(shape, ", ")); }

}  // namespace

Checkpoint Checkpoint::open(const std::string& path) {
  Checkpoint checkpoint;
  checkpoint.path_ = path;
  const std::string manifest = path + "/manifest.json";
  if (!exists(manifest)) bad_input(path, "is no checkpoint: it has no manifest.json");
  const std::string text = read_file(manifest, kMostManifestBytes);
  checkpoint.manifest_ = parse_manifest(text, manifest);
  checkpoint.hash_ = hash_bytes(text);
  // Which one is the newest, and which are pruned, is known by name.
  const std::string name = std::filesystem::path(path).filename();
  const std::optional<int64_t> named = step_named(name);
  if (const int64_t step = checkpoint.position().step; named && *named != step)
    bad_input(path, "holds step {}, not the one of its name: rename it {}", step, checkpoint_name(step));
  check_files(path, checkpoint.manifest_.files);
  return checkpoint;
}

std::string Checkpoint::read(const Entry& entry) const {
  std::string bytes;
  bytes.reserve(static_cast<size_t>(entry.bytes()));
  read_checked(path_, File(path_ + "/" + entry.file, File::Mode::Read), entry,
               [&](int64_t, const char* data, int64_t count) { bytes.append(data, static_cast<size_t>(count)); });
  return bytes;
}

const std::string& Checkpoint::tokenizer() const {
  for (const ManifestEntry& entry : manifest_.entries)
    if (!tokenizer_ && entry.part == kTokenizerPart) tokenizer_ = read(entry);
  if (!tokenizer_) bad_input(path_, "holds no tokenizer");
  return *tokenizer_;
}

void Checkpoint::verify() const {
  for (const ManifestFile& file : manifest_.files)
    if (hash_checked(path_, file, manifest_.entries) != file.hash)
      bad_input(path_, "is damaged: {} does not have its hash", file.name);
}

void Checkpoint::check_fits(const std::vector<StateRange>& ranges) const {
  std::set<std::string> parts;
  for (const StateRange& range : ranges) parts.insert(range.part);
  const RangesByKey wanted = by_key(ranges);
  std::set<Key> refused;  // of what is wanted
  std::map<Key, std::vector<Elements>> held;
  std::string problems;
  for (const ManifestEntry& entry : manifest_.entries) {
    if (!parts.count(entry.part)) continue;
    const Key key{entry.part, entry.parameter};
    held[key].emplace_back(entry.first, entry.first + entry.count);
    const auto found = wanted.find(key);
    const auto differs = [&](const StateRange* range) {
      return range->shape != entry.shape || range->dtype != entry.dtype;
    };
    if (found == wanted.end()) {
      if (refused.insert(key).second)
        problems += fmt::format("; {} {} is not in this model", entry.part, entry.parameter);
    } else if (const auto other = std::find_if(found->second.begin(), found->second.end(), differs);
               other != found->second.end() && refused.insert(key).second) {
      problems +=
          fmt::format("; {} {} is {} {}, the model wants {} {}", entry.part, entry.parameter, name_of(entry.dtype),
                      shape_text(entry.shape), name_of((*other)->dtype), shape_text((*other)->shape));
    }
  }
  for (const StateRange& range : ranges) {
    const Key key{range.part, range.parameter};
    if (refused.count(key)) continue;
    if (!held.count(key)) {
      refused.insert(key);
      problems += fmt::format("; {} {} is missing", range.part, range.parameter);
      continue;
    }
    for (const Elements& gap : uncovered(held[key], {range.first, range.first + range.count}))
      problems += fmt::format("; {} {} lacks {} of {}", range.part, range.parameter, text_of(gap), range.elements());
  }
  if (!problems.empty()) bad_input(path_, "does not fit this model: {}", problems.substr(2));
}

void Checkpoint::load(const std::vector<StateRange>& ranges) const {
  check_fits(ranges);
  const RangesByKey wanted = by_key(ranges);
  struct Read {
    const ManifestEntry* entry;
    const std::vector<const StateRange*>* to;
  };
  std::map<std::string, std::vector<Read>> of_file;
  for (const ManifestEntry& entry : manifest_.entries) {
    const auto found = wanted.find({entry.part, entry.parameter});
    const auto overlaps = [&](const StateRange* range) {
      const Elements both = common(*range, entry);
      return both.first < both.second;
    };
    if (found != wanted.end() && std::any_of(found->second.begin(), found->second.end(), overlaps))
      of_file[entry.file].push_back({&entry, &found->second});
  }
  for (auto& [name, reads] : of_file) {
    std::sort(reads.begin(), reads.end(),
              [](const Read& a, const Read& b) { return a.entry->offset < b.entry->offset; });
    const File file(path_ + "/" + name, File::Mode::Read);
    for (const Read& read : reads)
      read_checked(path_, file, *read.entry, [&](int64_t offset, const char* data, int64_t bytes) {
        for (const StateRange* range : *read.to) take(*range, *read.entry, offset, data, bytes);
      });
  }
}

int64_t step_of(const std::string& checkpoint_name) { return std::stoll(checkpoint_name.substr(5)); }

std::string checkpoint_name(int64_t step) { return fmt::format("step-{:08}", step); }

std::vector<std::string> list_checkpoints(const std::string& directory) {
  std::vector<std::string> names;
  if (!is_directory(directory)) return names;
  const std::vector<std::string> all = list_directory(directory);
  for (const std::string& name : all) {
    if (!step_named(name)) continue;
    const std::string stem = stem_of(name);
    if (stem == name || !std::binary_search(all.begin(), all.end(), stem)) names.push_back(name);
  }
  std::sort(names.begin(), names.end(),
            [](const std::string& a, const std::string& b) { return step_of(a) < step_of(b); });
  return names;
}

namespace {

// What the lead sees, which all ranks then try.
std::vector<std::string> list_of_lead(const std::string& directory, Communicator& ranks) {
  std::string listed;
  ranks.together("list of checkpoints", [&] {
    if (!ranks.leads()) return;
    for (const std::string& name : list_checkpoints(directory)) listed += name + '\n';
  });
  std::istringstream lines(ranks.broadcast_text("list of checkpoints", listed));
  std::vector<std::string> names;
  for (std::string name; std::getline(lines, name);) names.push_back(name);
  return names;
}

// What ranks read under one name may be copies on their hosts.
void require_same(const Checkpoint& checkpoint, Communicator& ranks) {
  const std::vector<uint64_t> all = ranks.gather("checkpoint", checkpoint.hash());
  const auto other = std::find_if(all.begin(), all.end(), [&](uint64_t hash) { return hash != all[0]; });
  if (other == all.end()) return;
  throw Error(ErrorKind::BadInput, checkpoint.path(),
              fmt::format("is another checkpoint for {} than for rank 0: give all of them the same",
                          rank_name(ranks.hosts(), other - all.begin())))
      .as_agreed();
}

// The newest of those that `names` lists. What is gone by now was no damaged one.
std::optional<Checkpoint> use_newest_good_of(const std::vector<std::string>& names, const std::string& directory,
                                             const CheckpointUse& use, Communicator& ranks) {
  for (auto name = names.rbegin(); name != names.rend(); ++name) {
    std::optional<Checkpoint> checkpoint;
    const auto is_damaged = [&](const std::function<void()>& part) {
      const std::optional<Error> error = ranks.attempt(*name, part);
      // There would be none for an older one either, and going back to it would lose what came after.
      if (error && error->kind() == ErrorKind::OutOfMemory) throw *error;
      if (error && ranks.leads() && exists(directory + "/" + *name))
        log::warning("skips a damaged checkpoint: {}", error->what());
      return error.has_value();
    };
    const auto open = [&] {
      checkpoint = Checkpoint::open(directory + "/" + *name);
      checkpoint->tokenizer();  // the decision may rest on it
    };
    if (is_damaged(open)) continue;
    require_same(*checkpoint, ranks);
    bool wanted = false;
    ranks.together(*name, [&] { wanted = use.consider(*checkpoint); });
    if (wanted && !is_damaged([&] { use.load(*checkpoint); })) return checkpoint;
  }
  return std::nullopt;
}

}  // namespace

std::optional<Checkpoint> use_newest_good(const std::string& directory, const CheckpointUse& use) {
  Communicator alone;
  return use_newest_good(directory, use, alone);
}

std::optional<Checkpoint> use_newest_good(const std::string& directory, const CheckpointUse& use, Communicator& ranks) {
  // A training beside may save new ones and remove those that were listed.
  constexpr int kMostTries = 10;
  std::vector<std::string> names = list_of_lead(directory, ranks);
  for (int tries = 0; tries < kMostTries; ++tries) {
    if (std::optional<Checkpoint> found = use_newest_good_of(names, directory, use, ranks)) return found;
    std::vector<std::string> now = list_of_lead(directory, ranks);
    if (now == names) break;
    names = std::move(now);
  }
  return std::nullopt;
}

std::optional<std::string> find_newest_good(const std::string& directory) {
  const std::optional<Checkpoint> found = use_newest_good(directory, {});
  return found ? std::optional(found->path()) : std::nullopt;
}

std::optional<std::string> find_newest_sound(const std::string& directory) {
  const std::vector<std::string> names = list_checkpoints(directory);
  for (auto name = names.rbegin(); name != names.rend(); ++name) {
    try {
      const Checkpoint checkpoint = Checkpoint::open(directory + "/" + *name);
      if (checkpoint.position().sound) return checkpoint.path();
    } catch (const Error&) {  // whoever loads says so
    }
  }
  return std::nullopt;
}

namespace {

// The directory of a run's checkpoints; "" where the path is a checkpoint's own folder.
std::string directory_of(const std::string& path) {
  if (exists(path + "/manifest.json")) return "";
  for (const std::string& directory : {path + "/checkpoints", path})
    if (!list_checkpoints(directory).empty()) return directory;
  if (!exists(path))
    bad_input(path, "does not exist: expected a run's folder RUN, or a checkpoint RUN/checkpoints/step-NNNNNNNN");
  bad_input(path,
            "holds no checkpoint: expected a run's folder RUN that has saved one, or a checkpoint "
            "RUN/checkpoints/step-NNNNNNNN");
}

// Where a link like `latest` leads now; the path itself where it is none.
std::string target_of(const std::string& path) {
  std::error_code error;
  const std::filesystem::path target = std::filesystem::read_symlink(path, error);
  return error ? path : (std::filesystem::path(path).parent_path() / target).lexically_normal().string();
}

// A checkpoint by its own name, or by a link. A training beside may remove it while it is read: then `latest` leads to
// another one, and of any other name that is said.
Checkpoint use_one(const std::string& path, const CheckpointUse& use, Communicator& ranks) {
  constexpr int kMostTries = 10;
  std::string folder;
  const auto follow = [&] { folder = ranks.broadcast_text(path, ranks.leads() ? target_of(path) : ""); };
  follow();
  for (int tries = 1;; ++tries) {
    std::optional<Checkpoint> found;
    const std::optional<Error> error = ranks.attempt(path, [&] {
      ranks.together(path, [&] {
        found = Checkpoint::open(folder);
        found->tokenizer();  // which nobody has to look for later
      });
      require_same(*found, ranks);
      if (!use.consider(*found)) bad_input(path, "is not the checkpoint that is wanted");
      use.load(*found);
    });
    if (!error) return std::move(*found);
    const bool there = ranks.gather("checkpoint that is there", int64_t{exists(folder)})[0] != 0;  // for the lead
    if (there || error->kind() == ErrorKind::OutOfMemory) throw *error;
    const std::string before = folder;
    follow();
    if (folder == before || tries == kMostTries)
      bad_input(path,
                "was removed while it was read, as a training removes all but its newest checkpoints "
                "(train.checkpoint.keep): name the run's folder for the newest one");
  }
}

}  // namespace

Checkpoint use_checkpoint(const std::string& run_or_checkpoint, const CheckpointUse& use) {
  Communicator alone;
  return use_checkpoint(run_or_checkpoint, use, alone);
}

Checkpoint use_checkpoint(const std::string& run_or_checkpoint, const CheckpointUse& use, Communicator& ranks) {
  std::string path = run_or_checkpoint, directory;
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  ranks.together(path, [&] {
    if (ranks.leads()) directory = directory_of(path);
  });
  directory = ranks.broadcast_text(path, directory);
  if (directory.empty()) return use_one(path, use, ranks);
  std::optional<Checkpoint> found = use_newest_good(directory, use, ranks);
  ranks.together(path, [&] {
    if (!found)
      bad_input(path,
                "has no checkpoint that is whole: the warnings above say what is damaged; restore one from a copy, or "
                "train again");
  });
  return std::move(*found);
}

std::string resolve_checkpoint(const std::string& run_or_checkpoint) {
  CheckpointUse use;
  // One that is named by itself is verified by whoever reads it.
  if (exists(run_or_checkpoint + "/manifest.json")) use.load = [](const Checkpoint&) {};
  return use_checkpoint(run_or_checkpoint, use).path();
}

}  // namespace gta
