// HDF5 files: read by a parser of our own (hdf5_parser.h), written by the library, which only core/io/hdf5* includes.
//
// Reading treats the file as hostile: external and soft links, external storage, virtual and chunked (so also filtered)
// datasets and shapes that the file's size does not cover are refused before anything is allocated. Writing makes
// contiguous datasets with early allocation and says where their bytes lie in the file; the library lays the headers
// out in memory, close() writes them with every return code checked, and the caller writes (and hashes, and syncs) the
// data itself after that: HDF5 reports neither short writes nor a full disk reliably, and can crash at exit after one.
// One mutex guards the library.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/dtype.h"

namespace gta::hdf5 {

struct Dataset {
  std::string name;            // "/grad/model.norm.weight"
  std::vector<int64_t> shape;  // empty: a scalar
  DType dtype;
  int64_t offset;              // of the first byte in the file; -1 without elements
  bool stored_signed = false;  // uint64 that the file holds as int64, numpy's default
  int64_t elements() const;
  int64_t bytes() const { return elements() * static_cast<int64_t>(size_of(dtype)); }
};

struct Attribute;

class Reader {
 public:
  explicit Reader(const std::string& path);  // Error(BadInput) when it is no HDF5 file that can be trusted so far
  ~Reader();
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  const std::string& path() const;
  const std::map<std::string, Dataset>& datasets() const;
  const Dataset& dataset(const std::string& name) const;  // Error(BadInput) when absent
  // Whole dataset, converted from float32, float64 or int32.
  std::vector<double> read_double(const std::string& name) const;
  std::vector<int32_t> read_int32(const std::string& name) const;
  // signed integers too (numpy's default): a negative one is refused
  std::vector<uint64_t> read_uint64(const std::string& name) const;

  bool has_attribute(const std::string& name) const;
  int64_t integer(const std::string& name) const;  // root attributes
  double real(const std::string& name) const;
  std::string text(const std::string& name) const;

 private:
  struct State;
  template <class T>
  std::vector<T> read(const Dataset& dataset) const;
  const Attribute& attribute(const std::string& name) const;

  std::unique_ptr<State> state_;
};

// Makes the library ready to write. It does so by itself where this was not called; what is to write later, on a thread
// of its own, calls it while it begins: Error(OutOfMemory) then, and not days later. The first call takes no thread's
// memory but the caller's.
void open_library();

struct Image;

class Writer {
 public:
  explicit Writer(const std::string& path);
  ~Writer();
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  void add(const std::string& name, const std::vector<int64_t>& shape, DType dtype);  // groups in the name are made
  void set_integer(const std::string& name, int64_t value);                           // root attributes
  void set_text(const std::string& name, const std::string& value);
  // Creates the file; datasets in the order of add(), with their offsets. Their bytes are not written yet.
  std::vector<Dataset> close();

 private:
  std::string path_;
  std::unique_ptr<Image> image_;
  int64_t file_ = -1;
  std::vector<Dataset> datasets_;
};

}  // namespace gta::hdf5
