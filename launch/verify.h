// This build against an independent reference: fixtures of the float64 oracle (tests/fixtures/README.md says what is in
// them).
//
// float64, always on the CPU, is held to the fixture: logits, decoded logits, gradients, and the losses and weights of
// its own AdamW steps. The other dtypes are held, on the device asked for, to the fixture's logits and gradients with
// room for the rounding of the weights, and closely to float64 in steps taken one by one: float64 is given the weights
// as the dtype's products read them, and the optimizers of both are given float64's gradients. So no rounding is
// carried from one step into the next, where AdamW would follow its sign.
//
//   got, want: one tensor at one step;  size = max(|want|, 0.2 of what tensors of so many elements
//   have on the average of all)
//   elements     max |got - want| / max(largest |want|, that floor for one element)
//   L2           |got - want| / size
//   scale        <got - want, want> / size^2: what is left of L2 when rounding, which has no direction, averages out
// L2 and scale are medians over the steps, and each row shows the worst of the tensors.
#pragma once

#include <string>
#include <vector>

#include "core/device.h"
#include "core/dtype.h"

namespace gta {

struct VerifyRow {
  std::string what;   // "logits", "gradients L2", "losses", ...
  std::string worst;  // the tensor with the largest error
  double error = 0;
  double tolerance = 0;
  bool holds() const { return error <= tolerance; }  // NaN does not hold
};

struct VerifyReport {
  std::string fixture;
  std::string attention;
  int64_t parameters = 0;
  DType dtype = DType::F64;
  Device device;
  std::vector<VerifyRow> rows;
  bool holds() const;
};

// One report for each dtype, in this order; float64's is the first, asked for or not, since the others stand on it.
// Error(BadInput) when the fixture is damaged or its model is not one this build has.
std::vector<VerifyReport> verify_fixture(const std::string& path, const std::vector<DType>& dtypes, Device device);

}  // namespace gta
