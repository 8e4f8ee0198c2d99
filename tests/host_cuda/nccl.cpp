// What libnccl offers, as far as the framework uses it, between processes of one host: their emulated devices exchange
// bytes over Unix sockets. A collective moves when its stream has come to it, and holds that stream until it is done;
// other streams and the host go on, as they do beside a GPU. Sums are not offered: the framework makes its own.
//
// GTA_HOST_NCCL breaks it, for tests: "fail=N" (its collective N, from 0, meets an error of the network and never
// ends), "hang=N" (never ends, without an error), "absent" (never connects); with "@R" behind it rank R's alone does.
#include <fcntl.h>
#include <nccl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/host_cuda/engine.h"

namespace host_cuda {
namespace {

struct Fault {
  enum class Kind { None, Fail, Hang, Absent } kind = Kind::None;
  int64_t operation = -1;
};

Fault fault_of(int rank) {
  const char* const given = std::getenv("GTA_HOST_NCCL");
  std::string text = given ? given : "";
  if (const size_t at = text.find('@'); at != std::string::npos) {
    if (std::atoi(text.c_str() + at + 1) != rank) return {};
    text.resize(at);
  }
  const int64_t operation = text.size() > 5 ? std::atoll(text.c_str() + 5) : -1;
  if (text.rfind("fail=", 0) == 0) return {Fault::Kind::Fail, operation};
  if (text.rfind("hang=", 0) == 0) return {Fault::Kind::Hang, operation};
  if (text == "absent") return {Fault::Kind::Absent, -1};
  if (!text.empty()) fail("GTA_HOST_NCCL: expected fail=N, hang=N or absent, with @RANK or without, got '%s'", given);
  return {};
}

struct Header {
  int64_t operation, bytes;
};

// Bytes to or from one rank.
struct Transfer {
  int peer;
  char* data;
  int64_t bytes;
  Header header{};
  int64_t moved = 0;  // of the header and the bytes
  bool done() const { return moved == static_cast<int64_t>(sizeof header) + bytes; }
};

sockaddr_un address_of(const std::string& name, int rank, socklen_t& length) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string text = name + "-" + std::to_string(rank);
  std::memcpy(address.sun_path + 1, text.data(), text.size());  // a name without a file
  length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + text.size());
  return address;
}

struct State {
  State(std::string id, int own, int count)
      : name(std::move(id)), rank(own), ranks(count), fault(fault_of(own)), sockets(static_cast<size_t>(count), -1) {}
  ~State() {
    for (int socket : sockets)
      if (socket >= 0) ::close(socket);
    if (listener >= 0) ::close(listener);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  void listen() {
    listener = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    socklen_t length = 0;
    const sockaddr_un address = address_of(name, rank, length);
    if (listener < 0 || ::bind(listener, reinterpret_cast<const sockaddr*>(&address), length) != 0 ||
        ::listen(listener, ranks) != 0)
      host_cuda::fail("NCCL: no socket: %s", std::strerror(errno));
  }
  // Brings the connections on: to lower ranks, from higher ones. Whether all are there.
  bool connect() {
    if (fault.kind == Fault::Kind::Absent) return false;
    for (int other = 0; other < rank; ++other) {
      if (sockets[static_cast<size_t>(other)] >= 0) continue;
      const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
      socklen_t length = 0;
      const sockaddr_un address = address_of(name, other, length);
      if (::connect(socket, reinterpret_cast<const sockaddr*>(&address), length) != 0 ||
          ::write(socket, &rank, sizeof rank) != sizeof rank) {
        ::close(socket);
        continue;
      }
      take(other, socket);
    }
    for (int socket; (socket = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC)) >= 0;) {
      int other = -1;
      if (::read(socket, &other, sizeof other) == sizeof other && other > rank && other < ranks)
        take(other, socket);
      else
        ::close(socket);
    }
    for (int other = 0; other < ranks; ++other)
      if (other != rank && sockets[static_cast<size_t>(other)] < 0) return false;
    return true;
  }
  void take(int other, int socket) {
    ::fcntl(socket, F_SETFL, ::fcntl(socket, F_GETFL) | O_NONBLOCK);
    sockets[static_cast<size_t>(other)] = socket;
  }

  const std::string name;
  const int rank, ranks;
  const Fault fault;
  std::vector<int> sockets;  // by rank
  int listener = -1;
  std::atomic<bool> connected = false, aborted = false, stops = false;
  std::atomic<ncclResult_t> error = ncclSuccess;
  int64_t operations = 0;
  cudaStream_t stream = nullptr;
};

