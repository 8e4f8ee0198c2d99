// How many directions the rows of a matrix really use (Roy and Vetterli, 2007):
//
//   effective rank = exp(-sum p_i log p_i)     p_i = s_i / sum s_j     s: singular values of X (rows, columns)
//
// From 1 (all rows along one line) to min(rows, columns) (all directions alike). The rows are not centred.
#pragma once

#include <vector>

#include "core/tensor.h"

namespace gta {

// x: float64 (rows, columns) on the host, of any pitch. 0 of nothing but zeros; NaN when an element is not finite. The
// singular values are roots of the eigenvalues of the smaller of X^T X and X X^T; an eigenvalue below n epsilon times
// the largest, n being their number, is rounding, and counts as 0.
double effective_rank(const Tensor& x);

// Of a symmetric matrix, float64 (n, n) without gaps on the host, which is overwritten: in no order, each to about
// epsilon times the largest; all NaN when an element is not finite. The same bits for any number of threads.
std::vector<double> symmetric_eigenvalues(const Tensor& matrix);

}  // namespace gta
