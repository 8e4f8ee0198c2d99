#include "core/comm/watchdog.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <sstream>
#include <thread>

#include "core/clock.h"
#include "core/comm/thread_transport.h"
#include "core/error.h"
#include "core/io/file.h"
#include "core/log.h"
#include "core/sanitizer.h"

namespace gta {
namespace {

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
void nap(double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); }

class Folder : public ::testing::Test {
 protected:
  Folder() : folder_(::testing::TempDir() + "watchdog-" + std::to_string(::getpid())) { make_directories(folder_); }
  ~Folder() override {
    log::detach_file();
    remove_tree(folder_);
  }
  const std::string folder_;
};

// ---- ranks that are threads: what the ranks of one process can do to each other

// Passes everything on, and lets a test see and change the address that rank 0 gives to the others.
class Eavesdropper : public Transport {
 public:
  using Hears = std::function<void(int64_t rank, std::string& invitation)>;
  Eavesdropper(std::unique_ptr<Transport> to, Hears hears) : to_(std::move(to)), hears_(std::move(hears)) {}
  int64_t rank() const override { return to_->rank(); }
  int64_t ranks() const override { return to_->ranks(); }
  std::string name() const override { return to_->name(); }
  void all_to_all(const void* send, void* receive, int64_t bytes) override { to_->all_to_all(send, receive, bytes); }
  void all_gather(void* data, int64_t bytes) override { to_->all_gather(data, bytes); }
  void broadcast(void* data, int64_t bytes, int64_t root) override {
    to_->broadcast(data, bytes, root);
    if (bytes <= 8) return;  // a length
    std::string text(static_cast<char*>(data), static_cast<size_t>(bytes));
    hears_(rank(), text);
    text.resize(static_cast<size_t>(bytes), ' ');
    std::memcpy(data, text.data(), text.size());
  }
  void close() override { to_->close(); }

 private:
  std::unique_ptr<Transport> to_;
  const Hears hears_;
};

class ThreadRanks : public Folder {
 protected:
  void run(int64_t ranks, const std::function<void(Communicator&, Watchdog&)>& body, Watchdog::Options options = {}) {
    log::attach_file(folder_ + "/log");
    options.end = [this](int code) {
      const std::lock_guard lock(mutex_);
      codes_.push_back(code);
      changed_.notify_all();
    };
    Meeting meeting(ranks);
    meeting_ = &meeting;
    errors_.assign(static_cast<size_t>(ranks), "");
    std::vector<std::thread> threads;
    for (int64_t r = 0; r < ranks; ++r)
      threads.emplace_back([&, r] {
        try {
          Communicator communicator([&, r]() -> std::unique_ptr<Transport> {
            if (!hears_) return meeting.join(r)();
            return std::make_unique<Eavesdropper>(meeting.join(r)(), hears_);
          });
          Watchdog watchdog(communicator, options);
          body(communicator, watchdog);
        } catch (const std::exception& error) {
          errors_[static_cast<size_t>(r)] = error.what();
        }
      });
    for (std::thread& thread : threads) thread.join();
    log_ = read_file(folder_ + "/log");
  }
  void wait_until_ended(size_t ranks) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return codes_.size() >= ranks; });
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<int> codes_;  // with which ranks were ended
  std::vector<std::string> errors_;
  std::string log_;
  Meeting* meeting_ = nullptr;
  Eavesdropper::Hears hears_;
};

TEST_F(ThreadRanks, FinishInAnyOrderWithoutAlarm) {
  for (const bool rank_0_first : {true, false})
    run(8,
        [&](Communicator& comm, Watchdog& watchdog) {
          watchdog.at(1, "forward");
          comm.gather_text("texts", "x");
          const int64_t turn = rank_0_first ? comm.rank() : 7 - comm.rank();
          nap(0.05 * static_cast<double>(turn));
          watchdog.finish();
        },
        {.timeout = 20});
  EXPECT_EQ(codes_, std::vector<int>());
  EXPECT_EQ(log_, "");
  for (const std::string& error : errors_) EXPECT_EQ(error, "");
}

