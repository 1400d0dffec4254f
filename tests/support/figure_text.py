"""What can be read in a figure of matplotlib, and what can not: texts that overlap, or leave the figure."""

from __future__ import annotations

from itertools import combinations
from typing import Any

_TOUCH = 1.0
"""Pixels that boxes of text may share: the boxes are a little larger than the ink."""


def drawn_texts(figure: Any) -> list[tuple[str, Any]]:
    """The texts that are seen, and their boxes in pixels: titles, labels of axes, ticks and legends, notes."""
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    texts = [*figure.texts, *([figure._suptitle] if figure._suptitle is not None else [])]
    texts += [figure._supxlabel] if figure._supxlabel is not None else []
    for legend in figure.legends:
        texts += [*legend.get_texts(), legend.get_title()]
    for axes in figure.axes:
        if not axes.get_visible():
            continue
        texts += [axes.title, axes._left_title, axes._right_title, *axes.texts]
        texts += axes.get_legend().get_texts() if axes.get_legend() is not None else []
        for axis in (axes.xaxis, axes.yaxis):
            if not (axis.get_visible() and axes.axison):
                continue
            low, high = sorted(axis.get_view_interval())
            slack = 1e-9 * (high - low)
            ticks = [one for one in axis.get_major_ticks() if low - slack <= one.get_loc() <= high + slack]
            ticks += [one for one in axis.get_minor_ticks() if low - slack <= one.get_loc() <= high + slack]
            texts += [label for one in ticks for label in (one.label1, one.label2)] + [axis.label, axis.offsetText]
    shown = [one for one in dict.fromkeys(texts) if one.get_visible() and one.get_text().strip()]
    return [(one.get_text(), one.get_window_extent(renderer)) for one in shown]


def unreadable(figure: Any) -> list[str]:
    """Texts that overlap others, or leave the figure: empty for a figure that can be read."""
    texts, frame = drawn_texts(figure), figure.bbox
    assert texts
    faults = [
        f"{text!r} leaves the figure"
        for text, box in texts
        if min(box.x0 - frame.x0, box.y0 - frame.y0, frame.x1 - box.x1, frame.y1 - box.y1) < -_TOUCH
    ]
    for (one, a), (other, b) in combinations(texts, 2):
        if min(a.x1, b.x1) - max(a.x0, b.x0) > _TOUCH and min(a.y1, b.y1) - max(a.y0, b.y0) > _TOUCH:
            faults.append(f"{one!r} overlaps {other!r}")
    return faults


def untitled(figure: Any) -> int:
    """How many panels have no title; colour bars need none."""
    panels = [one for one in figure.axes if one.get_visible() and one.axison and one.get_label() != "<colorbar>"]
    return sum(not any(one.get_title(loc) for loc in ("left", "center", "right")) for one in panels)
