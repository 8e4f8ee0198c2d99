// libFuzzer's entry for the target that GTA_FUZZ_TARGET names.
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/log.h"
#include "tests/fuzz/target.h"

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  gta::log::set_level(gta::log::Level::Error);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  for (const gta::fuzz::Target& target : gta::fuzz::targets())
    if (std::strcmp(target.name, GTA_FUZZ_TARGET) == 0) target.run({reinterpret_cast<const char*>(data), size});
  return 0;
}
