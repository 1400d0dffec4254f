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

_UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")  # no HTML document may hold them


def html_element(tag: str, *content: HtmlContent, **attributes: str) -> HtmlNode:
    """Return an element; ``class_`` stands for ``class``, ``_`` in other names for ``-``."""
    names = {name.rstrip("_").replace("_", "-"): _text(value) for name, value in attributes.items()}
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
    """Return a table that scrolls sideways on a narrow screen; a row's first cell is its heading."""
    head = html_element("tr", *(_heading(name, [row[i] for row in rows]) for i, name in enumerate(names)))
    body = [
        html_element(
            "tr", html_element("th", row[0], scope="row"), *(_cell(value) for value in row[1:]), **_row_class(row)
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
    return html_element("div", whole, class_="wide", tabindex="0", role="region", aria_label=caption)


def html_figure(image: bytes, alt: str, caption: str) -> HtmlNode:
    """Return a picture inside the page, with a text for readers who do not see it."""
    source = "data:image/png;base64," + base64.b64encode(image).decode()
    width, height = (int.from_bytes(image[place : place + 4], "big") for place in (16, 20))  # of the PNG header
    picture = html_element("img", src=source, alt=alt, width=str(width), height=str(height))
    return html_element("figure", picture, html_element("figcaption", caption))


def html_document(title: str, style: str, *body: HtmlContent) -> str:
    """Return a whole page that loads nothing and runs nothing, and forbids its content to."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    head = html_element(
        "head",
        html_element("meta", charset="utf-8"),
        html_element("meta", http_equiv="Content-Security-Policy", content=policy),
        html_element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        html_element("title", title),
        html_element("link", rel="icon", href="data:,"),
        html_element("style", style),
    )
    page = html_element("html", head, html_element("body", *body), lang="en")
    return "<!DOCTYPE html>\n" + ElementTree.tostring(page, encoding="unicode", method="html") + "\n"


def _heading(name: str, below: Sequence[HtmlContent]) -> HtmlNode:
    """Return the heading of a column; over numbers it stands right."""
    numbers = bool(below) and all(map(_is_number, below))
    return html_element("th", name, scope="col", **({"class_": "number"} if numbers else {}))


def _cell(value: HtmlContent) -> HtmlNode:
    return html_element("td", value, class_="number") if _is_number(value) else html_element("td", value)


def _is_number(value: HtmlContent) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[-+]?[\d., ]+( %)?|-", value) is not None


def _row_class(row: Sequence[HtmlContent]) -> dict[str, str]:
    """Return the class of a row: that of its first element, if it has one."""
    first = row[0]
    return {"class_": first.get("class", "")} if not isinstance(first, str) and first.get("class") else {}


def _text(text: str) -> str:
    return _UNSEEN.sub("\N{REPLACEMENT CHARACTER}", text)
