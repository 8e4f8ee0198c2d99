// Documents from text files: plain (one document a file, or split by separator lines), .jsonl with a text field; either may be .gz or .zst.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace gta {

struct CorpusOptions {
  std::string field = "text";  // of a .jsonl line
  // PCRE2; a line that matches as a whole, without its \n or \r\n, separates two documents ("": an empty line).
  std::optional<std::string> document_separator;
  int64_t largest_document = int64_t{1} << 30;  // bytes; one is held in memory at a time
};

// Calls `take` with each document that is not empty, in order, holding one at a time. Error(BadInput) with file and line or byte offset:
// invalid UTF-8, a bad JSON line, a document that is too large, a compressed file that ends early, no such file, a separator that is no
// regular expression.
void read_documents(const std::vector<std::string>& inputs, const CorpusOptions& options, const std::function<void(std::string&&)>& take);

}  // namespace gta
