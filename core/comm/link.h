// Short messages between two processes over TCP, for one thread that serves many of them: what does not say that it
// waits does not. Both sides are the same program, so numbers travel as they lie in memory.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "core/clock.h"

namespace gta {

class Socket {
 public:
  Socket() = default;
  explicit Socket(int descriptor) : descriptor_(descriptor) {}
  ~Socket();
  Socket(Socket&& other) noexcept;
  Socket& operator=(Socket&& other) noexcept;
  int descriptor() const { return descriptor_; }  // -1: none

 private:
  int descriptor_ = -1;
};

class Link {
 public:
  static constexpr size_t kLongest = 1 << 14;  // bytes of a message; the rest of a longer one is cut off

  Link() = default;
  // silence: seconds after which the kernel gives up a peer that confirms nothing; 0: its own, some 15 minutes.
  Link(Socket socket, double silence);

  bool open() const { return socket_.descriptor() >= 0; }
  int descriptor() const { return socket_.descriptor(); }
  bool sends() const { return !out_.empty(); }     // whether something waits to be sent
  const std::string& why() const { return why_; }  // it is not open any more; empty: the other side closed it

  // What precedes all messages.
  void push_raw(const void* data, size_t bytes) {
    if (open()) out_.append(static_cast<const char*>(data), bytes);
  }
  bool take_raw(void* data, size_t bytes);  // false: they have not come
  void push(char kind, std::string_view body = {});
  bool take(char& kind,
            std::string& body);  // false: no whole message has come; of a closed one too, until all is taken
  // Sends and receives what it can, until so many bytes wait to be taken.
  void pump(size_t most = 4 * kLongest);
  void close(std::string why = {});

 private:
  Socket socket_;
  std::string in_, out_, why_;
};

struct Listener {
  bool open() const { return socket.descriptor() >= 0; }
  Socket socket;
  int port = 0;
  std::vector<std::string> addresses;  // under which other hosts may reach it, numeric
};

// On a free port. where: a network interface (eth0), a name or an address of this host; empty: all. Error(BadInput)
// where that is none, Error(Failed) where the system refuses.
Listener listen_on(const std::string& where);

// The next connection; without descriptor, and errno, where there is none.
Socket accept_one(const Listener& listener);

// Waits; a socket without descriptor and `why` where no connection comes before `until`.
Socket connect_to(const std::string& address, int port, Clock::time_point until, std::string& why);

}  // namespace gta
