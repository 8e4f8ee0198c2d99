#!/usr/bin/env python3
"""Whether every value that is drawn in the figures of a report.html is in its report.json.

    tests/interop/report_numbers.py report.html report.json

Values are taken from the drawing alone: coordinates, back through the scale that the tick labels of the axes define;
which variant a colour is, from the tables of the page. Each point, end of a bar or band, dot and fitted curve has to be
a number of report.json as near as the drawing tells: coordinates have one decimal, a tenth of a pixel where a picture is
as wide as it says. What report.json has and no figure draws is named too, and so is a tooltip or a description whose
numbers are not there.
"""
import argparse
import html
import json
import math
import re
import sys
import xml.etree.ElementTree

from report_figures import HALF, NUMBER, UNITS, Categories, Figure, Unreadable, scales_of, svgs


def numbers_in(text, names):
    """(value, half of its last digit) of the numbers of a text, names left out."""
    for name in sorted(names, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", " ", text)
    for number, unit in re.findall(rf"(?<![\w.])({NUMBER})(?:\s?([kMGTPE])\b)?", text):
        digits = number.replace("\u2212", "-")
        mantissa, _, exponent = digits.partition("e")
        half = 0.5 * 10 ** (int(exponent or 0) - len(mantissa.partition(".")[2])) * UNITS.get(unit, 1)
        yield float(digits) * UNITS.get(unit, 1), half * 1.001, number + unit


def all_numbers(part):
    if isinstance(part, dict):
        part = list(part.values())
    if isinstance(part, list):
        return [number for one in part for number in all_numbers(one)]
    return [part] if isinstance(part, (int, float)) and not isinstance(part, bool) else []


def points_of(columns, x):
    """[(x, mean, low, high)] of a curve's columns."""
    return list(zip(columns[x], columns["mean"], columns["low"], columns["high"]))


class Check:
    def __init__(self, report, colours):
        self.report, self.colours = report, colours
        self.variants = report["variants"]
        self.complaints, self.found, self.figures = [], 0, []

    def say(self, figure, words):
        self.complaints.append(f"{figure.id} ({figure.title}): {words}")

    def names(self, colour):
        return self.colours.get(colour, [])

    def look(self, figure, what, place, is_there):
        if is_there:
            self.found += 1
        else:
            self.say(figure, f"{what}, at {place} of the picture, is not in report.json")

    # What is drawn of points (x, middle, low, high) over two scales: {name: points}. thinned: not all of them are.
    def points(self, figure, expected, xs, ys, thinned=False):
        before = (self.complaints, self.found)
        tries = []
        for x in xs:
            for y in ys:
                self.complaints, self.found = [], 0
                self.points_on(figure, expected, x, y, thinned)
                tries.append((len(self.complaints), self.complaints, self.found))
        _, complaints, found = min(tries, key=lambda one: one[0])  # of two scales that the ticks allow one has to do
        self.complaints, self.found = before[0] + complaints, before[1] + found

    def points_on(self, figure, expected, x, y, thinned):
        def near(colour, place, names=None):
            names = names or [name for name in self.names(colour) if name in expected]
            return [(name, p) for name in names for p in expected[name] if x.hits(place[0], p[0])]

        def named(colour, *coordinates):
            ys = " to ".join(f"{y.back(c):.6g}" for c in coordinates[1:])
            return f"{'/'.join(self.names(colour))}: {x.back(coordinates[0]):.6g}, {ys}"

        marked, ends = set(), {}
        for colour, places, tooltip in figure.of("mark"):
            for place in places:
                hits = [(name, p) for name, p in near(colour, place) if y.hits(place[1], p[1])]
                self.look(figure, f"the mark of {named(colour, *place)}", place, hits)
                marked.update((name, p[0]) for name, p in hits)
                if tooltip is not None:
                    self.tooltip(figure, tooltip, [(name, x.words(p[0]) or p[0], p[1]) for name, p in hits])
        for colour, places, _ in figure.of("line"):
            if figure.id.startswith("scaling"):
                continue  # the fitted curves
            for place in places:
                across = list(expected) if figure.id.startswith("tradeoff") else None  # the Pareto front
                hits = [(name, p) for name, p in near(colour, place, across) if y.hits(place[1], p[1])]
                self.look(figure, f"the line of {named(colour, *place)}", place, hits)
                for name, p in hits:
                    ends.setdefault(name, set()).add(p[0])
        for colour, pairs, _ in figure.of("band"):
            for high, low in pairs:
                hits = [p for _, p in near(colour, high) if y.hits(low[1], p[2]) and y.hits(high[1], p[3])]
                self.look(figure, f"the band of {named(colour, high[0], low[1], high[1])}", high, hits)
        for colour, d, _ in figure.of("bar"):
            for at, low, high in re.findall(r"M([\d.\-]+) ([\d.\-]+)V([\d.\-]+)", d):
                at, low, high = float(at), float(low), float(high)
                hits = [p for _, p in near(colour, (at, low)) if y.hits(low, p[2]) and y.hits(high, p[3])]
                self.look(figure, f"the bar of {named(colour, at, low, high)}", (at, low), hits)
        # The other way round: what is not drawn.
        for name, points in expected.items():
            drawable = [p[0] for p in points if p[0] is not None and p[1] is not None]
            if thinned and drawable and not {drawable[0], drawable[-1]} <= ends.get(name, set()):
                self.say(figure, f"the line of {name} lacks its first or last point, {drawable[0]:.6g} or {drawable[-1]:.6g}")
            for at in drawable:
                if not thinned and (name, at) not in marked:
                    self.say(figure, f"{name} at {at:.6g} is in report.json and has no mark")

    def tooltip(self, figure, tooltip, hits):
        fits = False
        for name, x, y in hits:
            if not tooltip.startswith(name + ": "):
                continue
            written = tooltip[len(name) + 2:].rsplit(", ", 1)
            if len(written) == 2 and tells(written[1], y) and (written[0] == x if isinstance(x, str) else tells(written[0], x)):
                fits = True
        self.look(figure, f"the tooltip '{tooltip}'", "a mark", fits)

    def describe(self, figure, part, derived=()):
        """Numbers of the words that stand for the figure."""
        candidates = all_numbers(part) + list(derived)
        names = list(self.variants) + ["95%"]
        for value, half, text in numbers_in(figure.description, names):
            self.look(figure, f"{text} in its description", "words", any(abs(value - c) <= half for c in candidates))

    # Figures.

    def curve(self, figure, which, course):
        expected = {}
        for name, variant in self.variants.items():
            points = points_of(variant["curves"][which], course)
            if any(x is not None and x > 0 for x, *_ in points):
                expected[name] = points
        self.points(figure, expected, scales_of(figure.x_ticks(), "x"), scales_of(figure.y_ticks(), "y"), thinned=True)
        self.describe(figure, [v["curves"][which] for v in self.variants.values()])

    def difference(self, figure):
        names = [n for n in self.variants if figure.title == f"{n} less {self.report['baseline']}"]
        if len(names) != 1:
            return self.say(figure, "its title names no variant")
        curve = self.variants[names[0]]["curves"]["difference"]
        ys = scales_of(figure.y_ticks(), "y")
        self.points(figure, {names[0]: points_of(curve, "tokens")}, scales_of(figure.x_ticks(), "x"), ys, thinned=True)
        level = re.fullmatch(r"M[\d.\-]+ ([\d.\-]+)H[\d.\-]+", figure.rule or "")
        self.look(figure, "the line at 0", "y", level and any(y.hits(float(level[1]), 0) for y in ys))
        self.describe(figure, curve)

    def losses(self, name):
        return self.variants[name][self.report["measure"]]

    def tradeoff(self, figure, which):
        cost = {"cache": lambda n: self.variants[n]["cache_bytes_per_token"],
                "attention": lambda n: self.variants[n]["attention_flops_per_token"],
                "decoding": lambda n: self.report["decode_tokens_per_second"].get(n)}[which]
        expected = {}
        for name in self.variants:
            values = list(self.losses(name)["values"].values())
            if cost(name) is not None and self.losses(name)["mean"] is not None:
                expected[name] = [(cost(name), self.losses(name)["mean"], min(values), max(values))]
        self.points(figure, expected, scales_of(figure.x_ticks(), "x"), scales_of(figure.y_ticks(), "y"))
        self.describe(figure, [list(points[0]) for points in expected.values()])

    def profile(self, figure, key):
        profile = self.report["profiles"][key]
        axis = Categories(figure.x_labels(), profile["labels"])
        ys = scales_of(figure.y_ticks(), "y")
        self.points(figure, {name: [(i, v["mean"], v["low"], v["high"]) for i, v in enumerate(values) if v]
                             for name, values in profile["variants"].items()}, [axis], ys)
        self.describe(figure, profile["variants"])

    def scaling(self, figure, over):
        fit, size = {"compute": ("over_compute", "compute"), "parameters": ("over_parameters", "parameters")}[over]
        xs, ys = scales_of(figure.x_ticks(), "x"), scales_of(figure.y_ticks(), "y")
        study = self.report["scaling"]
        self.points(figure, {name: [(p[size], p["mean"], p["low"], p["high"]) for p in curve["points"]]
                             for name, curve in study.items()}, xs, ys)
        drawn = set()
        for colour, places, _ in figure.of("line"):
            laws = [(name, study[name][fit]) for name in self.names(colour) if name in study and study[name][fit]]
            for place in places:
                fits = [name for name, law in laws if any(on_law(law, x, y, place) for x in xs for y in ys)]
                drawn.update(fits)
                self.look(figure, f"the fitted curve of {'/'.join(self.names(colour))}", place, fits)
        for name, curve in study.items():
            if curve[fit] and name not in drawn:
                self.say(figure, f"the fitted curve of {name} is in report.json and not drawn")
        self.describe(figure, study, [-c[fit]["exponent"] for c in study.values() if c[fit]])

    def forest(self, figure):
        x = scales_of(figure.x_ticks(), "x")[0]  # linear, where both would do
        edges = (min(t for t, _, _ in figure.grid), max(t for t, _, _ in figure.grid))
        practical = self.report["practical_difference"]
        if practical > 0:
            self.look(figure, "the shaded strip", figure.zone, figure.zone and x.hits(figure.zone[0], -practical) and
                      abs(figure.zone[1] - x.at(practical)) <= 2 * HALF + x.error(figure.zone[1]))
        at = re.fullmatch(r"M([\d.\-]+) [\d.\-]+V[\d.\-]+", figure.rule or "")
        self.look(figure, "the line at 0", figure.rule, at and x.hits(float(at[1]), 0))
        differences = {n: v["difference"] for n, v in self.variants.items() if v["difference"] and v["difference"]["mean"] is not None}
        rows = sorted((y, words) for _, y, anchor, css, words in figure.texts if anchor == "start" and css == "title" and y > 20)
        if [words for _, words in rows] != list(differences):
            self.say(figure, f"its rows are {[words for _, words in rows]}, and report.json has differences of {list(differences)}")
        for i, (top, name) in enumerate(rows):
            until = rows[i + 1][0] if i + 1 < len(rows) else math.inf
            self.forest_row(figure, name, differences.get(name), x, edges, lambda y: top < y < until,
                            [w for _, y, anchor, css, w in figure.texts if y == top and anchor == "end" and css == "tick"])
        self.describe(figure, differences)

    def forest_row(self, figure, name, difference, x, edges, is_in, words):
        if not difference:
            return
        marks = [p for _, places, _ in figure.of("mark") for p in places if is_in(p[1])]
        self.look(figure, f"the mean of {name}", marks, len(marks) == 1 and x.hits(marks[0][0], difference["mean"]))
        dots = sorted(p[0] for _, places, _ in figure.of("dot") for p in places if is_in(p[1]))
        values = sorted(difference["values"].values())
        self.look(figure, f"the number of dots of {name}, {len(dots)}", "its row", len(dots) == len(values))
        for dot, value in zip(dots, values):
            self.look(figure, f"the dot of {name} at {x.back(dot):.6g}", dot, x.hits(dot, value))
        bars = [d for _, d, _ in figure.of("bar") if is_in(float(re.match(r"M[\d.\-]+ ([\d.\-]+)", d)[1]))]
        if len(bars) != (difference["low"] is not None):
            return self.say(figure, f"{name} has {len(bars)} bars, and report.json says {difference['low']} to {difference['high']}")
        for bar in bars:
            low, _, high = re.match(r"M([\d.\-]+) ([\d.\-]+)H([\d.\-]+)", bar).groups()
            caps = re.findall(r"M([\d.\-]+) [\d.\-]+v8", bar)
            for end, side, sign in ((low, "low", -1), (high, "high", 1)):
                # Without a cap it goes on beyond the picture.
                beyond = sign * (x.at(difference[side]) - float(end)) > -HALF - x.error(float(end))
                self.look(figure, f"the {side} end of {name}, {x.back(float(end)):.6g}", end,
                          x.hits(float(end), difference[side]) if end in caps else beyond)
        written = {text: any(abs(value - difference[k]) <= half for k in ("mean", "low", "high") if difference[k] is not None)
                   for one in words for value, half, text in numbers_in(one, [])}
        for text, fits in written.items():
            self.look(figure, f"{text} beside {name}", "its row", fits)

    def figure(self, figure):
        self.figures.append(figure.id)
        kind, _, rest = figure.id.partition("-")
        profiles = {key.replace("/", "-"): key for key in self.report["profiles"]}
        if figure.id == "forest":
            self.forest(figure)
        elif figure.id in profiles:
            self.profile(figure, profiles[figure.id])
        elif kind in ("validation", "training"):
            self.curve(figure, kind, rest)
        elif kind in ("difference", "tradeoff", "scaling"):
            {"difference": lambda: self.difference(figure), "tradeoff": lambda: self.tradeoff(figure, rest),
             "scaling": lambda: self.scaling(figure, rest)}[kind]()
        else:
            self.say(figure, "is a figure that this check does not know")

    def what_is_missing(self):
        wanted = {key.replace("/", "-") for key, p in self.report["profiles"].items() if p["variants"]}
        for name, variant in self.variants.items():
            wanted |= {f"{which}-tokens" for which in ("validation", "training") if variant["curves"][which]["step"]}
            wanted |= {"forest"} if variant["difference"] and variant["difference"]["mean"] is not None else set()
        wanted |= {"scaling-compute", "scaling-parameters"} if self.report["scaling"] else set()
        self.complaints += [f"{id}: report.json has it, and no figure shows it" for id in sorted(wanted - set(self.figures))]
        twice = {id for id in self.figures if self.figures.count(id) > 1}
        self.complaints += [f"{id}: several figures have this id" for id in sorted(twice)]


def tells(text, value):
    """Whether a number that is written is this one, rounded."""
    numbers = list(numbers_in(text.strip(), []))
    return len(numbers) == 1 and value is not None and abs(numbers[0][0] - value) <= numbers[0][1]


def on_law(law, x, y, place):
    """Whether a place is on L = floor + factor * x^-exponent, as near as it is drawn."""
    ends = [y.at(law["floor"] + law["factor"] * x.back(place[0] + side) ** -law["exponent"])
            for side in (-HALF - x.error(place[0]), HALF + x.error(place[0]))]
    room = HALF + y.error(place[1])
    return min(ends) - room <= place[1] <= max(ends) + room


def colours_of(text):
    """{class: [names]}, by the variants' swatches in the tables of the page."""
    colours = {}
    for style, name in re.findall(r'<span class="variant"><svg class="chart swatch (s\d+)".*?</svg> (.*?)</span>', text, re.S):
        name = html.unescape(name)
        if name not in colours.setdefault(style, []):
            colours[style].append(name)
    return colours


def check(page, report_file):
    """(complaints, how many values were found, in how many figures)"""
    text = open(page, encoding="utf-8").read()
    with open(report_file, encoding="utf-8") as file:
        of_report = Check(json.load(file), colours_of(text))
    for begin, source in svgs(text):
        svg = xml.etree.ElementTree.fromstring(source)
        if svg.get("role") != "img":
            continue  # of a legend
        figure = None
        try:
            figure = Figure(svg)
            of_report.figure(figure)
        except Unreadable as error:
            of_report.complaints.append(f"{figure.id if figure else f'picture at character {begin}'}: {error}")
        except KeyError as error:
            of_report.complaints.append(f"{figure.id}: what it draws has no {error} in report.json")
    of_report.what_is_missing()
    return of_report.complaints, of_report.found, len(of_report.figures)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page")
    parser.add_argument("report")
    args = parser.parse_args()
    complaints, found, figures = check(args.page, args.report)
    print(f"{args.page}: {found} drawn values of {figures} figures are in {args.report}")
    for complaint in complaints:
        print("    " + complaint)
    return 1 if complaints or found == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
