#include "core/comm/watchdog.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <deque>
#include <mutex>
#include <sstream>
#include <thread>
#include <utility>

#include "core/comm/link.h"
#include "core/comm/verdict.h"
#include "core/error.h"
#include "core/io/open_files.h"
#include "core/log.h"
#include "core/thread.h"

namespace gta {
namespace {

constexpr double kTold = 2;                    // seconds that rank 0 gives the others to take the verdict
constexpr double kLogStuck = 3;                // seconds until a process ends whose log cannot be written
constexpr double kStrangerSeconds = 10;        // to show the token
constexpr size_t kStrangers = 256;             // at a time; the one that waits longest goes
constexpr int kMutePeriods = 4;                // without a report
constexpr std::chrono::milliseconds kNap{20};  // what comes meanwhile is handled together

enum Kind : char { kWelcome = 1, kReport, kLastWords, kVerdict, kBeat, kBye };

using Token = std::array<unsigned char, 16>;
struct Hello {
  Token token;
  int64_t rank;
};

template <size_t N>
void put(std::array<char, N>& to, std::string_view text) {
  to.fill('\0');
  std::memcpy(to.data(), text.data(), std::min(text.size(), N - 1));
}

template <class T>
std::string_view bytes_of(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

// Takes as long wherever they differ.
bool same(const Token& a, const Token& b) {
  unsigned char difference = 0;
  for (size_t i = 0; i < a.size(); ++i) difference |= static_cast<unsigned char>(a[i] ^ b[i]);
  return difference == 0;
}

std::string hex(const Token& token) {
  std::string text;
  for (unsigned char byte : token) text += fmt::format("{:02x}", byte);
  return text;
}

Token from_hex(const std::string& text) {
  ensure(text.size() == 32, "watchdog", "'{}' is no token", text);
  Token token{};
  for (size_t i = 0; i < token.size(); ++i)
    token[i] = static_cast<unsigned char>(std::stoi(text.substr(2 * i, 2), nullptr, 16));
  return token;
}

// A connection to each rank, and to strangers: more than the usual 1024 files are often needed, and allowed.
void allow_files(int64_t ranks) {
  raise_descriptor_limit();
  const rlim_t needed = static_cast<rlim_t>(ranks) + 64;
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < needed)
    fail("watchdog", "{} ranks need {} open files in rank 0, {} are allowed: raise the limit (ulimit -n)", ranks,
         needed, files.rlim_max);
}

void append_waiting(std::vector<pollfd>& waits, const Link& link) {
  if (link.open())
    waits.push_back({link.descriptor(), static_cast<short>(link.sends() ? POLLIN | POLLOUT : POLLIN), 0});
}

}  // namespace

// One rank's thread, and what its callers tell it.
class Watchdog::Watch {
 public:
  Watch(const Communicator& communicator, Options options)
      : communicator_(communicator),
        options_(std::move(options)),
        period_(options_.timeout > 0 ? std::clamp(options_.timeout / 5, 0.05, 1.0) : 1),
        wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (wake_.descriptor() < 0) fail("watchdog", "eventfd failed: {}", std::strerror(errno));
  }
  virtual ~Watch() = default;

  void start() {
    thread_ = start_thread("watches the ranks", [this] { run(); });
  }
  // Before the destructor: the thread calls virtual functions.
  void stop() {
    tell([](Asked& a) { a.stops = true; });
    if (thread_.joinable()) thread_.join();
    if (guard_.joinable()) guard_.join();
  }

