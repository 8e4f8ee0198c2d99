// A comparison's folder: report.html, report.json, table.csv, table.tex. Whole or not at all, and never over anything
// but an earlier report.
#pragma once

#include <string>

#include "launch/compare/comparison.h"
#include "launch/compare/supplements.h"
#include "launch/new_output.h"

namespace gta {

enum class Existing : uint8_t { Refuse, Replace };  // Replace: a folder with an earlier report and nothing else

class ReportFolder {
 public:
  // Error(BadInput) about --out where nothing can be made there.
  ReportFolder(const std::string& path, Existing existing);
  void write(const Comparison& comparison, const Supplements& supplements = {});

 private:
  NewOutput output_;
};

}  // namespace gta
