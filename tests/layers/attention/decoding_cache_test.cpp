// The cache of earlier tokens: where rows go, and how the core reads the keys of sequences of unequal length there.
#include "layers/attention/decoding_cache/decoding_cache.h"

#include "core/elementwise.h"
#include "layers/attention/shared_map_attention/shared_map_attention.h"
#include "tests/op_case.h"

namespace gta::testing {
namespace {

using Ids = std::vector<int64_t>;

struct Pair {
  DType a, b;
};
constexpr Pair kPairs[] = {
    {DType::F32, DType::F32}, {DType::BF16, DType::BF16}, {DType::F32, DType::BF16}, {DType::BF16, DType::F32}};

std::vector<double> as_in(DType dtype, std::vector<double> values) {
  for (double& value : values)
    value = dtype == DType::BF16 ? bfloat16(value) : dtype == DType::F32 ? static_cast<float>(value) : value;
  return values;
}

TEST(DecodingCache, GivesEverySequenceAPlaceOfItsOwn) {
  DecodingCache cache({3, 2}, 2, 4, 10, DType::F32, Device{});
  EXPECT_EQ(cache.layer(1).keys.shape(), (Shape{40, 3}));
  EXPECT_EQ(cache.layer(1).values.shape(), (Shape{40, 2}));
  cache.append(Ids{2}, 7);
  const CachePlace place = cache.place(Ids{3, 2}, 2);
  EXPECT_EQ(place.positions.to_vector<int32_t>(), (std::vector<int32_t>{0, 1, 7, 8}));
  EXPECT_EQ(place.rows.to_vector<int32_t>(), (std::vector<int32_t>{30, 31, 27, 28}));
  EXPECT_EQ(place.keys.first.to_vector<int32_t>(), (std::vector<int32_t>{30, 20}));
  EXPECT_EQ(place.keys.count.to_vector<int32_t>(), (std::vector<int32_t>{2, 9}));
  EXPECT_EQ(place.keys.most, 9);
  EXPECT_EQ(place.keys.total, 11);
  EXPECT_FALSE(place.at_beginning);
  EXPECT_TRUE(cache.place(Ids{0, 3}, 1).at_beginning);
  cache.append(Ids{3, 2}, 2);
  EXPECT_EQ(cache.length(2), 9);
  EXPECT_EQ(cache.length(3), 2);
  cache.clear(2);
  EXPECT_EQ(cache.length(2), 0);
  EXPECT_EQ(cache.length(3), 2);
}

TEST(DecodingCache, RefusesWhatHasNoPlace) {
  DecodingCache cache({3, 2}, 1, 2, 10, DType::F32, Device{});
  cache.append(Ids{1}, 9);
  const auto refused = [&](const Ids& sequences, int64_t count, const char* said) {
    try {
      cache.place(sequences, count);
      ADD_FAILURE() << "expected: " << said;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Internal);
      EXPECT_NE(std::string(error.what()).find(said), std::string::npos) << error.what();
    }
  };
  refused({0, 1}, 2, "holds 10 tokens a sequence, cannot append 2 to 9");
  refused({0}, 0, "cannot append 0 to 0");
  refused({2}, 1, "sequence 2 of 2 is not there");
  refused({-1}, 1, "sequence -1 of 2 is not there");
  refused({0, 0}, 1, "is named twice");
  EXPECT_THROW(DecodingCache({1, 1}, 1, 1 << 16, 1 << 16, DType::F32, Device{}), Error);
}

void check_write_rows(Device device, DType of_cache, DType written_in, Margin margin) {
  SCOPED_TRACE(fmt::format("{} into {}", name_of(written_in), name_of(of_cache)));
  const int64_t rows = 37, columns = 24;
  const std::vector<int32_t> order = [&] {
    std::vector<int32_t> all;
    for (int32_t r = 0; r < rows; ++r) all.push_back((r * 29 + 5) % 61);
    return all;
  }();
  Guarded to({61, columns}, of_cache, device, margin), from({rows, columns}, written_in, device, margin);
  std::vector<double> expected = as_in(of_cache, random_values("to", 61 * columns)),
                      written = random_values("from", rows * columns);
  // Halfway between two of bfloat16, where the even one of them is below and above.
  written[5] = 1 + 0x1p-8, written[6] = 1 + 0x3p-8;
  written = as_in(written_in, written);
  to.set(expected);
  from.set(written);
  std::vector<double> kept = as_in(of_cache, written);
  if (of_cache == DType::BF16 && written_in == DType::F32) kept[5] = 1, kept[6] = 1 + 0x4p-8;
  for (int64_t r = 0; r < rows; ++r)
    std::copy_n(kept.begin() + r * columns, columns, expected.begin() + order[static_cast<size_t>(r)] * columns);
  GTA_DISPATCH(device, write_rows, to.tensor(), Tensor::from<int32_t>({rows}, order).to(device, Purpose::Data),
               from.tensor());
  EXPECT_EQ(to_doubles(to.tensor()), expected);
  EXPECT_TRUE(to.surroundings_untouched());
}

TEST(WriteRows, PutsEachWhereItBelongsAndNothingElse) {
  check_write_rows(Device{}, DType::F64, DType::F64, Margin::Odd);
  for (const auto& [of_cache, written_in] : kPairs) check_write_rows(Device{}, of_cache, written_in, Margin::Odd);
}

TEST(WriteRows, CudaPutsEachWhereItBelongsAndNothingElse) {
  GTA_NEEDS_CUDA();
  for (Margin margin : {Margin::Odd, Margin::Aligned})
    for (const auto& [of_cache, written_in] : kPairs) check_write_rows(*cuda_device(), of_cache, written_in, margin);
}

// U of one sequence, in double.
Matrix reference(const AttentionShape& s, const Matrix& q, const Matrix& k, const Matrix& v) {
  Matrix u(q.rows, s.query_heads * s.value_dim);
  for (int64_t g = 0; g < s.query_heads; ++g)
    for (int64_t i = 0; i < q.rows; ++i) {
      const int64_t kh = g / (s.query_heads / s.key_heads), vh = g / (s.query_heads / s.value_heads);
      std::vector<double> weights;
      double sum = 0;
      for (int64_t j = 0; j <= k.rows - q.rows + i; ++j) {
        double score = 0;
        for (int64_t c = 0; c < s.head_dim; ++c) score += q(i, g * s.head_dim + c) * k(j, kh * s.head_dim + c);
        weights.push_back(std::exp(s.scale * score));
        sum += weights.back();
      }
      for (size_t j = 0; j < weights.size(); ++j)
        for (int64_t c = 0; c < s.value_dim; ++c)
          u(i, g * s.value_dim + c) += weights[j] / sum * v(static_cast<int64_t>(j), vh * s.value_dim + c);
    }
  return u;
}

struct CachedCase {
  int64_t query_heads, key_heads, value_heads, head_dim, value_dim, queries;
  bool values_in_keys = false;
};

// As near as float32's sums are, and what is stored rounded once. Keys rounded anywhere between are further away.
::testing::AssertionResult near_as_stored(const std::vector<double>& actual, const std::vector<double>& expected,
                                          DType stored, double tolerance) {
  if (stored != DType::BF16) return near(actual, expected, tolerance);
  if (actual.size() != expected.size()) return ::testing::AssertionFailure() << actual.size() << " elements";
  const double sums = tolerance * largest_of(expected);
  for (size_t i = 0; i < actual.size(); ++i) {
    const double half_step = std::ldexp(1.0, std::ilogb(std::abs(expected[i]) + sums) - 8);
    if (!(std::abs(actual[i] - expected[i]) <= half_step + sums))
      return ::testing::AssertionFailure() << "element " << i << " is " << actual[i] << ", expected " << expected[i]
                                           << " within " << half_step << " and " << sums;
  }
  return ::testing::AssertionSuccess();
}

// Queries and U in one, keys and values in the other.
using Formats = Pair;
constexpr double kFloat32Sums = 5e-6;

// Sequences of unequal length, anywhere in a cache whose other rows are NaN.
void check_cached(const CachedCase& c, const Formats& formats, Device device, double tolerance,
                  std::vector<int64_t> counts = {}) {
  const DType dtype = formats.a, of_cache = formats.b;
  if (counts.empty()) counts = {c.queries, c.queries + 6, 64, 65, 127, c.queries + 1, 200};
  const int64_t capacity = *std::max_element(counts.begin(), counts.end()) + 3, slots = 11,
                batch = static_cast<int64_t>(counts.size());
  const AttentionShape s{batch,
                         c.query_heads,
                         c.key_heads,
                         c.value_heads,
                         c.head_dim,
                         c.value_dim,
                         0.7 / std::sqrt(static_cast<double>(c.head_dim))};
  SCOPED_TRACE(fmt::format("maps {}/{}/{} of {} and {}, {} queries, {} over {}", c.query_heads, c.key_heads,
                           c.value_heads, c.head_dim, c.value_dim, c.queries, name_of(dtype), name_of(of_cache)));
  const auto matrix = [](const std::string& name, int64_t rows, int64_t columns, DType in) {
    Matrix m(rows, columns);
    m.values = as_in(in, random_values(name, rows * columns));
    return m;
  };
  const int64_t nan_rows = slots * capacity, k_width = c.key_heads * c.head_dim, v_width = c.value_heads * c.value_dim;
  Matrix k_cache(nan_rows, k_width), v_cache(nan_rows, v_width),
      expected(batch * c.queries, c.query_heads * c.value_dim);
  for (double& value : k_cache.values) value = std::nan("");
  for (double& value : v_cache.values) value = std::nan("");
  const Matrix q = matrix("q", batch * c.queries, c.query_heads * c.head_dim, dtype);
  CachedKeys keys;
  std::vector<int32_t> first, count;
  for (int64_t b = 0; b < batch; ++b) {
    const int64_t n = counts[static_cast<size_t>(b)], row = (b * 4 + 2) % slots * capacity;
    Matrix k = matrix(fmt::format("k{}", b), n, k_width, of_cache),
           v = matrix(fmt::format("v{}", b), n, v_width, of_cache), own(c.queries, q.columns);
    for (int64_t r = 0; c.values_in_keys && r < n; ++r)
      for (int64_t j = 0; j < v_width; ++j) v(r, j) = k(r, j);
    std::copy_n(q.values.begin() + b * c.queries * q.columns, c.queries * q.columns, own.values.begin());
    std::copy(k.values.begin(), k.values.end(), k_cache.values.begin() + row * k_width);
    std::copy(v.values.begin(), v.values.end(), v_cache.values.begin() + row * v_width);
    const Matrix u = reference(s, own, k, v);
    std::copy(u.values.begin(), u.values.end(), expected.values.begin() + b * c.queries * expected.columns);
    first.push_back(static_cast<int32_t>(row));
    count.push_back(static_cast<int32_t>(n));
    keys.most = std::max(keys.most, n);
    keys.total += n;
  }
  const auto there = [&](const Matrix& m, DType in) {
    return from_doubles({m.rows, m.columns}, m.values, in).to(device, Purpose::Data);
  };
  keys.first = Tensor::from<int32_t>({batch}, first).to(device, Purpose::Data);
  keys.count = Tensor::from<int32_t>({batch}, count).to(device, Purpose::Data);
  const Tensor k = there(k_cache, of_cache),
               v = c.values_in_keys ? k.column_slice(0, v_width) : there(v_cache, of_cache);
  Tape tape(TapeMode::Inference);
  const Tensor u = tape.apply(SharedMapAttentionOp{s, {}, keys}, there(q, dtype), k, v);
  EXPECT_EQ(u.dtype(), dtype);
  EXPECT_TRUE(near_as_stored(to_doubles(u), expected.values, dtype, tolerance));
}
void check_cached_on_cpu(const CachedCase& c, const std::vector<int64_t>& counts = {}) {
  check_cached(c, {DType::F64, DType::F64}, Device{}, 1e-13, counts);
  for (const Formats& formats : kPairs) check_cached(c, formats, Device{}, kFloat32Sums, counts);
}

const std::vector<CachedCase>& small_cases() {
  static const std::vector<CachedCase> cases = {
      {6, 2, 3, 3, 5, 1}, {4, 4, 1, 8, 8, 1}, {6, 3, 2, 4, 7, 9}, {4, 1, 1, 11, 7, 1, true}, {4, 1, 1, 11, 7, 5, true}};
  return cases;
}

TEST(CachedSharedMapAttention, ReadsTheKeysOfEachSequenceAndNoOthers) {
  for (const CachedCase& c : small_cases()) check_cached_on_cpu(c);
}

// One to five rows of queries that share a head, heads of whole and of broken steps of vectors, few and many values.
TEST(CachedSharedMapAttention, ReadsThemForAnyNumberOfSharingMapsAndAnyWidth) {
  for (const CachedCase& c : std::vector<CachedCase>{{12, 3, 3, 64, 64, 1},
                                                     {4, 4, 4, 64, 64, 1},
                                                     {2, 1, 1, 64, 128, 1},
                                                     {3, 1, 1, 64, 128, 1},
                                                     {5, 1, 1, 64, 128, 1},
                                                     {5, 5, 5, 24, 40, 3},
                                                     {6, 2, 1, 17, 100, 4},
                                                     {6, 1, 6, 33, 200, 1},
                                                     {12, 1, 1, 288, 256, 1, true}})
    check_cached_on_cpu(c);
}

// Chunks of 64 keys, of more, and of the longest.
TEST(CachedSharedMapAttention, ReadsLongCaches) {
  for (const CachedCase& c :
       std::vector<CachedCase>{{3, 1, 1, 16, 32, 1}, {2, 2, 2, 16, 16, 3}, {3, 1, 1, 32, 16, 2, true}}) {
    check_cached(c, {DType::F64, DType::F64}, Device{}, 1e-13, {1024, 3, 1025, 2300});
    check_cached(c, {DType::F32, DType::F32}, Device{}, kFloat32Sums, {9001, 4});
    check_cached(c, {DType::BF16, DType::BF16}, Device{}, kFloat32Sums, {1500, 8192});
    check_cached(c, {DType::F32, DType::BF16}, Device{}, kFloat32Sums, {1025, 4097});
    check_cached(c, {DType::BF16, DType::F32}, Device{}, kFloat32Sums, {1025, 4097});
  }
}

TEST(CachedSharedMapAttention, CudaReadsTheKeysOfEachSequenceAndNoOthers) {
  GTA_NEEDS_CUDA();
  for (const CachedCase& c : small_cases())
    for (const Formats& formats : kPairs) check_cached(c, formats, *cuda_device(), kFloat32Sums);
}

// One query, where decoding has tiles; several, where forward has: of bfloat16 alone, and there maps are rounded too.
TEST(CachedSharedMapAttention, CudaReadsThemByTilesToo) {
  GTA_NEEDS_CUDA();
  for (const CachedCase& c : std::vector<CachedCase>{{4, 2, 1, 64, 64, 1},
                                                     {20, 1, 1, 64, 128, 1},
                                                     {4, 2, 2, 64, 256, 1},
                                                     {3, 3, 1, 96, 64, 1},
                                                     {2, 1, 1, 128, 128, 1},
                                                     {16, 1, 1, 288, 256, 1, true},
                                                     {4, 2, 1, 64, 64, 33},
                                                     {4, 1, 2, 64, 128, 7},
                                                     {2, 2, 1, 64, 256, 5},
                                                     {2, 1, 1, 96, 64, 3},
                                                     {2, 1, 2, 128, 128, 9}}) {
    check_cached(c, {DType::BF16, DType::BF16}, *cuda_device(), 0.01);
    check_cached(c, {DType::BF16, DType::F32}, *cuda_device(), kFloat32Sums);
    check_cached(c, {DType::F32, DType::BF16}, *cuda_device(), kFloat32Sums);
  }
}

TEST(CachedSharedMapAttention, HasNoBackwardAndNoDocuments) {
  const AttentionShape s{1, 1, 1, 1, 2, 2, 1.0};
  const Tensor q = Tensor::zeros({1, 2}, DType::F64, Device{}), k = Tensor::zeros({4, 2}, DType::F64, Device{});
  const CachedKeys keys{Tensor::from<int32_t>({1}, {1}), Tensor::from<int32_t>({1}, {2}), 2, 2};
  Tape inference(TapeMode::Inference), recording(TapeMode::Recording);
  EXPECT_NO_THROW(inference.apply(SharedMapAttentionOp{s, {}, keys}, q, k, k));
  EXPECT_THROW(inference.apply(SharedMapAttentionOp{s, Tensor::from<int32_t>({1}, {0}), keys}, q, k, k), Error);
  EXPECT_THROW(recording.apply(SharedMapAttentionOp{s, {}, keys}, q, k, k), Error);
}

}  // namespace
}  // namespace gta::testing
