#include "launch/config/yaml_text.h"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <exception>
#include <sstream>
#include <utility>

namespace gta {
namespace {

constexpr int kDeepest = 32;

// Length of the UTF-8 sequence at text[i], 0 if it is none (overlong forms, surrogates and what lies above U+10FFFF are none).
size_t utf8_length(const std::string& text, size_t i) {
  const auto byte = [&](size_t k) { return k < text.size() ? static_cast<unsigned char>(text[k]) : 0u; };
  const auto continues = [&](size_t k) { return (byte(k) & 0xC0u) == 0x80u; };
  const unsigned first = byte(i), second = byte(i + 1);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return continues(i + 1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const bool valid = continues(i + 1) && continues(i + 2) && (first != 0xE0 || second >= 0xA0) && (first != 0xED || second <= 0x9F);
    return valid ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const bool valid =
        continues(i + 1) && continues(i + 2) && continues(i + 3) && (first != 0xF0 || second >= 0x90) && (first != 0xF4 || second <= 0x8F);
    return valid ? 4 : 0;
  }
  return 0;
}

YamlTextProblem check_bytes(const std::string& text) {
  int line = 1, column = 1;
  for (size_t i = 0; i < text.size();) {
    const size_t length = utf8_length(text, i);
    const auto byte = static_cast<unsigned char>(text[i]);
    if (length == 0) return {line, column, fmt::format("byte 0x{:02x} is not UTF-8: expected UTF-8 text", byte)};
    if ((byte < 0x20 && byte != '\t' && byte != '\n' && byte != '\r') || byte == 0x7F)
      return {line, column, fmt::format("byte 0x{:02x} is a control character: expected text", byte)};
    line += byte == '\n';
    column = byte == '\n' ? 1 : column + 1;
    i += length;
  }
  return {};
}

class Events : public YAML::EventHandler {
 public:
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
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, YAML::EmitterStyle::value) override {
    open(mark, tag, anchor);
  }
  void OnSequenceEnd() override { --depth_; }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, YAML::EmitterStyle::value) override {
    open(mark, tag, anchor);
  }
  void OnMapEnd() override { --depth_; }

 private:
  void refuse(const YAML::Mark& mark, std::string text) {
    if (problem.text.empty()) problem = {mark.line + 1, mark.column + 1, std::move(text)};
  }
  void node(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    if (anchor != 0) refuse(mark, "anchors and aliases are not used here: write the value out");
    if (!tag.empty() && tag != "?" && tag != "!") refuse(mark, fmt::format("the tag {} is not used here: remove it", tag));
  }
  void open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    node(mark, tag, anchor);
    if (++depth_ > kDeepest) throw YAML::ParserException(mark, fmt::format("nested more than {} deep", kDeepest));
  }

  int depth_ = 0;
};

}  // namespace

YamlTextProblem check_yaml_text(const std::string& text) {
  if (const YamlTextProblem problem = check_bytes(text); !problem.text.empty()) return problem;
  Events events;
  try {
    std::istringstream stream(text);
    YAML::Parser parser(stream);
    // Two are enough to know: a stray ',' gives empty documents without end.
    while (events.documents < 2 && events.problem.text.empty() && parser.HandleNextDocument(events)) {
    }
  } catch (const YAML::Exception& error) {
    return {error.mark.is_null() ? 0 : error.mark.line + 1, error.mark.is_null() ? 0 : error.mark.column + 1, "is not YAML: " + error.msg};
  } catch (const std::exception& error) {
    return {0, 0, std::string("is not YAML: ") + error.what()};
  }
  if (!events.problem.text.empty()) return events.problem;
  if (events.documents == 0) return {0, 0, "is empty: expected a mapping of keys"};
  if (events.documents > 1) return {0, 0, "holds more than one YAML document: expected one"};
  return {};
}

}  // namespace gta
