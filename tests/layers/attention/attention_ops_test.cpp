// shared_map_attention and value_decoder against their formulas in double.
#include "layers/attention/shared_map_attention/shared_map_attention.h"
#include "layers/attention/value_decoder/value_decoder.h"
#include "tests/op_case.h"

namespace gta::testing {
namespace {

Matrix attention_reference(const AttentionShape& s, const std::vector<int32_t>& starts, const Matrix& q,
                           const Matrix& k, const Matrix& v, Matrix* logsumexp = nullptr) {
  const int64_t queries = q.rows / s.batch, keys = k.rows / s.batch;
  Matrix u(q.rows, s.query_heads * s.value_dim);
  for (int64_t b = 0; b < s.batch; ++b)
    for (int64_t g = 0; g < s.query_heads; ++g)
      for (int64_t i = 0; i < queries; ++i) {
        const int64_t row = b * queries + i, key_head = g / (s.query_heads / s.key_heads),
                      value_head = g / (s.query_heads / s.value_heads);
        const int64_t first = starts.empty() ? 0 : starts[row], last = keys - queries + i;
        std::vector<double> weights;
        double sum = 0;
        for (int64_t j = first; j <= last; ++j) {
          double score = 0;
          for (int64_t c = 0; c < s.head_dim; ++c)
            score += q(row, g * s.head_dim + c) * k(b * keys + j, key_head * s.head_dim + c);
          weights.push_back(std::exp(s.scale * score));
          sum += weights.back();
        }
        if (logsumexp) (*logsumexp)(row, g) = std::log(sum);
        for (int64_t j = first; j <= last; ++j)
          for (int64_t c = 0; c < s.value_dim; ++c)
            u(row, g * s.value_dim + c) += weights[j - first] / sum * v(b * keys + j, value_head * s.value_dim + c);
      }
  return u;
}

// Documents of that many tokens, sequences out of step with each other; none of no tokens.
std::vector<int32_t> document_starts(int64_t batch, int64_t queries, int64_t keys, int64_t document) {
  std::vector<int32_t> starts;
  for (int64_t b = 0; document && b < batch; ++b)
    for (int64_t i = 0; i < queries; ++i)
      starts.push_back(static_cast<int32_t>(std::max<int64_t>(0, (keys - queries + i + b) / document * document - b)));
  return starts;
}

OpCase attention_case(AttentionShape s, int64_t queries, int64_t keys, int64_t document = 0) {
  s.scale = 0.7 / std::sqrt(static_cast<double>(s.head_dim));
  const std::vector<int32_t> starts = document_starts(s.batch, queries, keys, document);
  OpCase c{
      .name = fmt::format("batch {}, maps {}/{}/{} of {} and {}, {} queries, {} keys, documents of {}", s.batch,
                          s.query_heads, s.key_heads, s.value_heads, s.head_dim, s.value_dim, queries, keys, document),
      .inputs = {Input::random("q", {s.batch * queries, s.query_heads * s.head_dim}),
                 Input::random("k", {s.batch * keys, s.key_heads * s.head_dim}),
                 Input::random("v", {s.batch * keys, s.value_heads * s.value_dim})},
      .op =
          [=](DType, Device device) {
            const Tensor documents =
                starts.empty() ? Tensor{} : Tensor::from<int32_t>({static_cast<int64_t>(starts.size())}, starts);
            return any_op<3>(SharedMapAttentionOp{s, documents.to(device, Purpose::Data)});
          },
      .reference = [=](const Matrices& x) { return Matrices{attention_reference(s, starts, x[0], x[1], x[2])}; },
      // Errors of the scores (1e-7 times their size, up to about 5) pass through the exponential and are summed over
      // keys.
      .float32_tolerance = 5e-6,
      .float32_gradient_tolerance = 2e-5};
  // A score of minus infinity is a weight of zero: only NaN must show.
  c.inputs[0].infinity_visible = c.inputs[1].infinity_visible = false;
  return c;
}

std::vector<OpCase> attention_cases() {
  return {attention_case({1, 1, 1, 1, 1, 1, 0}, 1, 1),      attention_case({1, 2, 2, 2, 4, 4, 0}, 3, 3),
          attention_case({2, 4, 1, 1, 5, 7, 0}, 7, 7),      attention_case({1, 6, 2, 3, 3, 9, 0}, 17, 17),
          attention_case({2, 6, 3, 1, 8, 3, 0}, 33, 33, 9), attention_case({1, 4, 1, 2, 7, 16, 0}, 65, 65),
          attention_case({1, 4, 2, 4, 2, 3, 0}, 1, 40),     attention_case({2, 6, 2, 3, 3, 5, 0}, 5, 70, 20),
          attention_case({1, 2, 1, 1, 4, 6, 0}, 130, 135),  attention_case({1, 3, 3, 1, 3, 2, 0}, 131, 131, 50)};
}

// One map of one sequence is one work item: its products must not be cut by the number of threads either.
std::vector<OpCase> long_attention_cases() {
  return {attention_case({1, 1, 1, 1, 16, 24, 0}, 64, 900), attention_case({1, 2, 1, 1, 3, 5, 0}, 523, 530, 211),
          attention_case({1, 1, 1, 1, 64, 128, 0}, 1, 3000)};
}

// The head dims that CUDA kernels have tiles for, at sizes that no tile divides; wide enough that only sampled checks
// are quick.
struct HeadDims {
  int64_t k, v;
};
constexpr HeadDims kTiledDims[] = {{64, 64}, {64, 128}, {64, 256}, {96, 64}, {128, 128}};
std::vector<OpCase> tiled_attention_cases() {
  std::vector<OpCase> cases;
  for (const auto& [dk, dv] : kTiledDims) {
    cases.push_back(attention_case({2, 4, 2, 1, dk, dv, 0}, 70, 70, 27));
    cases.push_back(attention_case({1, 2, 2, 2, dk, dv, 0}, 129, 129));
    cases.push_back(attention_case({1, 6, 2, 3, dk, dv, 0}, 33, 150));
    cases.push_back(attention_case({2, 6, 2, 3, dk, dv, 0}, 1, 101, 60));  // one query, as in generation
  }
  cases.push_back(attention_case({1, 20, 1, 1, 64, 128, 0}, 1, 70));
  return cases;
}
std::vector<OpCase> small_tiled_attention_cases() {
  return {attention_case({2, 2, 1, 1, 64, 64, 0}, 9, 20), attention_case({1, 2, 1, 2, 64, 128, 0}, 17, 17, 5),
          attention_case({2, 4, 1, 2, 64, 128, 0}, 1, 40)};
}
// So many sequences that one block sums over several maps: of two that share a key head, and of half of the four that
// share a value head.
std::vector<OpCase> many_sequences_cases() {
  return {attention_case({256, 4, 2, 1, 64, 64, 0}, 2, 3), attention_case({256, 4, 2, 1, 3, 5, 0}, 2, 3)};
}

// GTA-1B's groups: a block sums over all five maps and, for each, over tiles of queries.
std::vector<OpCase> five_maps_cases() { return {attention_case({342, 5, 1, 1, 64, 128, 0}, 33, 130)}; }
// The same of kernels for heads of any size.
std::vector<OpCase> five_maps_in_parts_cases() { return {attention_case({256, 5, 1, 1, 3, 5, 0}, 66, 70)}; }
// Many tiles of keys and of queries in one sequence.
std::vector<OpCase> long_cuda_cases() {
  return {attention_case({1, 2, 1, 1, 64, 128, 0}, 1030, 1040, 700),
          attention_case({1, 2, 1, 2, 3, 5, 0}, 523, 530, 211)};
}

struct DecoderSizes {
  int64_t tokens, maps, latent, copies;
};
OpCase value_decoder_case(const DecoderSizes& s, GateType gate, bool learned) {
  OpCase c{.name = fmt::format("{} tokens, {} maps of {}, {} copies, {}{}", s.tokens, s.maps, s.latent, s.copies,
                               name_of(gate), learned ? ", learned" : ""),
           .inputs = {Input::random("u", {s.tokens, s.maps * s.latent}),
                      Input::random("z", {s.tokens, s.maps * s.copies * s.latent}),
                      learned ? Input::matrix("p", {s.maps * s.latent, s.copies * s.latent}) : Input::undefined("p")},
           .op =
               [=](DType) {
                 return any_op<3>(ValueDecoderOp{s.maps, s.latent, gate});
               },
           .reference =
               [=](const Matrices& x) {
                 Matrix o(s.tokens, s.maps * s.copies * s.latent);
                 for (int64_t t = 0; t < s.tokens; ++t)
                   for (int64_t g = 0; g < s.maps; ++g)
                     for (int64_t c = 0; c < s.copies * s.latent; ++c) {
                       double y = x[0](t, g * s.latent + c % s.latent);
                       for (int64_t l = 0; learned && l < s.latent; ++l)
                         y += x[0](t, g * s.latent + l) * x[2](g * s.latent + l, c);
                       const double z = x[1](t, g * s.copies * s.latent + c), sigmoid = 1 / (1 + std::exp(-z));
                       o(t, g * s.copies * s.latent + c) = y * (gate == GateType::Sigmoid ? sigmoid
                                                                : gate == GateType::Silu  ? z * sigmoid
                                                                : z > 0                   ? z * z
                                                                                          : 0);
                     }
                 return Matrices{o};
               }};
  // Differences do not straddle the kink of relu^2 at zero.
  for (double& z : c.inputs[1].values)
    if (std::abs(z) < 0.01) z = 0.25;
  if (s.tokens == 1) c.inputs[1].values[0] = 0.5;
  c.inputs[1].infinity_visible = gate != GateType::Sigmoid;
  return c;
}

std::vector<OpCase> value_decoder_cases() {
  std::vector<OpCase> cases;
  for (const DecoderSizes& s : {DecoderSizes{1, 1, 1, 1},
                                {3, 2, 7, 1},
                                {7, 1, 17, 3},
                                {17, 3, 33, 2},
                                {33, 5, 3, 4},
                                {65, 2, 5, 2},
                                {9, 3, 24, 2},
                                {3, 5, 64, 2}})
    for (GateType gate : {GateType::Sigmoid, GateType::Silu, GateType::Relu2})
      for (bool learned : {false, true}) cases.push_back(value_decoder_case(s, gate, learned));
  return cases;
}

// The latent sizes that CUDA kernels have tiles for: tokens that no tile divides, and more than one part of dP.
std::vector<OpCase> tiled_value_decoder_cases() {
  return {value_decoder_case({70, 2, 64, 3}, GateType::Silu, true),
          value_decoder_case({129, 3, 128, 2}, GateType::Sigmoid, true),
          value_decoder_case({1, 3, 128, 2}, GateType::Relu2, true),
          value_decoder_case({1030, 1, 64, 2}, GateType::Sigmoid, true)};
}

GTA_OP_CASE_TESTS(SharedMapAttention, attention_cases())
GTA_OP_CASE_TEST(LongSharedMapAttention, ForwardIsTheReference, long_attention_cases(), check_forward)
GTA_OP_CASE_TEST(LongSharedMapAttention, Float32GradientsAreNearFloat64, long_attention_cases(),
                 check_float32_gradients)
GTA_OP_CASE_TEST(LongSharedMapAttention, SameBitsForAnyNumberOfThreads, long_attention_cases(), check_threads)
GTA_OP_CASE_TEST(LongSharedMapAttention, GradientsAreTheDifferences,
                 std::vector<OpCase>(1, attention_case({1, 2, 1, 1, 3, 5, 0}, 523, 530, 211)), check_gradients)
GTA_OP_CASE_TEST(TiledSharedMapAttention, Bfloat16IsNearFloat64, tiled_attention_cases(), check_bfloat16)
GTA_OP_CASE_CUDA_TEST(TiledSharedMapAttention, CudaIsNearTheReference, tiled_attention_cases(), check_cuda)
GTA_OP_CASE_CUDA_TEST(TiledSharedMapAttention, CudaGivesTheSameBitsTwice, small_tiled_attention_cases(),
                      check_cuda_bits)
GTA_OP_CASE_CUDA_TEST(TiledSharedMapAttention, CudaWritesWhatTheSlotsSay, small_tiled_attention_cases(),
                      check_cuda_slots)
GTA_OP_CASE_CUDA_TEST(TiledSharedMapAttention, CudaShowsNonFiniteInputs, small_tiled_attention_cases(),
                      check_cuda_non_finite)
GTA_OP_CASE_CUDA_TEST(ManySequences, CudaIsNearTheReference, many_sequences_cases(), check_cuda)
GTA_OP_CASE_CUDA_TEST(ManySequences, CudaSumsFiveMapsOverTilesOfQueries, five_maps_cases(), check_cuda_bfloat16)
GTA_OP_CASE_CUDA_TEST(ManySequences, CudaSumsFiveMapsOverPartsOfQueries, five_maps_in_parts_cases(), check_cuda_float32)
GTA_OP_CASE_CUDA_TEST(LongSharedMapAttention, CudaIsNearTheReference, long_cuda_cases(), check_cuda)

std::vector<Device> devices() {
  std::vector<Device> all = {Device{}};
  if (cuda_device()) all.push_back(*cuda_device());
  return all;
}

Tensor on(const Device& device, const Shape& shape, const std::vector<double>& values, DType dtype) {
  return from_doubles(shape, values, dtype).to(device, Purpose::Activations);
}

// One query to a sequence of bfloat16, the inputs and results as slices that are full of NaN around.
struct Decoding {
  AttentionShape shape;
  int64_t keys, document = 0;
  bool values_in_keys = false;  // the first columns of one key head, as in MLA's absorbed decoding
};

void check_cuda_decoding(Decoding d) {
  AttentionShape& s = d.shape;
  // Products of the sizes that a trained model has: some weights are a thousand times others.
  s.scale = 1.5 / std::sqrt(static_cast<double>(s.head_dim));
  SCOPED_TRACE(fmt::format("batch {}, maps {}/{}/{} of {} and {}, {} keys, documents of {}, values {}", s.batch,
                           s.query_heads, s.key_heads, s.value_heads, s.head_dim, s.value_dim, d.keys, d.document,
                           d.values_in_keys ? "in keys" : "separate"));
  const Device device = *cuda_device();
  const auto slice = [&](const Shape& shape, DType dtype = DType::BF16) {
    return Guarded(shape, dtype, device, Margin::Aligned);
  };
  const auto fill = [](Guarded& guarded, const char* name) {
    Matrix m(guarded.tensor().rows(), guarded.tensor().columns());
    m.values = random_values(name, m.rows * m.columns);
    for (double& value : m.values) value = bfloat16(value);
    guarded.set(m.values);
    return m;
  };
  Guarded q = slice({s.batch, s.query_heads * s.head_dim}), k = slice({s.batch * d.keys, s.key_heads * s.head_dim}),
          own_v = slice({s.batch * d.keys, s.value_heads * s.value_dim}),
          u = slice({s.batch, s.query_heads * s.value_dim}), again = slice(u.tensor().shape()),
          logsumexp = slice({s.batch, s.query_heads}, DType::F32);
  const Matrix x_q = fill(q, "q"), x_k = fill(k, "k");
  Matrix x_v = fill(own_v, "v");
  for (int64_t r = 0; d.values_in_keys && r < x_v.rows; ++r)
    for (int64_t c = 0; c < x_v.columns; ++c) x_v(r, c) = x_k(r, c);
  const Tensor v = d.values_in_keys ? k.tensor().column_slice(0, s.value_dim) : own_v.tensor();

  const std::vector<int32_t> starts = document_starts(s.batch, 1, d.keys, d.document);
  const Tensor documents =
      starts.empty() ? Tensor{} : Tensor::from<int32_t>({s.batch}, starts).to(device, Purpose::Data);
  GTA_DISPATCH(device, shared_map_attention_forward,
               AttentionForward{s, q.tensor(), k.tensor(), v, documents, u.tensor(), logsumexp.tensor()});
  GTA_DISPATCH(device, shared_map_attention_forward,
               AttentionForward{s, q.tensor(), k.tensor(), v, documents, again.tensor(), {}});

  Matrix expected_logsumexp(s.batch, s.query_heads);
  const Matrix expected = attention_reference(s, starts, x_q, x_k, x_v, &expected_logsumexp);
  EXPECT_TRUE(near(to_doubles(u.tensor()), expected.values, 0.01));
  EXPECT_TRUE(near(to_doubles(logsumexp.tensor()), expected_logsumexp.values, 1e-4));
  EXPECT_TRUE(to_bytes(u.tensor()) == to_bytes(again.tensor()));
  for (const Guarded* guarded : {&u, &again, &logsumexp}) EXPECT_TRUE(guarded->surroundings_untouched());
  for (const Guarded* guarded : {&q, &k, &own_v}) EXPECT_TRUE(guarded->untouched());
}

TEST(DecodingSharedMapAttention, CudaWalksSeveralTilesOfKeys) {
  GTA_NEEDS_CUDA();
  check_cuda_decoding({{128, 16, 16, 16, 64, 64, 0}, 100});  // all keys of a sequence to one block
  check_cuda_decoding({{2, 64, 64, 64, 64, 64, 0}, 600});    // several tiles to each of several
  check_cuda_decoding({{512, 1, 1, 1, 128, 128, 0}, 70});
  check_cuda_decoding({{2, 60, 60, 60, 96, 64, 0}, 641, 300});
}

TEST(DecodingSharedMapAttention, CudaCombinesManyChunks) {
  GTA_NEEDS_CUDA();
  check_cuda_decoding({{1, 1, 1, 1, 64, 128, 0}, 2999});
  check_cuda_decoding({{1, 1, 1, 1, 64, 64, 0}, 17001});  // as many as there may be
  check_cuda_decoding({{2, 1, 1, 1, 64, 256, 0}, 4097, 3000});
}

TEST(DecodingSharedMapAttention, CudaReadsSharedKeysAndValuesForAllTheirMaps) {
  GTA_NEEDS_CUDA();
  check_cuda_decoding({{2, 20, 1, 1, 64, 128, 0}, 700, 500});  // more maps than one fragment has rows
  check_cuda_decoding({{3, 40, 1, 1, 96, 64, 0}, 130});        // and than a block has
  check_cuda_decoding({{2, 12, 4, 2, 64, 256, 0}, 321});
  check_cuda_decoding({{4, 6, 2, 3, 128, 128, 0}, 257, 100});
  check_cuda_decoding({{2, 20, 4, 1, 64, 128, 0}, 129});
  check_cuda_decoding({{1, 16, 1, 1, 128, 128, 0}, 64});
}

// MLA's absorbed decoding: of MLA-160M, MLA-500M and DeepSeek-V2.
TEST(DecodingSharedMapAttention, CudaHasTilesForALatentThatIsKeyAndValue) {
  GTA_NEEDS_CUDA();
  for (int64_t keys : {1, 63, 64, 65, 2049}) check_cuda_decoding({{1, 12, 1, 1, 288, 256, 0}, keys, 0, true});
  check_cuda_decoding({{3, 12, 1, 1, 288, 256, 0}, 333, 200, true});
  // several tiles to each of as many chunks as there may be
  check_cuda_decoding({{1, 12, 1, 1, 288, 256, 0}, 16500, 0, true});
  check_cuda_decoding({{1, 33, 1, 1, 288, 256, 0}, 100, 0, true});
  check_cuda_decoding({{3, 20, 1, 1, 352, 320, 0}, 333, 100, true});
  check_cuda_decoding({{1, 16, 1, 1, 352, 320, 0}, 70, 0, true});
  check_cuda_decoding({{1, 20, 1, 1, 352, 320, 0}, 16500, 16000, true});
  check_cuda_decoding({{2, 16, 1, 1, 576, 512, 0}, 200, 0, true});
  check_cuda_decoding({{8, 1024, 1, 1, 576, 512, 0}, 70, 0, true});  // both tiles to one block
  check_cuda_decoding({{1, 2, 1, 1, 288, 256, 0}, 40});              // as separate tensors
}

TEST(SharedMapAttention, KeysThatNoQueryIsThereToSeeGetZeroGradients) {
  const AttentionShape s{2, 4, 2, 1, 64, 128, 0.125};
  for (const Device& device : devices())
    for (DType dtype : {DType::F32, DType::BF16}) {
      const Tensor q = on(device, {0, 256}, {}, dtype), k = on(device, {6, 128}, std::vector(768, 1.0), dtype);
      const Tensor v = on(device, {6, 128}, std::vector(768, 1.0), dtype);
      const SharedMapAttentionOp op{s, {}};
      op.check(q, k, v);
      Saved saved(TapeMode::Recording);
      Tensor d_u = op.forward(saved, q, k, v);
      EXPECT_EQ(d_u.elements(), 0);
      GradientSlot slots[] = {{on(device, {0, 256}, {}, dtype), GradientMode::Overwrite},
                              {on(device, {6, 128}, std::vector(768, 3.0), dtype), GradientMode::Overwrite},
                              {on(device, {6, 128}, std::vector(768, 5.0), dtype), GradientMode::Accumulate}};
      op.backward(saved, {&d_u, 1}, slots);
      EXPECT_EQ(to_doubles(slots[1].destination()), std::vector(768, 0.0)) << name_of(device) << ' ' << name_of(dtype);
      EXPECT_EQ(to_doubles(slots[2].destination()), std::vector(768, 5.0)) << name_of(device) << ' ' << name_of(dtype);
    }
}

TEST(SharedMapAttention, LargestScoreIsOfVisiblePairsAndShowsNaN) {
  // Query i has score q_i k_j with key j: the largest product of all is of a key after its query, the largest visible
  // one is 3 * 2.
  const AttentionShape s{1, 1, 1, 1, 1, 1, 0.5};
  for (const Device& device : devices())
    for (DType dtype : {DType::F32, DType::BF16}) {
      std::vector<double> queries(70, -1.0), keys(70, 1.0);
      queries[1] = 5, keys[1] = -1, keys[0] = 1;
      queries[40] = 3, keys[39] = 2, keys[60] = 9;
      const auto largest = [&](const Tensor& starts) {
        const Tensor q = on(device, {70, 1}, queries, dtype), k = on(device, {70, 1}, keys, dtype);
        return GTA_DISPATCH(device, shared_map_attention_largest_score, AttentionForward{s, q, k, k, starts, {}, {}});
      };
      EXPECT_EQ(largest({}), 3.0) << name_of(device);
      std::vector<int32_t> starts(70, 0);
      starts[40] = 40;
      EXPECT_EQ(largest(Tensor::from<int32_t>({70}, starts).to(device, Purpose::Data)), 2.5) << name_of(device);
      queries[2] = std::nan("");  // scores of later rows come after it
      EXPECT_TRUE(std::isnan(largest({}))) << name_of(device);
    }
}

GTA_OP_CASE_TESTS(ValueDecoder, value_decoder_cases())
GTA_OP_CASE_CUDA_TEST(TiledValueDecoder, CudaIsNearTheReference, tiled_value_decoder_cases(), check_cuda)
GTA_OP_CASE_CUDA_TEST(TiledValueDecoder, CudaGivesTheSameBitsTwice, tiled_value_decoder_cases(), check_cuda_bits)
GTA_OP_CASE_CUDA_TEST(TiledValueDecoder, CudaWritesWhatTheSlotsSay, tiled_value_decoder_cases(), check_cuda_slots)

}  // namespace
}  // namespace gta::testing
