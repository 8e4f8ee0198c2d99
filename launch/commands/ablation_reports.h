// The reports of an ablation's cells.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launch/ablate/ablation_folder.h"
#include "launch/compare/supplements.h"

namespace gta {

struct AblationReports {
  const AblationFile& file;
  const std::vector<Arm>& arms;
  const std::vector<CellPlan>& cells;
  const CellFolder& folder;
  const std::string& device;  // on which decoding is timed
  const std::optional<Search>& search;
};

// A report for each size (FOLDER/report, or report-SIZE), and of the variants as they were before they were adjusted
// (-unmatched); each names the cells that failed. What they say is printed. False where one could not be written, which
// is told and stops no other.
bool write_reports(const AblationReports& ablation);

}  // namespace gta
