// What the environment variable GTA_HOST_CUDA sets, e.g.
// GTA_HOST_CUDA=order=reverse,seed=7,streams=eager,fill=7f,guard=0
//   order=forward|reverse|random   which of a block's threads runs next (random: warps by priorities that
//                                  change, lanes at random)
//   seed=N                         of everything random
//   streams=eager|deferred         at once, or when a synchronisation asks for it, in a random order that events allow
//   fill=ff|7f                     bytes of memory that nothing has written: NaN in every floating type, or
//                                  large numbers
//   guard=0|1                      device memory cannot be touched by the host; 0 where that takes too long
//   shared=BYTES                   shared memory that the device gives a block at most: 48 to 163 KiB
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace host_cuda {

// Shared memory of a block on compute capability 8.0, and what every device gives without being asked.
inline constexpr size_t kMostShared = 163 * 1024, kSharedWithoutAsking = 48 * 1024;

enum class Order { Forward, Reverse, Random };

struct Options {
  Order order = Order::Random;
  uint64_t seed = 1;
  bool eager = false;
  int fill = 0xff;
  bool guard = true;
  size_t shared = kMostShared;
};
const Options& options();
// What to set GTA_HOST_CUDA to for the same again.
std::string options_text();

// xorshift64*
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15ull | 1) {}
  uint32_t operator()() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return static_cast<uint32_t>((state_ * 2685821657736338717ull) >> 32);
  }
  uint32_t below(uint32_t count) { return (*this)() % count; }

 private:
  uint64_t state_;
};

}  // namespace host_cuda
