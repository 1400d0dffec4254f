"""Tables of inputs for people: what to download for each source, how much it is, and the command that reads it.

Each provider states its downloads; licence and page are those of its collection. The project file that ``stac-sm init``
writes holds the short form, ``catalog/README.md`` the long one (written by ``python tests/support/inputs_table.py``).
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import Any

from stac_sm.ingest.provider_interface import Download, DownloadedProvider
from stac_sm.ingest.registry import create_provider, provider_classes
from stac_sm.stac.links import skeleton_folder

_WIDTH = 118
_COLUMNS = (
    "source", "product", "version", "variables to request", "a tile and month", "login", "licence", "page", "command",
)  # fmt: skip


def downloads() -> Iterator[tuple[str, Download]]:
    """Return what to download, source by source.

    Yields
    ------
    tuple
        Name of the source, and one of its products.
    """
    for name in sorted(provider_classes()):
        provider = create_provider(name)
        if isinstance(provider, DownloadedProvider):
            yield from ((name, one) for one in provider.downloads)


def markdown_table() -> str:
    """Return the table of inputs as Markdown.

    Returns
    -------
    str
        A row a product: provider, product, version, variables, size, login, licence, page and command.
    """
    rows = [_COLUMNS, ("---",) * len(_COLUMNS), *(_row(name, one) for name, one in downloads())]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def toml_comments() -> str:
    """Return the table of inputs as comments of a project file: source, product, size, login and variables.

    Returns
    -------
    str
        Lines that begin with ``#``.
    """
    alike: dict[tuple[str, ...], list[str]] = {}
    for name, one in downloads():
        alike.setdefault((name, _size(one), one.login, ", ".join(one.request)), []).append(one.product)
    lines = []
    for (name, size, login, request), products in alike.items():
        text = f"{name}: {'; '.join(products)}: {request}; {size}; login: {login}"
        lines += textwrap.wrap(text, _WIDTH, initial_indent="#   ", subsequent_indent="#     ", break_on_hyphens=False)
    return "\n".join(lines) + "\n"


def _row(name: str, one: Download) -> tuple[str, ...]:
    document: dict[str, Any] = json.loads((skeleton_folder() / one.collection / "collection.json").read_text())
    provider = document["providers"][0]
    terms = [link["href"] for link in document["links"] if link["rel"] == "license"]
    licence = document["license"] if document["license"] != "other" else ", ".join(f"[terms]({href})" for href in terms)
    page = f"[{provider['name']}]({provider['url']})"
    request = ", ".join(f"`{variable}`" for variable in one.request)
    command = f"`stac-sm ingest {name} ~/{name}/`"
    return f"`{name}`", one.product, one.version, request, _size(one), one.login, licence, page, command


def _size(one: Download) -> str:
    """Return the size of a tile and month in words, two digits of it."""
    if not one.megabytes:
        return "by place"
    size = f"{float(f'{one.megabytes:.2g}'):,.0f} MB"
    return size + (", whole Earth" if one.whole_earth else "") + (", once" if one.times == 1 else "")
