#include "core/io/hdf5.h"

#include <hdf5.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <utility>

#include "core/io/file.h"
#include "core/io/hdf5_image.h"

namespace gta::hdf5 {
namespace {

constexpr int64_t kMostObjects = 1 << 20;

std::recursive_mutex& library() {
  static std::recursive_mutex& mutex = *[] {
    // File locks fail on some network file systems; our folders have a lock of their own. An existing setting wins.
    setenv("HDF5_USE_FILE_LOCKING", "FALSE", 0);
    // Its clean-up at exit closes again what could not be closed before, and crashes; every file here has an owner that closes it.
    H5dont_atexit();
    H5open();
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
    return new std::recursive_mutex;
  }();
  return mutex;
}
using Lock = std::lock_guard<std::recursive_mutex>;

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

// Signed 64-bit integers (numpy's default) read as uint64; the sign is the caller's to check.
bool find_dtype(hid_t type, DType& dtype) {
  for (DType candidate : {DType::F32, DType::F64, DType::I32, DType::U8, DType::U16, DType::U32, DType::U64})
    if (H5Tequal(type, native_type(candidate)) > 0) {
      dtype = candidate;
      return true;
    }
  if (H5Tequal(type, H5T_STD_I64LE) > 0) {
    dtype = DType::U64;
    return true;
  }
  return false;
}

struct Scan {
  const std::string& path;
  int64_t file_bytes;
  std::map<std::string, Dataset>& datasets;
  int64_t objects = 0;
  std::string problem;
};

void scan_dataset(hid_t group, const char* name, Scan& scan) {
  const std::string full = std::string("/") + name;
  const auto refuse = [&](std::string why) { scan.problem = full + " " + std::move(why); };
  const Id dataset(H5Dopen2(group, name, H5P_DEFAULT), H5Dclose);
  if (dataset.bad()) return refuse("cannot be opened");
  const Id plist(H5Dget_create_plist(dataset), H5Pclose), space(H5Dget_space(dataset), H5Sclose), type(H5Dget_type(dataset), H5Tclose);
  if (plist.bad() || space.bad() || type.bad()) return refuse("has a damaged header");
  if (H5Pget_layout(plist) != H5D_CONTIGUOUS && H5Pget_layout(plist) != H5D_COMPACT)
    return refuse("is chunked or virtual: expected contiguous");
  if (H5Pget_nfilters(plist) != 0) return refuse("has filters");
  if (H5Pget_external_count(plist) != 0) return refuse("keeps its data in another file");
  Dataset found{full, {}, DType::F32, -1};
  if (!find_dtype(type, found.dtype)) return refuse("has an element type that is not used here");
  const int rank = H5Sget_simple_extent_ndims(space);
  if (rank < 0 || rank > 8) return refuse("has a shape that is not used here");
  hsize_t sizes[8] = {};
  if (H5Sget_simple_extent_dims(space, sizes, nullptr) < 0) return refuse("has a damaged shape");
  int64_t bytes = static_cast<int64_t>(size_of(found.dtype));
  for (int i = 0; i < rank; ++i) {
    int64_t product = 0;
    if (sizes[i] > static_cast<hsize_t>(INT64_MAX) || __builtin_mul_overflow(bytes, static_cast<int64_t>(sizes[i]), &product) ||
        product > scan.file_bytes)
      return refuse("claims more data than the file has");
    bytes = product;
    found.shape.push_back(static_cast<int64_t>(sizes[i]));
  }
  const haddr_t offset = H5Dget_offset(dataset);
  if (offset != HADDR_UNDEF) {
    found.offset = static_cast<int64_t>(offset);
    if (found.offset < 0 || found.offset > scan.file_bytes - bytes) return refuse("lies outside the file");
  } else if (H5Pget_layout(plist) == H5D_CONTIGUOUS && bytes > 0) {
    return refuse("has no data: the file was not written to the end");
  }
  scan.datasets.emplace(full, std::move(found));
}

herr_t visit(hid_t group, const char* name, const H5L_info_t* info, void* data) {
  Scan& scan = *static_cast<Scan*>(data);
  if (++scan.objects > kMostObjects) {
    scan.problem = "it holds too many objects";
    return -1;
  }
  if (info->type != H5L_TYPE_HARD) {
    scan.problem = std::string("/") + name + " is a soft or external link";
    return -1;
  }
  H5O_info_t object;
  if (H5Oget_info_by_name2(group, name, &object, H5O_INFO_BASIC, H5P_DEFAULT) < 0) {
    scan.problem = std::string("/") + name + " is damaged";
    return -1;
  }
  if (object.type == H5O_TYPE_DATASET) scan_dataset(group, name, scan);
  return scan.problem.empty() ? 0 : -1;
}

}  // namespace

int64_t Dataset::elements() const {
  int64_t product = 1;
  for (int64_t size : shape) product *= size;
  return product;
}

Reader::Reader(const std::string& path) : path_(path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) bad_input(path, "{}", exists(path) ? "is not a regular file" : "does not exist");
  file_bytes_ = File(path, File::Mode::Read).size();
  Lock lock(library());
  file_ = H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  if (file_ < 0) bad_input(path, "is not an HDF5 file, or a damaged one");
  try {
    scan();
  } catch (...) {
    H5Fclose(file_);
    throw;
  }
}

