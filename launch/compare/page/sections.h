// The page's sections, in its order; one that has nothing to show is empty. Each is in the file of its name.
#pragma once

#include "launch/compare/page/page.h"
#include "launch/markup.h"

namespace gta::page {

Markup results_section(const Comparison& comparison, const Supplements& supplements);
Markup differences_section(const Comparison& comparison);
Markup curves_section(const Comparison& comparison);
Markup tradeoffs_section(const Comparison& comparison, const Supplements& supplements);
Markup profiles_section(const Comparison& comparison, const Supplements& supplements);
Markup scaling_section(const Comparison& comparison, const Supplements& supplements);
Markup runs_section(const Comparison& comparison);
Markup repeat_section(const Comparison& comparison);

Markup page_css();

}  // namespace gta::page
