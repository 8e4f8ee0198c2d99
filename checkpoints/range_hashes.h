// One pass over a checkpoint's file that hashes the whole and compares every range in it.
#pragma once

#include <string>
#include <vector>

#include "checkpoints/manifest.h"

namespace gta {

[[noreturn]] void refuse_hash(const std::string& folder, const ManifestEntry& entry);

// xxh3 of FOLDER/file.name (file.bytes long). Error(BadInput) names the first range in it that does not have its hash. The entries in one
// file must not overlap.
uint64_t hash_checked(const std::string& folder, const ManifestFile& file, const std::vector<ManifestEntry>& entries);

}  // namespace gta
