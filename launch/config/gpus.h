// GPUs that a plan is made for without their being here: configs/gpus.yaml, which is built into the program.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/dtype.h"

namespace gta {

struct Gpu {
  std::string name;
  int64_t memory = 0;                            // bytes that a process finds free
  double bfloat16_flops = 0, float32_flops = 0;  // of dense products, FLOP/s
  double bandwidth = 0;                          // bytes/s
  double nvlink = 0;  // bytes/s that it sends to the others of its node, and receives meanwhile; 0: not known
  std::string source;
};

const std::vector<Gpu>& known_gpus();
// One of them, or NAME:GIB:TFLOPS:GBPS, whose TFLOP/s are those of any dtype. Error(BadInput) otherwise.
Gpu gpu_named(const std::string& text);
// Of products in this dtype, FLOP/s; 0 where nothing is known.
double peak_flops(const Gpu& gpu, DType dtype);

}  // namespace gta
