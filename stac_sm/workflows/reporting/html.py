"""Build HTML as a tree: every text is escaped and every element closed; names in it may come from strangers.

The pages of reports and validations are made with it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from xml.etree import ElementTree

HtmlNode = ElementTree.Element
HtmlContent = HtmlNode | str

_MOST_ROWS_ON_A_PAGE = 14
_NUMBER = r"(< |about )?[-+]?[\d., ]+(\s%)?( \([-+.\d]+ to [-+.\d]+\)| to [\d.]+)?|-"
"""A number, perhaps with its interval in brackets; ``-`` stands for none."""

_BEFORE_PERCENT = re.compile(r"(?<=\d) ?%")
_UNIT = "m³\N{NO-BREAK SPACE}m⁻³"
_UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")  # no HTML document may hold them


def html_element(tag: str, *content: HtmlContent, **attributes: str) -> HtmlNode:
    """Return an element; ``class_`` stands for ``class``, ``_`` in other names for ``-``."""
    names = {name.rstrip("_").replace("_", "-"): _seen(value) for name, value in attributes.items()}
    node = ElementTree.Element(tag, names)
    last: HtmlNode | None = None
    for one in content:
        if not isinstance(one, str):
            node.append(one)
            last = one
        elif last is None:
            node.text = (node.text or "") + _text(one)
        else:
            last.tail = (last.tail or "") + _text(one)
    return node


def html_table(
    caption: str, names: Sequence[str], rows: Sequence[Sequence[HtmlContent]], **attributes: str
) -> HtmlNode:
    """Return a table that scrolls sideways on a narrow screen; a row's first cell is its heading.

    Columns of numbers stand right. A table of few rows stays on one page of paper.
    """
    right = [_is_number_column([row[i] for row in rows]) for i in range(len(names))]
    aligned = [{"class_": "number"} if numbers else {} for numbers in right]
    head = html_element(
        "tr", *(html_element("th", name, scope="col", **how) for name, how in zip(names, aligned, strict=True))
    )
    body = [
        html_element(
            "tr",
            html_element("th", row[0], scope="row"),
            *(html_element("td", value, **how) for value, how in zip(row[1:], aligned[1:], strict=True)),
            **_row_class(row),
        )
        for row in rows
    ]
    whole = html_element(
        "table",
        html_element("caption", caption),
        html_element("thead", head),
        html_element("tbody", *body),
        **attributes,
    )
    kind = "wide short" if len(rows) <= _MOST_ROWS_ON_A_PAGE else "wide"
    return html_element("div", whole, class_=kind, tabindex="0", role="region", aria_label=caption)


def html_panels(*content: HtmlContent) -> HtmlNode:
    """Return panels that stand side by side on a wide screen, and below one another on others."""
    return html_element("div", *content, class_="panels")


def html_figure(image: bytes, alt: str, caption: str) -> HtmlNode:
    """Return a picture inside the page, with a text for readers who do not see it."""
    source = "data:image/png;base64," + base64.b64encode(image).decode()
    width, height = (int.from_bytes(image[place : place + 4], "big") for place in (16, 20))  # of the PNG header
    picture = html_element("img", src=source, alt=alt, width=str(width), height=str(height))
    return html_element("figure", picture, html_element("figcaption", caption))


def html_document(title: str, style: str, *body: HtmlContent) -> str:
    """Return a whole page that loads nothing and runs nothing, and forbids its content to."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    styled = html_element("style")
    styled.text = style
    head = html_element(
        "head",
        html_element("meta", charset="utf-8"),
        html_element("meta", http_equiv="Content-Security-Policy", content=policy),
        html_element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        html_element("title", title),
        html_element("link", rel="icon", href="data:,"),
        styled,
    )
    page = html_element("html", head, html_element("body", *body), lang="en")
    return "<!DOCTYPE html>\n" + ElementTree.tostring(page, encoding="unicode", method="html") + "\n"


def _is_number_column(cells: Sequence[HtmlContent]) -> bool:
    """Return whether a column holds numbers and nothing else; empty cells do not count."""
    filled = [one for one in cells if one != ""]
    return bool(filled) and all(map(_is_number, filled))


def _is_number(value: HtmlContent) -> bool:
    text = value if isinstance(value, str) else "".join(value.itertext())
    return re.fullmatch(_NUMBER, text) is not None


def _row_class(row: Sequence[HtmlContent]) -> dict[str, str]:
    """Return the class of a row: that of its first element, if it has one."""
    first = row[0]
    return {"class_": first.get("class", "")} if not isinstance(first, str) and first.get("class") else {}


def _text(text: str) -> str:
    """Return the text of an element, in which units have exponents and stay beside their numbers."""
    return _BEFORE_PERCENT.sub("\N{NO-BREAK SPACE}%", _seen(text).replace("m3 m-3", _UNIT).replace("m³ m⁻³", _UNIT))


def _seen(text: str) -> str:
    return _UNSEEN.sub("\N{REPLACEMENT CHARACTER}", text)
