#include "core/backends/nvtx.h"

#include <nvtx3/nvToolsExt.h>

namespace gta {

NvtxRange::NvtxRange(const char* name) { nvtxRangePushA(name); }
NvtxRange::~NvtxRange() { nvtxRangePop(); }

}  // namespace gta
