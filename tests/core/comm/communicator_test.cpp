#include "core/comm/communicator.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <thread>

#include "core/comm/thread_transport.h"
#include "core/error.h"

namespace gta {
namespace {

// Runs body(communicator) as every rank, each in a thread; what a rank throws is its entry of the result.
std::vector<std::string> as_ranks(const Meeting& meeting, int64_t ranks,
                                  const std::function<void(Communicator&)>& body) {
  std::vector<std::string> errors(static_cast<size_t>(ranks));
  std::vector<std::thread> threads;
  for (int64_t r = 0; r < ranks; ++r)
    threads.emplace_back([&, r] {
      try {
        Communicator communicator(meeting.join(r));
        body(communicator);
        communicator.finish();
      } catch (const std::exception& error) {
        errors[static_cast<size_t>(r)] = error.what();
      }
    });
  for (std::thread& thread : threads) thread.join();
  return errors;
}

void expect_fine(int64_t ranks, const std::function<void(Communicator&)>& body) {
  for (const std::string& error : as_ranks(Meeting(ranks), ranks, body)) EXPECT_EQ(error, "");
}

// Values whose sum depends on the order in which they are added.
float value(int64_t rank, int64_t i) {
  return std::ldexp(static_cast<float>((rank * 7919 + i * 104729) % 16777213), static_cast<int>((rank + i) % 9));
}
Tensor values(int64_t rank, int64_t count) {
  std::vector<float> v(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) v[static_cast<size_t>(i)] = value(rank, i);
  return Tensor::from<float>({count}, v);
}
float sum(int64_t ranks, int64_t i) {
  float total = value(0, i);
  for (int64_t r = 1; r < ranks; ++r) total += value(r, i);
  return total;
}

constexpr int64_t kSlice = 16 * 601;  // no multiple of what is summed at once

class Ranks : public ::testing::TestWithParam<int64_t> {};
INSTANTIATE_TEST_SUITE_P(, Ranks, ::testing::Values(1, 2, 3, 8));

TEST_P(Ranks, ReduceScatterAddsInTheOrderOfRanksAndLeavesTheOthersParts) {
  const int64_t ranks = GetParam(), count = ranks * kSlice;
  expect_fine(ranks, [&](Communicator& comm) {
    const Tensor parts = values(comm.rank(), count);
    comm.reduce_scatter("gradients", parts).wait();
    const std::vector<float> got = parts.to_vector<float>();
    for (int64_t i = 0; i < count; ++i)
      ASSERT_EQ(got[static_cast<size_t>(i)], i / kSlice == comm.rank() ? sum(ranks, i) : value(comm.rank(), i)) << i;
  });
}

TEST_P(Ranks, AllReduceGivesEveryoneTheSameBits) {
  const int64_t ranks = GetParam();
  for (int64_t count : {1, 5, 4097})
    expect_fine(ranks, [&](Communicator& comm) {
      const Tensor all = values(comm.rank(), count);
      comm.all_reduce("vectors", all).wait();
      const std::vector<float> got = all.to_vector<float>();
      for (int64_t i = 0; i < count; ++i) ASSERT_EQ(got[static_cast<size_t>(i)], sum(ranks, i)) << i;
    });
}

TEST_P(Ranks, AllGatherBringsEveryPartToAll) {
  const int64_t ranks = GetParam(), part = 33;
  expect_fine(ranks, [&](Communicator& comm) {
    std::vector<float> mine(static_cast<size_t>(ranks * part), -1);
    for (int64_t i = 0; i < part; ++i) mine[static_cast<size_t>(comm.rank() * part + i)] = value(comm.rank(), i);
    const Tensor parts = Tensor::from<float>({ranks * part}, mine);
    comm.all_gather("weights", parts).wait();
    const std::vector<float> got = parts.to_vector<float>();
    for (int64_t i = 0; i < ranks * part; ++i) ASSERT_EQ(got[static_cast<size_t>(i)], value(i / part, i % part));
  });
}

TEST_P(Ranks, TextsOfAnyLengthArriveWhole) {
  const int64_t ranks = GetParam();
  const auto text = [](int64_t rank) {
    return std::string(static_cast<size_t>(rank * 1000), static_cast<char>('a' + rank));
  };
  expect_fine(ranks, [&](Communicator& comm) {
    const std::vector<std::string> texts = comm.gather_text("texts", text(comm.rank()));
    ASSERT_EQ(static_cast<int64_t>(texts.size()), ranks);
    for (int64_t r = 0; r < ranks; ++r) EXPECT_EQ(texts[static_cast<size_t>(r)], text(r));
    EXPECT_EQ(comm.broadcast_text("text", text(comm.rank()), ranks - 1), text(ranks - 1));
    EXPECT_EQ(comm.broadcast_text("empty", ""), "");
    const std::vector<double> numbers = comm.gather("numbers", 0.5 * static_cast<double>(comm.rank()));
    for (int64_t r = 0; r < ranks; ++r) EXPECT_EQ(numbers[static_cast<size_t>(r)], 0.5 * static_cast<double>(r));
    EXPECT_EQ(static_cast<int64_t>(comm.hosts().size()), ranks);
    EXPECT_EQ(comm.local_rank(), comm.rank());
    EXPECT_EQ(comm.local_ranks(), ranks);
  });
}

TEST_P(Ranks, CollectivesThatWereBegunComeInTheirOrderWhileTheCallerGoesOn) {
  const int64_t ranks = GetParam();
  expect_fine(ranks, [&](Communicator& comm) {
    std::vector<Tensor> tensors;
    std::vector<Pending> pending;
    for (int64_t i = 0; i < 20; ++i) {
      tensors.push_back(values(comm.rank(), 100 + i));
      pending.push_back(comm.all_reduce("number " + std::to_string(i), tensors.back()));
    }
    for (const Pending& p : pending) p.wait();
    for (const Tensor& tensor : tensors) EXPECT_EQ(tensor.to_vector<float>()[3], sum(ranks, 3));
    if (ranks > 1) {
      EXPECT_EQ(comm.whereabouts().name, "number 19");
      EXPECT_EQ(comm.whereabouts().number, 21) << "the hosts came first";
    }
  });
}

TEST(Together, EveryRankThrowsWhatTheFirstOneCouldNot) {
  for (const std::string& error : as_ranks(Meeting(3), 3, [&](Communicator& comm) {
         EXPECT_NO_THROW(comm.together("fine", [] {}));
         try {
           comm.together("opens", [&] {
             if (comm.rank() > 0) bad_input("data.train", "no such file, says {}", comm.rank());
           });
           ADD_FAILURE() << "rank " << comm.rank() << " goes on";
         } catch (const Error& error) {
           EXPECT_TRUE(error.agreed());
           EXPECT_EQ(error.kind(), ErrorKind::BadInput);
           EXPECT_NE(std::string(error.what()).find("rank 1 of 3 ("), std::string::npos) << error.what();
           EXPECT_NE(std::string(error.what()).find("[data.train] no such file, says 1"), std::string::npos);
         }
         EXPECT_NO_THROW(comm.together("goes on", [] {})) << "nobody is lost";
       }))
    EXPECT_EQ(error, "");
}

TEST(Together, WhatEveryRankSaysIsSaidAsItIs) {
  for (const std::string& error : as_ranks(
           Meeting(2), 2, [&](Communicator& comm) { comm.together("reads", [] { fail("config", "unreadable"); }); }))
    EXPECT_EQ(error, "[config] unreadable");
}

TEST(Communicator, SaysWhichRanksAreInWhichCollective) {
  for (const std::string& error : as_ranks(Meeting(3), 3, [&](Communicator& comm) {
         const Tensor all = values(0, 8);
         comm.all_reduce(comm.rank() == 1 ? "weights" : "gradients", all).wait();
       })) {
    EXPECT_NE(error.find("'weights'"), std::string::npos) << error;
    EXPECT_NE(error.find("'gradients'"), std::string::npos) << error;
  }
  for (const std::string& error : as_ranks(Meeting(2), 2, [&](Communicator& comm) {
         comm.all_reduce("gradients", values(0, comm.rank() == 1 ? 8 : 16)).wait();
       }))
    EXPECT_NE(error.find("32 bytes"), std::string::npos) << error;
}

TEST(Communicator, ARankThatIsGoneEndsTheCollectivesOfAll) {
  Meeting meeting(3);
  std::atomic<int> late = 0;
  const std::vector<std::string> errors = as_ranks(meeting, 3, [&](Communicator& comm) {
    if (comm.rank() == 2) {
      meeting.leave(2);
      throw std::runtime_error("left");
    }
    EXPECT_THROW(comm.all_reduce("gradients", values(0, 8)).wait(), Error);
    EXPECT_THROW(comm.gather_text("later", "x"), Error) << "nothing comes after what is broken";
    ++late;
    comm.all_reduce("last", values(0, 8)).wait();
  });
  EXPECT_EQ(late, 2);
  EXPECT_EQ(errors[2], "left");
  for (size_t r : {0u, 1u}) EXPECT_NE(errors[r].find("rank 2 is gone"), std::string::npos) << errors[r];
}

}  // namespace
}  // namespace gta
