// In the place of cudnn_attention.cpp where cuDNN's headers are not there (cmake/GtaCudnn.cmake).
#include "bench/cudnn_attention.h"

namespace gta {
namespace {

const char* const kAbsence = "this build has no cuDNN: it takes nvcc, cudnn.h and launch/install_cudnn_frontend";

}  // namespace

std::string cudnn_absence() { return kAbsence; }
std::string cudnn_refusal(const AttentionForward&, const CudnnGpu*) { return kAbsence; }
std::string cudnn_refusal(const AttentionBackward&, const CudnnGpu*) { return kAbsence; }

struct CudnnAttention::Plan {};
CudnnAttention::CudnnAttention(const AttentionForward&) { fail("cudnn_attention", "{}", kAbsence); }
CudnnAttention::CudnnAttention(const AttentionBackward&) { fail("cudnn_attention", "{}", kAbsence); }
CudnnAttention::~CudnnAttention() = default;
void CudnnAttention::run() {}

}  // namespace gta