  void arm() {
    tell([](Asked& a) { a.armed = true; });
  }
  void at(int64_t step, std::string_view phase) {
    const std::lock_guard lock(mutex_);
    step_ = step;
    phase_.assign(phase);
  }
  void progress() { ++moves_; }
  void last_words(const std::string& message) {
    tell([&](Asked& a) {
      a.words = message.empty() ? "ends by an error" : message;
      a.speaks = true;
    });
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::duration<double>(kLogStuck), [&] { return over_; });
  }
  void finish() {
    tell([](Asked& a) { a.finishes = true; });
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return over_; });
  }

 protected:
  struct Asked {
    bool stops = false, armed = false, finishes = false;
    bool speaks = false;  // the caller, who ends the process
    std::string words;
  };

  virtual void turn(const Asked& asked) = 0;  // looks at all there is; waits for nothing
  virtual void add_to(std::vector<pollfd>& waits) const = 0;
  virtual void part() = 0;  // waits, for a while, until the others need this rank no more

  std::string name(int64_t rank) const { return rank_name(communicator_.hosts(), rank); }
  RankReport report() const {
    RankReport report;
    {
      const std::lock_guard lock(mutex_);
      report.step = step_;
      put(report.phase, phase_);
    }
    const Communicator::Whereabouts where = communicator_.whereabouts();
    report.moves = moves_;
    report.number = where.number;
    report.inside = where.inside ? 1 : 0;
    report.begun = where.begun;
    put(report.collective, where.name);
    return report;
  }
  // Nothing is left to watch.
  void leave() { left_ = true; }
  enum class Shown : uint8_t { Here, ByRank0 };
  // The training is over: says so and ends the process, unless its caller is about to.
  void end(const std::string& verdict, Shown shown = Shown::Here) {
    left_ = true;
    const bool speaks = asked().speaks;
    if (!speaks) try {
        guard_ = start_thread("ends a process whose log is stuck", [this] { end_late(); });
      } catch (const Error&) {  // then the log has to work
      }
    if (shown == Shown::ByRank0)
      log::write_to_file(log::Level::Error, verdict);
    else
      log::write(log::Level::Error, verdict);
    std::fflush(nullptr);
    communicator_.abort_device();
    part();
    if (!speaks && !ended_.exchange(true)) end_process();
  }

  const Communicator& communicator_;
  const Options options_;
  const double period_;  // seconds between two reports
  double now_ = 0;       // seconds that this thread has seen pass

 private:
  template <class Change>
  void tell(Change change) {
    {
      const std::lock_guard lock(mutex_);
      change(asked_);
    }
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(wake_.descriptor(), &one, sizeof one);
  }
  Asked asked() const {
    const std::lock_guard lock(mutex_);
    return asked_;
  }
  void end_process() const {
    if (options_.end)
      options_.end(1);
    else
      ::_exit(1);
  }
  void end_late() {
    {
      std::unique_lock lock(mutex_);
      if (changed_.wait_for(lock, std::chrono::duration<double>(kLogStuck), [&] { return over_; })) return;
    }
    if (ended_.exchange(true)) ::_exit(1);  // `end` does not come back
    end_process();
  }

  void run() {
    try {
      auto last = Clock::now();
      for (Asked asked = this->asked(); !left_ && !asked.stops; asked = this->asked()) {
        turn(asked);
        if (left_) break;
        if (const std::string failure = communicator_.failure_of_device(); asked.words.empty() && !failure.empty())
          tell([&](Asked& a) { a.words = failure; });
        std::vector<pollfd> waits = {{wake_.descriptor(), POLLIN, 0}};
        add_to(waits);
        ::poll(waits.data(), waits.size(), static_cast<int>(period_ * 250));
        std::this_thread::sleep_for(kNap);
        uint64_t count = 0;
        [[maybe_unused]] const ssize_t read = ::read(wake_.descriptor(), &count, sizeof count);
        const auto now = Clock::now();
        now_ += std::min(std::chrono::duration<double>(now - last).count(), period_);
        last = now;
      }
    } catch (const std::exception& error) {
      end(fmt::format("{}: the watchdog cannot go on: {}", name(communicator_.rank()), error.what()));
    }
    {
      const std::lock_guard lock(mutex_);
      over_ = true;
    }
    changed_.notify_all();
  }

  Socket wake_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Asked asked_;
  bool over_ = false;  // the thread has nothing more to do
  int64_t step_ = 0;
  std::string phase_ = "start";
  std::atomic<int64_t> moves_ = 0;
  std::atomic<bool> ended_ = false;
  bool left_ = false;
  std::thread thread_, guard_;
};

// Rank 0's.
class Watchdog::Leader : public Watch {
 public:
  Leader(const Communicator& communicator, const Options& options)
      : Watch(communicator, options),
        listener_(listen_on(options.interface)),
        judge_(communicator.hosts(), options.timeout, kMutePeriods * period_),
        links_(static_cast<size_t>(communicator.ranks())) {
    allow_files(communicator.ranks());
    if (::getrandom(token_.data(), token_.size(), 0) != static_cast<ssize_t>(token_.size()))
      fail("watchdog", "the system gives no random numbers: {}", std::strerror(errno));
  }

  // What the others need: token, port, addresses.
  std::string invitation() const {
    std::string text = fmt::format("{} {}", hex(token_), listener_.port);
    for (const std::string& address : listener_.addresses) text += ' ' + address;
    if (options_.interface.empty()) text += ' ' + communicator_.hosts()[0];
    return text;
  }

 private:
  struct Stranger {
    Link link;
    double since;
  };

  void add_to(std::vector<pollfd>& waits) const override {
    if (listener_.open()) waits.push_back({listener_.socket.descriptor(), POLLIN, 0});
    for (const Stranger& stranger : strangers_) append_waiting(waits, stranger.link);
    for (const Link& link : links_) append_waiting(waits, link);
  }

