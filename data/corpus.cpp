#include "data/corpus.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "core/log.h"
#include "data/input_file.h"
#include "data/json_field.h"
#include "data/text_stream.h"
#include "data/utf8.h"

namespace gta {
namespace {

constexpr int64_t kMostListed = 10;       // bad lines of a file that are named one by one
constexpr int64_t kMostFilesListed = 10;  // files of which they are; of more, all are counted
constexpr size_t kHead = 4096;            // bytes that tell what a file is

class Separator {
 public:
  explicit Separator(const std::string& pattern) : is_empty_(pattern.empty()) {
    int code = 0;
    PCRE2_SIZE offset = 0;
    regex_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), PCRE2_UTF, &code, &offset,
                               nullptr));
    if (!regex_) {
      unsigned char message[256];
      pcre2_get_error_message(code, message, sizeof message);
      bad_input("document-separator", "'{}' is no regular expression: {} at character {}", pattern,
                reinterpret_cast<char*>(message), offset);
    }
    match_.reset(pcre2_match_data_create_from_pattern(regex_.get(), nullptr));
  }
  // The line without its end; its text is UTF-8.
  bool matches(std::string_view line, const std::string& path, int64_t number) const {
    const int status = match(line, PCRE2_ANCHORED | PCRE2_ENDANCHORED);
    if (status < PCRE2_ERROR_NOMATCH)
      bad_input(path + ":" + std::to_string(number),
                "the document separator needs too long on this line (PCRE2 error {}): write a simpler one", status);
    return status >= 0;
  }
  // Somewhere in the line, and not as nothing.
  bool is_within(std::string_view line) const { return !is_empty_ && match(line, PCRE2_NOTEMPTY) >= 0; }

 private:
  int match(std::string_view line, uint32_t how) const {
    return pcre2_match(regex_.get(), reinterpret_cast<PCRE2_SPTR>(line.data()), line.size(), 0,
                       PCRE2_NO_UTF_CHECK | how, match_.get(), nullptr);
  }
  struct Free {
    void operator()(pcre2_code* code) const { pcre2_code_free(code); }
    void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
  };
  bool is_empty_;
  std::unique_ptr<pcre2_code, Free> regex_;
  std::unique_ptr<pcre2_match_data, Free> match_;
};

bool is_named_json(std::string name) {
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  for (const char* suffix : {".gz", ".zst"})
    if (name.ends_with(suffix)) name.resize(name.size() - std::string_view(suffix).size());
  for (const char* suffix : {".jsonl", ".ndjson", ".jsonlines", ".json"})
    if (name.ends_with(suffix)) return true;
  return false;
}

std::string_view without_blanks(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  return text.substr(std::min(first, text.size()));
}

// {"key": or [{"key": or [", which no prose begins with.
bool begins_as_json(std::string_view head) {
  if (head.starts_with(kByteOrderMark)) head.remove_prefix(kByteOrderMark.size());
  head = without_blanks(head);
  const bool array = head.starts_with('[');
  if (array) head = without_blanks(head.substr(1));
  if (!head.starts_with('{')) return array && head.starts_with('"');
  head = without_blanks(head.substr(1));
  if (!head.starts_with('"')) return false;
  const size_t end = head.find('"', 1);
  return end != std::string_view::npos && without_blanks(head.substr(end + 1)).starts_with(':');
}

// What a file is that can pass for text at its beginning, or "".
const char* name_of_binary(std::string_view head) {
  struct Known {
    size_t at;
    std::string_view bytes;
    const char* name;
  };
  using namespace std::string_view_literals;
  static constexpr Known known[] = {{0, "PK\3\4"sv, "a zip archive"},
                                    {257, "ustar"sv, "a tar archive"},
                                    {0, "PAR1"sv, "a Parquet file"},
                                    {0, "%PDF-"sv, "a PDF"},
                                    {0, "BZh"sv, "compressed by bzip2"},
                                    {0,
                                     "\xfd"
                                     "7zXZ"sv,
                                     "compressed by xz"},
                                    {0, "\xff\xfe"sv, "UTF-16 or UTF-32"},
                                    {0, "\xfe\xff"sv, "UTF-16"},
                                    {0, "SQLite format 3"sv, "an SQLite database"},
                                    {0, "\x89HDF"sv, "an HDF5 file"}};
  for (const Known& k : known) {
    if (head.size() < k.at + k.bytes.size() || head.substr(k.at, k.bytes.size()) != k.bytes) continue;
    // A word may begin like it; what follows in a file of this kind is no text. (A text's head may end within a
    // character.)
    const int64_t bad = find_bad_utf8(head);
    if ((bad >= 0 && bad + 3 < static_cast<int64_t>(head.size())) || head.find('\0') != std::string_view::npos ||
        k.bytes == "%PDF-")
      return k.name;
  }
  return "";
}

