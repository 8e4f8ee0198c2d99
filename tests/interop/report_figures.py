"""What the figures of a report.html draw, from the drawing alone: coordinates, and the scales that tick labels define.

A coordinate has one decimal, so a value is known as well as a tenth of a unit tells it: of a pixel, where a picture is
as wide as it says.
"""
import math
import re

HALF = 0.05  # of the last digit of a coordinate
SLACK = 0.011  # of sums of such numbers in binary
FAR = 1e4  # launch/chart draws nothing further out
UNITS = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
NUMBER = r"[+\-\u2212]?\d+(?:\.\d+)?(?:e[+\-]?\d+)?"


def svgs(text):
    """(where it begins, source) of each picture of a page."""
    begin, depth = 0, 0
    for tag in re.finditer(r"<svg[ >]|</svg>", text):
        if tag[0] != "</svg>":
            begin = tag.start() if depth == 0 else begin
            depth += 1
            continue
        depth -= 1
        if depth == 0:
            yield begin, text[begin:tag.end()]


class Unreadable(Exception):
    pass


def value_of(text):
    """Of a label: '−0.02', '1.5M'."""
    match = re.fullmatch(rf"({NUMBER})\s?([kMGTPE]?)", text)
    if not match:
        raise Unreadable(f"'{text}' beside an axis is no number")
    return float(match[1].replace("\u2212", "-")) * UNITS.get(match[2], 1)


class Scale:
    """Coordinates of values, by ticks [(coordinate, value)]: through the outermost two, linear in `of` the value."""

    def __init__(self, ticks, of):
        self.of = of
        (self.c1, v1), (self.c2, v2) = ticks[0], ticks[-1]
        self.v1, self.v2 = of(v1), of(v2)
        # A tick between them tells which scale it is.
        self.fits = all(abs(self.at(value) - c) <= HALF + self.error(c) for c, value in ticks)

    def at(self, value):
        try:
            scaled = self.of(value)
        except ValueError:
            return math.nan
        return self.c1 + (scaled - self.v1) / (self.v2 - self.v1) * (self.c2 - self.c1)

    def words(self, _):
        return None  # a number

    def back(self, c):
        scaled = self.v1 + (c - self.c1) / (self.c2 - self.c1) * (self.v2 - self.v1)
        return scaled if self.of is float else 10**scaled

    def error(self, c):
        """Of at(), from the two ticks being rounded: what lies beyond them is known less well."""
        return SLACK + HALF * (abs(c - self.c1) + abs(self.c2 - c)) / abs(self.c2 - self.c1)

    def hits(self, c, value):
        """Whether a value would be drawn at c, which is rounded, and cut off where it is very far."""
        if value is None or not math.isfinite(value):
            return False
        at = self.at(value)
        if abs(c) >= FAR:
            return at * c > 0 and abs(at) >= FAR - 1
        return abs(at - c) <= HALF + self.error(c)


def scales_of(ticks, what):
    """One, or both where two ticks do not tell which."""
    ticks = sorted(ticks)
    if len(ticks) < 2 or ticks[0][1] == ticks[-1][1]:
        raise Unreadable(f"{what}: fewer than two values are written beside it, so it has no scale")
    kinds = [float] + ([math.log10] if all(value > 0 for _, value in ticks) else [])
    fitting = [scale for scale in (Scale(ticks, kind) for kind in kinds) if scale.fits]
    if not fitting:
        raise Unreadable(f"{what}: its tick labels lie on no linear and no logarithmic scale: {ticks}")
    return fitting


class Categories:
    """An axis of names, by ticks [(coordinate, name)], of which some may have no room: a place belongs to the nearest."""

    def __init__(self, ticks, names):
        unknown = [name for _, name in ticks if name not in names]
        if unknown or not ticks:
            raise Unreadable(f"the x axis names {unknown}, and report.json {names}")
        self.names = names
        (self.c1, first), (self.c2, last) = ticks[0], ticks[-1]
        self.i1, self.i2 = names.index(first), names.index(last)

    def back(self, c):
        if self.i1 == self.i2:
            return self.i1
        return round(self.i1 + (c - self.c1) / (self.c2 - self.c1) * (self.i2 - self.i1))

    def hits(self, c, index):
        return self.back(c) == index

    def words(self, index):
        return self.names[index]


