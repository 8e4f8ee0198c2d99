#include "core/comm/link.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <cstdint>
#include <thread>

#include "core/error.h"

namespace gta {
namespace {

// Two ends of one connection.
struct Pair {
  Pair() {
    const Listener listener = listen_on("lo");
    std::string why;
    a = Link(connect_to(listener.addresses.at(0), listener.port, Clock::now() + std::chrono::seconds(60), why), 10);
    Socket accepted;
    while (accepted.descriptor() < 0) accepted = accept_one(listener);
    b = Link(std::move(accepted), 10);
  }
  Link a, b;
};

// Waits for a whole message; the kind 0 where none comes any more.
std::pair<char, std::string> next(Link& link) {
  char kind = 0;
  std::string body;
  while (!link.take(kind, body)) {
    if (!link.open()) return {0, ""};
    pollfd readable{link.descriptor(), POLLIN, 0};
    ::poll(&readable, 1, -1);
    link.pump();
  }
  return {kind, body};
}

TEST(Link, MessagesComeWholeAndInOrder) {
  Pair pair;
  pair.a.push(1);
  pair.a.push(2, std::string("a\0b", 3));
  pair.a.push(3, std::string(Link::kLongest + 100, 'x'));
  pair.a.pump();
  pair.b.push(4, "back");
  pair.b.pump();
  EXPECT_EQ(next(pair.b), std::pair(char{1}, std::string()));
  EXPECT_EQ(next(pair.b), std::pair(char{2}, std::string("a\0b", 3)));
  EXPECT_EQ(next(pair.b), std::pair(char{3}, std::string(Link::kLongest, 'x'))) << "longer ones are cut";
  EXPECT_EQ(next(pair.a), std::pair(char{4}, std::string("back")));
}

TEST(Link, WhatWasSentBeforeTheEndStillArrives) {
  Pair pair;
  pair.a.push(1, "last words");
  pair.a.pump();
  pair.a.close();
  ASSERT_EQ(::send(pair.b.descriptor(), "x", 1, MSG_NOSIGNAL), 1);  // which is refused,
  pollfd refused{pair.b.descriptor(), 0, 0};
  ::poll(&refused, 1, -1);
  pair.b.push(2, "nobody reads this");  // so that this cannot be sent
  pair.b.pump();
  EXPECT_EQ(next(pair.b), std::pair(char{1}, std::string("last words")));
  EXPECT_EQ(next(pair.b).first, 0);
  EXPECT_FALSE(pair.b.open());
  EXPECT_EQ(pair.b.why(), "");
}

TEST(Link, WhoSendsWhatIsNoMessageIsCutOff) {
  Pair pair;
  const uint32_t head[2] = {Link::kLongest + 1, 1};
  pair.a.push_raw(head, sizeof head);
  pair.a.pump();
  EXPECT_EQ(next(pair.b).first, 0);
  EXPECT_EQ(pair.b.why(), "what came is no message");
}

TEST(Link, TakesNoMoreThanItIsAskedFor) {
  Pair pair;
  pair.a.push_raw("0123456789", 10);
  pair.a.pump();
  char bytes[10] = {};
  pollfd readable{pair.b.descriptor(), POLLIN, 0};
  ::poll(&readable, 1, -1);
  pair.b.pump(4);
  EXPECT_FALSE(pair.b.take_raw(bytes, 5));
  EXPECT_TRUE(pair.b.take_raw(bytes, 4));
  EXPECT_EQ(std::string(bytes, 4), "0123");
  EXPECT_EQ(::recv(pair.b.descriptor(), bytes, sizeof bytes, MSG_PEEK), 6);
}

TEST(Link, ASlowReaderDoesNotHoldTheWriterUp) {
  Pair pair;
  constexpr int count = 2000;
  for (int i = 0; i < count; ++i) {
    pair.a.push(1, std::string(Link::kLongest, static_cast<char>(i)));
    pair.a.pump();
  }
  EXPECT_TRUE(pair.a.sends());
  std::thread writer([&] {
    while (pair.a.sends()) {
      pollfd writable{pair.a.descriptor(), POLLOUT, 0};
      ::poll(&writable, 1, -1);
      pair.a.pump();
    }
  });
  for (int i = 0; i < count; ++i) ASSERT_EQ(next(pair.b).second, std::string(Link::kLongest, static_cast<char>(i)));
  writer.join();
}

TEST(Listener, ListensWhereItIsTold) {
  const Listener all = listen_on("");
  EXPECT_GT(all.port, 0);
  for (const std::string& address : all.addresses) {
    EXPECT_NE(address, "127.0.0.1");
    EXPECT_NE(address, "::1");
  }
  for (const char* name : {"lo", "localhost", "127.0.0.1"}) {
    const Listener one = listen_on(name);
    std::string why;
    EXPECT_GE(connect_to(one.addresses.at(0), one.port, Clock::now() + std::chrono::seconds(60), why).descriptor(), 0)
        << name << ": " << why;
    EXPECT_LT(connect_to("127.0.0.3", one.port, Clock::now() + std::chrono::seconds(60), why).descriptor(), 0)
        << name << ": not on other addresses";
    EXPECT_EQ(why, "Connection refused");
  }
  for (const char* name : {"nosuch0", "192.0.2.1"}) try {
      listen_on(name);
      ADD_FAILURE() << name;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::BadInput);
      EXPECT_NE(
          std::string(error.what()).find("expected an interface, a name or an address of this host, which has lo"),
          std::string::npos)
          << error.what();
    }
}

TEST(Listener, AnyAddressOfTheHostIsReachedThroughAll) {
  const Listener all = listen_on("");
  std::string why;
  for (const char* address : {"127.0.0.1", "127.0.0.3"})
    EXPECT_GE(connect_to(address, all.port, Clock::now() + std::chrono::seconds(60), why).descriptor(), 0) << why;
  for (const std::string& address : all.addresses)
    EXPECT_GE(connect_to(address, all.port, Clock::now() + std::chrono::seconds(60), why).descriptor(), 0)
        << address << ": " << why;
}

}  // namespace
}  // namespace gta
