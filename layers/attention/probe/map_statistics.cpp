#include "layers/attention/probe/map_statistics.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/gemm.h"
#include "core/parallel.h"
#include "layers/attention/probe/transposed.h"

namespace gta {
namespace {

constexpr int64_t kBlockRows = 32;

// scores -> their softmax, of which it returns the entropy.
double softmax(double* scores, int64_t count, double scale) {
  const double largest = *std::max_element(scores, scores + count);
  double sum = 0, weighted = 0;
  for (int64_t i = 0; i < count; ++i) {
    const double score = scale * (scores[i] - largest);
    scores[i] = std::exp(score);
    sum += scores[i];
    weighted += scores[i] * score;
  }
  for (int64_t i = 0; i < count; ++i) scores[i] /= sum;
  return std::log(sum) - weighted / sum;
}

double squares(const double* x, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += x[i] * x[i];
  return sum;
}

// Over the queries of a block.
struct Sums {
  double entropy = 0;
  double similarity = 0;  // of a query: of all its pairs g != h
};

}  // namespace

MapStatistics map_statistics(const AttentionShape& shape, const Tensor& q, const Tensor& k,
                             std::span<const int32_t> document_starts) {
  const int64_t maps = shape.query_heads, dk = shape.head_dim, rows = q.rows() / shape.batch,
                blocks = (rows + kBlockRows - 1) / kBlockRows;
  const Tensor keys_across = transposed(k);  // (nk * dk, batch * rows)
  std::vector<Sums> of_blocks(shape.batch * blocks);
  parallel_for(shape.batch * blocks, [&](int64_t item) {
    const int64_t sequence = item / blocks * rows, first = item % blocks * kBlockRows,
                  count = std::min(kBlockRows, rows - first), keys = first + count;
    Sums& sums = of_blocks[item];
    // The maps of the block's queries, and the sums of all maps of a query, each of length 1: the square of such a sum
    // has the cosines of all pairs in it.
    std::vector<double> map(count * keys), units(count * keys);
    for (int64_t g = 0; g < maps; ++g) {
      cpu::block_gemm<double>(Transpose::No, Transpose::No, count, keys, dk,
                              q.data<double>() + (sequence + first) * q.pitch() + g * dk, q.pitch(),
                              keys_across.row_slice(g / (maps / shape.key_heads) * dk, dk).data<double>() + sequence,
                              keys_across.pitch(), map.data(), keys, GradientMode::Overwrite);
      for (int64_t r = 0; r < count; ++r) {
        const int64_t low = document_starts.empty() ? 0 : document_starts[sequence + first + r],
                      visible = first + r + 1 - low;
        double* const row = &map[r * keys + low];
        sums.entropy += softmax(row, visible, shape.scale);
        const double length = std::sqrt(squares(row, visible));
        for (int64_t s = 0; s < visible; ++s) units[r * keys + low + s] += row[s] / length;
      }
    }
    for (int64_t r = 0; r < count; ++r) sums.similarity += squares(&units[r * keys], keys) - static_cast<double>(maps);
  });
  Sums all;
  for (const Sums& sums : of_blocks) {
    all.entropy += sums.entropy;
    all.similarity += sums.similarity;
  }
  const auto queries = static_cast<double>(q.rows()), count = static_cast<double>(maps);
  MapStatistics statistics{all.entropy / (queries * count), std::nullopt};
  if (maps > 1) statistics.similarity = all.similarity / (queries * count * (count - 1));
  return statistics;
}

}  // namespace gta
