#include "checkpoints/manifest.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <tuple>

#include "core/io/hash.h"

namespace gta {
namespace {

using Json = nlohmann::ordered_json;
// 2: without the position's metrics_bytes, with its sound.
constexpr int64_t kOldestVersion = 1, kFormatVersion = 2;

uint64_t parse_hash(const Json& json) {
  const std::string text = json.get<std::string>();
  if (text.size() != 16 || text.find_first_not_of("0123456789abcdef") != std::string::npos)
    throw std::invalid_argument("a hash is not 16 hexadecimal digits");
  return std::stoull(text, nullptr, 16);
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
void check_overlaps(const Manifest& manifest) {
  std::vector<const ManifestEntry*> sorted;
  for (const ManifestEntry& entry : manifest.entries) sorted.push_back(&entry);
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

}  // namespace

std::string to_json(const Manifest& manifest) {
  Json body;
  body["format_version"] = kFormatVersion;
  each_field(manifest.position, [&](const char* name, int64_t value) { body["position"][name] = value; });
  body["position"]["data_hash"] = hash_text(manifest.position.data_hash);
  body["position"]["sound"] = manifest.position.sound;
  body["world_size"] = manifest.world_size;
  body["config"] = manifest.config_yaml;
  body["files"] = Json::array();
  for (const ManifestFile& file : manifest.files)
    body["files"].push_back({{"name", file.name}, {"bytes", file.bytes}, {"xxh3", hash_text(file.hash)}});
  body["ranges"] = Json::array();
  for (const ManifestEntry& e : manifest.entries)
    body["ranges"].push_back({{"part", e.part},
                              {"parameter", e.parameter},
                              {"shape", e.shape},
                              {"dtype", name_of(e.dtype)},
                              {"first", e.first},
                              {"count", e.count},
                              {"file", e.file},
                              {"offset", e.offset},
                              {"xxh3", hash_text(e.hash)}});
  std::string text;
  try {
    text = body.dump(1);
  } catch (const Json::exception&) {
    bad_input("checkpoint", "the configuration or a parameter's name is not UTF-8");
  }
  return "{\"manifest_xxh3\": \"" + hash_text(hash_bytes(text)) + "\", \"manifest\":\n" + text + "}\n";
}

Manifest parse_manifest(const std::string& text, const std::string& path) {
  // The hash covers the bytes between the first line and the closing brace.
  constexpr size_t kHashAt = 19, kHashDigits = 16;
  const size_t begin = text.find('\n');
  if (begin == std::string::npos || text.size() < begin + 4 ||
      text.compare(0, kHashAt, "{\"manifest_xxh3\": \"") != 0 || !text.ends_with("}\n"))
    bad_input(path, "is damaged: it is no checkpoint's manifest");
  const std::string inner = text.substr(begin + 1, text.size() - begin - 3);
  if (text.substr(kHashAt, kHashDigits) != hash_text(hash_bytes(inner)) ||
      text.substr(kHashAt + kHashDigits, begin - kHashAt - kHashDigits) != "\", \"manifest\":")
    bad_input(path, "is damaged: it does not have its own hash");
  try {
    const Json body = Json::parse(inner);
    const Json& version = body.at("format_version");
    if (!version.is_number_integer() || version < kOldestVersion || version > kFormatVersion)
      bad_input(path, "has format version {}, this build reads {} to {}", version.dump(), kOldestVersion,
                kFormatVersion);
    Manifest manifest;
    each_field(manifest.position,
               [&](const char* name, int64_t& value) { value = natural(body.at("position").at(name)); });
    manifest.position.data_hash = parse_hash(body.at("position").at("data_hash"));
    manifest.position.sound =
        version == 1 ? manifest.position.consecutive_skipped == 0 : body.at("position").at("sound").get<bool>();
    manifest.world_size = natural(body.at("world_size"));
    manifest.config_yaml = body.at("config").get<std::string>();
    std::map<std::string, int64_t> bytes_of;
    for (const Json& file : body.at("files")) {
      ManifestFile read{file.at("name").get<std::string>(), natural(file.at("bytes")), parse_hash(file.at("xxh3"))};
      if (read.name.find('/') != std::string::npos || read.name.empty() || read.name[0] == '.')
        throw std::invalid_argument("a file's name leaves the folder");
      if (!bytes_of.emplace(read.name, read.bytes).second) throw std::invalid_argument("a file is named twice");
      manifest.files.push_back(std::move(read));
    }
    for (const Json& e : body.at("ranges")) {
      ManifestEntry entry{e.at("part").get<std::string>(), e.at("parameter").get<std::string>(),
                          naturals(e.at("shape")),         dtype_from_name(e.at("dtype").get<std::string>()),
                          natural(e.at("first")),          natural(e.at("count")),
                          e.at("file").get<std::string>(), natural(e.at("offset")),
                          parse_hash(e.at("xxh3"))};
      check_entry(entry, bytes_of);
      manifest.entries.push_back(std::move(entry));
    }
    check_overlaps(manifest);
    return manifest;
  } catch (const nlohmann::json::out_of_range& error) {
    // key 'NAME' not found
    const std::string said = error.what();
    const size_t name = said.find('\''), end = said.find('\'', name + 1);
    bad_input(path, "is damaged: it lacks {}",
              end == std::string::npos ? "a field" : said.substr(name, end + 1 - name));
  } catch (const nlohmann::json::exception&) {
    bad_input(path, "is damaged: a field holds something else than it should");
  } catch (const Error& error) {
    if (error.where() == path) throw;
    bad_input(path, "is damaged: {}", error.what());
  } catch (const std::invalid_argument& error) {
    bad_input(path, "is damaged: {}", error.what());
  }
}

}  // namespace gta
