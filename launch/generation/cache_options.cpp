#include "launch/generation/cache_options.h"

#include "core/dtype_pair.h"
#include "core/error.h"

namespace gta {

DType cache_dtype(const std::string& cache, DType compute) {
  if (cache == "dtype") return compute;
  const DType dtype = dtype_from_name(cache);
  require(one_arithmetic(dtype, compute), "--cache",
          "{} does not go with compute in {}: leave it out, or take another train.dtype", cache, name_of(compute));
  return dtype;
}

}  // namespace gta
