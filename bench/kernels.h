// Every op of a training step, forward and backward, and every product alone, on operands of the step's shapes: time,
// and share of the machine's limit.
//
// Operands come from memory: the caches are swept before each repeat. So a row is what the op costs where its operands
// are not warm; in a step (step.h) some are. FLOPs are those of the products that the op really makes, counted by the
// profiler. Bytes are the least an op has to move: each operand once.
#pragma once

#include <string>
#include <vector>

#include "core/measure/timing.h"
#include "layers/transformer/model_config.h"

namespace gta {

enum class RowKind : uint8_t { Product, Op };
const char* name_of(RowKind kind);  // "product", "op"

struct BenchRow {
  RowKind kind;
  std::string name, shape;  // "residual_rms_norm backward", "1024 x 768"
  int64_t calls = 0;        // per training step
  double flops = 0;         // of one call; 0: no products
  double bytes = 0;         // of one call; 0: not limited by memory
  Timing timing;
};

struct KernelBenchmark {
  ModelConfig model;
  int64_t micro_batch = 0, sequence = 0;
  DType dtype = DType::F32;
  Device device;
  int64_t repeats = 0;
  std::string only;  // rows whose name contains this; empty: all
};

struct KernelMeasurement {
  std::vector<BenchRow> rows;
  double peak_flops = 0, copy_bandwidth = 0;  // the better of before and after
};

// Each row is logged as soon as it is measured.
KernelMeasurement measure_kernels(const KernelBenchmark& settings);

}  // namespace gta
