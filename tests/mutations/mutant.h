// Whether the fault of a wrong build is switched on: GTA_MUTANT names the dtype that is wrong. float32 is also what a
// bfloat16 model computes in, and keeps its masters in, so such code is wrong for either.
#pragma once

#include <cstdlib>
#include <string>

#include "core/dtype.h"

namespace gta {

inline bool mutant(DType dtype) {
  static const std::string wrong = [] {
    const char* name = std::getenv("GTA_MUTANT");
    return std::string(name ? name : "");
  }();
  return wrong == name_of(dtype) || (wrong == "bfloat16" && dtype == DType::F32);
}

template <class T>
bool mutant() {
  static const bool wrong = mutant(dtype_of<T>);
  return wrong;
}

}  // namespace gta
