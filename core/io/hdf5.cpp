#include "core/io/hdf5.h"

#include <hdf5.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <utility>

#include "core/io/file.h"
#include "core/io/hdf5_image.h"
#include "core/process_memory.h"

namespace gta::hdf5 {
namespace {

// The library crashes where it finds no memory (1.10: in H5open, H5Fcreate, H5Dcreate2): whoever calls it looks for
// room first. What it takes is of few pages at a time.
constexpr int64_t kRoom = 4 << 20;

std::recursive_mutex& library() {
  static std::recursive_mutex& mutex = *[] {
    require_memory("HDF5", kRoom);
    // File locks fail on some network file systems; our folders have a lock of their own. An existing setting wins.
    setenv("HDF5_USE_FILE_LOCKING", "FALSE", 0);
    // Its clean-up at exit closes again what could not be closed before, and crashes; every file here has an owner that
    // closes it.
    H5dont_atexit();
    if (H5open() < 0) fail("HDF5", "the library cannot be initialised");
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
    return new std::recursive_mutex;
  }();
  return mutex;
}
using Lock = std::unique_lock<std::recursive_mutex>;

Lock lock_with_room() {
  Lock lock(library());
  require_memory("HDF5", kRoom);
  return lock;
}

// An identifier with its own close function.
class Id {
 public:
  Id(hid_t id, herr_t (*close)(hid_t)) : id_(id), close_(close) {}
  ~Id() {
    if (id_ >= 0) close_(id_);
  }
  Id(const Id&) = delete;
  Id& operator=(const Id&) = delete;
  operator hid_t() const { return id_; }
  bool bad() const { return id_ < 0; }

 private:
  hid_t id_;
  herr_t (*close_)(hid_t);
};

hid_t native_type(DType dtype) {
  switch (dtype) {
    case DType::F32:
      return H5T_IEEE_F32LE;
    case DType::F64:
      return H5T_IEEE_F64LE;
    case DType::I32:
      return H5T_STD_I32LE;
    case DType::U8:
      return H5T_STD_U8LE;
    case DType::U16:
    case DType::BF16:
      return H5T_STD_U16LE;
    case DType::U32:
      return H5T_STD_U32LE;
    case DType::U64:
      return H5T_STD_U64LE;
  }
  return -1;
}

}  // namespace

int64_t Dataset::elements() const {
  int64_t product = 1;
  for (int64_t size : shape) product *= size;
  return product;
}

void open_library() { library(); }

Writer::Writer(const std::string& path) : path_(path), image_(std::make_unique<Image>()) {
  const Lock lock = lock_with_room();
  const Id access(image_access(*image_), H5Pclose);
  // The form that every HDF5 and our parser read, whatever this library's default is.
  const bool ready = !access.bad() && H5Pset_libver_bounds(access, H5F_LIBVER_EARLIEST, H5F_LIBVER_LATEST) >= 0;
  file_ = !ready ? -1 : H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access);
  if (file_ < 0) fail(path, "cannot be created");
}

Writer::~Writer() {
  if (file_ < 0) return;
  Lock lock(library());
  try {
    require_memory("HDF5", kRoom);
  } catch (const Error&) {
    return;  // what the library holds of the file stays with it, rather than that it crashes
  }
  H5Fclose(file_);
}

void Writer::add(const std::string& name, const std::vector<int64_t>& shape, DType dtype) {
  const Lock lock = lock_with_room();
  std::vector<hsize_t> sizes(shape.begin(), shape.end());
  const Id space(
      shape.empty() ? H5Screate(H5S_SCALAR) : H5Screate_simple(static_cast<int>(sizes.size()), sizes.data(), nullptr),
      H5Sclose);
  const Id create(H5Pcreate(H5P_DATASET_CREATE), H5Pclose), link(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
  // The bytes are ours to write: HDF5 must not fill them first.
  const bool ready =
      H5Pset_layout(create, H5D_CONTIGUOUS) >= 0 && H5Pset_alloc_time(create, H5D_ALLOC_TIME_EARLY) >= 0 &&
      H5Pset_fill_time(create, H5D_FILL_TIME_NEVER) >= 0 && H5Pset_create_intermediate_group(link, 1) >= 0 &&
      // equal content, equal bytes: no second in which a dataset was made
      H5Pset_obj_track_times(create, 0) >= 0;
  const Id dataset(ready ? H5Dcreate2(file_, name.c_str(), native_type(dtype), space, link, create, H5P_DEFAULT) : -1,
                   H5Dclose);
  if (dataset.bad()) fail(path_, "cannot make the dataset {}", name);
  if (dtype == DType::BF16) {
    const Id type(H5Tcopy(H5T_C_S1), H5Tclose), scalar(H5Screate(H5S_SCALAR), H5Sclose);
    H5Tset_size(type, 8);
    const Id attribute(H5Acreate2(dataset, "dtype", type, scalar, H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
    if (attribute.bad() || H5Awrite(attribute, type, "bfloat16") < 0) fail(path_, "cannot mark {} as bfloat16", name);
  }
  const haddr_t offset = H5Dget_offset(dataset);
  Dataset made{name, shape, dtype, offset == HADDR_UNDEF ? -1 : static_cast<int64_t>(offset)};
  if (made.offset < 0 && made.bytes() > 0) fail(path_, "has no room yet for {}", name);
  datasets_.push_back(std::move(made));
}

void Writer::set_integer(const std::string& name, int64_t value) {
  const Lock lock = lock_with_room();
  const Id scalar(H5Screate(H5S_SCALAR), H5Sclose);
  const Id attribute(H5Acreate2(file_, name.c_str(), H5T_STD_I64LE, scalar, H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
  if (attribute.bad() || H5Awrite(attribute, H5T_NATIVE_INT64, &value) < 0)
    fail(path_, "cannot write the attribute {}", name);
}

void Writer::set_text(const std::string& name, const std::string& value) {
  const Lock lock = lock_with_room();
  const Id type(H5Tcopy(H5T_C_S1), H5Tclose), scalar(H5Screate(H5S_SCALAR), H5Sclose);
  H5Tset_size(type, value.size() + 1);
  const Id attribute(H5Acreate2(file_, name.c_str(), type, scalar, H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
  if (attribute.bad() || H5Awrite(attribute, type, value.c_str()) < 0)
    fail(path_, "cannot write the attribute {}", name);
}

std::vector<Dataset> Writer::close() {
  const Lock lock = lock_with_room();
  const hid_t file = std::exchange(file_, -1);
  if (H5Fclose(file) < 0) fail(path_, "cannot be laid out");
  // HDF5 may end the file before the last dataset's bytes; make room for all of them.
  int64_t end = image_->end;
  for (const Dataset& dataset : datasets_) end = std::max(end, dataset.offset + dataset.bytes());
  File raw(path_, File::Mode::Create);
  raw.truncate(end);
  for (const auto& [page, bytes] : image_->pages)
    raw.write_at(bytes.data(), std::min(Image::kPage, end - page * Image::kPage), page * Image::kPage);
  raw.close();
  return datasets_;
}

}  // namespace gta::hdf5
