// Documents from text files: plain (one document a file, or split by separator lines) or JSON lines with a text field;
// either may be compressed by gzip or zstd.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace gta {

// Auto: JSON lines where the name ends with .jsonl, .ndjson, .jsonlines or .json (before .gz or .zst), text elsewhere;
// but what begins as JSON under another name is refused.
enum class TextFormat : uint8_t { Auto, Text, JsonLines };

struct CorpusOptions {
  TextFormat format = TextFormat::Auto;
  std::optional<std::string> field;  // of a JSON line; unset: "text". Error(BadInput) with text, which has none
  // PCRE2; a line that matches as a whole, without its \n or \r\n, separates two documents ("": an empty line). Lines
  // of more than 1 MiB separate nothing. Error(BadInput) with JSON lines, each of which is a document.
  std::optional<std::string> document_separator;
  bool skip_bad_lines = false;                  // they are warned of and counted, not refused; lines are held whole
  int64_t largest_document = int64_t{1} << 30;  // bytes
};

// What may be otherwise than meant.
struct CorpusNotes {
  int64_t files = 0;
  // Text files of more than a megabyte that are one document; the first one's name.
  int64_t whole_files = 0;
  std::string first_whole_file;
  // Lines that the separator matches, and lines that have it within; "FILE:LINE" of the first of these.
  int64_t separators = 0, inside_lines = 0;
  std::string first_inside;
};

struct DocumentPart {
  std::string text;
  bool ends_document = false;
};

// Documents in order, none of them empty, in parts of about 1 MiB at most (a JSON line's text is one part).
// Error(BadInput) with file and line or byte: invalid UTF-8, a NUL, a bad JSON line, a document that is too large, a
// compressed file that ends early, no such file, a file that is neither text nor JSON lines, a separator that is no
// regular expression, an option that means nothing to an input.
class CorpusReader {
 public:
  // Refuses at once which of the inputs cannot be read, pipes excepted.
  CorpusReader(std::vector<std::string> inputs, CorpusOptions options);
  ~CorpusReader();
  bool next(DocumentPart& part);  // false at the end
  std::string place() const;      // "FILE:LINE" of the last part
  int64_t bytes_read() const;     // of uncompressed text
  const CorpusNotes& notes() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Calls `take` with each document, holding one at a time.
void read_documents(const std::vector<std::string>& inputs, const CorpusOptions& options,
                    const std::function<void(std::string&&)>& take);

// Reads all that can be read twice (pipes cannot) to its end, so that a bad line is found before any work and not after
// it.
void check_documents(const std::vector<std::string>& inputs, const CorpusOptions& options);

}  // namespace gta
