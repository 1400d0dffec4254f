"""Find the rows that match a query, page by page.

`responses` calls it; `cql2` evaluates filters. Everything but geometries is compared in whole columns.
"""

from __future__ import annotations

import base64
import difflib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stac_sm.serve.cql2 import filter_properties, matches
from stac_sm.serve.errors import BadRequestError
from stac_sm.serve.item_columns import COMMON_FIELDS, ITEM_MEMBERS, ItemColumns
from stac_sm.serve.query import ItemQuery

_BATCH = 4096  # rows whose footprints are held against a geometry at once


@dataclass(frozen=True)
class RowPage:
    """One page of the rows that match a query."""

    rows: np.ndarray[Any, Any]
    """Positions of the rows, in order."""

    more: bool
    """Whether other rows follow."""

    matched: int | None
    """Number of rows that match the query; None where that would take more work."""


def check_names(rows: ItemColumns, question: ItemQuery, collection: str | None = None) -> None:
    """Refuse a question that filters or sorts by a property that no item has, or asks for a field that none has.

    Where nothing can be found, in collections without items, any name is accepted.

    Parameters
    ----------
    rows
        Items.
    question
        What is asked.
    collection
        Id of the collection whose route is asked; None for all collections.

    Raises
    ------
    BadRequestError
        If a name is not known: says the name and the most similar one.
    """
    asked = [("sortby", name) for name, _ in question.sortby]
    if question.filter is not None:
        asked += [("filter", name) for name in filter_properties(question.filter)]
    fields = (*question.include, *question.exclude)
    if not (asked or fields) or (question.collections and not rows.rows_with("collection", question.collections).any()):
        return
    for name in fields if len(rows) else ():
        _check_field(rows, name)
    known = rows.queryable_names(collection) if len(rows) else ()
    for what, name in asked if known else ():
        if name not in known and (what, name) != ("filter", "geometry"):
            near = difflib.get_close_matches(name[:60], known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise BadRequestError(
                f"{what}: {name[:60]!r} is no property that can be asked for (the route queryables lists them){hint}"
            )


def _check_field(rows: ItemColumns, name: str) -> None:
    """Refuse a field that no item has; what lies deeper in a property or an asset is not known here."""
    first, _, rest = name.partition(".")
    if first == "assets" and rest:
        kind, asked, known = (
            "asset",
            rest.partition(".")[0],
            {one.removeprefix("assets.") for one in rows.fields if one[:7] == "assets."},
        )
    elif first == "properties" and rest:
        kind, asked, known = "property", rest, {*rows.fields, *COMMON_FIELDS}
    else:
        kind, asked, known = "field", name, {*rows.fields, *COMMON_FIELDS, *ITEM_MEMBERS}
    if asked not in known and asked.partition(".")[0] not in known:
        near = difflib.get_close_matches(asked[:60], sorted(known), 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise BadRequestError(
            f"fields: no item has {kind} {asked[:60]!r}; members of an item ({', '.join(ITEM_MEMBERS)}) and names of "
            f"its properties are required{hint}"
        )


def find_page(rows: ItemColumns, question: ItemQuery) -> RowPage:
    """Find the page of rows that a query asks for.

    Parameters
    ----------
    rows
        Items of the catalogue.
    question
        The query.

    Returns
    -------
    RowPage
        At most as many rows as its limit.

    Raises
    ------
    BadRequestError
        If its filter makes no sense, or its token leads nowhere.
    """
    chosen = sort_rows(rows, question, np.flatnonzero(chosen_rows(rows, question)))
    if len(chosen) <= _BATCH and question.geometry is not None:  # few enough to hold all of them against the geometry
        everything = replace(question, limit=_BATCH)
        chosen, question = np.fromiter(_meeting(rows, everything, chosen), np.int64), replace(question, geometry=None)
    matched = len(chosen) if question.geometry is None else None
    if question.token:
        (at,) = np.nonzero(chosen == _place(rows, question.token))
        if not len(at):
            raise _stale()
        chosen = chosen[at[0] + 1 :]
    found = np.fromiter(_meeting(rows, question, chosen), dtype=np.int64)
    return RowPage(found[: question.limit], len(found) > question.limit, matched)


def chosen_rows(rows: ItemColumns, question: ItemQuery) -> np.ndarray[Any, Any]:
    """Return which rows match a query, but for the geometry: of that, only boxes are compared.

    Parameters
    ----------
    rows
        Items of the catalogue.
    question
        The query.

    Returns
    -------
    numpy.ndarray
        Booleans, one a row.
    """
    chosen = np.ones(len(rows), dtype=bool)
    for name, texts in (("collection", question.collections), ("id", question.ids)):
        if texts is not None:
            chosen &= rows.rows_with(name, texts)
    if question.period is not None:
        chosen &= (rows.start <= question.period[1]) & (rows.end >= question.period[0])
    if question.geometry is not None:
        west, south, east, north = question.geometry.bounds
        box = rows.box  # comparisons with NaN are false: an item without a bbox meets nothing
        chosen &= (box[:, 1] <= north) & (box[:, 3] >= south)
        chosen &= ((box[:, 0] <= east) & (box[:, 2] >= west)) | (box[:, 0] > box[:, 2])
    if question.filter is not None:
        chosen &= matches(rows, question.filter)
    return chosen


def matching_rows(rows: ItemColumns, question: ItemQuery) -> np.ndarray[Any, Any]:
    """Return all rows that match a query, whatever its page.

    Parameters
    ----------
    rows
        Items of the catalogue.
    question
        The query.

    Returns
    -------
    numpy.ndarray
        Positions of rows, ascending.
    """
    everything = replace(question, limit=len(rows), token="")
    return np.fromiter(_meeting(rows, everything, np.flatnonzero(chosen_rows(rows, question))), dtype=np.int64)


def sort_rows(rows: ItemColumns, question: ItemQuery, chosen: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Sort rows as a query asks; what is equal stays latest first, and what has no value comes last.

    Parameters
    ----------
    rows
        Items of the catalogue.
    question
        The query.
    chosen
        Positions of rows, ascending.

    Returns
    -------
    numpy.ndarray
        The same positions, sorted.
    """
    keys = []
    for name, down in question.sortby:
        rank = rows.rank(name)
        if rank is not None:
            keys.append(_directed(rank[chosen], int(rank.max()) + 1, down, rows, name))
    return chosen[np.lexsort(keys[::-1])] if keys else chosen


def token_of(rows: ItemColumns, row: int) -> str:
    """Return the token that names a row, to go on behind it.

    Parameters
    ----------
    rows
        Items of the catalogue.
    row
        Position of the row.

    Returns
    -------
    str
        Safe in a URL.
    """
    pair = [rows.column(name)[row].as_py() for name in ("collection", "id")]
    return base64.urlsafe_b64encode(json.dumps(pair).encode()).decode().rstrip("=")


def _directed(rank: np.ndarray[Any, Any], top: int, down: bool, rows: ItemColumns, name: str) -> np.ndarray[Any, Any]:
    if not down:
        return rank
    values = rows.column(name)
    last = top - 1 if values.null_count else top
    return np.where(rank == last, top, -rank)


def _meeting(rows: ItemColumns, question: ItemQuery, chosen: np.ndarray[Any, Any]) -> Iterator[int]:
    """Yield rows whose footprint meets the geometry, one more than the page holds."""
    left = question.limit + 1
    if question.geometry is None:
        yield from chosen[:left]
        return
    import shapely

    shapely.prepare(question.geometry)
    known: dict[int, bool] = {}
    for start in range(0, len(chosen), _BATCH):
        batch = chosen[start : start + _BATCH]
        codes = rows.footprint[batch]
        new = np.array([code for code in np.unique(codes) if code >= 0 and code not in known], dtype=np.int64)
        if len(new):
            known.update(zip(new.tolist(), shapely.intersects(rows.geometries(new), question.geometry), strict=True))
        for row, code in zip(batch, codes.tolist(), strict=True):
            if known.get(code, False):
                yield row
                left -= 1
                if not left:
                    return


def _place(rows: ItemColumns, token: str) -> int:
    try:
        collection, id = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        found = np.flatnonzero(rows.rows_with("id", (str(id),)) & rows.rows_with("collection", (str(collection),)))
    except (ValueError, TypeError):
        raise BadRequestError(f"token {token!r:.40} is none of ours: take it from a link `next`") from None
    if not len(found):
        raise _stale()
    return int(found[0])


def _stale() -> BadRequestError:
    return BadRequestError("token: the item it names does not answer this search (any more): begin again without it")
