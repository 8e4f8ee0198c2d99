#include "checkpoints/manifest.h"

#include <nlohmann/json.hpp>

#include "core/io/hash.h"

namespace gta {
namespace {

using Json = nlohmann::ordered_json;
constexpr int64_t kFormatVersion = 1;

uint64_t parse_hash(const Json& json) {
  const std::string text = json.get<std::string>();
  if (text.size() != 16 || text.find_first_not_of("0123456789abcdef") != std::string::npos) throw std::invalid_argument("a hash is not 16 hexadecimal digits");
  return std::stoull(text, nullptr, 16);
}

int64_t natural(const Json& json) {
  const auto value = json.get<int64_t>();
  if (value < 0) throw std::invalid_argument("a count is negative");
  return value;
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
  f("metrics_bytes", p.metrics_bytes);
}

}  // namespace

std::string to_json(const Manifest& manifest) {
  Json body;
  body["format_version"] = kFormatVersion;
  each_field(manifest.position, [&](const char* name, int64_t value) { body["position"][name] = value; });
  body["position"]["data_hash"] = hash_text(manifest.position.data_hash);
  body["world_size"] = manifest.world_size;
  body["config"] = manifest.config_yaml;
  body["files"] = Json::array();
  for (const ManifestFile& file : manifest.files) body["files"].push_back({{"name", file.name}, {"bytes", file.bytes}, {"xxh3", hash_text(file.hash)}});
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
  const std::string text = body.dump(1);
  return "{\"manifest_xxh3\": \"" + hash_text(hash_bytes(text)) + "\", \"manifest\":\n" + text + "}\n";
}

Manifest parse_manifest(const std::string& text, const std::string& path) {
  // The hash covers the bytes between the first line and the closing brace.
  constexpr size_t kHashAt = 19, kHashDigits = 16;
  const size_t begin = text.find('\n');
  if (begin == std::string::npos || text.size() < begin + 4 || text.compare(0, kHashAt, "{\"manifest_xxh3\": \"") != 0 || !text.ends_with("}\n"))
    bad_input(path, "is damaged: it is no checkpoint's manifest");
  const std::string inner = text.substr(begin + 1, text.size() - begin - 3);
  if (text.substr(kHashAt, kHashDigits) != hash_text(hash_bytes(inner)) || text.substr(kHashAt + kHashDigits, begin - kHashAt - kHashDigits) != "\", \"manifest\":")
    bad_input(path, "is damaged: it does not have its own hash");
  try {
    const Json body = Json::parse(inner);
    if (body.at("format_version") != kFormatVersion)
      bad_input(path, "has format version {}, this build reads {}", body.at("format_version").dump(), kFormatVersion);
    Manifest manifest;
    each_field(manifest.position, [&](const char* name, int64_t& value) { value = natural(body.at("position").at(name)); });
    manifest.position.data_hash = parse_hash(body.at("position").at("data_hash"));
    manifest.world_size = natural(body.at("world_size"));
    manifest.config_yaml = body.at("config").get<std::string>();
    for (const Json& file : body.at("files")) {
      ManifestFile read{file.at("name").get<std::string>(), natural(file.at("bytes")), parse_hash(file.at("xxh3"))};
      if (read.name.find('/') != std::string::npos || read.name.empty() || read.name[0] == '.') throw std::invalid_argument("a file's name leaves the folder");
      manifest.files.push_back(std::move(read));
    }
    for (const Json& e : body.at("ranges")) {
      ManifestEntry entry{e.at("part").get<std::string>(), e.at("parameter").get<std::string>(), e.at("shape").get<std::vector<int64_t>>(),
                          dtype_from_name(e.at("dtype").get<std::string>()), natural(e.at("first")), natural(e.at("count")),
                          e.at("file").get<std::string>(), natural(e.at("offset")), parse_hash(e.at("xxh3"))};
      const int64_t size = static_cast<int64_t>(size_of(entry.dtype));
      int64_t bytes = 0, end = 0, covered = -1;
      for (const ManifestFile& file : manifest.files)
        if (file.name == entry.file) covered = file.bytes;
      if (__builtin_mul_overflow(entry.count, size, &bytes) || __builtin_add_overflow(bytes, entry.offset, &end) || end > covered)
        throw std::invalid_argument(entry.part + " of " + entry.parameter + " lies outside its file");
      manifest.entries.push_back(std::move(entry));
    }
    return manifest;
  } catch (const nlohmann::json::exception& error) {
    bad_input(path, "is damaged: {}", error.what());
  } catch (const std::invalid_argument& error) {
    bad_input(path, "is damaged: {}", error.what());
  }
}

}  // namespace gta
