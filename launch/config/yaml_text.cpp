#include "launch/config/yaml_text.h"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <exception>
#include <sstream>
#include <string_view>
#include <utility>

#include "data/utf8.h"

namespace gta {
namespace {

constexpr int kDeepest = 32;

YamlTextProblem check_bytes(const std::string& text) {
  int line = 1, column = 1;
  for (size_t i = 0; i < text.size();) {
    const int length = utf8_length(std::string_view(text).substr(i));
    const auto byte = static_cast<unsigned char>(text[i]);
    if (length <= 0) return {line, column, fmt::format("byte 0x{:02x} is not UTF-8: expected UTF-8 text", byte)};
    if ((byte < 0x20 && byte != '\t' && byte != '\n' && byte != '\r') || byte == 0x7F)
      return {line, column, fmt::format("byte 0x{:02x} is a control character: expected text", byte)};
    line += byte == '\n';
    column = byte == '\n' ? 1 : column + 1;
    i += static_cast<size_t>(length);
  }
  return {};
}

// Whether the quoted text at text[begin] has its closing quote; yaml-cpp 0.7 lets the end of the file close it.
bool is_closed(const std::string& text, size_t begin) {
  const char quote = text[begin];
  for (size_t i = begin + 1; i < text.size(); ++i) {
    if (quote == '"' && text[i] == '\\')
      ++i;
    else if (quote == '\'' && text.compare(i, 2, "''") == 0)
      ++i;
    else if (text[i] == quote)
      return true;
  }
  return false;
}

class Events : public YAML::EventHandler {
 public:
  explicit Events(const std::string& text) : text_(text) {}

  YamlTextProblem problem;
  int documents = 0;

  void OnDocumentStart(const YAML::Mark&) override { ++documents; }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { node(mark, "", anchor); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    refuse(mark, "anchors and aliases are not used here: write the value out");
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, const std::string&) override {
    node(mark, tag, anchor);
    const auto at = static_cast<size_t>(mark.pos);
    if (tag == "!" && at < text_.size() && (text_[at] == '"' || text_[at] == '\'') && !is_closed(text_, at))
      refuse(mark, "is not YAML: a quote is not closed");
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, tag, anchor);
  }
  void OnSequenceEnd() override { --depth_; }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, tag, anchor);
  }
  void OnMapEnd() override { --depth_; }

 private:
  void refuse(const YAML::Mark& mark, std::string text) {
    if (problem.text.empty()) problem = {mark.line + 1, mark.column + 1, std::move(text)};
  }
  void node(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    if (anchor != 0) refuse(mark, "anchors and aliases are not used here: write the value out");
    if (!tag.empty() && tag != "?" && tag != "!")
      refuse(mark, fmt::format("the tag {} is not used here: remove it", tag));
  }
  void open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    node(mark, tag, anchor);
    if (++depth_ <= kDeepest) return;
    refuse(mark, fmt::format("is not YAML: nested more than {} deep", kDeepest));
    throw YAML::ParserException(mark, "nested too deeply");  // nothing else ends the parser
  }

  const std::string& text_;
  int depth_ = 0;
};

}  // namespace

std::string yaml_problem(const YAML::Exception& error) {
  using namespace YAML::ErrorMsg;
  constexpr const char* kPlace =
      "':', '?' or '-' stands where YAML allows none: indent the line as its neighbours are, or put the text in quotes";
  const std::pair<const char*, const char*> meanings[] = {
      {END_OF_MAP, "the line belongs to no mapping: indent it as the keys beside it are"},
      {END_OF_SEQ, "the line belongs to no list: indent it as the entries beside it are"},
      {END_OF_MAP_FLOW, "a '{' is not closed, or a ',' is missing after it"},
      {END_OF_SEQ_FLOW, "a '[' is not closed, or a ',' is missing after it"},
      {FLOW_END, "a ']' or '}' closes nothing"},
      {EOF_IN_SCALAR, "a quote is not closed"},
      {DOC_IN_SCALAR, "a quote is not closed"},
      {TAB_IN_INDENTATION, "a tab is used to indent: use spaces"},
      {MAP_VALUE, kPlace},
      {MAP_KEY, kPlace},
      {BLOCK_ENTRY, kPlace},
      {INVALID_ESCAPE, "a quoted text has an escape that YAML lacks: single quotes take it as it is"},
      {INVALID_HEX, "a quoted text has an escape that YAML lacks: single quotes take it as it is"},
      {INVALID_UNICODE, "a quoted text has an escape that YAML lacks: single quotes take it as it is"},
  };
  for (const auto& [message, meaning] : meanings)
    if (error.msg.starts_with(message)) return fmt::format("is not YAML: {}", meaning);
  return "is not YAML: expected lines of 'key: value'; a text with signs of YAML's own needs quotes";
}

YamlTextProblem check_yaml_text(const std::string& text) {
  if (const YamlTextProblem problem = check_bytes(text); !problem.text.empty()) return problem;
  Events events(text);
  try {
    std::istringstream stream(text);
    YAML::Parser parser(stream);
    // Two are enough to know: a stray ',' gives empty documents without end.
    while (events.documents < 2 && events.problem.text.empty() && parser.HandleNextDocument(events)) {
    }
  } catch (const YAML::Exception& error) {
    if (!events.problem.text.empty()) return events.problem;
    return {error.mark.is_null() ? 0 : error.mark.line + 1, error.mark.is_null() ? 0 : error.mark.column + 1,
            yaml_problem(error)};
  } catch (const std::exception&) {
    return {0, 0, "is not YAML: expected lines of 'key: value'"};
  }
  if (!events.problem.text.empty()) return events.problem;
  if (events.documents == 0) return {0, 0, "is empty: expected a mapping of keys"};
  if (events.documents > 1) return {0, 0, "holds more than one YAML document: expected one"};
  return {};
}

}  // namespace gta
