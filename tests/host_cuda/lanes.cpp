// What a warp's operations do, once all lanes have brought their operands. Layouts: core/backends/cuda/ptx.h and the
// PTX ISA.
#include <algorithm>
#include <bit>
#include <cstdint>

#include "tests/host_cuda/engine.h"

namespace host_cuda {
namespace {

template <class Lane, class F>
void for_lanes(void* const operands[32], unsigned mask, F&& f) {
  for (unsigned rest = mask; rest; rest &= rest - 1) {
    const int i = std::countr_zero(rest);
    f(i, *static_cast<Lane*>(operands[i]));
  }
}

}  // namespace

void meet_lanes(void* const*, unsigned) {}

void shuffle_lanes(void* const operands[32], unsigned mask) {
  for_lanes<ShuffleLane>(operands, mask, [&](int i, ShuffleLane& lane) {
    if (!(mask >> lane.source & 1))
      fail("a shuffle: lane %d reads lane %d, which is not in the mask %08x", i, lane.source, mask);
    lane.out = static_cast<ShuffleLane*>(operands[lane.source])->in;
  });
}

void vote_lanes(void* const operands[32], unsigned mask) {
  unsigned votes = 0;
  for_lanes<VoteLane>(operands, mask,
                      [&](int i, VoteLane& lane) { votes |= static_cast<unsigned>(lane.predicate != 0) << i; });
  for_lanes<VoteLane>(operands, mask, [&](int, VoteLane& lane) { lane.out = votes; });
}

void reduce_lanes(void* const operands[32], unsigned mask) {
  int64_t sum = 0, most = INT64_MIN, least = INT64_MAX;
  for_lanes<ReduceLane>(operands, mask, [&](int, ReduceLane& lane) {
    sum += lane.in;
    most = std::max(most, lane.in);
    least = std::min(least, lane.in);
  });
  for_lanes<ReduceLane>(operands, mask, [&](int, ReduceLane& lane) {
    lane.out = lane.reduction == Reduction::Add ? sum : lane.reduction == Reduction::Max ? most : least;
  });
}

// Lane 8 i + r holds row r of matrix i; lane 4 g + t gets elements (g, 2t) and (g, 2t + 1) of each.
void ldmatrix_lanes(void* const operands[32], unsigned mask) {
  for_lanes<LdmatrixLane>(operands, mask, [&](int l, LdmatrixLane& lane) {
    for (int i = 0; i < 4; ++i) lane.out[i] = static_cast<LdmatrixLane*>(operands[8 * i + l / 4])->row.word[l % 4];
  });
}

void ldmatrix_transposed_lanes(void* const operands[32], unsigned mask) {
  const auto element = [&](int matrix, int row, int column) {
    return static_cast<LdmatrixLane*>(operands[8 * matrix + row])->row.word[column / 2] >> (16 * (column % 2)) &
           0xffffu;
  };
  for_lanes<LdmatrixLane>(operands, mask, [&](int l, LdmatrixLane& lane) {
    const int g = l / 4, t = l % 4;
    for (int i = 0; i < 4; ++i) lane.out[i] = element(i, 2 * t, g) | element(i, 2 * t + 1, g) << 16;
  });
}

void mma_m16n8k16_lanes(void* const operands[32], unsigned mask) {
  float a[16][16], b[16][8], d[16][8];
  const auto low = [](uint32_t pair) { return std::bit_cast<float>(pair << 16); };
  const auto high = [](uint32_t pair) { return std::bit_cast<float>(pair & 0xffff0000u); };
  for_lanes<MmaLane>(operands, mask, [&](int l, MmaLane& lane) {
    const int g = l / 4, t = 2 * (l % 4);
    for (int right = 0; right < 2; ++right) {
      for (int down = 0; down < 2; ++down) {
        a[g + 8 * down][t + 8 * right] = low(lane.a[2 * right + down]);
        a[g + 8 * down][t + 8 * right + 1] = high(lane.a[2 * right + down]);
      }
      b[t + 8 * right][g] = low(lane.b[right]);
      b[t + 8 * right + 1][g] = high(lane.b[right]);
      d[g + 8 * right][t] = lane.d[2 * right];
      d[g + 8 * right][t + 1] = lane.d[2 * right + 1];
    }
  });
  for (int i = 0; i < 16; ++i)
    for (int k = 0; k < 16; ++k)
      for (int j = 0; j < 8; ++j) d[i][j] += a[i][k] * b[k][j];
  for_lanes<MmaLane>(operands, mask, [&](int l, MmaLane& lane) {
    const int g = l / 4, t = 2 * (l % 4);
    for (int down = 0; down < 2; ++down) {
      lane.d[2 * down] = d[g + 8 * down][t];
      lane.d[2 * down + 1] = d[g + 8 * down][t + 1];
    }
  });
}

}  // namespace host_cuda