TEST_F(ThreadRanks, HundredsOfThemMeet) {
  const int64_t ranks = kThreadSanitizer ? 64 : 300;
  run(ranks, [](Communicator&, Watchdog& watchdog) { watchdog.finish(); }, {.timeout = 30});
  EXPECT_EQ(codes_, std::vector<int>());
  EXPECT_EQ(log_, "");
  for (const std::string& error : errors_) EXPECT_EQ(error, "");
}

TEST_F(ThreadRanks, OneRankHasNothingToWatch) {
  run(1,
      [](Communicator&, Watchdog& watchdog) {
        watchdog.at(1, "forward");
        nap(0.3);
        watchdog.last_words("nobody hears it");
        watchdog.finish();
      },
      {.timeout = 0.1});
  EXPECT_EQ(codes_, std::vector<int>());
  EXPECT_EQ(log_, "");
}

TEST_F(ThreadRanks, LastWordsAreWhatAllAreTold) {
  run(8, [&](Communicator& comm, Watchdog& watchdog) {
    if (comm.rank() == 3) {
      watchdog.last_words("[data/train.bin] the disk is gone");
      return;  // its watchdog's end closes the connection
    }
    wait_until_ended(7);
    watchdog.last_words("rank 3 is gone");  // what ends later changes nothing
  });
  EXPECT_EQ(codes_, std::vector<int>(7, 1)) << "who speaks ends itself";
  std::istringstream lines(log_);
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    EXPECT_TRUE(has(line, "gta: error: rank 3 (")) << line;
    EXPECT_TRUE(has(line, "): [data/train.bin] the disk is gone")) << line;
  }
  EXPECT_EQ(count, 8);
}

TEST_F(ThreadRanks, LastWordsOfRank0ReachTheOthers) {
  run(3, [&](Communicator& comm, Watchdog& watchdog) {
    if (comm.leads()) return watchdog.last_words("no space for the checkpoint");
    wait_until_ended(2);
  });
  EXPECT_EQ(codes_, std::vector<int>(2, 1));
  EXPECT_FALSE(has(log_, "lost")) << log_;
  EXPECT_TRUE(has(log_, "rank 0 (")) << log_;
}

TEST_F(ThreadRanks, ARankThatNeverEntersACollectiveIsNamed) {
  run(8,
      [&](Communicator& comm, Watchdog& watchdog) {
        watchdog.at(7, "backward");
        comm.gather_text("loss", "x");
        if (comm.rank() == 5) {
          watchdog.at(7, "reads a slow disk");
          wait_until_ended(8);
          meeting_->leave(5);
        } else {
          EXPECT_THROW(comm.gather_text("gradients", "x"), Error);
        }
        wait_until_ended(8);
      },
      {.timeout = 2});
  EXPECT_EQ(codes_, std::vector<int>(8, 1));
  EXPECT_TRUE(has(log_, "last seen in 'reads a slow disk' of step 7, after collective 5 'loss'")) << log_;
  EXPECT_TRUE(has(log_, "never came to collective 6 'gradients'")) << log_;
  EXPECT_TRUE(has(log_, "has not come")) << log_;
}

TEST_F(ThreadRanks, ASlowRankThatSaysThatItIsAliveIsWaitedFor) {
  run(3,
      [&](Communicator& comm, Watchdog& watchdog) {
        watchdog.at(0, "loading");
        if (comm.rank() == 1)
          for (int i = 0; i < 100; ++i) {
            nap(0.05);
            watchdog.progress();
          }
        comm.gather_text("loaded", "x");
        watchdog.finish();
      },
      {.timeout = 2});
  EXPECT_EQ(codes_, std::vector<int>());
  EXPECT_EQ(log_, "");
}

TEST_F(ThreadRanks, NothingIsHungWithoutATimeout) {
  run(2, [&](Communicator& comm, Watchdog& watchdog) {
    nap(comm.rank() == 1 ? 2 : 0);
    comm.gather_text("late", "x");
    watchdog.finish();
  });
  EXPECT_EQ(codes_, std::vector<int>());
}

