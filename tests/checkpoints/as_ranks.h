// Ranks that are threads of this test, and what they said.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "core/comm/communicator.h"
#include "core/comm/thread_transport.h"

namespace gta::test {

// Runs body(communicator) as every rank, each in a thread; what a rank throws is its entry of the result.
inline std::vector<std::string> as_ranks(const Meeting& meeting, int64_t ranks,
                                         const std::function<void(Communicator&)>& body) {
  std::vector<std::string> errors(static_cast<size_t>(ranks));
  std::vector<std::thread> threads;
  for (int64_t r = 0; r < ranks; ++r)
    threads.emplace_back([&, r] {
      try {
        Communicator comm(meeting.join(r));
        body(comm);
        comm.finish();
      } catch (const std::exception& error) {
        errors[static_cast<size_t>(r)] = error.what();
      }
    });
  for (std::thread& thread : threads) thread.join();
  return errors;
}

inline void expect_fine(int64_t ranks, const std::function<void(Communicator&)>& body) {
  for (const std::string& error : as_ranks(Meeting(ranks), ranks, body)) EXPECT_EQ(error, "");
}

// What was said to people meanwhile.
inline std::string said_by(const std::function<void()>& f) {
  testing::internal::CaptureStderr();
  f();
  return testing::internal::GetCapturedStderr();
}

inline int64_t count(const std::string& text, const std::string& part) {
  int64_t found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

}  // namespace gta::test
