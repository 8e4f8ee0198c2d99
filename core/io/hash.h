// xxh3, 64 bits: of memory at once, or piece by piece.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace gta {

uint64_t hash_bytes(const void* data, size_t bytes);
inline uint64_t hash_bytes(const std::string& text) { return hash_bytes(text.data(), text.size()); }
std::string hash_text(uint64_t hash);  // 16 hexadecimal digits

class Hasher {
 public:
  Hasher();
  ~Hasher();
  void update(const void* data, size_t bytes);
  uint64_t digest() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace gta
