// A file of weights: its header, and every tensor in it.
#include "checkpoints/exports/safetensors.h"

#include "tests/fuzz/target.h"

namespace gta::fuzz {

bool read_safetensors(const std::string& bytes) {
  const std::string path = scratch_file("x.safetensors", bytes);
  return taken([&] {
    const SafetensorsFile file = SafetensorsFile::open(path);
    int64_t end = 0;
    for (const SafeTensor& tensor : file.tensors()) {
      expect(tensor.begin == end, "tensors have a gap between them");
      end = tensor.end;
      expect(static_cast<int64_t>(file.read(tensor).size()) == tensor.elements(), "a tensor lacks numbers");
    }
    expect(end < static_cast<int64_t>(bytes.size()), "a tensor lies outside its file");
  });
}

}  // namespace gta::fuzz
