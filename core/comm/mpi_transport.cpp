// The only file that includes mpi.h.
#include "core/comm/mpi_transport.h"

#include "core/error.h"

#ifdef GTA_MPI

// C++ bindings that MPI gave up: they would want another library.
#define OMPI_SKIP_MPICXX 1
#define MPICH_SKIP_MPICXX 1
#include <mpi.h>

#include <algorithm>
#include <array>
#include <climits>

namespace gta {
namespace {

constexpr int64_t kUnit = 64;  // bytes; counts of MPI 3 are ints

void check(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(code, text.data(), &length);
  fail("MPI", "{} failed: {}", call, text.data());
}

class MpiTransport : public Transport {
 public:
  MpiTransport() {
    int initialized = 0;
    check(MPI_Initialized(&initialized), "MPI_Initialized");
    ensure(initialized == 0, "mpi_transport", "MPI is started twice in one process");
    // This thread makes all calls.
    int provided = 0;
    check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
    require(provided >= MPI_THREAD_FUNNELED, "MPI", "{} is built without threads: install one that has them", name());
    check(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
    int rank = 0, ranks = 0;
    check(MPI_Comm_rank(MPI_COMM_WORLD, &rank), "MPI_Comm_rank");
    check(MPI_Comm_size(MPI_COMM_WORLD, &ranks), "MPI_Comm_size");
    rank_ = rank;
    ranks_ = ranks;
    check(MPI_Type_contiguous(kUnit, MPI_BYTE, &unit_), "MPI_Type_contiguous");
    check(MPI_Type_commit(&unit_), "MPI_Type_commit");
  }

  int64_t rank() const override { return rank_; }
  int64_t ranks() const override { return ranks_; }
  std::string name() const override { return mpi_library(); }

  void all_to_all(const void* send, void* receive, int64_t bytes) override {
    const Count c = count(bytes);
    check(MPI_Alltoall(send, c.count, c.type, receive, c.count, c.type, MPI_COMM_WORLD), "MPI_Alltoall");
  }
  void all_gather(void* data, int64_t bytes) override {
    const Count c = count(bytes);
    check(MPI_Allgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, data, c.count, c.type, MPI_COMM_WORLD), "MPI_Allgather");
  }
  void broadcast(void* data, int64_t bytes, int64_t root) override {
    for (int64_t first = 0; first < bytes; first += INT_MAX)
      check(MPI_Bcast(static_cast<char*>(data) + first, static_cast<int>(std::min<int64_t>(INT_MAX, bytes - first)),
                      MPI_BYTE, static_cast<int>(root), MPI_COMM_WORLD),
            "MPI_Bcast");
  }
  void close() override {
    check(MPI_Type_free(&unit_), "MPI_Type_free");
    check(MPI_Finalize(), "MPI_Finalize");
  }

 private:
  struct Count {
    int count;
    MPI_Datatype type;
  };
  Count count(int64_t bytes) const {
    if (bytes <= INT_MAX) return {static_cast<int>(bytes), MPI_BYTE};
    ensure(bytes % kUnit == 0 && bytes / kUnit <= INT_MAX, "mpi_transport", "{} bytes for each rank are no count of {}",
           bytes, kUnit);
    return {static_cast<int>(bytes / kUnit), unit_};
  }

  int64_t rank_ = 0, ranks_ = 1;
  MPI_Datatype unit_ = MPI_DATATYPE_NULL;
};

}  // namespace

bool has_mpi() { return true; }

std::string mpi_library() {
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> text{};
  int length = 0;
  if (MPI_Get_library_version(text.data(), &length) != MPI_SUCCESS) return "MPI";
  // "Open MPI v4.1.4, package: ...", "MPICH Version:\t4.0.2\nMPICH Release..."
  std::string line(text.data());
  line = line.substr(0, line.find_first_of(",\n"));
  for (char& c : line)
    if (c == '\t') c = ' ';
  return line;
}

OpenTransport mpi_transport() {
  return [] { return std::make_unique<MpiTransport>(); };
}

}  // namespace gta

#else

namespace gta {

bool has_mpi() { return false; }

std::string mpi_library() { return "none"; }

OpenTransport mpi_transport() {
  bad_input("MPI",
            "this build has none: install Open MPI (Debian: openmpi-bin libopenmpi-dev) or MPICH, and build again with "
            "-DGTA_MPI=ON");
}

}  // namespace gta

#endif
