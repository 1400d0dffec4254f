"""The landing page as a person sees it."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

_STYLE = "body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem}li{margin:.2rem 0}"


def landing_html(page: Mapping[str, Any]) -> str:
    """A small page with the links of the landing page."""
    title = escape(str(page.get("title") or page.get("id")))
    lines = [f"<p>{escape(str(page.get('description', '')))}</p>"]
    for rel, heading in (("child", "Collections"), (None, "API")):
        chosen = [one for one in page["links"] if (one["rel"] == "child") == (rel is not None)]
        items = (f'<li><a href="{escape(one["href"])}">{escape(_name(one))}</a></li>' for one in chosen)
        lines.append(f"<h2>{heading}</h2><ul>{''.join(items)}</ul>")
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    return f"<!doctype html><html lang=en>{head}<style>{_STYLE}</style><h1>{title}</h1>{''.join(lines)}</html>"


def _name(link: Mapping[str, Any]) -> str:
    method = f" ({link['method']})" if "method" in link else ""
    return f"{link.get('title') or link['rel'].rpartition('/')[2]}{method}"