Reader::~Reader() {
  Lock lock(library());
  H5Fclose(file_);
}

void Reader::scan() {
  Scan scan{path_, file_bytes_, datasets_, 0, {}};
  if (H5Lvisit(file_, H5_INDEX_NAME, H5_ITER_INC, visit, &scan) < 0 || !scan.problem.empty())
    bad_input(path_, "is refused: {}", scan.problem.empty() ? "its index is damaged" : scan.problem);
}

const Dataset& Reader::dataset(const std::string& name) const {
  const auto found = datasets_.find(name);
  if (found == datasets_.end()) bad_input(path_, "has no dataset {}", name);
  return found->second;
}

template <class T>
std::vector<T> Reader::read(const std::string& name, int64_t native) const {
  const Dataset& info = dataset(name);
  std::vector<T> values(static_cast<size_t>(info.elements()));
  Lock lock(library());
  const Id id(H5Dopen2(file_, name.c_str(), H5P_DEFAULT), H5Dclose);
  if (id.bad() || H5Dread(id, native, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()) < 0) bad_input(path_, "{} cannot be read", name);
  return values;
}

std::vector<double> Reader::read_double(const std::string& name) const { return read<double>(name, H5T_NATIVE_DOUBLE); }
std::vector<int32_t> Reader::read_int32(const std::string& name) const {
  // HDF5 would round real numbers and clamp large ones without a word.
  const DType dtype = dataset(name).dtype;
  if (dtype != DType::I32 && dtype != DType::U16 && dtype != DType::U8) bad_input(path_, "{} is {}: expected int32", name, name_of(dtype));
  return read<int32_t>(name, H5T_NATIVE_INT32);
}

std::vector<uint64_t> Reader::read_uint64(const std::string& name) const {
  const DType dtype = dataset(name).dtype;
  if (dtype == DType::F32 || dtype == DType::F64) bad_input(path_, "{} is {}: expected unsigned integers", name, name_of(dtype));
  Lock lock(library());
  const Id id(H5Dopen2(file_, name.c_str(), H5P_DEFAULT), H5Dclose);
  const Id type(id.bad() ? -1 : H5Dget_type(id), H5Tclose);
  // Read as unsigned, HDF5 would turn negative numbers into 0.
  if (!type.bad() && H5Tget_sign(type) == H5T_SGN_2)
    for (int64_t value : read<int64_t>(name, H5T_NATIVE_INT64))
      if (value < 0) bad_input(path_, "{} holds the negative number {}", name, value);
  return read<uint64_t>(name, H5T_NATIVE_UINT64);
}

bool Reader::has_attribute(const std::string& name) const {
  Lock lock(library());
  return H5Aexists(file_, name.c_str()) > 0;
}

namespace {

void read_attribute(hid_t file, const std::string& path, const std::string& name, H5T_class_t expected, hid_t native, void* value) {
  const Id attribute(H5Aopen(file, name.c_str(), H5P_DEFAULT), H5Aclose);
  if (attribute.bad()) bad_input(path, "has no attribute {}", name);
  const Id type(H5Aget_type(attribute), H5Tclose), space(H5Aget_space(attribute), H5Sclose);
  const H5T_class_t actual = type.bad() ? H5T_NO_CLASS : H5Tget_class(type);
  const bool number = actual == H5T_INTEGER || (actual == H5T_FLOAT && expected == H5T_FLOAT);
  if (space.bad() || H5Sget_simple_extent_npoints(space) != 1 || !number || H5Aread(attribute, native, value) < 0)
    bad_input(path, "attribute {} is not {}", name, expected == H5T_INTEGER ? "an integer" : "a number");
}

}  // namespace

