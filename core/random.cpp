// Compiled with -ffp-contract=off (core/CMakeLists.txt): see random.h.
#include "core/random.h"

#include <bit>
#include <cmath>

namespace gta {
namespace {

struct Four {
  uint32_t v[4];
};

// Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011).
Four philox(uint64_t counter, uint64_t key) {
  uint32_t c[4] = {static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32), 0, 0};
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * c[0], p1 = uint64_t{0xCD9E8D57} * c[2];
    const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k0, n2 = static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k1;
    c[1] = static_cast<uint32_t>(p1);
    c[3] = static_cast<uint32_t>(p0);
    c[0] = n0;
    c[2] = n2;
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return {{c[0], c[1], c[2], c[3]}};
}

// FNV-1a, then a finalizer so that similar names give unrelated keys.
uint64_t hash(uint64_t seed, std::string_view name) {
  uint64_t h = 0xcbf29ce484222325u;
  for (int i = 0; i < 8; ++i) h = (h ^ (seed >> (8 * i) & 0xff)) * 0x100000001b3u;
  for (unsigned char c : name) h = (h ^ c) * 0x100000001b3u;
  h = (h ^ (h >> 33)) * 0xff51afd7ed558ccdu;
  h = (h ^ (h >> 33)) * 0xc4ceb9fe1a85ec53u;
  return h ^ (h >> 33);
}

// ln(x) for 0 < x <= 1: x = m 2^e with m in [sqrt(1/2), sqrt(2)), ln m = 2 atanh((m-1)/(m+1)).
double natural_log(double x) {
  constexpr double ln2 = 0.69314718055994530942;
  int exponent = 0;
  double m = std::frexp(x, &exponent);
  if (m < 0.70710678118654752440) {
    m *= 2;
    --exponent;
  }
  const double s = (m - 1) / (m + 1), s2 = s * s;
  double sum = 0;
  for (int k = 23; k >= 1; k -= 2) sum = sum * s2 + 1.0 / k;
  return 2 * s * sum + exponent * ln2;
}

// cos(2 pi u) for u in [0, 1), folded to an argument of at most pi/4, then a Taylor series of sine or cosine.
double cos_turns(double u) {
  constexpr double two_pi = 6.28318530717958647693;
  if (u > 0.5) u = 1 - u;
  const bool negative = u > 0.25;
  if (negative) u = 0.5 - u;
  double value = 0;
  if (u <= 0.125) {
    const double x2 = (two_pi * u) * (two_pi * u);
    value = 1;
    for (int k = 18; k >= 2; k -= 2) value = 1 - x2 / (k * (k - 1)) * value;
  } else {
    const double x = two_pi * (0.25 - u), x2 = x * x;
    value = 1;
    for (int k = 19; k >= 3; k -= 2) value = 1 - x2 / (k * (k - 1)) * value;
    value *= x;
  }
  return negative ? -value : value;
}

constexpr double k2Pow53 = 1.0 / 9007199254740992.0;

}  // namespace

RandomStream::RandomStream(uint64_t seed, std::string_view name) : key_(hash(seed, name)) {}

uint64_t RandomStream::bits(uint64_t index) const {
  const Four four = philox(index, key_);
  return uint64_t{four.v[1]} << 32 | four.v[0];
}

double RandomStream::uniform(uint64_t index) const { return static_cast<double>(bits(index) >> 11) * k2Pow53; }

double RandomStream::normal(uint64_t index) const {
  const Four four = philox(index, key_);
  const uint64_t a = uint64_t{four.v[1]} << 32 | four.v[0], b = uint64_t{four.v[3]} << 32 | four.v[2];
  const double u = static_cast<double>((a >> 11) + 1) * k2Pow53;  // (0, 1]
  const double turns = static_cast<double>(b >> 11) * k2Pow53;
  return std::sqrt(-2 * natural_log(u)) * cos_turns(turns);
}

}  // namespace gta
