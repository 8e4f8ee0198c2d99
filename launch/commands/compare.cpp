// gta compare: runs side by side, in words, as a table and as a report's folder.
#include <fmt/format.h>

#include <optional>

#include "launch/commands/commands.h"
#include "launch/commands/comparison_text.h"
#include "launch/compare/comparison.h"
#include "launch/compare/report.h"
#include "launch/compare/report_json.h"

namespace gta {
namespace {

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

}  // namespace

int run_compare(const CompareCommand& command) {
  const CompareOptions options = options_of(command);
  std::optional<ReportFolder> folder;
  if (!command.out.empty()) folder.emplace(command.out, command.replace ? Existing::Replace : Existing::Refuse);
  const Comparison comparison = compare(read_runs(command.runs), options);
  const Supplements supplements{profiles_of(comparison)};
  if (folder) folder->write(comparison, supplements);
  if (command.output == Output::Json)
    fmt::print("{}", report_text(comparison, supplements));
  else
    fmt::print("{}", comparison_text(comparison));
  return 0;
}

}  // namespace gta