int64_t Reader::integer(const std::string& name) const {
  Lock lock(library());
  int64_t value = 0;
  read_attribute(file_, path_, name, H5T_INTEGER, H5T_NATIVE_INT64, &value);
  return value;
}

double Reader::real(const std::string& name) const {
  Lock lock(library());
  double value = 0;
  read_attribute(file_, path_, name, H5T_FLOAT, H5T_NATIVE_DOUBLE, &value);
  return value;
}

std::string Reader::text(const std::string& name) const {
  Lock lock(library());
  const Id attribute(H5Aopen(file_, name.c_str(), H5P_DEFAULT), H5Aclose);
  if (attribute.bad()) bad_input(path_, "has no attribute {}", name);
  const Id type(H5Aget_type(attribute), H5Tclose), space(H5Aget_space(attribute), H5Sclose);
  if (type.bad() || space.bad() || H5Tget_class(type) != H5T_STRING || H5Sget_simple_extent_npoints(space) != 1)
    bad_input(path_, "attribute {} is not a text", name);
  if (H5Tis_variable_str(type) > 0) {
    char* value = nullptr;
    if (H5Aread(attribute, type, &value) < 0 || !value) bad_input(path_, "attribute {} cannot be read", name);
    std::string text(value);
    H5Dvlen_reclaim(type, space, H5P_DEFAULT, &value);
    return text;
  }
  if (static_cast<int64_t>(H5Tget_size(type)) > file_bytes_) bad_input(path_, "attribute {} claims more bytes than the file has", name);
  std::string text(H5Tget_size(type), '\0');
  if (H5Aread(attribute, type, text.data()) < 0) bad_input(path_, "attribute {} cannot be read", name);
  return text.substr(0, text.find('\0'));
}

Writer::Writer(const std::string& path) : path_(path), image_(std::make_unique<Image>()) {
  Lock lock(library());
  const Id access(image_access(*image_), H5Pclose);
  file_ = access.bad() ? -1 : H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access);
  if (file_ < 0) fail(path, "cannot be created");
}

Writer::~Writer() {
  if (file_ < 0) return;
  Lock lock(library());
  H5Fclose(file_);
}

void Writer::add(const std::string& name, const std::vector<int64_t>& shape, DType dtype) {
  Lock lock(library());
  std::vector<hsize_t> sizes(shape.begin(), shape.end());
  const Id space(shape.empty() ? H5Screate(H5S_SCALAR) : H5Screate_simple(static_cast<int>(sizes.size()), sizes.data(), nullptr), H5Sclose);
  const Id create(H5Pcreate(H5P_DATASET_CREATE), H5Pclose), link(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
  // The bytes are ours to write: HDF5 must not fill them first.
  const bool ready = H5Pset_layout(create, H5D_CONTIGUOUS) >= 0 && H5Pset_alloc_time(create, H5D_ALLOC_TIME_EARLY) >= 0 &&
                     H5Pset_fill_time(create, H5D_FILL_TIME_NEVER) >= 0 && H5Pset_create_intermediate_group(link, 1) >= 0;
  const Id dataset(ready ? H5Dcreate2(file_, name.c_str(), native_type(dtype), space, link, create, H5P_DEFAULT) : -1, H5Dclose);
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
  Lock lock(library());
  const Id scalar(H5Screate(H5S_SCALAR), H5Sclose);
  const Id attribute(H5Acreate2(file_, name.c_str(), H5T_STD_I64LE, scalar, H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
  if (attribute.bad() || H5Awrite(attribute, H5T_NATIVE_INT64, &value) < 0) fail(path_, "cannot write the attribute {}", name);
}

void Writer::set_text(const std::string& name, const std::string& value) {
  Lock lock(library());
  const Id type(H5Tcopy(H5T_C_S1), H5Tclose), scalar(H5Screate(H5S_SCALAR), H5Sclose);
  H5Tset_size(type, value.size() + 1);
  const Id attribute(H5Acreate2(file_, name.c_str(), type, scalar, H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
  if (attribute.bad() || H5Awrite(attribute, type, value.c_str()) < 0) fail(path_, "cannot write the attribute {}", name);
}

std::vector<Dataset> Writer::close() {
  Lock lock(library());
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
