// How far one build's numbers are from another's: the errors that verify.h defines, and what of them is allowed.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "launch/verify.h"

namespace gta {

struct VerifyTolerance {
  double logits, logits_l2, losses;
  double gradients, gradients_l2, norm;        // against the fixture: one step, so one unlucky token counts
  double step_gradients, step_scale, weights;  // medians over the steps; and all weights
};
VerifyTolerance verify_tolerance(DType dtype);

// Several tensors beside their references, each at one step or at several, all at the same steps.
class TensorComparison {
 public:
  // got and want of the next step. A NaN, or another number of elements, never holds.
  void add(const std::string& name, const std::vector<double>& got, const std::vector<double>& want);
  // The worst tensor by its worst element of all steps, and by the medians over the steps.
  VerifyRow elements(const char* what, double tolerance) const;
  VerifyRow l2(const char* what, double tolerance) const;
  VerifyRow scale(const char* what, double tolerance) const;

 private:
  struct Sums {
    double elements = 0, difference = 0, want = 0, along = 0, largest = 0, largest_difference = 0;
    double size(double floor) const;
  };
  double floor(size_t step) const;  // of one element
  template <class Error, class Over>
  VerifyRow worst(const char* what, double tolerance, Error error_of, Over over) const;

  std::map<std::string, std::vector<Sums>> tensors_;
};

}  // namespace gta