// One collective, brought on until all its bytes have moved.
class Operation {
 public:
  Operation(std::shared_ptr<State> state, std::vector<Transfer> sends, std::vector<Transfer> receives)
      : state_(std::move(state)),
        sends_(std::move(sends)),
        receives_(std::move(receives)),
        number_(state_->operations++) {
    for (std::vector<Transfer>* all : {&sends_, &receives_})
      for (Transfer& transfer : *all) transfer.header = {number_, transfer.bytes};
  }

  bool advance() {
    if (state_->aborted) return true;
    if (state_->fault.operation == number_) {
      if (state_->fault.kind == Fault::Kind::Fail) state_->error = ncclRemoteError;
      return false;
    }
    bool done = true;
    for (Transfer& send : sends_) done &= send.peer == state_->rank ? to_itself(send) : move(send, true);
    for (Transfer& receive : receives_) done &= receive.peer == state_->rank || move(receive, false);
    return done;
  }

 private:
  bool to_itself(Transfer& send) {
    for (Transfer& receive : receives_)
      if (receive.peer == state_->rank && !send.done() && receive.data != send.data)
        std::memcpy(receive.data, send.data, static_cast<size_t>(send.bytes));
    send.moved = static_cast<int64_t>(sizeof(Header)) + send.bytes;
    return true;
  }

  bool move(Transfer& t, bool sends) {
    constexpr auto head = static_cast<int64_t>(sizeof(Header));
    const int socket = state_->sockets[static_cast<size_t>(t.peer)];
    while (!t.done()) {
      const bool in_header = t.moved < head;
      char* const at = in_header ? reinterpret_cast<char*>(&t.header) + t.moved : t.data + (t.moved - head);
      const auto left = static_cast<size_t>(in_header ? head - t.moved : head + t.bytes - t.moved);
      const ssize_t moved = sends ? ::send(socket, at, left, MSG_NOSIGNAL) : ::recv(socket, at, left, 0);
      if (moved < 0 && (errno == EAGAIN || errno == EINTR)) return false;
      if (moved <= 0) {  // the other one is gone
        state_->error = ncclRemoteError;
        return false;
      }
      t.moved += moved;
      if (!sends && in_header && t.moved == head && (t.header.operation != number_ || t.header.bytes != t.bytes))
        host_cuda::fail("NCCL: rank %d is in collective %lld of %lld bytes, rank %d in %lld of %lld", t.peer,
                        static_cast<long long>(t.header.operation), static_cast<long long>(t.header.bytes),
                        state_->rank, static_cast<long long>(number_), static_cast<long long>(t.bytes));
    }
    return true;
  }

  std::shared_ptr<State> state_;
  std::vector<Transfer> sends_, receives_;
  int64_t number_;
};

}  // namespace
}  // namespace host_cuda

struct ncclComm {
  std::shared_ptr<host_cuda::State> state;
  // A GPU works without being asked: what is queued goes on while this process waits for others.
  std::thread device;
};

namespace host_cuda {
namespace {

struct Group {
  int depth = 0;
  ncclComm_t comm = nullptr;
  cudaStream_t stream = nullptr;
  std::vector<Transfer> sends, receives;
};
thread_local Group group;

ncclResult_t queue(ncclComm_t comm, cudaStream_t stream, std::vector<Transfer> sends, std::vector<Transfer> receives) {
  State& state = *comm->state;
  if (!state.connected) fail("NCCL: a collective of a communicator that is not connected");
  if (state.stream && state.stream != stream) fail("NCCL: collectives of one communicator on two streams");
  state.stream = stream;
  const auto operation = std::make_shared<Operation>(comm->state, std::move(sends), std::move(receives));
  enqueue_in_steps(stream, "a collective", [operation] { return operation->advance(); });
  return ncclSuccess;
}

ncclResult_t add(std::vector<Transfer>& to, void* data, size_t bytes, ncclDataType_t type, int peer, ncclComm_t comm,
                 cudaStream_t stream) {
  if (group.depth == 0) fail("NCCL: ncclSend and ncclRecv are expected in a group");
  if (type != ncclInt8) fail("NCCL: expected ncclInt8");
  if (peer < 0 || peer >= comm->state->ranks) return ncclInvalidArgument;
  group.comm = comm;
  group.stream = stream;
  to.push_back({peer, static_cast<char*>(data), static_cast<int64_t>(bytes)});
  return ncclSuccess;
}

void leave(ncclComm_t comm, bool aborts) {
  comm->state->aborted = comm->state->aborted || aborts;
  comm->state->stops = true;
  comm->device.join();
  delete comm;
}

}  // namespace
}  // namespace host_cuda

