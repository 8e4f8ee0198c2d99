#include "data/corpus.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "data/text_stream.h"
#include "data/utf8.h"

namespace gta {
namespace {

class Separator {
 public:
  explicit Separator(const std::string& pattern) {
    int code = 0;
    PCRE2_SIZE offset = 0;
    regex_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), PCRE2_UTF | PCRE2_ANCHORED | PCRE2_ENDANCHORED,
                               &code, &offset, nullptr));
    if (!regex_) {
      unsigned char message[256];
      pcre2_get_error_message(code, message, sizeof message);
      bad_input("document-separator", "'{}' is no regular expression: {} at character {}", pattern, reinterpret_cast<char*>(message),
                offset);
    }
    match_.reset(pcre2_match_data_create_from_pattern(regex_.get(), nullptr));
  }
  // The line without its end; its text is UTF-8.
  bool matches(std::string_view line, const std::string& path, int64_t number) const {
    const int status =
        pcre2_match(regex_.get(), reinterpret_cast<PCRE2_SPTR>(line.data()), line.size(), 0, PCRE2_NO_UTF_CHECK, match_.get(), nullptr);
    if (status < PCRE2_ERROR_NOMATCH)
      bad_input(path + ":" + std::to_string(number),
                "the document separator needs too long on this line (PCRE2 error {}): write a simpler one", status);
    return status >= 0;
  }

 private:
  struct Free {
    void operator()(pcre2_code* code) const { pcre2_code_free(code); }
    void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
  };
  std::unique_ptr<pcre2_code, Free> regex_;
  std::unique_ptr<pcre2_match_data, Free> match_;
};

bool is_jsonl(std::string name) {
  for (const char* suffix : {".gz", ".zst"})
    if (name.ends_with(suffix)) name.resize(name.size() - std::string_view(suffix).size());
  return name.ends_with(".jsonl");
}

std::string text_of(const std::string& line, const std::string& field, const std::string& path, int64_t number) {
  const std::string where = path + ":" + std::to_string(number);
  const auto json = nlohmann::json::parse(line, nullptr, false);
  if (json.is_discarded() || !json.is_object()) bad_input(where, "is not a JSON object: every line of a .jsonl file is one");
  const auto found = json.find(field);
  if (found == json.end() || !found->is_string()) bad_input(where, "has no text field '{}': name it with --field", field);
  return found->get<std::string>();
}

}  // namespace

void read_documents(const std::vector<std::string>& inputs, const CorpusOptions& options, const std::function<void(std::string&&)>& take) {
  const auto separator = options.document_separator ? std::make_unique<Separator>(*options.document_separator) : nullptr;
  for (const std::string& path : inputs) {
    TextStream stream(path, options.largest_document);
    std::string line, document;
    int64_t number = 0, offset = 0;
    const auto finish = [&] {
      if (!document.empty()) take(std::move(document));
      document.clear();
    };
    const bool jsonl = is_jsonl(path);
    while (stream.read_line(line)) {
      ++number;
      if (const int64_t bad = find_bad_utf8(line); bad >= 0) bad_input(path, "is not UTF-8 at byte {} (line {})", offset + bad, number);
      offset += static_cast<int64_t>(line.size());
      std::string_view content = line;
      if (content.ends_with('\n')) content.remove_suffix(1);
      if (jsonl) {
        if (content.find_first_not_of(" \t\r") == std::string_view::npos) continue;
        document = text_of(line, options.field, path, number);
        finish();
        continue;
      }
      if (content.ends_with('\r')) content.remove_suffix(1);
      if (separator && separator->matches(content, path, number))
        finish();
      else
        document += line;
      if (static_cast<int64_t>(document.size()) > options.largest_document)
        bad_input(path, "has a document of more than {} bytes (at line {}): split it, with --document-separator where it has separators",
                  options.largest_document, number);
    }
    finish();
  }
}

}  // namespace gta
