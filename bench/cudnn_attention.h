// cuDNN's attention on the core's tensors: what the core is checked against (tests/layers/attention) and timed beside
// (gta bench ops). Nothing trains with it.
//
// The same U, dQ, dK and dV as shared_map_attention.h where cuDNN has them: bfloat16, causal, no documents, every
// gradient wanted and overwritten. nk and nv may differ, and so may dk and dv; backward adds in a fixed order, as ours
// does. One thing differs: `logsumexp` is (batch * nq, queries), the only layout that cuDNN's backward reads.
//
// libcudnn is opened at the first call, so that the program also starts where it is not installed.
#pragma once

#include <memory>
#include <string>

#include "layers/attention/shared_map_attention/shared_map_attention.h"

namespace gta {

// Why this build or this machine has no cuDNN; empty: it has.
std::string cudnn_absence();

// A GPU that need not be here, for which cuDNN can plan all the same.
struct CudnnGpu {
  int compute_capability;  // 80, 90
  std::string properties;  // cuDNN's JSON of a device
};

// Why it does not run this on the tensors' device, or would not on `gpu`: its absence, what was expected of the
// arguments, or cuDNN's own words. Empty: it does.
std::string cudnn_refusal(const AttentionForward& arguments, const CudnnGpu* gpu = nullptr);
std::string cudnn_refusal(const AttentionBackward& arguments, const CudnnGpu* gpu = nullptr);

// One pass, planned once for its tensors. Error(Failed) with the refusal.
class CudnnAttention {
 public:
  explicit CudnnAttention(const AttentionForward& arguments);   // writes u and logsumexp
  explicit CudnnAttention(const AttentionBackward& arguments);  // writes d_q, d_k, d_v
  ~CudnnAttention();
  CudnnAttention(const CudnnAttention&) = delete;
  CudnnAttention& operator=(const CudnnAttention&) = delete;

  void run();  // on the device's compute stream

 private:
  struct Plan;
  std::unique_ptr<Plan> plan_;
};

}  // namespace gta
