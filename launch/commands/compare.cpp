// gta compare: runs side by side, in words, as a table and as a report's folder.
#include <fmt/format.h>

#include <optional>

#include "launch/commands/commands.h"
#include "launch/compare/comparison.h"
#include "launch/compare/report.h"
#include "launch/compare/report_json.h"
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

CompareOptions options_of(const CompareCommand& command) {
  CompareOptions options;
  options.name = command.name;
  options.baseline = command.baseline;
  options.equal = budget_named(command.equal);
  options.tolerance = command.tolerance;
  options.practical_difference = command.practical_difference;
  options.varied = command.varied;
  return options;
}

void print(const Comparison& comparison) {
  fmt::print("{}\n{}", wrapped(words_of(comparison)), table_text(comparison));
  if (!comparison.problems.empty()) fmt::print("\nnot fair:\n");
  for (const Remark& problem : comparison.problems) fmt::print("  {}: {}\n", problem.kind, problem.text);
  if (!comparison.notes.empty()) fmt::print("\nto know:\n");
  for (const Remark& note : comparison.notes) fmt::print("  {}: {}\n", note.kind, note.text);
  bool any = false;
  for (const Cell& cell : comparison.cells) {
    if (cell.reason.empty()) continue;
    if (!any) fmt::print("\nleft out:\n");
    any = true;
    fmt::print("  {}: {}\n", cell.folder, cell.reason);
  }
}

}  // namespace

int run_compare(const CompareCommand& command) {
  const CompareOptions options = options_of(command);
  std::optional<ReportFolder> folder;
  if (!command.out.empty()) folder.emplace(command.out, command.replace ? Existing::Replace : Existing::Refuse);
  const Comparison comparison = compare(read_runs(command.runs), options);
  if (folder) folder->write(comparison);
  if (command.output == Output::Json)
    fmt::print("{}", report_text(comparison));
  else
    print(comparison);
  return 0;
}

}  // namespace gta
