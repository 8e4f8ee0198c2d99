#include "core/backends/stream_mark.h"

#include <chrono>

namespace gta::cpu {
namespace {

// Whole nanoseconds, so that differences add up exactly.
struct Moment : StreamMark {
  int64_t at = std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
  int64_t nanoseconds_since(const StreamMark& first) const override {
    return at - static_cast<const Moment&>(first).at;
  }
};

}  // namespace

std::unique_ptr<StreamMark> mark_stream(Stream) { return std::make_unique<Moment>(); }

}  // namespace gta::cpu
