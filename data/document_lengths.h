// How long documents are. Exact: the lengths that occur are few (a million different ones take 500 GB of text).
#pragma once

#include <cstdint>
#include <map>

namespace gta {

class DocumentLengths {
 public:
  void add(int64_t length) {
    ++counts_[length];
    ++documents_;
    total_ += length;
  }
  int64_t documents() const { return documents_; }
  int64_t total() const { return total_; }
  // Of at least one document.
  int64_t least() const { return counts_.begin()->first; }
  int64_t largest() const { return counts_.rbegin()->first; }
  int64_t mean() const { return total_ / documents_; }
  int64_t median() const {  // the lower one of two
    int64_t before = 0;
    for (const auto& [length, count] : counts_)
      if ((before += count) > (documents_ - 1) / 2) return length;
    return 0;
  }

 private:
  std::map<int64_t, int64_t> counts_;  // of documents, by length
  int64_t documents_ = 0, total_ = 0;
};

}  // namespace gta
