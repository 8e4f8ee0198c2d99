#include "core/comm/link.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>

#include "core/error.h"

namespace gta {
namespace {

struct Head {
  uint32_t bytes, kind;
};

std::string reason(int error) { return std::strerror(error); }

using Found = std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)>;

// Stream sockets' addresses of a name or number; null and `why` where there is none.
Found look_up(const std::string& name, int port, std::string& why) {
  addrinfo wanted{};
  wanted.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int code = ::getaddrinfo(name.c_str(), std::to_string(port).c_str(), &wanted, &found);
  if (code != 0) why = code == EAI_SYSTEM ? reason(errno) : ::gai_strerror(code);
  return {code == 0 ? found : nullptr, &::freeaddrinfo};
}

socklen_t size_of(const sockaddr* address) {
  return address->sa_family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
}

std::string as_text(const sockaddr* address) {
  std::array<char, NI_MAXHOST> text{};
  const int code =
      ::getnameinfo(address, size_of(address), text.data(), text.size(), nullptr, 0, NI_NUMERICHOST | NI_NUMERICSERV);
  return code == 0 ? text.data() : "";
}

// Calls use(interface, address) for what others can use: no link-local address of IPv6, which needs their interface.
template <class Use>
void each_address(Use use) {
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) != 0) fail("watchdog", "the network's interfaces cannot be listed: {}", reason(errno));
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> owner(all, &::freeifaddrs);
  for (const ifaddrs* i = all; i != nullptr; i = i->ifa_next) {
    if (i->ifa_addr == nullptr || (i->ifa_flags & IFF_UP) == 0) continue;
    if (i->ifa_addr->sa_family == AF_INET6) {
      sockaddr_in6 six{};
      std::memcpy(&six, i->ifa_addr, sizeof six);
      if (IN6_IS_ADDR_LINKLOCAL(&six.sin6_addr)) continue;
    } else if (i->ifa_addr->sa_family != AF_INET) {
      continue;
    }
    use(*i, i->ifa_addr);
  }
}

// Without descriptor, and errno, where the system refuses.
Socket listening(const sockaddr* address) {
  Socket socket(::socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (socket.descriptor() < 0) return {};
  const int off = 0;
  if (address->sa_family == AF_INET6)
    ::setsockopt(socket.descriptor(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);  // IPv4 comes to it too
  if (::bind(socket.descriptor(), address, size_of(address)) != 0 || ::listen(socket.descriptor(), SOMAXCONN) != 0) {
    const int error = errno;
    socket = {};
    errno = error;
  }
  return socket;
}

}  // namespace

Socket::~Socket() {
  if (descriptor_ >= 0) ::close(descriptor_);
}
Socket::Socket(Socket&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
Socket& Socket::operator=(Socket&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  Socket(std::move(other));  // closes what was ours
  return *this;
}

Link::Link(Socket socket, double silence) : socket_(std::move(socket)) {
  if (!open()) return;
  const auto set = [&](int level, int option, int value) {
    ::setsockopt(descriptor(), level, option, &value, sizeof value);
  };
  ::fcntl(descriptor(), F_SETFL, O_NONBLOCK);
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  if (silence <= 0) return;
  const int seconds = std::max(1, static_cast<int>(std::ceil(std::min(silence, 1e5) / 3)));
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, seconds);
  set(IPPROTO_TCP, TCP_KEEPINTVL, seconds);
  set(IPPROTO_TCP, TCP_KEEPCNT, 2);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, 3000 * seconds);
}

void Link::close(std::string why) {
  if (open()) why_ = std::move(why);
  socket_ = {};
  out_.clear();
}

bool Link::take_raw(void* data, size_t bytes) {
  if (in_.size() < bytes) return false;
  std::memcpy(data, in_.data(), bytes);
  in_.erase(0, bytes);
  return true;
}

void Link::push(char kind, std::string_view body) {
  body = body.substr(0, kLongest);
  const Head head{static_cast<uint32_t>(body.size()), static_cast<uint32_t>(kind)};
  push_raw(&head, sizeof head);
  push_raw(body.data(), body.size());
}

bool Link::take(char& kind, std::string& body) {
  Head head{};
  if (in_.size() < sizeof head) return false;
  std::memcpy(&head, in_.data(), sizeof head);
  if (head.bytes > kLongest) {
    in_.clear();
    close("what came is no message");
    return false;
  }
  if (in_.size() < sizeof head + head.bytes) return false;
  kind = static_cast<char>(head.kind);
  body = in_.substr(sizeof head, head.bytes);
  in_.erase(0, sizeof head + head.bytes);
  return true;
}

