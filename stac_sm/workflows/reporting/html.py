"""HTML as a tree: every text is escaped and every element closed, by construction; names in it come from strangers."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from xml.etree import ElementTree

Node = ElementTree.Element
Content = Node | str

_UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")  # no HTML document may hold them


def element(tag: str, *content: Content, **attributes: str) -> Node:
    """An element; ``class_`` stands for ``class``, ``_`` in other names for ``-``."""
    names = {name.rstrip("_").replace("_", "-"): _text(value) for name, value in attributes.items()}
    node = ElementTree.Element(tag, names)
    last: Node | None = None
    for one in content:
        if not isinstance(one, str):
            node.append(one)
            last = one
        elif last is None:
            node.text = (node.text or "") + _text(one)
        else:
            last.tail = (last.tail or "") + _text(one)
    return node


def table(caption: str, names: Sequence[str], rows: Sequence[Sequence[Content]], **attributes: str) -> Node:
    """A table that scrolls sideways on a narrow screen; the first cell of a row is its heading, numbers stand right."""
    head = element("tr", *(_heading(name, [row[i] for row in rows]) for i, name in enumerate(names)))
    body = [
        element("tr", element("th", row[0], scope="row"), *(_cell(value) for value in row[1:]), **_row_class(row))
        for row in rows
    ]
    whole = element("table", element("caption", caption), element("thead", head), element("tbody", *body), **attributes)
    return element("div", whole, class_="wide", tabindex="0", role="region", aria_label=caption)


def figure(image: bytes, alt: str, caption: str) -> Node:
    """A picture inside the page, with the words for who does not see it."""
    source = "data:image/png;base64," + base64.b64encode(image).decode()
    width, height = (int.from_bytes(image[place : place + 4], "big") for place in (16, 20))  # of the PNG header
    picture = element("img", src=source, alt=alt, width=str(width), height=str(height))
    return element("figure", picture, element("figcaption", caption))


def document(title: str, style: str, *body: Content) -> str:
    """A whole page that loads nothing and runs nothing, and forbids its content to."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("link", rel="icon", href="data:,"),
        element("style", style),
    )
    page = element("html", head, element("body", *body), lang="en")
    return "<!DOCTYPE html>\n" + ElementTree.tostring(page, encoding="unicode", method="html") + "\n"


def _heading(name: str, below: Sequence[Content]) -> Node:
    """Heading of a column; over numbers it stands right."""
    numbers = bool(below) and all(map(_is_number, below))
    return element("th", name, scope="col", **({"class_": "number"} if numbers else {}))


def _cell(value: Content) -> Node:
    return element("td", value, class_="number") if _is_number(value) else element("td", value)


def _is_number(value: Content) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[-+]?[\d., ]+( %)?|-", value) is not None


def _row_class(row: Sequence[Content]) -> dict[str, str]:
    """A row may carry a class: that of its first element."""
    first = row[0]
    return {"class_": first.get("class", "")} if not isinstance(first, str) and first.get("class") else {}


def _text(text: str) -> str:
    return _UNSEEN.sub("\N{REPLACEMENT CHARACTER}", text)
