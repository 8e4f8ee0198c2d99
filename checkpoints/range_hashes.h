// Reads a checkpoint's bytes and compares their hashes: one range by itself, or a whole file and every range in it in
// one pass.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "checkpoints/manifest.h"
#include "core/io/file.h"

namespace gta {

// `bytes` bytes of an entry, from its byte `offset` on. Whether they are right shows at the entry's end.
using TakeBytes = std::function<void(int64_t offset, const char* data, int64_t bytes)>;

// Hands the entry's bytes on as they come, each once. file: FOLDER/entry.file. Error(BadInput) at their end when they
// do not have the entry's hash.
void read_checked(const std::string& folder, const File& file, const ManifestEntry& entry, const TakeBytes& take);

// xxh3 of FOLDER/file.name (file.bytes long). Error(BadInput) names the first range in it that does not have its hash.
// The entries in one file must not overlap.
uint64_t hash_checked(const std::string& folder, const ManifestFile& file, const std::vector<ManifestEntry>& entries);

}  // namespace gta
