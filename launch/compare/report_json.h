// report.json: every number of a comparison, for programs. docs/comparing.md says what stands where.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "launch/compare/comparison.h"
#include "launch/compare/supplements.h"

namespace gta {

nlohmann::ordered_json report_json(const Comparison& comparison, const Supplements& supplements = {});
// As text. A number that is none is null; no text of a run's can make it no JSON.
std::string report_text(const Comparison& comparison, const Supplements& supplements = {});

// By which a folder's report.json is known as one that this program wrote.
bool is_report(const std::string& text);

}  // namespace gta
