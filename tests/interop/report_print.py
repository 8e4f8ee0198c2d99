"""What becomes of a report on paper, by Chromium and poppler's pdftotext: every word that the page has, also where it is
folded up on a screen, and none beyond the edge of its sheet.
"""
import collections
import html.parser
import os
import re
import subprocess
import tempfile

NOT_PRINTED = {"nav", "style", "title", "svg", "head"}
BLOCKS = {"p", "li", "th", "td", "h1", "h2", "summary", "caption", "figcaption", "pre"}


class Words(html.parser.HTMLParser):
    """The texts of a page's paragraphs, cells, headings."""

    def __init__(self):
        super().__init__()
        self.texts, self.hidden = [""], 0

    def handle_starttag(self, tag, attributes):
        self.hidden += tag in NOT_PRINTED
        if tag in BLOCKS or tag == "br":
            self.texts.append("")

    def handle_endtag(self, tag):
        self.hidden -= tag in NOT_PRINTED
        if tag in BLOCKS:
            self.texts.append("")

    def handle_data(self, data):
        if not self.hidden:
            self.texts[-1] += data


def bare(text):
    """Without what breaking lines changes."""
    return re.sub(r"[\s\u00ad-]", "", text)


def printed(command, page, can_read):
    """Complaints. command: Chromium with its options; can_read: whether pdftotext is here."""
    with tempfile.TemporaryDirectory() as folder:
        pdf = os.path.join(folder, "page.pdf")
        result = subprocess.run([*command, f"--print-to-pdf={pdf}", "file://" + os.path.abspath(page)],
                                capture_output=True, text=True)
        complaints = ["printing: " + line for line in result.stderr.splitlines() if ":CONSOLE" in line]
        if not os.path.exists(pdf):
            return complaints + [f"printing: no PDF: {result.stderr[-300:]}"]
        if not can_read:
            return complaints
        text, places = (subprocess.run(["pdftotext", option, pdf, "-"], capture_output=True, text=True, check=True).stdout
                        for option in ("-raw", "-bbox"))
    text, words = bare(text), Words()
    with open(page, encoding="utf-8") as file:
        words.feed(file.read())
    wanted = collections.Counter(one.strip() for one in words.texts if bare(one))
    complaints += [f"printing: not on paper: {one[:80]} ({text.count(bare(one))} of {count} times)" for one, count in wanted.items()
                   if text.count(bare(one)) < count]
    width = 0
    for line in places.splitlines():
        if match := re.search(r'<page width="([\d.]+)"', line):
            width = float(match[1])
        match = re.search(r'<word xMin="([\d.\-]+)".* xMax="([\d.\-]+)".*?>(.*)</word>', line)
        if match and (float(match[1]) < 0 or float(match[2]) > width):
            complaints.append(f"printing: beyond the edge of the sheet: {match[3]}")
    return complaints if wanted and width else complaints + ["printing: there is no text"]
