// The communicator over a real MPI: this program again, as several ranks under mpirun.
#include "core/comm/mpi_transport.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "core/comm/communicator.h"
#include "core/comm/launcher.h"
#include "core/sanitizer.h"

namespace gta {
namespace {

// What the ranks do; alone there is nothing to see.
TEST(UnderMpirun, RanksAddUpGatherAndAgree) {
  if (!launcher()) GTEST_SKIP() << "not started by mpirun";
  Communicator comm(mpi_transport());
  const int64_t ranks = comm.ranks(), slice = 16 * 1000;
  ASSERT_EQ(launcher()->ranks, ranks);
  ASSERT_EQ(launcher()->rank, comm.rank());
  const auto value = [](int64_t rank, int64_t i) { return static_cast<float>(rank + 1) / static_cast<float>(i + 3); };
  std::vector<float> mine(static_cast<size_t>(ranks * slice));
  for (int64_t i = 0; i < ranks * slice; ++i) mine[static_cast<size_t>(i)] = value(comm.rank(), i);
  const Tensor parts = Tensor::from<float>({ranks * slice}, mine), all = Tensor::from<float>({ranks * slice}, mine);
  const Pending scattered = comm.reduce_scatter("parts", parts), reduced = comm.all_reduce("all", all);
  scattered.wait();
  comm.all_gather("parts", parts).wait();
  reduced.wait();
  std::vector<float> sums(mine.size());
  for (int64_t i = 0; i < ranks * slice; ++i) {
    float& sum = sums[static_cast<size_t>(i)];
    sum = value(0, i);
    for (int64_t r = 1; r < ranks; ++r) sum += value(r, i);
  }
  EXPECT_EQ(parts.to_vector<float>(), sums);
  EXPECT_EQ(all.to_vector<float>(), sums);
  const std::vector<std::string> texts = comm.gather_text("texts", std::string(static_cast<size_t>(comm.rank()), 'x'));
  for (int64_t r = 0; r < ranks; ++r) EXPECT_EQ(static_cast<int64_t>(texts[static_cast<size_t>(r)].size()), r);
  EXPECT_EQ(comm.broadcast_text("text", std::to_string(comm.rank()), ranks - 1), std::to_string(ranks - 1));
  EXPECT_THROW(comm.together("fails", [&] { require(comm.rank() != 1, "rank", "cannot"); }), Error);
  comm.finish();
}

TEST(MpiTransport, MovesWhatThreadsMove) {
  if (!has_mpi()) GTEST_SKIP() << "a build without MPI";
  const std::string mpirun =
      "OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 timeout -k 5 300 mpirun --oversubscribe --bind-to "
      "none ";
  if (std::system((mpirun + "-n 2 true >/dev/null 2>&1 </dev/null").c_str()) != 0)
    GTEST_SKIP() << "mpirun is not here, or starts nothing";
  if (kAddressSanitizer || kThreadSanitizer) GTEST_SKIP() << "MPI's library leaks and races";
  const std::string path = std::filesystem::read_symlink("/proc/self/exe").string();
  for (int ranks : {2, 3, 4}) {
    const std::string command =
        mpirun + "-n " + std::to_string(ranks) + " '" + path + "' --gtest_filter='UnderMpirun.*' >&2 </dev/null";
    EXPECT_EQ(std::system(command.c_str()), 0) << command;
  }
}

}  // namespace
}  // namespace gta
