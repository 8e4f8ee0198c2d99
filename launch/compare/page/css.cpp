// How the page looks: on a desk, on a phone, in the dark; on paper, where nothing is folded up or scrolled to.
#include "launch/compare/page/sections.h"

namespace gta::page {

Markup page_css() {
  return Markup::literal(R"(
:root{--ink:#222;--soft:#5a5a5a;--ground:#fff;--line:#d9d9d9;--shade:#f5f5f3;--link:#0b5cad;--red:#a3140c;
--red-ground:#fdeceb;--amber:#7a5200;--amber-ground:#fff6df;--green:#0a6b46}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1240px;padding:16px 20px 48px;color:var(--ink);background:var(--ground);
font:16px/1.5 system-ui,sans-serif;overflow-wrap:break-word}
h1{margin:.4em 0 0;font-size:1.9rem;line-height:1.2}
h2{margin:2em 0 .5em;padding-top:.5em;border-top:1px solid var(--line);font-size:1.35rem}
p{max-width:76ch;margin:.6em 0}
a{color:var(--link)}
code,pre{font:.92em ui-monospace,monospace}
pre{max-width:100%;padding:8px 10px;background:var(--shade);border-radius:4px}
.subtitle,.note,figcaption,.meanings{color:var(--soft);font-size:.9rem}
.lead{margin:1em 0}
nav ul{display:flex;flex-wrap:wrap;gap:4px 16px;margin:.8em 0;padding:0;list-style:none;font-size:.95rem}
.banner,.warning{margin:1em 0;padding:8px 16px;border-left:5px solid var(--red);background:var(--red-ground);
border-radius:4px}
.banner p,.banner b{color:var(--red)}
.warning{border-color:var(--amber);background:var(--amber-ground)}
.banner ul,.warning ul{margin:.4em 0;padding-left:1.3em}
.scroll{max-width:100%;overflow-x:auto;margin:1em 0}
.scroll:focus-visible,summary:focus-visible,a:focus-visible{outline:2px solid var(--link);outline-offset:2px}
table{border-collapse:separate;border-spacing:0;font-size:.88rem;font-variant-numeric:tabular-nums}
caption{padding:0 0 6px;text-align:left;font-weight:600}
caption span{display:inline-block;position:sticky;left:0;max-width:min(76ch,calc(100vw - 40px))}
th,td{padding:5px 10px;border-bottom:1px solid var(--line);vertical-align:top}
thead th{vertical-align:bottom;text-align:right;font-weight:600;font-size:.82rem;line-height:1.25;min-width:6.5em}
thead th:first-child,tbody th,.words th,.words td{text-align:left}
tbody th{font-weight:500;position:sticky;left:0;background:var(--ground)}
.numbers td{text-align:right;white-space:nowrap}
.pm{color:var(--soft);font-size:.92em}
.variant{white-space:nowrap}
.tag{display:inline-block;padding:0 6px;border:1px solid currentColor;border-radius:9px;font-size:.74rem;
line-height:1.5;color:var(--soft);white-space:nowrap}
.tag.best{color:var(--green);font-weight:600}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;margin:.6em 0;padding:0;list-style:none;font-size:.92rem}
.swatch{vertical-align:-1px}
figure{margin:1em 0 1.6em}
.panels{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,340px),1fr));gap:14px 18px}
.panel{max-width:520px}
.single{grid-template-columns:minmax(0,560px)}
.single .panel{max-width:560px}
.panel svg{display:block;width:100%;height:auto}
figcaption{max-width:86ch;margin-top:6px}
details{margin:1em 0}
summary{cursor:pointer;color:var(--link)}
footer{margin-top:3em;color:var(--soft);font-size:.85rem}
@media (max-width:600px){body{padding:10px 14px 32px}h1{font-size:1.5rem}tbody th{max-width:9.5em}.variant{
white-space:normal}th,td{padding:5px 7px}}
@media screen and (prefers-color-scheme:dark){:root{--ink:#e4e4e4;--soft:#a8a8a8;--ground:#181818;--line:#3d3d3d;
--shade:#242424;--link:#7db8f5;--red:#ff9b93;--red-ground:#3a1714;--amber:#f0c66b;--amber-ground:#332a12;
--green:#5fd3a2}}
@media print{:root{font-size:10pt}body{max-width:none;padding:0;font-size:1rem}nav{display:none}a{color:inherit}
p,figcaption,caption span{max-width:none}
details::details-content{content-visibility:visible}
summary{list-style:none;color:inherit;font-weight:600}
.scroll{overflow:visible;break-inside:avoid}.long{break-inside:auto}
pre{white-space:pre-wrap}
table{font-size:7pt}th,td{padding:2px 3px}thead th{min-width:0;font-size:6.5pt}caption span,tbody th{position:static}
.numbers td{white-space:normal}.pm,.variant{white-space:nowrap}
.words td,.words th,p code,li code{overflow-wrap:anywhere}
.wide td,.wide th{font-size:5pt;padding:1px 2px}.wide td,.wide thead th{overflow-wrap:anywhere}
.tag{font-size:5.5pt}
figure,tr,li,.legend,.banner,.warning{break-inside:avoid}h2,summary,.legend,caption{break-after:avoid}
.panels{grid-template-columns:repeat(3,1fr)}.single{grid-template-columns:minmax(0,10cm)}}
)");
}

}  // namespace gta::page
