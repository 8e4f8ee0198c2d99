// The two kernels of the CPU's core: blocks of many queries (shared_map_attention_cpu.cpp), and few queries against a
// long cache (shared_map_attention_decode_cpu.cpp).
#pragma once

#include "layers/attention/shared_map_attention/shared_map_attention.h"

namespace gta::cpu {

// Computes it and returns true where the queries are few and the keys are a cache's. Every sequence has the same bits
// whatever others are in the batch.
bool decode_few_queries(const AttentionForward& arguments);

}  // namespace gta::cpu
