#include "launch/loss_breakdown.h"

#include <fmt/format.h>

#include <bit>
#include <limits>

namespace gta {
namespace {

// Bucket 0 holds 1 to first_bucket, bucket i the numbers beyond first_bucket 2^(i - 1), up to first_bucket 2^i.
size_t bucket_of(int64_t number, int64_t first_bucket) {
  return static_cast<size_t>(std::bit_width(static_cast<uint64_t>((number - 1) / first_bucket)));
}

int64_t doubled(int64_t number) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  return number > kMost / 2 ? kMost : 2 * number;
}

}  // namespace

std::string LossBreakdown::Bucket::name() const {
  return first == last ? fmt::format("loss/{}/{}", kind, first) : fmt::format("loss/{}/{}-{}", kind, first, last);
}

void LossBreakdown::add(int64_t position, int64_t document_tokens, double loss) {
  const std::array<int64_t, kKinds.size()> numbers = {position, document_tokens};
  for (size_t kind = 0; kind < kKinds.size(); ++kind) {
    Sum& sum = sums_[kind].at(bucket_of(numbers[kind], kKinds[kind].first_bucket));
    sum.loss += loss;
    ++sum.tokens;
  }
}

void LossBreakdown::add(const LossBreakdown& other) {
  for (size_t kind = 0; kind < kKinds.size(); ++kind)
    for (size_t i = 0; i < kBuckets; ++i) {
      sums_[kind][i].loss += other.sums_[kind][i].loss;
      sums_[kind][i].tokens += other.sums_[kind][i].tokens;
    }
}

std::vector<LossBreakdown::Bucket> LossBreakdown::buckets() const {
  std::vector<Bucket> buckets;
  for (size_t kind = 0; kind < kKinds.size(); ++kind) {
    int64_t before = 0, last = kKinds[kind].first_bucket;
    for (const Sum& sum : sums_[kind]) {
      if (sum.tokens > 0)
        buckets.push_back(
            {kKinds[kind].name, before + 1, last, sum.tokens, sum.loss / static_cast<double>(sum.tokens)});
      before = last;
      last = doubled(last);
    }
  }
  return buckets;
}

std::map<std::string, double> LossBreakdown::values() const {
  std::map<std::string, double> values;
  for (const Bucket& bucket : buckets()) values[bucket.name()] = bucket.loss;
  return values;
}

}  // namespace gta