  void turn(const Asked& asked) override {
    if (asked.armed && listener_.open()) {  // all ranks are here
      listener_.socket = {};
      strangers_.clear();
      judge_.start(now_);
    }
    if (listener_.open()) meet_strangers();
    judge_.report(0, report(), now_);
    if (asked.finishes) judge_.finish(0);
    if (!asked.words.empty()) judge_.last_words(0, asked.words);
    const bool beats = now_ - beat_ >= period_;
    if (beats) beat_ = now_;
    for (int64_t rank = 1; rank < communicator_.ranks(); ++rank) serve(rank, beats);
    if (listener_.open()) return;
    if (const auto verdict = judge_.verdict(now_)) {
      for (Link& link : links_) {
        link.push(kVerdict, verdict->sentence);
        link.pump();
      }
      end(verdict->table.empty() ? verdict->sentence : verdict->sentence + '\n' + verdict->table);
    } else if (judge_.all_finished()) {
      leave();
    }
  }

  void meet_strangers() {
    for (size_t i = 0; i < kStrangers / 4; ++i) {
      Socket socket = accept_one(listener_);
      if (socket.descriptor() < 0 && (errno == EMFILE || errno == ENFILE) && !strangers_.empty()) {
        strangers_.pop_front();
        continue;
      }
      if (socket.descriptor() < 0) break;
      strangers_.push_back({Link(std::move(socket), options_.timeout), now_});
    }
    for (Stranger& stranger : strangers_) {
      stranger.link.pump(sizeof(Hello));
      Hello hello{};
      if (stranger.link.take_raw(&hello, sizeof hello)) {
        const bool ours = same(hello.token, token_) && hello.rank > 0 && hello.rank < communicator_.ranks();
        if (ours) {
          stranger.link.push(kWelcome);
          links_[static_cast<size_t>(hello.rank)] = std::move(stranger.link);
        }
        stranger.link.close();
      } else if (now_ - stranger.since > kStrangerSeconds) {
        stranger.link.close();
      }
    }
    std::erase_if(strangers_, [](const Stranger& stranger) { return !stranger.link.open(); });
    while (strangers_.size() > kStrangers) strangers_.pop_front();
  }

  void serve(int64_t rank, bool beats) {
    Link& link = links_[static_cast<size_t>(rank)];
    if (beats && link.open() && !link.sends()) link.push(kBeat);
    link.pump();
    char kind = 0;
    for (std::string body; link.take(kind, body);) {
      if (kind == kReport && body.size() == sizeof(RankReport)) {
        RankReport report;
        std::memcpy(&report, body.data(), sizeof report);
        judge_.report(rank, report, now_);
      } else if (kind == kLastWords) {
        judge_.last_words(rank, body);
      } else if (kind == kBye) {
        judge_.finish(rank);
        link.push(kBye);
        link.pump();
      }
    }
    // Who connects may do it again before all are here.
    if (!link.open() && !listener_.open()) judge_.lose(rank, link.why(), now_);
  }

  // Closing a connection at once could take back what was sent.
  void part() override {
    const auto start = Clock::now();
    while (seconds_since(start) < kTold) {
      std::vector<pollfd> waits;
      for (Link& link : links_) {
        link.pump();
        char kind = 0;
        for (std::string body; link.take(kind, body);) {
        }
        append_waiting(waits, link);
      }
      if (waits.empty()) return;
      ::poll(waits.data(), waits.size(), 100);
    }
  }

  Listener listener_;
  Token token_{};
  std::deque<Stranger> strangers_;
  Judge judge_;
  std::vector<Link> links_;  // by rank; rank 0's is none
  double beat_ = 0;
};

// Any other rank's.
class Watchdog::Follower : public Watch {
 public:
  using Watch::Watch;

  // Waits until rank 0 knows this rank.
  void join(const std::string& invitation) {
    std::istringstream words(invitation);
    std::string token;
    int port = 0;
    words >> token >> port;
    std::vector<std::string> addresses;
    for (std::string address; words >> address;) addresses.push_back(address);
    if (communicator_.hosts()[0] == communicator_.hosts()[static_cast<size_t>(communicator_.rank())])
      addresses.emplace_back("127.0.0.1");  // a host without a network
    const Hello hello{from_hex(token), communicator_.rank()};
    std::vector<std::string> why(addresses.size());
    const auto start = Clock::now();
    do {
      for (size_t i = 0; i < addresses.size(); ++i)
        if (greets(hello, addresses[i], port, why[i])) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    } while (seconds_since(start) < options_.connect_seconds);
    std::string tried;
    for (size_t i = 0; i < addresses.size(); ++i)
      tried += fmt::format("{}{} ({})", i > 0 ? ", " : "", addresses[i], why[i]);
    fail("watchdog",
         "this rank cannot reach {} on TCP port {} within {:.4g} s; tried {}; let the hosts reach each other's ports, "
         "or "
         "name the interface that connects them",
         name(0), port, options_.connect_seconds, tried);
  }

