#include "core/io/hdf5.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>

#include "core/io/file.h"

namespace gta {
namespace {

class Hdf5Files : public testing::Test {
 protected:
  Hdf5Files() {
    std::string pattern = (std::filesystem::temp_directory_path() / "gta-hdf5-XXXXXX").string();
    EXPECT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  ~Hdf5Files() override { std::filesystem::remove_all(folder_); }

  std::string path(const std::string& name) const { return folder_ + "/" + name; }

  static const std::string& python() {
    static const std::string found = [] {
      for (const std::string name : {"python3", "/usr/bin/python3"})
        if (std::system((name + " -c 'import h5py, numpy' >/dev/null 2>&1").c_str()) == 0) return name;
      return std::string();
    }();
    return found;
  }
  // Runs Python with `f` open for writing at the returned path.
  std::string made_by_h5py(const std::string& body, const std::string& version = "earliest") const {
    std::ofstream(path("make.py"))
        << "import h5py, numpy as np, sys\nf = h5py.File(sys.argv[1], 'w', libver=sys.argv[2])\n"
        << body << "\nf.close()\n";
    const std::string file = path("made.h5");
    std::filesystem::remove(file);
    EXPECT_EQ(std::system((python() + " " + path("make.py") + " " + file + " " + version).c_str()), 0);
    return file;
  }
  static void expect_refused(const std::string& file, const std::string& named) {
    try {
      hdf5::Reader reader(file);
      ADD_FAILURE() << file << " was read; expected: " << named;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::BadInput);
      EXPECT_NE(std::string(error.what()).find(named), std::string::npos) << error.what();
    }
  }