TEST_F(ThreadRanks, AWrongTokenIsNotLetInAndAllRanksSayWhatWasTried) {
  hears_ = [](int64_t rank, std::string& invitation) {
    if (rank == 1) invitation[4] = invitation[4] == '0' ? '1' : '0';
  };
  run(3, [](Communicator&, Watchdog&) {}, {.interface = "lo", .connect_seconds = 0.5});
  for (const std::string& error : errors_) {
    EXPECT_TRUE(has(error, "this rank cannot reach rank 0 (")) << error;
    EXPECT_TRUE(has(error, "tried 127.0.0.1 (closed by who listens there)")) << error;
    EXPECT_TRUE(has(error, "rank 1 of 3")) << error;
  }
  EXPECT_EQ(codes_, std::vector<int>());
}

TEST_F(ThreadRanks, WhereNobodyListensEveryAddressThatWasTriedIsNamed) {
  hears_ = [](int64_t rank, std::string& invitation) {
    if (rank == 2) invitation = invitation.substr(0, 32) + " 1 127.0.0.2 127.0.0.3";
  };
  run(3, [](Communicator&, Watchdog&) {}, {.connect_seconds = 0.2});
  for (const std::string& error : errors_) {
    EXPECT_TRUE(has(error, "127.0.0.2 (Connection refused)")) << error;
    EXPECT_TRUE(has(error, "127.0.0.3 (Connection refused)")) << error;
  }
}

TEST_F(ThreadRanks, AnInterfaceThatIsNoneIsRefusedByAll) {
  run(2, [](Communicator&, Watchdog&) {}, {.interface = "nosuch0"});
  for (const std::string& error : errors_) {
    EXPECT_TRUE(has(error, "cannot listen on 'nosuch0'")) << error;
    EXPECT_TRUE(has(error, "lo (127.0.0.1)")) << error;
  }
}