 private:
  bool greets(const Hello& hello, const std::string& address, int port, std::string& why) {
    constexpr std::chrono::seconds patience{3};
    const auto until = Clock::now() + patience;
    link_ = Link(connect_to(address, port, until, why), options_.timeout);
    if (!link_.open()) return false;
    link_.push_raw(&hello, sizeof hello);
    char kind = 0;
    std::string body;
    while (link_.open() && Clock::now() < until) {
      link_.pump();
      if (link_.take(kind, body) && kind == kWelcome) return true;
      std::vector<pollfd> waits;
      append_waiting(waits, link_);
      ::poll(waits.data(), waits.size(), 100);
    }
    why = link_.open() ? "no answer" : "closed by who listens there";
    link_.close();
    return false;
  }

  void add_to(std::vector<pollfd>& waits) const override {
    if (armed_) append_waiting(waits, link_);
  }

  void turn(const Asked& asked) override {
    if (!asked.armed) return;
    if (!std::exchange(armed_, true)) {
      heard_ = now_;
      sent_ = now_ - period_;
    }
    tell_rank_0(asked);
    link_.pump();
    char kind = 0;
    for (std::string body; link_.take(kind, body);) {
      heard_ = now_;
      if (kind == kVerdict) return end(body, Shown::ByRank0);
      if (kind == kBye) return leave();
    }
    if (said_bye_ && (!link_.open() || now_ - bye_ > kTold)) return leave();
    // Each rank says it: nobody knows who is left.
    if (!link_.open())
      end_without_rank_0("lost " + name(0) + ": " +
                         (link_.why().empty() ? "its process ended without a word; its log or its host's may say more"
                                              : "the connection failed: " + link_.why()));
    else if (options_.timeout > 0 && now_ - heard_ >= options_.timeout)
      end_without_rank_0(
          fmt::format("{} has sent nothing for {:.4g} s: its process is stopped, or its host or network is down",
                      name(0), now_ - heard_));
  }

  // What each of the others did is not known to anyone else.
  void end_without_rank_0(const std::string& why) {
    end(fmt::format("{}, {}: {}", name(communicator_.rank()), what_it_does(report()), why));
  }

  void part() override { link_.close(); }

  void tell_rank_0(const Asked& asked) {
    const RankReport report = this->report();
    const double since = now_ - sent_;
    // A change of phase at once, or nearly: short ones come often.
    if ((since >= period_ || (since >= period_ / 4 && report.phase != sent_phase_)) && !link_.sends()) {
      sent_ = now_;
      sent_phase_ = report.phase;
      link_.push(kReport, bytes_of(report));
    }
    if (!asked.words.empty() && !std::exchange(spoke_, true)) link_.push(kLastWords, asked.words);
    if (asked.finishes && !std::exchange(said_bye_, true)) {
      bye_ = now_;
      link_.push(kBye);
    }
  }

  Link link_;  // the constructor's thread's until it is armed
  bool armed_ = false, spoke_ = false, said_bye_ = false;
  double heard_ = 0, sent_ = 0, bye_ = 0;
  std::array<char, 32> sent_phase_{};
};

Watchdog::Watchdog(Communicator& communicator, Options options) {
  if (communicator.ranks() == 1) return;
  try {
    std::string invitation;
    communicator.together("watchdog listens", [&] {
      if (communicator.leads()) {
        auto leader = std::make_unique<Leader>(communicator, options);
        invitation = leader->invitation();
        watch_ = std::move(leader);
        watch_->start();
      }
    });
    invitation = communicator.broadcast_text("watchdog's address", invitation);
    communicator.together("watchdog connects", [&] {
      if (!communicator.leads()) {
        auto follower = std::make_unique<Follower>(communicator, options);
        follower->join(invitation);
        watch_ = std::move(follower);
        watch_->start();
      }
    });
  } catch (...) {
    stop();
    throw;
  }
  watch_->arm();
}

Watchdog::~Watchdog() { stop(); }

void Watchdog::stop() {
  if (watch_) watch_->stop();
}

void Watchdog::at(int64_t step, std::string_view phase) {
  if (watch_) watch_->at(step, phase);
}
void Watchdog::progress() {
  if (watch_) watch_->progress();
}
void Watchdog::last_words(const std::string& message) {
  if (watch_) watch_->last_words(message);
}
void Watchdog::finish() {
  if (watch_) watch_->finish();
}

}  // namespace gta
