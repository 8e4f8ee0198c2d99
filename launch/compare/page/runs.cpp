// Which runs count, which do not, and why.
#include <fmt/format.h>

#include "launch/compare/page/numbers.h"
#include "launch/compare/page/parts.h"
#include "launch/compare/page/sections.h"

namespace gta::page {
namespace {

std::string seed_of(const Cell& cell) { return cell.seed ? std::to_string(*cell.seed) : kNoNumber; }

Markup folder(const std::string& name) { return element("code", {}, {name}); }

}  // namespace

Markup runs_section(const Comparison& comparison) {
  Table out("Runs that do not count", {"folder", "variant", "seed", "state", "reason"}),
      all_runs("All runs",
               {"folder", "variant", "seed", "state", "last step", "validation loss at the end", "remarks"});
  out.words();
  all_runs.words();
  size_t count = 0;
  for (size_t i = 0; i < comparison.cells.size(); ++i) {
    const Cell& cell = comparison.cells[i];
    const RunRecord& run = comparison.runs[i];

    if (!cell.reason.empty()) {
      out.row(folder(cell.folder), {cell.variant, seed_of(cell), cell.state, cell.reason});
    } else {
      ++count;
    }

    std::string remarks;
    for (const std::string& remark : run.remarks) remarks += (remarks.empty() ? "" : "; ") + remark;

    all_runs.row(folder(cell.folder), {cell.variant, seed_of(cell), cell.state, grouped(run.last_step),
                                       run.final ? fixed(run.final->loss, 6) : kNoNumber, remarks});
  }
  Markup all = paragraph({fmt::format("{} of {} runs count.", count, comparison.cells.size())});
  if (!out.empty()) all += out.markup();
  all += details("All runs", all_runs.markup());
  return section("runs", "Runs", all);
}

}  // namespace gta::page
