// The only file that includes nccl.h.
//
// Parts are moved by NCCL and added up by us (core/sum_in_order.h): its own sums have an order that depends on its
// version, on sizes and on the network. Its communicator does not block: what waits for other ranks can be aborted by
// another thread, as long as no call is under way.
#include "core/comm/nccl_transport.h"

#include "core/error.h"

#ifdef GTA_NCCL

#include <nccl.h>

#include <chrono>
#include <mutex>
#include <thread>
#include <utility>

#include "core/backends/cuda/runtime.h"

namespace gta {
namespace {

constexpr std::chrono::microseconds kNap{50};

std::string describe_failure(ncclResult_t result, ncclComm_t comm) {
  const char* const last = ncclGetLastError(comm);
  return fmt::format("{}{}{}", ncclGetErrorString(result), last && *last ? ": " : "", last ? last : "");
}

class NcclTransport : public Transport {
 public:
  NcclTransport(const Device& device, int64_t rank, int64_t ranks) : device_(device), rank_(rank), ranks_(ranks) {
    cuda::stream_of(device);  // makes it current
    GTA_CUDA_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
  }
  ~NcclTransport() override {
    abort();
    cudaStreamDestroy(stream_);
    cudaGetLastError();
  }
  NcclTransport(const NcclTransport&) = delete;
  NcclTransport& operator=(const NcclTransport&) = delete;

  // Waits for all ranks.
  void connect(const ncclUniqueId& id) {
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    call("ncclCommInitRankConfig", [&] {
      return ncclCommInitRankConfig(&comm_, static_cast<int>(ranks_), id, static_cast<int>(rank_), &config);
    });
  }

  int64_t rank() const override { return rank_; }
  int64_t ranks() const override { return ranks_; }
  std::string name() const override { return nccl_version(); }
  Stream stream() const override { return {device_, stream_}; }

  void all_to_all(const void* send, void* receive, int64_t bytes) override {
    const auto count = static_cast<size_t>(bytes);
    call("all to all by ncclSend and ncclRecv", [&] {
      ncclResult_t result = ncclGroupStart();
      for (int64_t rank = 0; rank < ranks_ && result == ncclSuccess; ++rank) {
        const int peer = static_cast<int>(rank);
        result = ncclSend(static_cast<const char*>(send) + rank * bytes, count, ncclInt8, peer, comm_, stream_);
        if (result == ncclSuccess)
          result = ncclRecv(static_cast<char*>(receive) + rank * bytes, count, ncclInt8, peer, comm_, stream_);
      }
      const ncclResult_t end = ncclGroupEnd();
      return result == ncclSuccess ? end : result;
    });
  }
  void all_gather(void* data, int64_t bytes) override {
    call("ncclAllGather", [&] {
      return ncclAllGather(static_cast<const char*>(data) + rank_ * bytes, data, static_cast<size_t>(bytes), ncclInt8,
                           comm_, stream_);
    });
  }
  void broadcast(void* data, int64_t bytes, int64_t root) override {
    call("ncclBroadcast", [&] {
      return ncclBroadcast(data, data, static_cast<size_t>(bytes), ncclInt8, static_cast<int>(root), comm_, stream_);
    });
  }
  void close() override {
    call("ncclCommFinalize", [&] { return ncclCommFinalize(comm_); });
    const std::lock_guard lock(mutex_);
    if (comm_) ncclCommDestroy(std::exchange(comm_, nullptr));
  }

  std::string failure() override {
    // A call that is under way meets it itself.
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock || !comm_) return "";
    ncclResult_t result = ncclSuccess;
    const ncclResult_t asked = ncclCommGetAsyncError(comm_, &result);
    if (asked != ncclSuccess) result = asked;
    return result == ncclSuccess || result == ncclInProgress
               ? ""
               : fmt::format("[NCCL] a collective failed on the device: {}", describe_failure(result, comm_));
  }
  void abort() noexcept override {
    const std::lock_guard lock(mutex_);
    if (comm_) ncclCommAbort(std::exchange(comm_, nullptr));
  }

 private:
  // Returns when NCCL has taken the call, which may need the other ranks'.
  template <class Call>
  void call(const char* what, Call f) {
    {
      const std::lock_guard lock(mutex_);
      check(what, f());
    }
    while (!taken(what)) std::this_thread::sleep_for(kNap);
  }
  bool taken(const char* what) {
    const std::lock_guard lock(mutex_);
    if (!comm_) fail("NCCL", "{}: was aborted", what);
    ncclResult_t result = ncclSuccess;
    check(what, ncclCommGetAsyncError(comm_, &result));
    check(what, result);
    return result == ncclSuccess;
  }
  void check(const char* what, ncclResult_t result) const {
    if (result == ncclSuccess || result == ncclInProgress) return;
    fail("NCCL", "{} failed: {} (NCCL_DEBUG=WARN says more)", what, describe_failure(result, comm_));
  }

  Device device_;
  int64_t rank_, ranks_;
  cudaStream_t stream_ = nullptr;
  std::mutex mutex_;  // one thread at a time may use a communicator
  ncclComm_t comm_ = nullptr;
};

}  // namespace

bool has_nccl() { return true; }

std::string nccl_version() {
  int version = 0;
  if (ncclGetVersion(&version) != ncclSuccess) return "NCCL";
  return fmt::format("NCCL {}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

std::unique_ptr<Transport> nccl_transport(Communicator& ranks, const Device& device) {
  std::string text;
  std::unique_ptr<NcclTransport> transport;
  ranks.together("NCCL", [&] {
    ncclUniqueId id{};
    if (ranks.leads()) {
      const ncclResult_t result = ncclGetUniqueId(&id);
      if (result != ncclSuccess) fail("NCCL", "ncclGetUniqueId failed: {}", describe_failure(result, nullptr));
      text.assign(id.internal, sizeof id.internal);
    }
    transport = std::make_unique<NcclTransport>(device, ranks.rank(), ranks.ranks());
  });
  text = ranks.broadcast_text("NCCL", text);
  ranks.together("NCCL connects", [&] {
    ncclUniqueId id{};
    ensure(text.size() == sizeof id.internal, "NCCL", "an identity of {} bytes came", text.size());
    text.copy(id.internal, sizeof id.internal);
    transport->connect(id);
  });
  return transport;
}

}  // namespace gta

#else

namespace gta {

bool has_nccl() { return false; }

std::string nccl_version() { return "none"; }

std::unique_ptr<Transport> nccl_transport(Communicator&, const Device&) {
  bad_input("NCCL",
            "this build has none: install it (nccl.h and libnccl come with the CUDA Toolkit's packages, or from "
            "https://developer.nvidia.com/nccl), and build again with -DGTA_NCCL=ON");
}

}  // namespace gta

#endif