class Figure:
    """What one <svg> draws: ticks of both axes, and by class of colour marks, lines, bars, bands, dots."""

    def __init__(self, svg):
        self.id = svg.get("aria-labelledby", "").split(" ")[0].removesuffix("-t")
        self.title, self.description = svg.findtext("title") or "", svg.findtext("desc") or ""
        self.texts = [(float(t.get("x")), float(t.get("y")), t.get("text-anchor"), t.get("class"),
                       "".join(t.itertext())) for t in svg.iter("text")]
        self.drawn = []  # (class of the colour, kind, [(x, y), ...], tooltip)
        self.grid, self.rule, self.zone = [], None, None
        for element in svg:
            self.take(element, None)
        for inner in svg.iter("svg"):
            if inner is not svg:
                for element in inner:
                    self.take(element, None)

    def take(self, element, colour):
        kind = element.get("class", "")
        if element.tag == "g":
            for child in element:
                self.take(child, kind)
        elif element.tag == "path" and kind == "grid":
            pieces = re.findall(r"M([\d.\-]+) ([\d.\-]+)([HVv][\d.\-]+)", element.get("d"))
            self.grid = [(float(x), float(y), rest) for x, y, rest in pieces]
        elif kind == "rule":
            self.rule = element.get("d")
        elif kind == "zone":
            self.zone = (float(element.get("x")), float(element.get("x")) + float(element.get("width")))
        elif element.tag == "path" and kind in ("line", "band"):
            points = polyline(element.get("d"))
            if kind == "band":
                half = len(points) // 2
                points = list(zip(points[:half], reversed(points[half:])))
            self.drawn.append((colour, kind, points, None))
        elif element.tag == "path" and kind == "mark":
            points = [(float(x), float(y)) for x, y in re.findall(r"M([\d.\-]+) ([\d.\-]+)", element.get("d"))]
            self.drawn.append((colour, kind, points, element.findtext("title")))
        elif element.tag == "path" and kind == "bar":
            self.drawn.append((colour, kind, element.get("d"), None))
        elif element.tag == "circle" and kind == "dot":
            self.drawn.append((colour, kind, [(float(element.get("cx")), float(element.get("cy")))], None))
        elif element.tag not in ("text", "title", "desc", "svg"):
            raise Unreadable(f"draws a <{element.tag} class=\"{kind}\"> that this check does not know")

    def of(self, kind):
        return [(colour, points, tooltip) for colour, k, points, tooltip in self.drawn if k == kind]

    def y_ticks(self):
        levels = {y for _, y, rest in self.grid if rest.startswith("H")}
        return [(level, value_of(words)) for _, y, anchor, css, words in self.texts if anchor == "end" and css == "tick"
                for level in levels if abs(level + 4 - y) < 0.01]

    def x_labels(self):
        """[(coordinate, words)]: a tick's words are below it, moved in where they would stick out."""
        ticks = sorted(x for x, _, rest in self.grid if rest[0] in "vV")
        words = sorted((x, words) for x, _, anchor, css, words in self.texts if anchor == "middle" and css == "tick")
        if len(ticks) != len(words):
            raise Unreadable(f"{len(ticks)} ticks of the x axis have {len(words)} labels")
        return [(tick, label) for tick, (_, label) in zip(ticks, words)]

    def x_ticks(self):
        return [(x, value_of(words)) for x, words in self.x_labels()]


def polyline(d):
    """The points of 'M1 2l.5-3 4 5': absolute, then relative ones."""
    numbers = [float(n) for n in re.findall(r"-?\d*\.?\d+", d)]
    if not re.fullmatch(r"M[\d.\-\s]+(l[\d.\-\s]+)?z?", d) or len(numbers) % 2:
        raise Unreadable(f"a path that is no polyline: {d[:40]}")
    points, x, y = [], 0, 0
    for dx, dy in zip(numbers[::2], numbers[1::2]):
        x, y = x + dx, y + dy
        points.append((round(x, 1), round(y, 1)))
    return points
