#include "layers/attention/attention_config.h"

namespace gta {

const char* name_of(AttentionType type) {
  switch (type) {
    case AttentionType::Mha:
      return "mha";
    case AttentionType::Mqa:
      return "mqa";
    case AttentionType::Gqa:
      return "gqa";
    case AttentionType::Mla:
      return "mla";
    case AttentionType::Gva:
      return "gva";
    case AttentionType::Gha:
      return "gha";
    case AttentionType::Gta:
      return "gta";
  }
  return "?";
}

const char* name_of(ValueDecoderType type) { return type == ValueDecoderType::Direct ? "direct" : "direct+learned"; }

const char* name_of(GateType type) {
  switch (type) {
    case GateType::Sigmoid:
      return "sigmoid";
    case GateType::Silu:
      return "silu";
    case GateType::Relu2:
      return "relu2";
  }
  return "?";
}

}  // namespace gta
