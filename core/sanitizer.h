// Which sanitizer this build carries, and what AddressSanitizer has to be told: the pooling allocator hands out parts
// of larger blocks and keeps freed ones, where an access beyond a tensor's end, or after its end of life, would
// otherwise hit memory that is valid.
#pragma once

#include <cstdint>

#if defined(__has_feature)
#define GTA_HAS_FEATURE(x) __has_feature(x)  // clang
#else
#define GTA_HAS_FEATURE(x) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || GTA_HAS_FEATURE(address_sanitizer)
#include <sanitizer/asan_interface.h>
#define GTA_ADDRESS_SANITIZER 1
#else
#define GTA_ADDRESS_SANITIZER 0
#endif

namespace gta {

inline constexpr bool kAddressSanitizer = GTA_ADDRESS_SANITIZER;
#if defined(__SANITIZE_THREAD__) || GTA_HAS_FEATURE(thread_sanitizer)
inline constexpr bool kThreadSanitizer = true;
#else
inline constexpr bool kThreadSanitizer = false;
#endif

// Nothing in other builds. The first `used` bytes of a block may be touched, the rest may not.
inline void mark_usable([[maybe_unused]] void* data, [[maybe_unused]] int64_t used, [[maybe_unused]] int64_t bytes) {
#if GTA_ADDRESS_SANITIZER
  ASAN_UNPOISON_MEMORY_REGION(data, static_cast<size_t>(used));
  ASAN_POISON_MEMORY_REGION(static_cast<char*>(data) + used, static_cast<size_t>(bytes - used));
#endif
}

}  // namespace gta
