// A range of the host's time for tools that watch the program from outside, such as Nsight Systems: NVTX, in builds
// with CUDA, nearly free while no tool listens. In builds without CUDA it is nothing.
#pragma once

namespace gta {

#ifdef GTA_CUDA
class NvtxRange {
 public:
  explicit NvtxRange(const char* name);
  ~NvtxRange();
  NvtxRange(const NvtxRange&) = delete;
  NvtxRange& operator=(const NvtxRange&) = delete;
};
#else
struct NvtxRange {
  explicit NvtxRange(const char*) {}
};
#endif

}  // namespace gta
