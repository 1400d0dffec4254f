"""How pages of reports lie on screens and on paper, measured in Chromium, and sentences that a page says twice."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

from tests.support.chromium import page

_A4 = 688
"""Width of the text on A4 with margins of 14 mm, in pixels of CSS."""

_TOO_WIDE = """
[...document.querySelectorAll("img, table, p, h1, h2, h3, li, figcaption")]
  .filter(one => !(%s && one.closest(".wide")) && one.getBoundingClientRect().right > innerWidth + 1)
  .map(one => one.tagName + " " + one.id + " " + (one.alt || one.innerText).slice(0, 60))
"""
_READY = """
document.readyState === "complete" && location.protocol === "file:" && [...document.images].every(one => one.complete)
"""
_PANEL_TOPS = """
[...document.querySelectorAll("main > section.panel")].map(one => Math.round(one.getBoundingClientRect().top))
"""
_LONGEST_LINE = """
Math.max(0, ...[...document.querySelectorAll("main p")].map(one => one.getBoundingClientRect().width))
"""


def layout_faults(files: Sequence[Path]) -> list[str]:
    """What is wrong: too wide at 800 pixels or on A4, one column on a wide screen, lines that are too long."""
    faults = []
    with page("http://127.0.0.1") as tab:

        def look(file: Path, width: int, media: str = "screen") -> None:
            tab.send("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
            tab.send("Emulation.setEmulatedMedia", media=media)
            tab.send("Page.navigate", url="about:blank")  # so that what is seen below is never the page of before
            tab.send("Page.navigate", url=file.as_uri())
            end = time.monotonic() + 60
            while not tab.value(_READY):
                assert time.monotonic() < end, f"{file}: not shown after a minute"
                time.sleep(0.05)

        for file in files:
            for width, media in ((800, "screen"), (1300, "screen"), (_A4, "print")):
                look(file, width, media)
                if tab.value("document.documentElement.scrollWidth") > width:
                    faults.append(f"{file.name}: scrolls sideways at {width} pixels, {media}")
                scrolls = "true" if media == "screen" else "false"  # on paper, nothing scrolls
                wide = tab.value(_TOO_WIDE % scrolls)
                faults += [f"{file.name}: too wide at {width}, {media}: {one}" for one in wide]
            look(file, 1300)
            tops = tab.value(_PANEL_TOPS)
            if len(tops) > 1 and len(set(tops)) == len(tops):
                faults.append(f"{file.name}: no panels side by side at 1300 pixels")
            if tab.value(_LONGEST_LINE) > 760:
                faults.append(f"{file.name}: lines of prose are too long at 1300 pixels")
    return faults


class _Prose(HTMLParser):
    """Collects the text of elements that hold prose."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._open = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in {"p", "li", "figcaption", "caption"}:
            self.found.append("")
            self._open += 1

    def handle_endtag(self, tag: str) -> None:
        self._open -= tag in {"p", "li", "figcaption", "caption"}

    def handle_data(self, data: str) -> None:
        if self._open:
            self.found[-1] += data


def said_twice(text: str) -> list[str]:
    """Sentences, and their parts between colons and semicolons, of four words or more that stand twice on a page."""
    reader = _Prose()
    reader.feed(text)
    parts = [part.strip(" .") for one in reader.found for part in re.split(r"(?<=[.:;])\s+|\n", one)]
    return [one for one, number in Counter(parts).items() if number > 1 and len(one.split()) > 3]
