"""Keep the input rows of a collection in the order of their places, so that a tile reads only its own.

`item_rows` makes the rows, and `tile_planner` takes those that a feature of a tile needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stac_sm.core.errors import CatalogError
from stac_sm.core.period import ONE_DAY, Period
from stac_sm.features.inputs import search_period
from stac_sm.features.recipe import Feature
from stac_sm.raster.resample import TargetPixels
from stac_sm.raster.resample import overlapping_grids as meeting_grids
from stac_sm.stac.catalogs.catalog import StoreDocuments
from stac_sm.stac.catalogs.catalog_interface import WritableCatalog
from stac_sm.stac.catalogs.search import BBox, matches_search, parse_document
from stac_sm.stac.index.manifest import index_months
from stac_sm.stac.index.row_codes import row_codes
from stac_sm.stac.index.shard import ALL
from stac_sm.workflows.plan.item_rows import NEVER, AssetRequest, InputRows, Place, Refusal, ScanJob

if TYPE_CHECKING:
    import pyarrow as pa
    from odc.geo.geobox import GeoBox

_LONGEST = 31  # days: how far before a day the folder of an item may lie that still covers it
_MONTHS_A_JOB = 6
_EPOCH = date(1970, 1, 1)


def has_own_layout(catalog: WritableCatalog, feature: Feature) -> bool:
    """Return whether the items of a feature lie as ours do, so that a listing of the store and the index cover them.

    Parameters
    ----------
    catalog
        Catalogue of the project.
    feature
        Feature of the recipe.

    Returns
    -------
    bool
        False for another catalogue, whose items are searched for.

    Raises
    ------
    CatalogError
        If there is no such collection.
    """
    if feature.catalog or feature.asset.startswith("*"):
        return False
    document = catalog.collection(feature.collection)
    path = f"{feature.collection}/collection.json"
    return "stac_sm:layout" in document and catalog.store.exists(path) and catalog.document(path) == document


def asset_request(feature: Feature) -> AssetRequest:
    """Return what a feature needs of each item.

    Parameters
    ----------
    feature
        Feature of the recipe.

    Returns
    -------
    AssetRequest
        Asset, band and valid range.
    """
    return AssetRequest(feature.asset, feature.band, feature.valid)


def scan_jobs(catalog: WritableCatalog, collection: str, features: Sequence[Feature], period: Period) -> list[ScanJob]:
    """Return the jobs that together find all items of a collection that may count for the days of a period.

    Parameters
    ----------
    catalog
        Catalogue of the project.
    collection
        Id of the collection.
    features
        Features that read it.
    period
        Days to plan.

    Returns
    -------
    list of ScanJob
        Each can run in a process of its own.
    """
    wide = _wide(features, period)
    requests = tuple(dict.fromkeys(map(asset_request, features)))
    if not catalog.layout(collection).startswith("year/month"):
        by_time = catalog.layout(collection).startswith("year")
        return [
            ScanJob(
                collection,
                (collection,),
                tuple(index_months(catalog.store, collection)) if by_time else (ALL,),
                requests,
            )
        ]
    folders = list(_month_folders(StoreDocuments(catalog.store), collection, wide))
    parts = [folders[at : at + _MONTHS_A_JOB] for at in range(0, len(folders), _MONTHS_A_JOB)]
    return [ScanJob(collection, tuple(part), _shards(part), requests) for part in parts]


def _wide(features: Sequence[Feature], period: Period) -> Period | None:
    """Return the days whose folders may hold items that count; None if all may."""
    spans = [search_period(feature, period) for feature in features]
    known = [span for span in spans if span is not None]
    if len(known) < len(spans):
        return None
    return Period(min(span.start for span in known) - _LONGEST * ONE_DAY, max(span.end for span in known))


def _month_folders(documents: StoreDocuments, collection: str, wide: Period | None) -> Iterator[str]:
    for year in _children(documents, f"{collection}/collection.json"):
        if _may_hold(year, wide):
            yield from (month for month in _children(documents, f"{year}/catalog.json") if _may_hold(month, wide))


def _children(documents: StoreDocuments, key: str) -> list[str]:
    links = parse_document(documents.read(key), documents.href(key)).get("links", ())
    keys = [documents.key(key, str(link.get("href", ""))) for link in links if link.get("rel") == "child"]
    return [child.rpartition("/")[0] for child in keys]


def _may_hold(folder: str, wide: Period | None) -> bool:
    title = "-".join(folder.split("/")[1:])
    return wide is None or Period.parse(title).overlaps(wide)


def _shards(folders: Sequence[str]) -> tuple[str, ...]:
    """Return the months of these folders, and the next ones: an item lies under its start, and counts by its middle."""
    months = {"-".join(folder.split("/")[1:]) for folder in folders}
    return tuple(sorted(months | {f"{Period.parse(month).end:%Y-%m}" for month in months}))


class GridOverlap:
    """Test of grids of files against a target; the result is kept, since many features have the same grid."""

    def __init__(self, target: TargetPixels) -> None:
        self._target = target
        self._known: dict[GeoBox, bool] = {}

    def __call__(self, grid: GeoBox) -> bool:
        """Return whether a grid overlaps the target.

        Parameters
        ----------
        grid
            Grid of a file.

        Returns
        -------
        bool
            Computed once a grid.
        """
        if grid not in self._known:
            self._known[grid] = grid in meeting_grids([grid], self._target)
        return self._known[grid]


@dataclass(frozen=True)
class InputTable:
    """Input rows of a collection, sorted by the place of the items."""

    collection: str
    """Its id."""

    requests: tuple[AssetRequest, ...]
    """What was asked of each item."""

    rows: pa.Table | str
    """The rows, or the file that they are in."""

    boxes: tuple[BBox | None, ...]
    """Places of items, in degrees; None of those that may be anywhere."""

    offsets: tuple[int, ...]
    """First row of each place, and the number of rows."""

    places: tuple[Place, ...]
    """Grids of files, or what is wrong with an item."""

    read: int
    """Item JSON that had to be read."""

    left_out: Mapping[str, str]
    """Ids of documents that are no item, and why."""

    @classmethod
    def of(
        cls, collection: str, requests: tuple[AssetRequest, ...], found: Iterable[InputRows], folder: str
    ) -> InputTable:
        """Join the rows of several jobs; they are kept in a file if there is a folder for it.

        Parameters
        ----------
        collection
            Id of the collection.
        requests
            What was asked of each item.
        found
            Rows of the jobs.
        folder
            Existing folder for the file; empty: rows stay in memory.

        Returns
        -------
        InputTable
            Sorted by the place of the items.

        Raises
        ------
        CatalogError
            If two items have one id.
        """
        import pyarrow as pa

        places: dict[Place, int] = {}
        parts = list(found)
        read = sum(part.read for part in parts)
        left_out = {path: why for part in parts for path, why in part.left_out.items()}
        table = pa.concat_tables([_renumbered(part, places) for part in parts])
        del parts  # there may be some hundred MB in them
        table, boxes, offsets = _by_box(table)
        _check_once(collection, table)
        rows = _kept(table, Path(folder, f"{collection}.arrow")) if folder else table
        return cls(collection, requests, rows, boxes, offsets, tuple(places), read, left_out)

    def positions(
        self, feature: Feature, period: Period, meeting: GridOverlap, bbox: BBox, left_out: dict[str, str]
    ) -> np.ndarray:
        """Find the items that a feature's search finds, and whose file meets a target.

        Parameters
        ----------
        feature
            One of those that the table was made for.
        period
            Days whose values are asked for.
        meeting
            Which grids meet the target.
        bbox
            West, south, east, north of the target in degrees.
        left_out
            Gets the items with a value that cannot be right: id and asset key, as ``ID/KEY``, and why.

        Returns
        -------
        numpy.ndarray
            Rows of the table, integers, in the order of the ids.

        Raises
        ------
        CatalogError
            If the file of such an item may not be read, or has no such band.
        """
        import pyarrow.compute as pc

        near = [i for i, box in enumerate(self.boxes) if matches_search("", {}, box, None, bbox)]
        spans = [np.arange(self.offsets[i], self.offsets[i + 1]) for i in near]
        at = np.concatenate(spans) if spans else np.empty(0, np.int64)
        chosen = at[_in_time(self.table, at, search_period(feature, period))]
        place = _numbers(self.table, f"place_{self.requests.index(asset_request(feature))}", chosen)
        chosen, place = chosen[place >= 0], place[place >= 0]
        grids = {int(i): self.places[i] for i in np.unique(place)}
        for number, grid in grids.items():
            if isinstance(grid, Refusal):
                raise CatalogError(grid.why)
            if isinstance(grid, str):
                ids = self.table["id"].take(chosen[place == number]).to_pylist()
                left_out |= {f"{id}/{feature.asset}": grid for id in ids}
        met = [i for i, grid in grids.items() if not isinstance(grid, Refusal | str) and meeting(grid)]
        chosen = chosen[np.isin(place, met)]
        return np.asarray(chosen[pc.sort_indices(self.table["id"].take(chosen))])  # the text order of Python, too

    def values(self, name: str, positions: np.ndarray) -> list[Any]:
        """Return the values of a column in some rows.

        Parameters
        ----------
        name
            Name of the column.
        positions
            Integers.

        Returns
        -------
        list
            One value a position; None for null.
        """
        return list(self.table[name].take(positions).to_pylist())

    def column(self, kind: str, feature: Feature) -> str:
        """Return the name of a column that belongs to the request of a feature.

        Parameters
        ----------
        kind
            ``place``, ``proof`` or ``size``.
        feature
            Feature of the recipe.

        Returns
        -------
        str
            Such as ``place_0``.
        """
        return f"{kind}_{self.requests.index(asset_request(feature))}"

    @property
    def table(self) -> pa.Table:
        """Rows, read from their file if they are kept in one."""
        return _opened(self.rows) if isinstance(self.rows, str) else self.rows


def _in_time(table: pa.Table, at: np.ndarray, period: Period | None) -> np.ndarray:
    """Return whether rows are found by a search in a period, which does not look into folders of other days."""
    last = _numbers(table, "last", at)
    if period is None:
        return np.asarray(last > NEVER)
    start, end = ((day - _EPOCH).days for day in (period.start, period.end))
    found = (_numbers(table, "start", at) < end) & (_numbers(table, "end", at) > start)
    found &= (_numbers(table, "first", at) < end) & (last > start - _LONGEST)
    return np.asarray(found)


def _numbers(table: pa.Table, name: str, at: np.ndarray) -> np.ndarray:
    return np.asarray(table[name].chunk(0).to_numpy()[at]) if len(table) else np.empty(0, np.int64)


def _renumbered(part: InputRows, places: dict[Place, int]) -> pa.Table:
    """Return rows with the numbers of places that all parts share."""
    import pyarrow as pa

    numbers = np.array([*(places.setdefault(place, len(places)) for place in part.places), -1], np.int32)
    table = part.table
    for at, name in enumerate(table.column_names):
        if name.startswith("place_"):
            table = table.set_column(at, name, pa.array(numbers[table[name].to_numpy()]))
    return table


def _by_box(table: pa.Table) -> tuple[pa.Table, tuple[BBox | None, ...], tuple[int, ...]]:
    names = ("west", "south", "east", "north")
    columns = [table[name].combine_chunks() for name in names]
    codes, first, code = np.unique(row_codes(columns, len(table)), return_index=True, return_inverse=True)
    order = np.argsort(code, kind="stable")
    ends = zip(*(column.take(first).to_pylist() for column in columns), strict=True)
    boxes = tuple(None if box[0] is None else box for box in ends)
    offsets = np.searchsorted(code[order], np.arange(len(codes) + 1))
    return table.drop_columns(list(names)).take(order).combine_chunks(), boxes, tuple(offsets.tolist())


def _check_once(collection: str, table: pa.Table) -> None:
    import pyarrow.compute as pc

    seen = table.filter(pc.greater(table["last"], NEVER))["id"]
    if pc.count_distinct(seen).as_py() < len(seen):
        counts = seen.value_counts()
        twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values").to_pylist()
        raise CatalogError(
            f"item {sorted(twice)[0]!r} is twice in collection {collection!r}: take one of them out, then plan again"
        )


def _kept(table: pa.Table, file: Path) -> str:
    import pyarrow as pa

    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return str(file)


@lru_cache(maxsize=32)
def _opened(file: str) -> pa.Table:
    import pyarrow as pa

    return pa.ipc.open_file(pa.memory_map(file)).read_all()
