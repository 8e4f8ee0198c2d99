// An HDF5 file driver that keeps what the library writes in memory, page by page: the headers of a file whose data the
// library never sees. The library itself then never writes to a disk, where after an error it can neither close a file
// nor leave the process safely.
#pragma once

#include <array>
#include <cstdint>
#include <map>

namespace gta::hdf5 {

struct Image {
  static constexpr int64_t kPage = 4096;
  std::map<int64_t, std::array<char, kPage>> pages;  // by page number; what is absent is zeros
  int64_t end = 0;                                   // bytes of the file
};

// A file access property list (hid_t; the caller closes it) whose files live in `image`; negative when the library
// refuses.
int64_t image_access(Image& image);

}  // namespace gta::hdf5
