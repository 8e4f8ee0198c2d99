#include "checkpoints/manifest.h"

#include <fmt/ranges.h>
#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>
#include <tuple>

#include "core/io/file.h"
#include "core/io/hash.h"

namespace gta {
namespace {

using Json = nlohmann::ordered_json;
// 2: without the position's metrics_bytes, with its sound. 3: with its order of the samples.
constexpr int64_t kOldestVersion = 1, kFormatVersion = 3;

uint64_t parse_hash(const Json& json) {
  const std::string text = json.get<std::string>();
  if (text.size() != 16 || text.find_first_not_of("0123456789abcdef") != std::string::npos)
    throw std::invalid_argument("a hash is not 16 hexadecimal digits");
  return std::stoull(text, nullptr, 16);
}

SampleOrder parse_order(const std::string& text) {
  for (SampleOrder order : {SampleOrder::Network, SampleOrder::Shuffle})
    if (text == name_of(order)) return order;
  throw std::invalid_argument("no order of samples is called '" + text + "'");
}

int64_t natural(const Json& json) {
  if (!json.is_number_integer()) throw std::invalid_argument("a count is not an integer");
  const auto value = json.get<int64_t>();
  if (value < 0) throw std::invalid_argument("a count is negative");
  return value;
}

std::vector<int64_t> naturals(const Json& json) {
  if (!json.is_array()) throw std::invalid_argument("a shape is not a list");
  std::vector<int64_t> values;
  for (const Json& value : json) values.push_back(natural(value));
  return values;
}

// The fields of a position, once.
template <class Position, class F>
void each_field(Position& p, F&& f) {
  f("step", p.step);
  f("tokens", p.tokens);
  f("next_sample", p.next_sample);
  f("updates", p.updates);
  f("skipped_steps", p.skipped_steps);
  f("consecutive_skipped", p.consecutive_skipped);
}

// bytes: of every file, by name.
void check_entry(const ManifestEntry& entry, const std::map<std::string, int64_t>& bytes_of) {
  const std::string name = entry.part + " " + entry.parameter;
  int64_t elements = 1, bytes = 0, end = 0, last = 0, held = -1;
  for (int64_t size : entry.shape)
    if (size < 0 || __builtin_mul_overflow(elements, size, &elements))
      throw std::invalid_argument(name + " has an impossible shape");
  if (__builtin_add_overflow(entry.first, entry.count, &last) || last > elements)
    throw std::invalid_argument(name + " has more elements than its shape");
  if (const auto file = bytes_of.find(entry.file); file != bytes_of.end()) held = file->second;
  if (__builtin_mul_overflow(entry.count, static_cast<int64_t>(size_of(entry.dtype)), &bytes) ||
      __builtin_add_overflow(bytes, entry.offset, &end) || end > held)
    throw std::invalid_argument(name + " lies outside its file");
}

// Neither two elements at one place of a file, nor one element at two places.
void check_overlaps(const std::vector<ManifestEntry>& entries) {
  std::vector<const ManifestEntry*> sorted;
  for (const ManifestEntry& entry : entries) sorted.push_back(&entry);
  const auto overlap = [](const ManifestEntry* e) {
    return std::invalid_argument(e->part + " " + e->parameter + " overlaps another range");
  };
  std::sort(sorted.begin(), sorted.end(), [](const auto* a, const auto* b) {
    return std::tie(a->file, a->offset, a->count) < std::tie(b->file, b->offset, b->count);
  });
  for (size_t i = 1; i < sorted.size(); ++i)
    if (sorted[i]->file == sorted[i - 1]->file && sorted[i - 1]->offset + sorted[i - 1]->bytes() > sorted[i]->offset)
      throw overlap(sorted[i]);
  std::sort(sorted.begin(), sorted.end(), [](const auto* a, const auto* b) {
    return std::tie(a->part, a->parameter, a->first, a->count) < std::tie(b->part, b->parameter, b->first, b->count);
  });
  for (size_t i = 1; i < sorted.size(); ++i) {
    const ManifestEntry &before = *sorted[i - 1], &entry = *sorted[i];
    if (before.part != entry.part || before.parameter != entry.parameter) continue;
    if (before.shape != entry.shape || before.dtype != entry.dtype)
      throw std::invalid_argument(entry.part + " " + entry.parameter + " has two shapes or dtypes");
    if (before.first + before.count > entry.first) throw overlap(&entry);
  }
}

Json json_of(const ManifestFile& file) {
  return {{"name", file.name}, {"bytes", file.bytes}, {"xxh3", hash_text(file.hash)}};
}

Json json_of(const std::vector<ManifestEntry>& entries) {
  Json list = Json::array();
  for (const ManifestEntry& e : entries)
    list.push_back({{"part", e.part},
                    {"parameter", e.parameter},
                    {"shape", e.shape},
                    {"dtype", name_of(e.dtype)},
                    {"first", e.first},
                    {"count", e.count},
                    {"file", e.file},
                    {"offset", e.offset},
                    {"xxh3", hash_text(e.hash)}});
  return list;
}

ManifestFile parse_file(const Json& json) {
  ManifestFile file{json.at("name").get<std::string>(), natural(json.at("bytes")), parse_hash(json.at("xxh3"))};
  if (file.name.find('/') != std::string::npos || file.name.empty() || file.name[0] == '.')
    throw std::invalid_argument("a file's name leaves the folder");
  return file;
}

// bytes: of every file, by name.
std::vector<ManifestEntry> parse_entries(const Json& list, const std::map<std::string, int64_t>& bytes_of) {
  std::vector<ManifestEntry> entries;
  for (const Json& e : list) {
    ManifestEntry entry{e.at("part").get<std::string>(), e.at("parameter").get<std::string>(),
                        naturals(e.at("shape")),         dtype_from_name(e.at("dtype").get<std::string>()),
                        natural(e.at("first")),          natural(e.at("count")),
                        e.at("file").get<std::string>(), natural(e.at("offset")),
                        parse_hash(e.at("xxh3"))};
    check_entry(entry, bytes_of);
    entries.push_back(std::move(entry));
  }
  check_overlaps(entries);
  return entries;
}

// JSON between a line with its hash and a closing brace.
struct Envelope {
  const char* name;
  const char* what;
};
constexpr Envelope kManifest{"manifest", "it is no checkpoint's manifest"},
    kRankFile{"rank_file", "it is not what a rank says of its file"};

std::string first_line(const Envelope& envelope, const std::string& hash) {
  return fmt::format("{{\"{0}_xxh3\": \"{1}\", \"{0}\":", envelope.name, hash);
}

std::string seal(const Envelope& envelope, const Json& body) {
  std::string text;
  try {
    text = body.dump(1);
  } catch (const Json::exception&) {
    bad_input("checkpoint", "the configuration or a parameter's name is not UTF-8");
  }
  return first_line(envelope, hash_text(hash_bytes(text))) + "\n" + text + "}\n";
}

// What `read` makes of the JSON inside. Error(BadInput) when that is damaged, of another format version, or refused.
template <class T>
T unseal(const Envelope& envelope, const std::string& text, const std::string& from, int64_t oldest_version,
         const std::function<T(const Json&)>& read) {
  const size_t line = first_line(envelope, std::string(16, '0')).size();
  const std::string start = fmt::format("{{\"{}_xxh3\": \"", envelope.name);
  const size_t begin = text.find('\n');
  if (begin == std::string::npos || text.size() < begin + 4 || text.compare(0, start.size(), start) != 0 ||
      !text.ends_with("}\n"))
    bad_input(from, "is damaged: {}", envelope.what);
  const std::string inner = text.substr(begin + 1, text.size() - begin - 3);
  if (begin != line || text.substr(0, begin) != first_line(envelope, hash_text(hash_bytes(inner))))
    bad_input(from, "is damaged: it does not have its own hash");
  try {
    const Json body = Json::parse(inner);
    const Json& version = body.at("format_version");
    if (!version.is_number_integer() || version < oldest_version || version > kFormatVersion)
      bad_input(from, "has format version {}, this build reads {} to {}", version.dump(), oldest_version,
                kFormatVersion);
    return read(body);
  } catch (const nlohmann::json::out_of_range& error) {
    // key 'NAME' not found
    const std::string said = error.what();
    const size_t name = said.find('\''), end = said.find('\'', name + 1);
    bad_input(from, "is damaged: it lacks {}",
              end == std::string::npos ? "a field" : said.substr(name, end + 1 - name));
  } catch (const nlohmann::json::exception&) {
    bad_input(from, "is damaged: a field holds something else than it should");
  } catch (const Error& error) {
    if (error.where() == from) throw;
    bad_input(from, "is damaged: {}", error.what());
  } catch (const std::invalid_argument& error) {
    bad_input(from, "is damaged: {}", error.what());
  }
}

}  // namespace

std::string rank_file_name(int64_t rank, int64_t world_size) {
  return fmt::format("rank-{:04}-of-{:04}.h5", rank, world_size);
}

std::string to_json(const Manifest& manifest) {
  Json body;
  body["format_version"] = kFormatVersion;
  each_field(manifest.position, [&](const char* name, int64_t value) { body["position"][name] = value; });
  body["position"]["data_hash"] = hash_text(manifest.position.data_hash);
  body["position"]["sound"] = manifest.position.sound;
  body["position"]["order"] = name_of(manifest.position.order);
  body["world_size"] = manifest.world_size;
  body["config"] = manifest.config_yaml;
  body["files"] = Json::array();
  for (const ManifestFile& file : manifest.files) body["files"].push_back(json_of(file));
  body["ranges"] = json_of(manifest.entries);
  return seal(kManifest, body);
}

Manifest parse_manifest(const std::string& text, const std::string& path) {
  return unseal<Manifest>(kManifest, text, path, kOldestVersion, [](const Json& body) {
    Manifest manifest;
    constexpr int64_t kMost = int64_t{1} << 62;  // that a training can count on from
    each_field(manifest.position, [&](const char* name, int64_t& value) {
      value = natural(body.at("position").at(name));
      if (value > kMost) throw std::invalid_argument(fmt::format("its {} is more than any training has", name));
    });
    manifest.position.data_hash = parse_hash(body.at("position").at("data_hash"));
    manifest.position.sound = body.at("format_version") == 1 ? manifest.position.consecutive_skipped == 0
                                                             : body.at("position").at("sound").get<bool>();
    manifest.position.order = body.at("format_version") < 3
                                  ? SampleOrder::Network
                                  : parse_order(body.at("position").at("order").get<std::string>());
    manifest.world_size = natural(body.at("world_size"));
    manifest.config_yaml = body.at("config").get<std::string>();
    std::map<std::string, int64_t> bytes_of;
    for (const Json& json : body.at("files")) {
      ManifestFile file = parse_file(json);
      if (!bytes_of.emplace(file.name, file.bytes).second) throw std::invalid_argument("a file is named twice");
      manifest.files.push_back(std::move(file));
    }
    manifest.entries = parse_entries(body.at("ranges"), bytes_of);
    return manifest;
  });
}

std::string to_json(const RankFile& file) {
  return seal(kRankFile,
              {{"format_version", kFormatVersion}, {"file", json_of(file.file)}, {"ranges", json_of(file.entries)}});
}

RankFile parse_rank_file(const std::string& text, const std::string& from) {
  // Ranks run at the same time: another version is another build.
  return unseal<RankFile>(kRankFile, text, from, kFormatVersion, [](const Json& body) {
    RankFile read;
    read.file = parse_file(body.at("file"));
    read.entries = parse_entries(body.at("ranges"), {{read.file.name, read.file.bytes}});
    return read;
  });
}

void check_files(const std::string& folder, const std::vector<ManifestFile>& files) {
  for (const ManifestFile& file : files) {
    const std::string path = folder + "/" + file.name;
    std::error_code error;
    if (!exists(path)) bad_input(folder, "is damaged: {} is missing", file.name);
    if (!std::filesystem::is_regular_file(path, error))
      bad_input(folder, "is damaged: {} is not a regular file", file.name);
    const auto bytes = static_cast<int64_t>(std::filesystem::file_size(path, error));
    if (bytes != file.bytes)
      bad_input(folder, "is damaged: {} has {} bytes, expected {}", file.name, bytes, file.bytes);
  }
}

std::vector<Elements> uncovered(std::vector<Elements> held, Elements wanted) {
  std::sort(held.begin(), held.end());
  std::vector<Elements> gaps;
  int64_t next = wanted.first;
  for (const auto& [first, last] : held) {
    if (first >= wanted.second) break;
    if (first > next) gaps.emplace_back(next, first);
    next = std::max(next, last);
  }
  if (next < wanted.second) gaps.emplace_back(next, wanted.second);
  return gaps;
}

std::string text_of(const Elements& elements) {
  return elements.second - elements.first == 1 ? fmt::format("element {}", elements.first)
                                               : fmt::format("elements {} to {}", elements.first, elements.second - 1);
}

std::string what_is_missing(const Manifest& manifest) {
  std::map<std::string, int64_t> parameters;  // elements of each
  std::map<std::string, std::map<std::string, std::vector<Elements>>> held;
  int64_t tokenizers = 0;
  for (const ManifestEntry& entry : manifest.entries) {
    if (entry.part == kTokenizerPart) {
      ++tokenizers;
      continue;
    }
    int64_t& elements = parameters[entry.parameter];
    elements = std::max(elements, entry.elements());
    held[entry.part][entry.parameter].emplace_back(entry.first, entry.first + entry.count);
  }
  constexpr size_t kNamed = 5;
  std::vector<std::string> missing;
  if (tokenizers != 1) missing.push_back(fmt::format("one tokenizer (there are {})", tokenizers));
  for (auto& [part, ranges] : held)
    for (const auto& [parameter, elements] : parameters)
      for (const Elements& gap : uncovered(ranges[parameter], {0, elements}))
        missing.push_back(fmt::format("{} {} {} of {}", part, parameter, text_of(gap), elements));
  const size_t named = std::min(missing.size(), kNamed);
  std::string text = fmt::format("{}", fmt::join(missing.begin(), missing.begin() + static_cast<int64_t>(named), "; "));
  if (missing.size() > named) text += fmt::format("; and {} more", missing.size() - named);
  return text;
}

}  // namespace gta