void Link::pump(size_t most) {
  int error = 0;  // what came before it is received all the same
  while (open() && !out_.empty()) {
    const ssize_t sent = ::send(descriptor(), out_.data(), out_.size(), MSG_NOSIGNAL);
    if (sent >= 0) {
      out_.erase(0, static_cast<size_t>(sent));
    } else if (errno != EINTR) {
      if (errno != EAGAIN) error = errno;
      break;
    }
  }
  std::array<char, 4096> piece;
  while (open() && in_.size() < most) {
    const ssize_t got = ::recv(descriptor(), piece.data(), std::min(piece.size(), most - in_.size()), 0);
    if (got > 0) {
      in_.append(piece.data(), static_cast<size_t>(got));
    } else if (got == 0 || errno != EINTR) {
      if (got < 0 && errno == EAGAIN && error == 0) return;
      if (got < 0 && errno != EAGAIN) error = errno;
      close(error == 0 || error == EPIPE || error == ECONNRESET ? "" : reason(error));
    }
  }
}

Listener listen_on(const std::string& where) {
  std::vector<std::vector<char>> places;  // addresses to listen on: the first that works
  const auto add = [&](const sockaddr* address) {
    const char* first = reinterpret_cast<const char*>(address);
    places.emplace_back(first, first + size_of(address));
  };
  Listener result;
  std::string interfaces;
  each_address([&](const ifaddrs& i, const sockaddr* address) {
    if (where.empty() && (i.ifa_flags & IFF_LOOPBACK) == 0) result.addresses.push_back(as_text(address));
    if (where == i.ifa_name) add(address);
    interfaces += fmt::format("{}{} ({})", interfaces.empty() ? "" : ", ", i.ifa_name, as_text(address));
  });
  if (where.empty()) {
    sockaddr_in6 six{};
    six.sin6_family = AF_INET6;
    sockaddr_in four{};
    four.sin_family = AF_INET;
    add(reinterpret_cast<const sockaddr*>(&six));
    add(reinterpret_cast<const sockaddr*>(&four));  // where there is no IPv6
  } else if (places.empty()) {
    std::string why;
    const Found found = look_up(where, 0, why);
    for (const addrinfo* a = found.get(); a != nullptr; a = a->ai_next) add(a->ai_addr);
  }
  std::string why = "it is not known";
  for (const std::vector<char>& place : places) {
    sockaddr_storage address{};
    std::memcpy(&address, place.data(), place.size());
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    result.socket = listening(any);
    why = reason(errno);
    if (result.socket.descriptor() < 0) continue;
    socklen_t size = sizeof address;
    ::getsockname(result.socket.descriptor(), any, &size);
    in_port_t port = 0;  // lies at the same place in both families
    std::memcpy(&port, &reinterpret_cast<sockaddr_in*>(any)->sin_port, sizeof port);
    result.port = ntohs(port);
    if (!where.empty()) result.addresses = {as_text(any)};
    return result;
  }
  if (where.empty()) fail("watchdog", "no TCP port can be opened: {}", why);
  bad_input("watchdog",
            "cannot listen on '{}': {}; expected an interface, a name or an address of this host, which has {}", where,
            why, interfaces);
}

Socket accept_one(const Listener& listener) {
  return Socket(::accept4(listener.socket.descriptor(), nullptr, nullptr, SOCK_CLOEXEC));
}

Socket connect_to(const std::string& address, int port, Clock::time_point until, std::string& why) {
  const Found found = look_up(address, port, why);
  for (const addrinfo* a = found.get(); a != nullptr; a = a->ai_next) {
    Socket socket(::socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    int error = socket.descriptor() < 0 ? errno : 0;
    if (error == 0 && ::connect(socket.descriptor(), a->ai_addr, a->ai_addrlen) != 0) error = errno;
    if (error == EINPROGRESS) {
      pollfd writable{socket.descriptor(), POLLOUT, 0};
      const double left = -seconds_since(until);
      const int ready = ::poll(&writable, 1, std::max(0, static_cast<int>(left * 1000)));
      socklen_t size = sizeof error;
      if (ready <= 0)
        error = ETIMEDOUT;
      else
        ::getsockopt(socket.descriptor(), SOL_SOCKET, SO_ERROR, &error, &size);
    }
    if (error == 0) return socket;
    why = reason(error);
  }
  return {};
}

}  // namespace gta