  std::string folder_;
};

#define SKIP_WITHOUT_H5PY() \
  if (python().empty()) GTEST_SKIP() << "python3-h5py is not installed"

std::string written_file(const std::string& path) {
  hdf5::Writer writer(path);
  writer.add("/group/values", {2, 3}, DType::F64);
  writer.add("/numbers", {4}, DType::I32);
  writer.add("/scalar", {}, DType::F32);
  writer.add("/half", {2}, DType::BF16);
  writer.add("/none", {0}, DType::U8);
  writer.set_integer("step", -12);
  writer.set_text("name", "tex\xc3\xa9t");
  const auto datasets = writer.close();
  const File file(path, File::Mode::ReadWrite);
  const double values[] = {1, 2, 3, 4, 5, 0.1};
  const int32_t numbers[] = {-1, 0, 7, 1 << 30};
  const float scalar = 2.5f;
  const uint16_t half[] = {0x3f80, 0xc000};
  file.write_at(values, sizeof(values), datasets[0].offset);
  file.write_at(numbers, sizeof(numbers), datasets[1].offset);
  file.write_at(&scalar, sizeof(scalar), datasets[2].offset);
  file.write_at(half, sizeof(half), datasets[3].offset);
  return path;
}

TEST_F(Hdf5Files, bytesWrittenAtTheGivenOffsetsAreTheDatasets) {
  const hdf5::Reader reader(written_file(path("a.h5")));
  EXPECT_EQ(reader.datasets().size(), 5u);
  EXPECT_EQ(reader.dataset("/group/values").shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(reader.read_double("/group/values"), (std::vector<double>{1, 2, 3, 4, 5, 0.1}));
  EXPECT_EQ(reader.read_int32("/numbers"), (std::vector<int32_t>{-1, 0, 7, 1 << 30}));
  EXPECT_EQ(reader.read_double("/numbers"), (std::vector<double>{-1, 0, 7, 1 << 30}));
  EXPECT_EQ(reader.dataset("/scalar").shape, std::vector<int64_t>{});
  EXPECT_EQ(reader.read_double("/scalar"), std::vector<double>{2.5});
  EXPECT_EQ(reader.read_uint64("/half"), (std::vector<uint64_t>{0x3f80, 0xc000}));
  EXPECT_EQ(reader.read_uint64("/none"), std::vector<uint64_t>{});
  EXPECT_EQ(reader.integer("step"), -12);
  EXPECT_EQ(reader.text("name"), "tex\xc3\xa9t");
}

TEST_F(Hdf5Files, whatIsAbsentOrOfAnotherTypeIsNamed) {
  const hdf5::Reader reader(written_file(path("a.h5")));
  const auto message = [](const std::function<void()>& f) -> std::string {
    try {
      f();
    } catch (const Error& error) {
      return error.what();
    }
    return "nothing was refused";
  };
  EXPECT_NE(message([&] { reader.dataset("/absent"); }).find("has no dataset /absent"), std::string::npos);
  EXPECT_NE(message([&] { reader.integer("absent"); }).find("has no attribute absent"), std::string::npos);
  EXPECT_NE(message([&] { reader.integer("name"); }).find("attribute name is not an integer"), std::string::npos);
  EXPECT_NE(message([&] { reader.text("step"); }).find("attribute step is not a text"), std::string::npos);
  EXPECT_NE(message([&] { reader.read_int32("/group/values"); }).find("is float64: expected int32"), std::string::npos);
  EXPECT_NE(message([&] { reader.read_uint64("/scalar"); }).find("is float32: expected unsigned"), std::string::npos);
  EXPECT_NE(message([&] { reader.read_uint64("/group/values"); }).find("is float64: expected unsigned"),
            std::string::npos);
  EXPECT_NE(message([&] { reader.read_uint64("/numbers"); }).find("holds the negative number -1"), std::string::npos);
}

TEST_F(Hdf5Files, whatIsNoHdf5FileIsRefused) {
  expect_refused(path("absent"), "does not exist");
  expect_refused(folder_, "is not a regular file");
  ASSERT_EQ(std::system(("mkfifo " + path("pipe")).c_str()), 0);
  expect_refused(path("pipe"), "is not a regular file");
  std::ofstream(path("text")) << "hello";
  expect_refused(path("text"), "is not an HDF5 file");
}

TEST_F(Hdf5Files, truncatedFilesAreRefused) {
  const std::string file = written_file(path("a.h5")), whole = read_file(file);
  for (size_t bytes = 0; bytes < whole.size(); bytes += 37) {
    std::filesystem::resize_file(file, bytes);
    EXPECT_THROW(hdf5::Reader{file}, Error) << bytes;
    publish_text(file, whole);
  }
}

// A shape that says more than the file holds, made by changing the stored size in the bytes: needs no library that
// would refuse to write it.
TEST_F(Hdf5Files, shapesBeyondTheFileAreRefused) {
  const std::string file = path("a.h5");
  {
    hdf5::Writer writer(file);
    writer.add("/values", {0x1234567}, DType::U8);
    writer.close();
  }
  const std::string whole = read_file(file);
  const std::string size("\x67\x45\x23\x01\0\0\0\0", 8);
  const std::string huge("\0\0\0\0\0\0\0\x40", 8);
  ASSERT_NE(whole.find(size), std::string::npos);
  std::string changed = whole;
  for (size_t at = changed.find(size); at != std::string::npos; at = changed.find(size)) changed.replace(at, 8, huge);
  publish_text(file, changed);
  EXPECT_THROW(hdf5::Reader{file}, Error);
  // The shape alone, the layout still telling the truth.
  changed = whole;
  changed.replace(changed.find(size), 8, huge);
  publish_text(file, changed);
  expect_refused(file, "/values");
}

// Sizes whose product overflows 64 bits, or that are negative when read with a sign.
TEST_F(Hdf5Files, shapesBeyondEveryIntegerAreRefused) {
  const std::string file = path("a.h5");
  const auto bytes_of = [](uint64_t value) { return std::string(reinterpret_cast<const char*>(&value), 8); };
  {
    hdf5::Writer writer(file);
    writer.add("/values", {0x1234, 0x4321}, DType::F64);
    writer.close();
  }
  const std::string whole = read_file(file);
  // 2^61 x 16 and 16 x 2^61 elements of 8 bytes; and sizes with the highest bit. HDF5 refuses some itself.
  for (const auto& [rows, columns] : std::vector<std::pair<uint64_t, uint64_t>>{{uint64_t{1} << 61, 16},
                                                                                {16, uint64_t{1} << 61},
                                                                                {uint64_t{1} << 32, uint64_t{1} << 32},
                                                                                {uint64_t{1} << 63, 1},
                                                                                {1, ~uint64_t{0} - 5}}) {
    std::string changed = whole;
    const size_t at = changed.find(bytes_of(0x1234) + bytes_of(0x4321));
    ASSERT_NE(at, std::string::npos);
    changed.replace(at, 16, bytes_of(rows) + bytes_of(columns));
    publish_text(file, changed);
    expect_refused(file, "/values");
  }
}

TEST_F(Hdf5Files, aNameIsWrittenOnce) {
  hdf5::Writer writer(path("a.h5"));
  writer.add("/values", {3}, DType::U8);
  writer.set_integer("n", 1);
  writer.set_text("t", "x");
  EXPECT_THROW(writer.add("/values", {3}, DType::U8), Error);
  EXPECT_THROW(writer.set_integer("n", 2), Error);
  EXPECT_THROW(writer.set_text("t", "y"), Error);
}

// An attribute's text that claims more bytes than there are.
TEST_F(Hdf5Files, longTextsOfShortFilesAreRefused) {
  const std::string file = path("a.h5"), text(0x234, 'x');
  {
    hdf5::Writer writer(file);
    writer.set_text("source", text);
    writer.close();
  }
  EXPECT_EQ(hdf5::Reader(file).text("source"), text);
  std::string changed = read_file(file);
  // The type message: class 3 (text), version 1, and the size in four bytes, its end included.
  const size_t at = changed.find(std::string("\x13\0\0\0\x35\x02\0\0", 8));
  ASSERT_NE(at, std::string::npos);
  changed.replace(at + 4, 4, std::string("\0\0\0\x70", 4));
  publish_text(file, changed);
  EXPECT_THROW(hdf5::Reader(file).text("source"), Error);
}

TEST_F(Hdf5Files, softAndExternalLinksAreRefused) {
  SKIP_WITHOUT_H5PY();
  expect_refused(made_by_h5py("f['data'] = np.zeros(3, 'f4'); f['soft'] = h5py.SoftLink('/data')"),
                 "/soft is a soft or external link");
  expect_refused(made_by_h5py("f['g/data'] = np.zeros(3, 'f4'); f['g/ext'] = h5py.ExternalLink('other.h5', '/data')"),
                 "/g/ext is a soft or external link");
  expect_refused(made_by_h5py("f['dangling'] = h5py.SoftLink('/nothing')"), "/dangling is a soft or external link");
}

TEST_F(Hdf5Files, layoutsThatAreNotContiguousAreRefused) {
  SKIP_WITHOUT_H5PY();
  expect_refused(made_by_h5py("f.create_dataset('c', (8, 8), 'f4', chunks=(4, 4))"), "/c is chunked or virtual");
  expect_refused(made_by_h5py("f.create_dataset('c', (8, 8), 'f4', compression='gzip')"), "/c is chunked or virtual");
  expect_refused(made_by_h5py("f.create_dataset('e', (8,), 'u1', external=[('raw.bin', 0, 8)])"),
                 "/e keeps its data in another file");
  expect_refused(made_by_h5py("l = h5py.VirtualLayout((4,), 'f4'); l[:] = h5py.VirtualSource('o.h5', 'd', (4,)); "
                              "f.create_virtual_dataset('v', l)"),
                 "/v is chunked or virtual");
  expect_refused(made_by_h5py("f.create_dataset('late', (8,), 'f4')"), "/late has no data");
  expect_refused(made_by_h5py("f['s'] = 'text'"), "/s has an element type");
  expect_refused(made_by_h5py("f['s'] = np.zeros(2, dtype='c8')"), "/s has an element type");
  expect_refused(made_by_h5py("f['s'] = np.zeros(2, dtype='>f4')"), "/s has an element type");
  expect_refused(made_by_h5py("f['s'] = np.zeros((1,) * 9, dtype='f4')"), "/s has a shape");
}

TEST_F(Hdf5Files, attributesOfOtherProgramsAreRead) {
  SKIP_WITHOUT_H5PY();
  const hdf5::Reader reader(
      made_by_h5py("f.attrs['n'] = 3; f.attrs['x'] = 0.25; f.attrs['v'] = 'variable'; f.attrs['b'] = "
                   "np.bytes_('fixed'); f.attrs['a'] = np.arange(3)\n"
                   "f.attrs['e'] = ''; f.attrs['two'] = np.array([b'x', b'y']); f.attrs['none'] = h5py.Empty('i8'); "
                   "f.attrs['no text'] = h5py.Empty('S3')\n"
                   "f['i64'] = np.arange(4); f['neg'] = np.array([1, -5])"));
  EXPECT_EQ(reader.integer("n"), 3);
  EXPECT_EQ(reader.real("x"), 0.25);
  EXPECT_EQ(reader.real("n"), 3);
  EXPECT_EQ(reader.text("v"), "variable");
  EXPECT_EQ(reader.text("b"), "fixed");
  EXPECT_TRUE(reader.has_attribute("a"));
  EXPECT_FALSE(reader.has_attribute("z"));
  EXPECT_EQ(reader.text("e"), "");
  for (const char* name : {"two", "no text"}) EXPECT_THROW(reader.text(name), Error) << name;
  for (const char* name : {"a", "none"}) EXPECT_THROW(reader.integer(name), Error) << name;
  EXPECT_THROW(reader.integer("x"), Error);
  EXPECT_EQ(reader.read_uint64("/i64"), (std::vector<uint64_t>{0, 1, 2, 3}));
  EXPECT_THROW(reader.read_uint64("/neg"), Error);
}

TEST_F(Hdf5Files, groupsOfAnySizeAndDepthAreRead) {
  SKIP_WITHOUT_H5PY();
  // Thousands of names need a tree of several levels; a header with many attributes goes on elsewhere.
  const hdf5::Reader reader(
      made_by_h5py("for i in range(3000): f['many/n%d' % i] = np.int32(i)\n"
                   "f['a/b/c/d/e/deep'] = np.ones((2, 2)); f['again'] = f['a/b']; f['a/b/up'] = f['/']\n"
                   "for i in range(200): f.attrs['attribute %d' % i] = 'text %d' % i"));
  EXPECT_EQ(reader.datasets().size(), 3001u);
  for (int i = 0; i < 3000; i += 7)
    ASSERT_EQ(reader.read_int32("/many/n" + std::to_string(i)), std::vector<int32_t>{i});
  for (int i = 0; i < 200; ++i) ASSERT_EQ(reader.text("attribute " + std::to_string(i)), "text " + std::to_string(i));
  EXPECT_EQ(reader.read_double("/a/b/c/d/e/deep"), std::vector<double>(4, 1.0))
      << "a group that is linked twice is read once";
}

// Many symbols may name the same place of a heap: without a limit a file of a MiB becomes GiB of names.
TEST_F(Hdf5Files, namesOfMoreThanAThousandBytesAreRefused) {
  SKIP_WITHOUT_H5PY();
  for (const char* version : {"earliest", "latest"}) {
    EXPECT_EQ(hdf5::Reader(made_by_h5py("f['g/' + 'n' * 1020] = np.ones(2)", version)).datasets().size(), 1u);
    expect_refused(made_by_h5py("f['g/' + 'n' * 1022] = np.ones(2)", version), "has more than 1024 bytes");
    expect_refused(made_by_h5py("f['n' * 5000] = np.ones(2)", version),
                   version[0] == 'e' ? "is too long" : "has more than 1024 bytes");
  }
}

TEST_F(Hdf5Files, theNewerFormIsReadUnlessItUsesItsHeaps) {
  SKIP_WITHOUT_H5PY();
  const hdf5::Reader reader(
      made_by_h5py("f['g/x'] = np.arange(5, dtype='u2'); f.attrs['n'] = np.uint8(7); f.attrs['t'] = 'text'\n"
                   "p = h5py.h5p.create(h5py.h5p.DATASET_CREATE); p.set_layout(h5py.h5d.COMPACT)\n"
                   "d = h5py.h5d.create(f.id, b'c', h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((3,)), p)\n"
                   "d.write(h5py.h5s.ALL, h5py.h5s.ALL, np.array([1, 2, 4], 'f4'))",
                   "latest"));
  EXPECT_EQ(reader.read_int32("/g/x"), (std::vector<int32_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(reader.read_double("/c"), (std::vector<double>{1, 2, 4}));
  EXPECT_EQ(reader.integer("n"), 7);
  EXPECT_EQ(reader.text("t"), "text");
  expect_refused(made_by_h5py("for i in range(50): f['n%d' % i] = i", "latest"), "write it with libver='earliest'");
  expect_refused(made_by_h5py("for i in range(50): f.attrs['n%d' % i] = i", "latest"),
                 "write it with libver='earliest'");
}

// The files of the project's numerical oracle, which is kept outside the tree.
TEST_F(Hdf5Files, anOracleFixtureIsRead) {
  const char* variable = std::getenv("GTA_ORACLE");
  const std::string oracle =
      variable ? variable : std::string(GTA_SOURCE_DIR) + "/../shared/reference/attention_reference.py";
  if (!exists(oracle)) GTEST_SKIP() << "no oracle: GTA_ORACLE is not set to attention_reference.py";
  SKIP_WITHOUT_H5PY();
  const std::string file = path("fixture.h5");
  bool made = false;
  for (const char* name : {"python3", "/usr/bin/python3"})
    made = made ||
           std::system(
               (std::string(name) + " " + oracle + " --case gta-tiny --out " + file + " >/dev/null 2>&1").c_str()) == 0;
  if (!made) GTEST_SKIP() << "the oracle does not run here: it needs torch";
  const hdf5::Reader reader(file);
  EXPECT_EQ(reader.dataset("/logits").shape, (std::vector<int64_t>{2, 19, 37}));
  EXPECT_EQ(reader.dataset("/init/model.embed_tokens.weight").dtype, DType::F32);
  EXPECT_EQ(reader.read_double("/grad/model.norm.weight").size(), 32u);
  const auto tokens = reader.read_int32("/tokens");
  ASSERT_EQ(tokens.size(), 10u * 2 * 20);
  for (int32_t token : tokens) EXPECT_TRUE(token >= 0 && token < 37);
  EXPECT_EQ(reader.integer("steps"), 10);
  EXPECT_EQ(reader.real("lr"), 0.01);
  EXPECT_NE(reader.text("config").find("\"hidden_size\": 32"), std::string::npos);
}

}  // namespace
}  // namespace gta
