// This build against an independent reference: fixtures of the float64 oracle (tests/fixtures/README.md says what is in them).
#pragma once

#include <string>
#include <vector>

#include "core/dtype.h"
#include "core/device.h"

namespace gta {

struct VerifyRow {
  std::string what;     // "logits", "gradients", "losses", ...
  std::string worst;    // the tensor with the largest error
  double error = 0;     // largest difference, relative to the largest element of the tensor
  double tolerance = 0;
  bool holds() const { return error <= tolerance; }  // NaN does not hold
};

struct VerifyReport {
  std::string fixture;
  std::string attention;
  int64_t parameters = 0;
  std::vector<VerifyRow> rows;
  bool holds() const;
};

// Error(BadInput) when the fixture is damaged or its model is not one this build has.
VerifyReport verify_fixture(const std::string& path, DType dtype, Device device);

}  // namespace gta
