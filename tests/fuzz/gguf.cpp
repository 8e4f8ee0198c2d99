// A file for llama.cpp: its header, and every tensor in it.
#include "checkpoints/exports/gguf.h"

#include "tests/fuzz/target.h"

namespace gta::fuzz {

bool read_gguf(const std::string& bytes) {
  const std::string path = scratch_file("x.gguf", bytes);
  return taken([&] {
    const GgufFile file = GgufFile::open(path);
    for (const GgufTensor& tensor : file.tensors()) {
      expect(tensor.bytes() <= static_cast<int64_t>(bytes.size()), "a tensor has more bytes than its file");
      expect(static_cast<int64_t>(file.read(tensor).size()) == tensor.elements(), "a tensor lacks numbers");
    }
  });
}

}  // namespace gta::fuzz
