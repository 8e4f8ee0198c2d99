// Products under OpenMP settings that its runtime keeps for each thread (core/backends/cpu/openmp_runtime.h).
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <thread>

#include "core/gemm.h"
#include "core/parallel.h"

namespace gta {
namespace {

template <class Function>
Function* openmp(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_DEFAULT, name));
}

TEST(Products, AreRightByAnyNumberOfThreadsAndInThreadsOfOthers) {
  const int before = threads();
  for (int count : {1, 2, 4}) {
    set_threads(count);
    EXPECT_NO_THROW(cpu::check_products());
    std::thread([] { EXPECT_NO_THROW(cpu::check_products()); }).join();
  }
  set_threads(before);
}

TEST(Products, TheCheckSeesALibraryThatSharesAProductAmongThreadsThatItDoesNotGet) {
  const auto set_threads_of_openmp = openmp<void(int)>("omp_set_num_threads"),
             set_levels = openmp<void(int)>("omp_set_max_active_levels");
  const auto get_levels = openmp<int()>("omp_get_max_active_levels");
  if (!set_threads_of_openmp || !set_levels || !get_levels) GTEST_SKIP() << "this oneDNN has no OpenMP";
  cpu::check_products();  // from here on this thread's settings are its own
  const int levels = get_levels();
  set_levels(0);
  set_threads_of_openmp(4);
  try {
    cpu::check_products();
    ADD_FAILURE() << "expected an error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Failed);
    EXPECT_NE(std::string(error.what()).find("[products] oneDNN"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("OMP_*"), std::string::npos) << error.what();
  }
  set_levels(levels);
  set_threads_of_openmp(1);
  EXPECT_NO_THROW(cpu::check_products());
}

}  // namespace
}  // namespace gta