using namespace host_cuda;  // the definitions below have NCCL's names

extern "C" {

ncclResult_t ncclGetVersion(int* version) {
  *version = NCCL_VERSION_CODE;
  return ncclSuccess;
}
ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  static std::atomic<int> made = 0;
  std::snprintf(id->internal, sizeof id->internal, "gta-host-nccl-%d-%d", static_cast<int>(::getpid()), ++made);
  return ncclSuccess;
}
ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int ranks, ncclUniqueId id, int rank, ncclConfig_t* config) {
  if (!config || config->blocking != 0) fail("NCCL: a communicator that blocks cannot be aborted");
  if (rank < 0 || rank >= ranks) return ncclInvalidArgument;
  auto made = std::make_unique<ncclComm>();
  made->state =
      std::make_shared<State>(std::string(id.internal, ::strnlen(id.internal, sizeof id.internal)), rank, ranks);
  made->state->listen();
  made->device = std::thread([state = made->state] {
    while (!state->stops) {
      run_some();
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
  });
  *comm = made.release();
  return ncclInProgress;
}
ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* error) {
  State& state = *comm->state;
  if (!state.connected) state.connected = state.connect();
  *error = state.connected ? state.error.load() : ncclInProgress;
  return ncclSuccess;
}
ncclResult_t ncclCommFinalize(ncclComm_t comm) {
  // Real ones wait for what is queued.
  cudaStreamSynchronize(comm->state->stream);
  return ncclSuccess;
}
ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  leave(comm, false);
  return ncclSuccess;
}
ncclResult_t ncclCommAbort(ncclComm_t comm) {
  leave(comm, true);
  return ncclSuccess;
}
ncclResult_t ncclGroupStart() {
  ++group.depth;
  return ncclSuccess;
}
ncclResult_t ncclGroupEnd() {
  if (--group.depth > 0) return ncclSuccess;
  Group ended = std::exchange(group, {});
  return ended.comm ? queue(ended.comm, ended.stream, std::move(ended.sends), std::move(ended.receives)) : ncclSuccess;
}
ncclResult_t ncclSend(const void* data, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return add(group.sends, const_cast<void*>(data), count, type, peer, comm, stream);
}
ncclResult_t ncclRecv(void* data, size_t count, ncclDataType_t type, int peer, ncclComm_t comm, cudaStream_t stream) {
  return add(group.receives, data, count, type, peer, comm, stream);
}
ncclResult_t ncclAllGather(const void* send, void* receive, size_t count, ncclDataType_t type, ncclComm_t comm,
                           cudaStream_t stream) {
  if (type != ncclInt8) fail("NCCL: expected ncclInt8");
  const auto bytes = static_cast<int64_t>(count);
  const int own = comm->state->rank;
  std::vector<Transfer> sends, receives;
  for (int peer = 0; peer < comm->state->ranks; ++peer) {
    sends.push_back({peer, static_cast<char*>(const_cast<void*>(send)), bytes});
    receives.push_back({peer, static_cast<char*>(receive) + peer * bytes, bytes});
  }
  if (static_cast<char*>(receive) + own * bytes != send) fail("NCCL: ncclAllGather is expected in place");
  return queue(comm, stream, std::move(sends), std::move(receives));
}
ncclResult_t ncclBroadcast(const void* send, void* receive, size_t count, ncclDataType_t type, int root,
                           ncclComm_t comm, cudaStream_t stream) {
  if (type != ncclInt8 || send != receive) fail("NCCL: ncclBroadcast is expected in place and of bytes");
  const auto bytes = static_cast<int64_t>(count);
  std::vector<Transfer> sends, receives;
  if (comm->state->rank != root) receives.push_back({root, static_cast<char*>(receive), bytes});
  for (int peer = 0; peer < comm->state->ranks && comm->state->rank == root; ++peer)
    if (peer != root) sends.push_back({peer, static_cast<char*>(receive), bytes});
  return queue(comm, stream, std::move(sends), std::move(receives));
}
const char* ncclGetErrorString(ncclResult_t result) {
  switch (result) {
    case ncclSuccess:
      return "no error";
    case ncclRemoteError:
      return "remote process exited or there was a network error";
    case ncclInvalidArgument:
      return "invalid argument";
    default:
      return "another error";
  }
}
const char* ncclGetLastError(ncclComm_t) { return "executed on the CPU"; }

}  // extern "C"
