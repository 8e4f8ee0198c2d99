// What `model.attention` says. The mathematics of each type is in docs/attention.md.
#pragma once

#include <cstdint>
#include <string>

namespace gta {

enum class AttentionType { Mha, Mqa, Gqa, Gta };
enum class ValueDecoderType { DirectLearned, Direct };  // "direct+learned", "direct"
enum class GateType { Sigmoid, Silu, Relu2 };

const char* name_of(AttentionType type);     // "mha", "mqa", "gqa", "gta"
const char* name_of(ValueDecoderType type);
const char* name_of(GateType type);

// A count of 0 is "not given"; validate() of ModelConfig says which counts a type needs.
struct AttentionConfig {
  AttentionType type = AttentionType::Mha;
  int64_t query_heads = 0;   // gta: number of attention maps
  int64_t key_heads = 0;     // gta
  int64_t latent_heads = 0;  // gta
  int64_t latent_dim = 0;    // gta
  ValueDecoderType value_decoder = ValueDecoderType::DirectLearned;  // gta
  GateType gate = GateType::Sigmoid;                                 // gta
  int64_t kv_heads = 0;      // gqa
  bool qkv_bias = true;
};

}  // namespace gta
