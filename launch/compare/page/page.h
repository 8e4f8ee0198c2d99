// A comparison as one page of HTML that needs nothing else: no network, no script; its pictures are SVG within it.
#pragma once

#include <string>
#include <vector>

#include "launch/compare/comparison.h"
#include "launch/compare/supplements.h"

namespace gta {

// paragraphs: what was found, in words; plain text.
std::string report_page(const Comparison& comparison, const std::vector<std::string>& paragraphs,
                        const Supplements& supplements = {});

}  // namespace gta
