// Where in a text a model's losses are: means over tokens by how many tokens were before them, and by how long their
// document is.
//
//   loss/position/P   predicted from P tokens: those of its window, with document masks those of its document there
//   loss/document/N   its document has N tokens in its shard or text, whatever a window shows of it
//
// in buckets that each double what the ones before reach: positions 1, 2, 3-4, 5-8, ..., documents 1-32, 33-64, ...
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace gta {

// Trivially copyable, so that ranks can send theirs.
class LossBreakdown {
 public:
  // Of which there is a token at least.
  struct Bucket {
    const char* kind;     // "position" or "document"
    int64_t first, last;  // of the numbers it holds
    int64_t tokens;
    double loss;               // mean, nats per token
    std::string name() const;  // "loss/position/3-4"
  };

  // A token with a loss in nats. position, document_tokens: from 1.
  void add(int64_t position, int64_t document_tokens, double loss);
  void add(const LossBreakdown& other);

  // Positions, then documents, each ascending.
  std::vector<Bucket> buckets() const;
  std::map<std::string, double> values() const;  // name -> loss

 private:
  static constexpr size_t kBuckets = 64;  // for any int64
  struct Sum {
    double loss = 0;
    int64_t tokens = 0;
  };
  struct Kind {
    const char* name;
    int64_t first_bucket;  // holds the numbers from 1 to this
  };
  static constexpr std::array<Kind, 2> kKinds = {{{"position", 1}, {"document", 32}}};

  std::array<std::array<Sum, kBuckets>, kKinds.size()> sums_{};
};

}  // namespace gta
