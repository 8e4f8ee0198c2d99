// Listens to NVTX as Nsight Systems does: NVTX_INJECTION64_PATH names this library, and the first range of a process
// loads it. Writes a line for each beginning and end of a range to the file that NVTX_LISTENER_FILE names:
//   THREAD push NAME
//   THREAD pop
#include <nvtx3/nvToolsExt.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace {

std::FILE* file = nullptr;

int push(const char* name) { return std::fprintf(file, "%d push %s\n", gettid(), name), 0; }
int pop() { return std::fprintf(file, "%d pop\n", gettid()), 0; }

}  // namespace

// 1 when it listens, 0 when it cannot.
extern "C" int InitializeInjectionNvtx2(NvtxGetExportTableFunc_t export_table) {
  const char* const path = std::getenv("NVTX_LISTENER_FILE");
  const auto* const callbacks = static_cast<const NvtxExportTableCallbacks*>(export_table(NVTX_ETID_CALLBACKS));
  NvtxFunctionTable table = nullptr;
  unsigned size = 0;
  if (!path || !callbacks || !callbacks->GetModuleFunctionTable(NVTX_CB_MODULE_CORE, &table, &size)) return 0;
  if (size <= NVTX_CBID_CORE_RangePop || !(file = std::fopen(path, "w"))) return 0;
  std::setvbuf(file, nullptr, _IOLBF, 0);
  *table[NVTX_CBID_CORE_RangePushA] = reinterpret_cast<NvtxFunctionPointer>(push);
  *table[NVTX_CBID_CORE_RangePop] = reinterpret_cast<NvtxFunctionPointer>(pop);
  return 1;
}
