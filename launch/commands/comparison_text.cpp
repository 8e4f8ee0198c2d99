#include "launch/commands/comparison_text.h"

#include <fmt/format.h>

#include <algorithm>

#include "launch/compare/tables.h"
#include "launch/compare/words.h"

namespace gta {
namespace {

constexpr size_t kLineWidth = 110;

// In lines that end between words.
std::string wrapped(const std::string& text) {
  std::string out;
  for (size_t begin = 0; begin < text.size();) {
    size_t end = text.size();
    if (end - begin > kLineWidth) {
      end = text.rfind(' ', begin + kLineWidth);
      if (end == std::string::npos || end <= begin) end = std::min(text.find(' ', begin), text.size());
    }
    out += text.substr(begin, end - begin) + "\n";
    begin = end + 1;
  }
  return out;
}

}  // namespace

std::string comparison_text(const Comparison& comparison) {
  std::string text = fmt::format("{}\n{}", wrapped(words_of(comparison)), table_text(comparison));
  if (!comparison.problems.empty()) text += "\nnot fair:\n";
  for (const Remark& problem : comparison.problems) text += fmt::format("  {}: {}\n", problem.kind, problem.text);
  if (!comparison.notes.empty()) text += "\nto know:\n";
  for (const Remark& note : comparison.notes) text += fmt::format("  {}: {}\n", note.kind, note.text);
  bool any = false;
  for (const Cell& cell : comparison.cells) {
    if (cell.reason.empty()) continue;
    if (!any) text += "\nleft out:\n";
    any = true;
    text += fmt::format("  {}: {}\n", cell.folder, cell.reason);
  }
  return text;
}

}  // namespace gta