// A connection to the port of an invitation on this host.
int stranger(const std::string& invitation) {
  const int port = std::stoi(invitation.substr(33));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int descriptor = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (::connect(descriptor, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return descriptor;
  ::close(descriptor);
  return -1;
}

TEST_F(ThreadRanks, StrangersAreNeitherReadNorInTheWay) {
  std::vector<int> strangers;
  std::string invitation;
  hears_ = [&](int64_t rank, std::string& text) {
    if (rank != 0) return;
    invitation = text;  // before any rank connects: all are in the broadcast
    for (int i = 0; i < 400; ++i) {
      strangers.push_back(stranger(text));
      ASSERT_GE(strangers.back(), 0);
      const std::string noise(i % 4 == 0 ? 0 : i % 4 == 1 ? 7 : i % 4 == 2 ? 24 : 100000, static_cast<char>(i));
      ::send(strangers.back(), noise.data(), noise.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    }
  };
  run(8,
      [&](Communicator& comm, Watchdog& watchdog) {
        comm.gather_text("texts", "x");
        if (comm.leads()) {
          char byte = 0;  // nothing was said to them; and now all are gone, and nobody new is let in
          for (int descriptor : strangers) EXPECT_LE(::recv(descriptor, &byte, 1, 0), 0);
          EXPECT_EQ(stranger(invitation), -1);
        }
        comm.gather_text("more", "x");
        watchdog.finish();
      },
      {.timeout = 30});
  for (int descriptor : strangers) ::close(descriptor);
  EXPECT_EQ(codes_, std::vector<int>());
  EXPECT_EQ(log_, "");
  for (const std::string& error : errors_) EXPECT_EQ(error, "");
}

TEST_F(ThreadRanks, OfManySilentStrangersTheOldestGo) {
  std::vector<int> strangers;
  hears_ = [&](int64_t rank, std::string& invitation) {
    if (rank != 0) return;
    const auto start = Clock::now();
    for (int i = 0; i < 300; ++i) strangers.push_back(stranger(invitation));
    char byte = 0;
    EXPECT_EQ(::recv(strangers[0], &byte, 1, 0), 0);
    EXPECT_LT(seconds_since(start), 9) << "not only because a stranger has 10 s";
  };
  run(3, [](Communicator&, Watchdog& watchdog) { watchdog.finish(); });
  for (int descriptor : strangers) ::close(descriptor);
  for (const std::string& error : errors_) EXPECT_EQ(error, "");
}

// Lies between a rank and rank 0 until it is cut: then both connections stay, and nothing comes through.
class Line {
 public:
  // The invitation's port becomes this line's.
  explicit Line(std::string& invitation) : to_(stranger(invitation)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    listens_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ::bind(listens_, reinterpret_cast<const sockaddr*>(&address), size);
    ::listen(listens_, 1);
    ::getsockname(listens_, reinterpret_cast<sockaddr*>(&address), &size);
    invitation = fmt::format("{} {} 127.0.0.1", invitation.substr(0, 32), ntohs(address.sin_port));
    thread_ = std::thread([this] { carry(); });
  }
  ~Line() {
    cut();
    thread_.join();
    for (int descriptor : {to_, from_, listens_}) ::close(descriptor);
  }
  void cut() { cut_ = true; }

 private:
  void carry() {
    from_ = ::accept(listens_, nullptr, nullptr);
    while (!cut_) {
      for (const auto& [in, out] : {std::pair(from_, to_), std::pair(to_, from_)}) {
        char bytes[4096];
        const ssize_t got = ::recv(in, bytes, sizeof bytes, MSG_DONTWAIT);
        if (got > 0) ::send(out, bytes, static_cast<size_t>(got), MSG_NOSIGNAL);
      }
      nap(0.005);
    }
  }

  int to_, from_ = -1, listens_ = -1;
  std::atomic<bool> cut_ = false;
  std::thread thread_;
};

TEST_F(ThreadRanks, WhoIsCutOffFromRank0IsNamedAndEndsItself) {
  std::unique_ptr<Line> line;
  hears_ = [&](int64_t rank, std::string& invitation) {
    if (rank == 1) line = std::make_unique<Line>(invitation);
  };
  run(3,
      [&](Communicator& comm, Watchdog& watchdog) {
        comm.gather_text("texts", "x");
        if (comm.rank() == 1) line->cut();
        for (bool over = false; !over; nap(0.02)) {
          watchdog.progress();
          const std::lock_guard lock(mutex_);
          over = codes_.size() == 3;
        }
      },
      {.timeout = 1.5});
  EXPECT_EQ(codes_, std::vector<int>(3, 1));
  EXPECT_TRUE(has(log_, "sends no reports")) << log_;
  EXPECT_TRUE(has(log_, "has sent nothing for")) << log_;
  EXPECT_TRUE(has(log_, "no report for")) << log_;
}

TEST_F(ThreadRanks, TokensDiffer) {
  std::vector<std::string> tokens;
  hears_ = [&](int64_t rank, std::string& invitation) {
    if (rank == 0) tokens.push_back(invitation.substr(0, 32));
  };
  for (int i = 0; i < 2; ++i) run(2, [](Communicator&, Watchdog& watchdog) { watchdog.finish(); });
  ASSERT_EQ(tokens.size(), 2u);
  EXPECT_NE(tokens[0], tokens[1]);
  EXPECT_EQ(tokens[0].find_first_not_of("0123456789abcdef"), std::string::npos);
}

// ---- ranks that are processes: they die

constexpr int64_t kRanks = 8, kArea = 1 << 16;

struct Shared {
  pthread_barrier_t barrier;
  std::atomic<int64_t> steps[kRanks];
  std::atomic<bool> goes[kRanks];  // for a test to use
  char areas[kRanks][kArea];
};

// Over memory that processes share. Who waits for a dead one waits for good, as with MPI.
class SharedTransport : public Transport {
 public:
  SharedTransport(Shared& shared, int64_t rank) : shared_(shared), rank_(rank) {}
  int64_t rank() const override { return rank_; }
  int64_t ranks() const override { return kRanks; }
  std::string name() const override { return "shared memory"; }
  void all_to_all(const void*, void*, int64_t) override { fail("test", "is not used"); }
  void all_gather(void* data, int64_t bytes) override {
    char* const all = static_cast<char*>(data);
    std::memcpy(shared_.areas[rank_], all + rank_ * bytes, static_cast<size_t>(bytes));
    meet();
    for (int64_t r = 0; r < kRanks; ++r) std::memcpy(all + r * bytes, shared_.areas[r], static_cast<size_t>(bytes));
    meet();
  }
  void broadcast(void* data, int64_t bytes, int64_t root) override {
    if (rank_ == root) std::memcpy(shared_.areas[root], data, static_cast<size_t>(bytes));
    meet();
    std::memcpy(data, shared_.areas[root], static_cast<size_t>(bytes));
    meet();
  }
  void close() override { meet(); }

 private:
  void meet() { ::pthread_barrier_wait(&shared_.barrier); }
  Shared& shared_;
  const int64_t rank_;
};

class ProcessRanks : public Folder {
 protected:
  using Body = std::function<void(Communicator&, Watchdog&)>;

  ProcessRanks() {
    void* const memory = ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    shared_ = new (memory) Shared;
    pthread_barrierattr_t attributes;
    ::pthread_barrierattr_init(&attributes);
    ::pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    ::pthread_barrier_init(&shared_->barrier, &attributes, kRanks);
  }
  ~ProcessRanks() override {
    for (pid_t child : children_)
      if (child > 0) {
        ::kill(child, SIGKILL);
        ::waitpid(child, nullptr, 0);
      }
    ::munmap(shared_, sizeof(Shared));
  }

  // A training: step after step until the test or a death ends it, at most `steps`.
  Body trains(int64_t steps = 1000000) {
    return [this, steps](Communicator& comm, Watchdog& watchdog) {
      for (int64_t step = 1; step <= steps; ++step) {
        watchdog.at(step, "forward");
        nap(0.01);
        watchdog.at(step, "backward");
        comm.gather_text("gradients", "x");
        shared_->steps[comm.rank()] = step;
      }
    };
  }
  // The body ends a rank well, with 0, unless it throws: then with 2 after last words.
  void start(const Body& body, double timeout, const std::function<void(int64_t)>& prepare = {},
             const std::function<void(int)>& end = {}) {
    for (int64_t r = 0; r < kRanks; ++r) {
      const pid_t child = ::fork();
      if (child != 0) {
        children_.push_back(child);
        continue;
      }
      ::alarm(300);  // nothing outlives a test that fails
      if (prepare) prepare(r);
      log::attach_file(log_name(r));
      ::_exit(run(r, body, {.timeout = timeout, .end = end}));
    }
  }
  int run(int64_t rank, const Body& body, const Watchdog::Options& options) {
    Communicator communicator([this, rank] { return std::make_unique<SharedTransport>(*shared_, rank); });
    Watchdog watchdog(communicator, options);
    try {
      body(communicator, watchdog);
      communicator.finish();
      watchdog.finish();
      return 0;
    } catch (const std::exception& error) {
      watchdog.last_words(error.what());
      return 2;
    }
  }
  void wait_for_step(int64_t step) const {
    for (const auto& steps : shared_->steps)
      while (steps < step) nap(0.01);
  }
  void send(int64_t rank, int signal) const { ::kill(children_[static_cast<size_t>(rank)], signal); }
  // Its exit code, or less than 0: the signal that ended it.
  int end_of(int64_t rank) {
    pid_t& child = children_[static_cast<size_t>(rank)];
    int status = 0;
    ::waitpid(child, &status, 0);
    child = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  std::string log_name(int64_t rank) const { return folder_ + "/log-" + std::to_string(rank); }
  std::string log_of(int64_t rank) const { return read_file(log_name(rank)); }
  std::string first_line(int64_t rank) const {
    const std::string log = log_of(rank);
    return log.substr(0, log.find('\n'));
  }
  // All ranks but one end with 1 and say `cause` first.
  void expect_told(int64_t but, const std::string& cause) {
    for (int64_t r = 0; r < kRanks; ++r)
      if (r != but) {
        EXPECT_EQ(end_of(r), 1) << r;
        EXPECT_TRUE(has(first_line(r), cause)) << r << ": " << log_of(r);
      }
  }

  Shared* shared_ = nullptr;
  std::vector<pid_t> children_;
};

TEST_F(ProcessRanks, EndWellTogether) {
  start(trains(20), 30);
  for (int64_t r = 0; r < kRanks; ++r) {
    EXPECT_EQ(end_of(r), 0) << log_of(r);
    EXPECT_EQ(log_of(r), "");
  }
}

TEST_F(ProcessRanks, AKilledOneEndsAll) {
  start(trains(), 0);
  wait_for_step(5);
  send(3, SIGKILL);
  const auto killed = Clock::now();
  expect_told(3, "lost rank 3 (");
  RecordProperty("seconds", std::to_string(seconds_since(killed)));
  EXPECT_EQ(end_of(3), -SIGKILL);
  EXPECT_TRUE(has(log_of(0), "its process ended without a word")) << log_of(0);
  EXPECT_TRUE(has(log_of(0), "rank  host")) << log_of(0);
  EXPECT_TRUE(has(log_of(0), "lost\n")) << log_of(0);
  EXPECT_FALSE(has(log_of(1), "rank  host")) << "the table is rank 0's: " << log_of(1);
}

TEST_F(ProcessRanks, OneThatExitsWithoutAWordEndsAll) {
  start(
      [&](Communicator& comm, Watchdog& watchdog) {
        trains(5)(comm, watchdog);
        if (comm.rank() == 6) ::_exit(0);
        trains()(comm, watchdog);
      },
      0);
  expect_told(6, "lost rank 6 (");
}

// A terminal is everybody's: of a thousand ranks each would say the same.
TEST_F(ProcessRanks, OnTheTerminalTheVerdictIsRank0s) {
  const auto terminal = [&](int64_t rank) { return folder_ + "/terminal-" + std::to_string(rank); };
  start(trains(), 0, [&](int64_t rank) {
    const int file = ::open(terminal(rank).c_str(), O_WRONLY | O_CREAT, 0644);
    ::dup2(file, STDERR_FILENO);
  });
  wait_for_step(5);
  send(3, SIGKILL);
  expect_told(3, "lost rank 3 (");
  for (int64_t r = 0; r < kRanks; ++r)
    EXPECT_EQ(has(read_file(terminal(r)), "lost rank 3 ("), r == 0) << r << ": " << read_file(terminal(r));
}

// What the others did only they know: rank 0 makes no table of it.
TEST_F(ProcessRanks, WithoutRank0TheOthersEndThemselvesAndSayWhatTheyDid) {
  start(trains(), 0);
  wait_for_step(5);
  send(0, SIGKILL);
  expect_told(0, "lost rank 0 (");
  for (int64_t r = 1; r < kRanks; ++r) {
    EXPECT_TRUE(has(first_line(r), "gta: error: rank " + std::to_string(r) + " (")) << log_of(r);
    EXPECT_TRUE(has(first_line(r), "ward' of step ")) << log_of(r);
    EXPECT_TRUE(has(first_line(r), " 'gradients': lost rank 0 (")) << log_of(r);
  }
}

TEST_F(ProcessRanks, AStoppedOneIsNamedAndEndsWhenItGoesOn) {
  start(trains(), 2);
  wait_for_step(5);
  send(2, SIGSTOP);
  expect_told(2, "rank 2 (");
  EXPECT_TRUE(has(first_line(0), "sends no reports")) << log_of(0);
  send(2, SIGCONT);
  EXPECT_EQ(end_of(2), 1);
  EXPECT_FALSE(first_line(2).empty());
}

TEST_F(ProcessRanks, WhereRank0IsStoppedTheOthersEndThemselves) {
  start(trains(), 2);
  wait_for_step(5);
  send(0, SIGSTOP);
  expect_told(0, "has sent nothing for");
  EXPECT_TRUE(has(first_line(5), "rank 0 (")) << log_of(5);
}

TEST_F(ProcessRanks, AJobThatWasStoppedAsAWholeGoesOn) {
  start(trains(100), 2);
  wait_for_step(5);
  for (int64_t r = 0; r < kRanks; ++r) send(r, SIGSTOP);
  nap(4);
  for (int64_t r = 0; r < kRanks; ++r) send(r, SIGCONT);
  for (int64_t r = 0; r < kRanks; ++r) EXPECT_EQ(end_of(r), 0) << log_of(r);
}

class Phases : public ProcessRanks, public ::testing::WithParamInterface<const char*> {};
INSTANTIATE_TEST_SUITE_P(, Phases, ::testing::Values("loading", "forward", "validation", "saves", "after the end"));

TEST_P(Phases, OneThatSleepsIsNamed) {
  const std::string phase = GetParam();
  const int64_t sleeps = phase == "saves" ? 0 : 4;
  start(
      [&](Communicator& comm, Watchdog& watchdog) {
        if (phase != "loading") trains(5)(comm, watchdog);
        if (comm.rank() == sleeps) {
          watchdog.at(6, phase);
          while (true) ::pause();
        }
        if (phase != "after the end") trains()(comm, watchdog);
        comm.finish();
      },
      2);
  for (int64_t r = 0; r < kRanks; ++r) {
    EXPECT_EQ(end_of(r), 1) << r;
    EXPECT_TRUE(has(first_line(r), "rank " + std::to_string(sleeps) + " (")) << log_of(r);
    EXPECT_TRUE(has(first_line(r), "last seen in '" + phase + "' of step 6")) << log_of(r);
  }
}

TEST_F(ProcessRanks, LastWordsAreTheCauseInEveryLog) {
  start(
      [&](Communicator& comm, Watchdog& watchdog) {
        trains(5)(comm, watchdog);
        if (comm.rank() == 4) fail("data/train.bin", "shard 3 cannot be read");
        trains()(comm, watchdog);
      },
      0);
  for (int64_t r = 0; r < kRanks; ++r) {
    EXPECT_EQ(end_of(r), r == 4 ? 2 : 1) << r;
    EXPECT_TRUE(has(first_line(r), "error: rank 4 (")) << log_of(r);
    EXPECT_TRUE(has(first_line(r), "): [data/train.bin] shard 3 cannot be read")) << log_of(r);
    EXPECT_FALSE(has(log_of(r), "lost")) << log_of(r);
  }
}

TEST_F(ProcessRanks, ALogThatCannotBeWrittenKeepsNobodyAlive) {
  if (kThreadSanitizer) GTEST_SKIP() << "ThreadSanitizer's _exit flushes stderr first";
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  ASSERT_EQ(::fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
  const std::string full(4096, 'x');
  while (::write(ends[1], full.data(), full.size()) > 0) {
  }
  ASSERT_EQ(::fcntl(ends[1], F_SETFL, 0), 0);
  start(trains(), 0, [&](int64_t rank) {
    if (rank == 0 || rank == 5) ::dup2(ends[1], STDERR_FILENO);
  });
  wait_for_step(5);
  send(3, SIGKILL);
  for (int64_t r : {0, 1, 5, 7}) EXPECT_EQ(end_of(r), 1) << r;
  EXPECT_TRUE(has(first_line(1), "lost rank 3 (")) << log_of(1);
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST_F(ProcessRanks, AnEndThatDoesNotComeBackKeepsNobodyAlive) {
  start(trains(), 0, {}, [](int) {
    while (true) ::pause();
  });
  wait_for_step(5);
  send(3, SIGKILL);
  expect_told(3, "lost rank 3 (");
}

}  // namespace
}  // namespace gta
