#include "core/backends/stream_event.h"

#include "core/backends/cuda/event.h"

namespace gta::cuda {
namespace {

struct Recorded : StreamEvent {
  explicit Recorded(cudaStream_t stream) { event.record(stream); }
  bool reached() const override { return event.reached(); }
  void wait() const override { event.wait(); }
  void hold(Stream later) const override { event.hold(stream_of(later)); }
  Event event{cudaEventBlockingSync};
};

}  // namespace

std::unique_ptr<StreamEvent> record_event(Stream stream) { return std::make_unique<Recorded>(stream_of(stream)); }

}  // namespace gta::cuda
