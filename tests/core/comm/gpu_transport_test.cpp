// Collectives of tensors on a CUDA device: through the host's memory by threads, and by NCCL between processes under
// mpirun, where each has a device of its own (as where kernels are executed on the CPU, and NCCL with them).
#include "core/comm/gpu_transport.h"

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>

#include "core/comm/communicator.h"
#include "core/comm/launcher.h"
#include "core/comm/mpi_transport.h"
#include "core/comm/nccl_transport.h"
#include "core/comm/thread_transport.h"
#include "core/comm/watchdog.h"
#include "core/host_copy.h"
#include "core/sanitizer.h"
#include "tests/cuda_device.h"

namespace gta {
namespace {

constexpr int64_t kSlice = 16 * 500, kOdd = 4099;

float value(int64_t rank, int64_t i) { return static_cast<float>(rank + 1) / static_cast<float>(i + 3); }

std::vector<float> values_of(int64_t rank, int64_t count) {
  std::vector<float> values(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) values[static_cast<size_t>(i)] = value(rank, i);
  return values;
}

std::vector<float> sums_of(int64_t ranks, int64_t count) {
  std::vector<float> sums = values_of(0, count);
  for (int64_t r = 1; r < ranks; ++r)
    for (int64_t i = 0; i < count; ++i) sums[static_cast<size_t>(i)] += value(r, i);
  return sums;
}

// Several under way at once, several times: scratch is asked for again where a later one is larger.
void expect_right_sums(Communicator& comm, const Device& device) {
  const int64_t ranks = comm.ranks();
  for (int64_t size : {1, 3}) {
    const int64_t count = ranks * size * kSlice;
    const std::vector<float> mine = values_of(comm.rank(), count), odd = values_of(comm.rank(), kOdd);
    const Tensor parts = Tensor::from<float>({count}, mine).to(device, Purpose::Gradients),
                 all = Tensor::from<float>({kOdd}, odd).to(device, Purpose::Gradients);
    const Pending scattered = comm.reduce_scatter("parts", parts), reduced = comm.all_reduce("all", all);
    const std::vector<int64_t> meanwhile = comm.gather("the host's", comm.rank());
    scattered.wait();
    std::vector<float> expected = mine;
    const std::vector<float> sums = sums_of(ranks, count);
    const int64_t first = comm.rank() * size * kSlice;
    std::copy_n(sums.begin() + first, size * kSlice, expected.begin() + first);
    EXPECT_TRUE(parts.to_vector<float>() == expected) << "the own part alone changes";
    comm.all_gather("parts", parts).wait();
    reduced.wait();
    EXPECT_TRUE(parts.to_vector<float>() == sums);
    EXPECT_TRUE(all.to_vector<float>() == sums_of(ranks, kOdd));
    for (int64_t r = 0; r < ranks; ++r) EXPECT_EQ(meanwhile[static_cast<size_t>(r)], r);
  }
}

TEST(CudaCommunicator, AddsUpThroughTheHostByThreads) {
  GTA_NEEDS_CUDA();
  for (int64_t ranks : {2, 3}) {
    const Meeting meeting(ranks);
    std::vector<std::thread> threads;
    for (int64_t rank = 0; rank < ranks; ++rank)
      threads.emplace_back([&, rank] {
        Communicator comm(meeting.join(rank));
        EXPECT_EQ(ranks_that_share(comm, *cuda_device()), ranks);
        EXPECT_EQ(ranks_that_share(comm, {}), ranks) << "of the processors";
        connect_gpus(comm, *cuda_device(), GpuTransport::Auto);  // one GPU for all: no NCCL
        EXPECT_EQ(comm.transport_of(*cuda_device()), "threads through the host");
        EXPECT_THROW(connect_gpus(comm, *cuda_device(), GpuTransport::Nccl), Error);
        expect_right_sums(comm, *cuda_device());
        comm.finish();
      });
    for (std::thread& thread : threads) thread.join();
  }
}

TEST(CudaNccl, OneRankMovesItsOwn) {
  GTA_NEEDS_CUDA();
  if (!has_nccl()) GTEST_SKIP() << "a build without NCCL";
  const Device device = *cuda_device();
  Communicator alone;
  const std::unique_ptr<Transport> nccl = nccl_transport(alone, device);
  EXPECT_EQ(nccl->name().rfind("NCCL 2.", 0), 0u);
  const std::vector<float> values = values_of(0, kOdd);
  const Tensor from = Tensor::from<float>({kOdd}, values).to(device, Purpose::Data),
               to = Tensor::zeros({kOdd}, DType::F32, device);
  GTA_DISPATCH(device, record_event, Stream{device})->hold(nccl->stream());
  nccl->all_to_all(from.raw_data(), to.raw_data(), kOdd * 4);
  nccl->all_gather(to.raw_data(), kOdd * 4);
  GTA_DISPATCH(device, record_event, nccl->stream())->hold(Stream{device});
  EXPECT_TRUE(to.to_vector<float>() == values);
  EXPECT_EQ(nccl->failure(), "");
  nccl->close();
}

// ---- what a rank does under mpirun; alone there is nothing to see

TEST(UnderMpirunCuda, RanksAddUpByNccl) {
  if (!launcher()) GTEST_SKIP() << "not started by mpirun";
  Communicator comm(mpi_transport());
  const Device device = *cuda_device();
  connect_gpus(comm, device, GpuTransport::Auto);
  EXPECT_EQ(comm.transport_of(device), nccl_version());
  expect_right_sums(comm, device);
  comm.finish();
}

// Something of NCCL goes wrong on one rank (GTA_HOST_NCCL): the watchdog ends all of them.
TEST(UnderMpirunCuda, SomethingGoesWrong) {
  if (!launcher()) GTEST_SKIP() << "not started by mpirun";
  Communicator comm(mpi_transport());
  const Device device = *cuda_device();
  Watchdog watchdog(comm, {.timeout = 3});
  watchdog.at(1, "connects");
  connect_gpus(comm, device, GpuTransport::Nccl);
  watchdog.at(7, "adds up");
  const Tensor all = Tensor::from<float>({kOdd}, values_of(comm.rank(), kOdd)).to(device, Purpose::Gradients);
  for (int i = 0; i < 3; ++i) comm.all_reduce(fmt::format("gradients {}", i), all).wait();
  HostCopy(all).values<float>();
  FAIL() << "went on";
}

class NcclUnderMpirun : public testing::Test {
 protected:
  void SetUp() override {
    if (!cuda_device() || !has_nccl()) GTEST_SKIP() << "a build or a machine without CUDA or NCCL";
    if (!has_mpi()) GTEST_SKIP() << "a build without MPI";
#ifndef GTA_CUDA_ON_HOST
    if (cuda_device_count() < 2) GTEST_SKIP() << "one GPU: NCCL wants one for each rank";
#endif
    if (kAddressSanitizer || kThreadSanitizer) GTEST_SKIP() << "MPI's library leaks and races";
    if (std::system((mpirun() + "-n 2 true >/dev/null 2>&1 </dev/null").c_str()) != 0)
      GTEST_SKIP() << "mpirun is not here, or starts nothing";
  }
  static std::string mpirun() {
    return "OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 timeout -k 5 300 mpirun --oversubscribe "
           "--bind-to none ";
  }
  // This program again as so many ranks, with a test's name and an environment; what they said.
  static std::string run(int ranks, const std::string& test, const std::string& environment, bool ends_well) {
    const std::string path = std::filesystem::read_symlink("/proc/self/exe").string(),
                      file = std::filesystem::temp_directory_path().string() + fmt::format("/nccl-{}.txt", ::getpid()),
                      command =
                          fmt::format("{} {} -n {} '{}' --gtest_filter='UnderMpirunCuda.{}' >'{}' 2>&1 </dev/null",
                                      environment, mpirun(), ranks, path, test, file);
    const int status = std::system(command.c_str());
    std::string text;
    if (std::FILE* const in = std::fopen(file.c_str(), "r")) {
      for (int c; (c = std::fgetc(in)) != EOF;) text += static_cast<char>(c);
      std::fclose(in);
    }
    std::filesystem::remove(file);
    EXPECT_EQ(status == 0, ends_well) << command << '\n' << text;
    return text;
  }
};

TEST_F(NcclUnderMpirun, CudaTensorsAreAddedUp) {
  for (int ranks : {2, 3}) run(ranks, "RanksAddUpByNccl", "", true);
}

#ifdef GTA_CUDA_ON_HOST
TEST_F(NcclUnderMpirun, CudaErrorsOfTheNetworkEndAllAndAreTheCause) {
  const std::string said = run(2, "SomethingGoesWrong", "GTA_HOST_NCCL=fail=2@1", false);
  EXPECT_NE(said.find("rank 1"), std::string::npos) << said;
  EXPECT_NE(said.find("a collective failed on the device: remote process exited"), std::string::npos) << said;
}

TEST_F(NcclUnderMpirun, CudaCollectivesThatHangEndAllAndAreNamed) {
  const std::string said = run(3, "SomethingGoesWrong", "GTA_HOST_NCCL=hang=2", false);
  EXPECT_NE(said.find("the training hangs (timeout 3 s)"), std::string::npos) << said;
  EXPECT_NE(said.find("'gradients 1'"), std::string::npos) << said;
}

TEST_F(NcclUnderMpirun, CudaRanksThatNeverConnectEndAll) {
  const std::string said = run(2, "SomethingGoesWrong", "GTA_HOST_NCCL=absent@1", false);
  EXPECT_NE(said.find("the training hangs (timeout 3 s)"), std::string::npos) << said;
  EXPECT_NE(said.find("connects"), std::string::npos) << said;
}
#endif

}  // namespace
}  // namespace gta