TextFormat format_of(const std::string& path, const CorpusOptions& options, TextStream& stream) {
  const std::string_view head = stream.peek(kHead);
  if (const std::string binary = name_of_binary(head); !binary.empty())
    bad_input(path, "is {}: expected UTF-8 text or JSON lines, plain or compressed by gzip or zstd", binary);
  TextFormat format = options.format;
  if (format == TextFormat::Auto) {
    format = is_named_json(path) ? TextFormat::JsonLines : TextFormat::Text;
    if (format == TextFormat::Text && begins_as_json(head))
      bad_input(path,
                "begins as JSON and is not named .jsonl: say --format jsonl for one object a line, --format text to "
                "take it as it is");
  }
  if (format == TextFormat::Text && options.field)
    bad_input(path, "is text, which has no field '{}': leave --field out, or say --format jsonl", *options.field);
  if (format == TextFormat::JsonLines && options.document_separator)
    bad_input(path, "is JSON lines, each of which is a document: leave --document-separator out, or say --format text");
  return format;
}

}  // namespace

struct CorpusReader::State {
  State(std::vector<std::string> files, CorpusOptions chosen) : inputs(std::move(files)), options(std::move(chosen)) {
    if (options.document_separator) separator = std::make_unique<Separator>(*options.document_separator);
    for (const std::string& path : inputs) {
      require_input_file(path);
      if (!is_regular_file(path)) continue;
      TextStream first(path);
      format_of(path, options, first);
    }
  }
  ~State() { say_left_out(); }

  void open(const std::string& path) {
    stream = std::make_unique<TextStream>(path, kPart);
    format = format_of(path, options, *stream);
    number = offset = file_documents = 0;
  }

  // False at the file's end.
  bool read_line() {
    if (!stream->read(line)) return false;
    number += line.begins;
    offset += static_cast<int64_t>(line.text.size());
    bytes += static_cast<int64_t>(line.text.size());
    if (number == 1 && line.begins && line.text.starts_with(kByteOrderMark)) line.text.erase(0, kByteOrderMark.size());
    return true;
  }

  std::string place() const {
    return inputs.empty() ? "" : inputs[std::min(input, inputs.size() - 1)] + ":" + std::to_string(number);
  }

  void refuse_line(const std::string& reason) {
    if (!options.skip_bad_lines) bad_input(place(), "{}; --skip-bad-lines leaves such lines out", reason);
    if (skipped++ == 0) ++bad_files;
    if (skipped <= kMostListed && bad_files <= kMostFilesListed) log::warning("[{}] {}: left out", place(), reason);
  }

  // Whether the line (or part of a line) is UTF-8 and has no NUL, as UTF-16 has, or a file whose end was never written.
  bool is_text() {
    const int64_t first = offset - static_cast<int64_t>(line.text.size()), bad = find_bad_utf8(line.text);
    const size_t nul = line.text.find('\0');
    if (bad >= 0)
      refuse_line(fmt::format("is not UTF-8 at byte {} of the file", first + bad));
    else if (nul != std::string::npos)
      refuse_line(fmt::format(
          "has a NUL at byte {} of the file: it is UTF-16 (iconv makes UTF-8 of it), or was not written to its end",
          first + static_cast<int64_t>(nul)));
    return bad < 0 && nul == std::string::npos;
  }

  // A line that may have to be left out is taken whole, or not at all. True once it is here.
  bool gather_line() {
    whole += line.text;
    check_size(static_cast<int64_t>(whole.size()));
    if (!line.ends) return false;
    line.text.swap(whole);
    whole.clear();
    return true;
  }

  // Of text; empty when it ended a document that has none.
  void take_text(DocumentPart& part) {
    const bool in_one_part = line.begins && line.ends;
    if (options.skip_bad_lines && !in_one_part && !gather_line()) return;
    if (!is_text()) return;
    std::string_view content = line.text;
    if (content.ends_with('\n')) content.remove_suffix(1);
    if (content.ends_with('\r')) content.remove_suffix(1);
    if (separator && in_one_part && separator->matches(content, inputs[input], number)) {
      ++notes.separators;
      end_document(part);
      return;
    }
    if (separator && separator->is_within(content) && notes.inside_lines++ == 0) notes.first_inside = place();
    document_bytes += static_cast<int64_t>(line.text.size());
    part.text.swap(line.text);
    check_size();
  }

