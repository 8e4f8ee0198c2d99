#include "launch/chart/style.h"

#include <fmt/format.h>

namespace gta {
namespace {

constexpr const char* kMarks[kStyles] = {"m-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0-7 0z",  // circle
                                         "m-3.2-3.2h6.4v6.4h-6.4z",                       // square
                                         "m0-4.4l4.2 7.6h-8.4z",                          // triangle
                                         "m0-4.6l4.6 4.6l-4.6 4.6l-4.6-4.6z",             // diamond
                                         "m0 4.4l4.2-7.6h-8.4z",                          // triangle, upside down
                                         "m-1.5-4.2h3v2.7h2.7v3h-2.7v2.7h-3v-2.7h-2.7v-3h2.7z",  // plus
                                         "m-4.4 0l7.6-4.2v8.4z",                                 // triangle to the left
                                         "m-4.5-2h9v4h-9z",                                      // bar
                                         "m4.4 0l-7.6-4.2v8.4z"};  // triangle to the right

}  // namespace

size_t style_of(size_t index) { return index < kStyles ? index : 1 + (index - kStyles) % (kStyles - 1); }

const char* mark_of(size_t style) { return kMarks[style_of(style)]; }

std::string class_of(size_t style) { return fmt::format("s{}", style_of(style)); }

// Colours after Okabe and Ito, darker on light ground and lighter on dark, each with a contrast of 3:1 or more.
Markup chart_css() {
  return Markup::literal(R"(.chart text{fill:#222;font:13px system-ui,sans-serif}
.chart .title{font-weight:600}
.chart .unit{font-size:12px}
.chart .halo{fill:#fff;stroke:#fff;stroke-width:4px;stroke-linejoin:round}
.chart .grid{stroke:#d9d9d9;stroke-width:1}
.chart .rule{stroke:#666;stroke-width:1.5}
.chart .zone{fill:#888;opacity:.16}
.chart .ground{fill:#fff}
.chart .line{fill:none;stroke:currentColor;stroke-width:1.8;stroke-linejoin:round}
.chart .thin{stroke-width:1.2}
.chart .band{fill:currentColor;opacity:.16}
.chart .bar{fill:none;stroke:currentColor;stroke-width:1.5}
.chart .mark,.chart .dot{fill:currentColor}
.chart .dot{opacity:.6}
.s0{color:#1c1c1c}.s1{color:#0072b2}.s2{color:#c4500a}.s3{color:#008060}.s4{color:#a8457f}
.s5{color:#8a6a00}.s6{color:#5a3fb0}.s7{color:#6e6e6e}.s8{color:#2f8fc4}
.s1 .line{stroke-dasharray:10 3}.s2 .line{stroke-dasharray:3 2}.s3 .line{stroke-dasharray:9 3 2 3}
.s4 .line{stroke-dasharray:16 4}.s5 .line{stroke-dasharray:5 2}.s6 .line{stroke-dasharray:1.5 2.5}
.s7 .line{stroke-dasharray:9 2 2 2 2 2}.s8 .line{stroke-dasharray:14 3 4 3}
@media screen and (prefers-color-scheme:dark){
.chart text{fill:#e0e0e0}.chart .grid{stroke:#3d3d3d}.chart .rule{stroke:#a5a5a5}.chart .ground{fill:#181818}
.chart .halo{fill:#181818;stroke:#181818}
.s0{color:#f2f2f2}.s1{color:#56b4e9}.s2{color:#ff9a5c}.s3{color:#35c99a}.s4{color:#ee9ccb}
.s5{color:#e6c445}.s6{color:#b7a2ff}.s7{color:#a9a9a9}.s8{color:#9bd3f5}
})");
}

Markup swatch_of(size_t style) {
  return element("svg",
                 {{"class", "chart swatch " + class_of(style)},
                  {"width", "34"},
                  {"height", "12"},
                  {"viewBox", "0 0 34 12"},
                  {"aria-hidden", "true"}},
                 {empty_element("path", {{"class", "line"}, {"d", "M0 6h34"}}),
                  empty_element("path", {{"class", "mark"}, {"d", std::string("M17 6") + mark_of(style)}})});
}

}  // namespace gta
