#include "launch/npy.h"

#include "tests/fuzz/target.h"

namespace gta::fuzz {

bool read_npy(const std::string& bytes) {
  const std::string path = scratch_file("tokens.npy", bytes);
  return taken([&] {
    const NpyArray<int32_t> array = read_npy_int32(path);
    size_t elements = 1;
    for (const int64_t size : array.shape) {
      expect(size >= 0, "a dimension is negative");
      elements *= static_cast<size_t>(size);
    }
    expect(elements == array.values.size(), "an array has not the elements of its shape");
    const size_t header =
        10 + static_cast<unsigned char>(bytes[8]) + 256 * static_cast<size_t>(static_cast<unsigned char>(bytes[9]));
    expect(header + array.values.size() * 4 <= bytes.size(), "an array is larger than its file");
  });
}

}  // namespace gta::fuzz
