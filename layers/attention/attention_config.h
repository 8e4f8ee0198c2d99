// What `model.attention` says. The mathematics of each type is in docs/attention.md.
#pragma once

#include <cstdint>
#include <string>

namespace gta {

enum class AttentionType { Mha, Mqa, Gqa, Mla, Gva, Gha, Gta };
enum class ValueDecoderType { DirectLearned, Direct };  // "direct+learned", "direct"
enum class GateType { Sigmoid, Silu, Relu2 };

const char* name_of(AttentionType type);  // "mha", "mqa", "gqa", "mla", "gva", "gha", "gta"
const char* name_of(ValueDecoderType type);
const char* name_of(GateType type);

// A count of 0 is "not given"; validate() of ModelConfig says which counts a type needs.
struct AttentionConfig {
  AttentionType type = AttentionType::Mha;
  int64_t query_heads = 0;                                           // gta, gva, gha: number of attention maps
  int64_t key_heads = 0;                                             // gta, gva, gha
  int64_t latent_heads = 0;                                          // gta
  int64_t latent_dim = 0;                                            // gta
  ValueDecoderType value_decoder = ValueDecoderType::DirectLearned;  // gta
  GateType gate = GateType::Sigmoid;                                 // gta
  int64_t kv_heads = 0;                                              // gqa
  int64_t value_heads = 0;                                           // gha
  int64_t kv_lora_rank = 0;                                          // mla: width of the latent
  int64_t nope_dim = 0;                                              // mla: part of a head without position
  int64_t rope_dim = 0;                                              // mla: part of a head with position
  int64_t value_dim = 0;                                             // mla
  bool qkv_bias = true;                                              // all but mla
};

}  // namespace gta
