#include "core/io/hdf5_image.h"

#include <hdf5.h>
#ifdef H5FD_CLASS_VERSION
#include <H5FDdevelop.h>
#endif

#include <algorithm>
#include <cstring>
#include <exception>

namespace gta::hdf5 {
namespace {

struct DriverInfo {
  Image* image;
};

struct ImageFile {
  H5FD_t common;  // first: the library sees only this
  Image* image;
  haddr_t end_of_allocation;
};

ImageFile* self(H5FD_t* file) { return reinterpret_cast<ImageFile*>(file); }
const ImageFile* self(const H5FD_t* file) { return reinterpret_cast<const ImageFile*>(file); }

H5FD_t* open_image(const char*, unsigned, hid_t access, haddr_t) {
  const auto* info = static_cast<const DriverInfo*>(H5Pget_driver_info(access));
  if (!info) return nullptr;
  auto* file = new (std::nothrow) ImageFile{};
  if (!file) return nullptr;
  file->image = info->image;
  return &file->common;
}

herr_t close_image(H5FD_t* file) {
  delete self(file);
  return 0;
}

int compare(const H5FD_t* a, const H5FD_t* b) {
  return self(a)->image == self(b)->image ? 0 : self(a)->image < self(b)->image ? -1 : 1;
}

herr_t query(const H5FD_t*, unsigned long* flags) {
  // Headers in blocks of their own, so that few pages hold them.
  if (flags) *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_AGGREGATE_SMALLDATA;
  return 0;
}

haddr_t get_end_of_allocation(const H5FD_t* file, H5FD_mem_t) { return self(file)->end_of_allocation; }
herr_t set_end_of_allocation(H5FD_t* file, H5FD_mem_t, haddr_t end) {
  self(file)->end_of_allocation = end;
  return 0;
}
haddr_t get_end_of_file(const H5FD_t* file, H5FD_mem_t) { return static_cast<haddr_t>(self(file)->image->end); }

// f(page number, offset in the page, bytes, bytes done)
template <class F>
void each_page(int64_t first, int64_t bytes, F&& f) {
  for (int64_t done = 0; done < bytes;) {
    const int64_t at = first + done, within = at % Image::kPage, count = std::min(bytes - done, Image::kPage - within);
    f(at / Image::kPage, within, count, done);
    done += count;
  }
}

herr_t read_image(H5FD_t* file, H5FD_mem_t, hid_t, haddr_t at, size_t bytes, void* to) {
  const Image& image = *self(file)->image;
  each_page(static_cast<int64_t>(at), static_cast<int64_t>(bytes),
            [&](int64_t page, int64_t within, int64_t count, int64_t done) {
              const auto found = image.pages.find(page);
              char* out = static_cast<char*>(to) + done;
              if (found == image.pages.end())
                std::memset(out, 0, static_cast<size_t>(count));
              else
                std::memcpy(out, found->second.data() + within, static_cast<size_t>(count));
            });
  return 0;
}

herr_t write_image(H5FD_t* file, H5FD_mem_t, hid_t, haddr_t at, size_t bytes, const void* from) {
  Image& image = *self(file)->image;
  try {
    each_page(static_cast<int64_t>(at), static_cast<int64_t>(bytes),
              [&](int64_t page, int64_t within, int64_t count, int64_t done) {
                std::memcpy(image.pages[page].data() + within, static_cast<const char*>(from) + done,
                            static_cast<size_t>(count));
              });
  } catch (const std::exception&) {
    return -1;  // no memory; an exception must not pass through the library
  }
  image.end = std::max(image.end, static_cast<int64_t>(at + bytes));
  return 0;
}

herr_t truncate_image(H5FD_t* file, hid_t, hbool_t) {
  self(file)->image->end = static_cast<int64_t>(self(file)->end_of_allocation);
  return 0;
}

hid_t driver() {
  static const hid_t id = [] {
    static H5FD_class_t type{};
#ifdef H5FD_CLASS_VERSION
    type.version = H5FD_CLASS_VERSION;
    // of the range for drivers that are not registered with the HDF Group
    type.value = static_cast<H5FD_class_value_t>(300);
#endif
    type.name = "gta_image";
    type.maxaddr = static_cast<haddr_t>(INT64_MAX);
    type.fc_degree = H5F_CLOSE_STRONG;
    type.fapl_size = sizeof(DriverInfo);
    type.open = open_image;
    type.close = close_image;
    type.cmp = compare;
    type.query = query;
    type.get_eoa = get_end_of_allocation;
    type.set_eoa = set_end_of_allocation;
    type.get_eof = get_end_of_file;
    type.read = read_image;
    type.write = write_image;
    type.truncate = truncate_image;
    return H5FDregister(&type);
  }();
  return id;
}

}  // namespace

int64_t image_access(Image& image) {
  const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
  const DriverInfo info{&image};
  if (access < 0) return -1;
  if (H5Pset_driver(access, driver(), &info) < 0) {
    H5Pclose(access);
    return -1;
  }
  return access;
}

}  // namespace gta::hdf5