  void take_json(DocumentPart& part) {
    if (!gather_line()) return;
    if (is_text() && !without_blanks(line.text).empty()) {
      if (const std::string reason = read_json_field(line.text, options.field.value_or("text"), part.text);
          !reason.empty())
        refuse_line(reason);
      else if (part.text.empty())
        ++empty;
      document_bytes = static_cast<int64_t>(part.text.size());
      end_document(part);
    }
    document_bytes = 0;
  }

  void end_document(DocumentPart& part) {
    part.ends_document = document_bytes > 0;
    file_documents += part.ends_document;
    document_bytes = 0;
  }

  void end_file(DocumentPart& part) {
    end_document(part);
    ++notes.files;
    if (format == TextFormat::Text && file_documents == 1 && offset > kLargeFile && notes.whole_files++ == 0)
      notes.first_whole_file = inputs[input];
    say_skipped();
    stream.reset();
    ++input;
  }

  // more: bytes that are not counted as the document's yet.
  void check_size(int64_t more = 0) const {
    if (document_bytes + more > options.largest_document)
      bad_input(inputs[input],
                "has a document of more than {} bytes (at line {}): split it, with --document-separator where it has "
                "separators",
                options.largest_document, number);
  }

  // Of the file.
  void say_skipped() {
    if (skipped > kMostListed && bad_files <= kMostFilesListed)
      log::warning("[{}] {} bad lines were left out; the first {} are named above", inputs[input], skipped,
                   kMostListed);
    skipped_in_all += std::exchange(skipped, 0);
  }

  // Of all files; at the end, or where whoever reads ends early.
  void say_left_out() {
    const bool counted = bad_files == 1 && skipped_in_all + skipped > kMostListed;  // by the line of its file
    if (input < inputs.size()) say_skipped();
    if (skipped_in_all > 0 && !counted)
      log::warning(
          "{} bad lines{} were left out{}", skipped_in_all, bad_files > 1 ? fmt::format(" in {} files", bad_files) : "",
          bad_files > kMostFilesListed ? fmt::format("; those of the first {} files are named above", kMostFilesListed)
                                       : "");
    if (empty > 0) log::info("{} lines have an empty text, and are no documents", empty);
    skipped_in_all = bad_files = empty = 0;
  }

  static constexpr int64_t kPart = 1 << 20, kLargeFile = 1'000'000;
  std::vector<std::string> inputs;
  CorpusOptions options;
  std::unique_ptr<Separator> separator;
  size_t input = 0;
  std::unique_ptr<TextStream> stream;  // of inputs[input]
  TextFormat format = TextFormat::Text;
  LinePart line;
  std::string whole;  // a line's parts so far
  int64_t number = 0, offset = 0, bytes = 0, document_bytes = 0, file_documents = 0, empty = 0;
  int64_t skipped = 0, skipped_in_all = 0,
          bad_files = 0;  // bad lines of this file, of those before it; with such lines
  CorpusNotes notes;
};

CorpusReader::CorpusReader(std::vector<std::string> inputs, CorpusOptions options)
    : state_(std::make_unique<State>(std::move(inputs), std::move(options))) {}
CorpusReader::~CorpusReader() = default;

std::string CorpusReader::place() const { return state_->place(); }
int64_t CorpusReader::bytes_read() const { return state_->bytes; }
const CorpusNotes& CorpusReader::notes() const { return state_->notes; }

bool CorpusReader::next(DocumentPart& part) {
  State& s = *state_;
  part.text.clear();
  part.ends_document = false;
  while (s.input < s.inputs.size()) {
    if (!s.stream) s.open(s.inputs[s.input]);
    if (s.read_line()) {
      s.format == TextFormat::JsonLines ? s.take_json(part) : s.take_text(part);
    } else {
      s.end_file(part);
    }
    if (!part.text.empty() || part.ends_document) return true;
  }
  s.say_left_out();
  return false;
}

void read_documents(const std::vector<std::string>& inputs, const CorpusOptions& options,
                    const std::function<void(std::string&&)>& take) {
  CorpusReader reader(inputs, options);
  DocumentPart part;
  for (std::string document; reader.next(part);) {
    document += part.text;
    if (part.ends_document) take(std::exchange(document, {}));
  }
}

void check_documents(const std::vector<std::string>& inputs, const CorpusOptions& options) {
  // With bad lines left out, each is warned of when it is read.
  if (options.skip_bad_lines) return;
  std::vector<std::string> files;
  std::copy_if(inputs.begin(), inputs.end(), std::back_inserter(files), is_regular_file);
  CorpusReader reader(files, options);
  for (DocumentPart part; reader.next(part);) {
  }
}

}  // namespace gta
