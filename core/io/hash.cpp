#include "core/io/hash.h"

#include <fmt/format.h>
#include <xxhash.h>

namespace gta {

struct Hasher::State {
  XXH3_state_t* xxh = XXH3_createState();
  ~State() { XXH3_freeState(xxh); }
};

uint64_t hash_bytes(const void* data, size_t bytes) { return XXH3_64bits(data, bytes); }

std::string hash_text(uint64_t hash) { return fmt::format("{:016x}", hash); }

Hasher::Hasher() : state_(std::make_unique<State>()) { XXH3_64bits_reset(state_->xxh); }
Hasher::~Hasher() = default;
void Hasher::update(const void* data, size_t bytes) { XXH3_64bits_update(state_->xxh, data, bytes); }
uint64_t Hasher::digest() const { return XXH3_64bits_digest(state_->xxh); }

}  // namespace gta
