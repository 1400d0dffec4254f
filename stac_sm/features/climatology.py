"""Make climatologies: mean and spread of many years of a feature at each pixel of its grid, as items of a collection.

``stac-sm climatology`` makes them once, after ingest and before training. A mean covers a period that the recipe fixes
and lies on the grid of the granules, so that a coarse input stays coarse. `inputs` finds the items later, and the
feature takes their values through its own resampling: as climatology, as anomaly or to fill gaps.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from stac_sm.core.asset_file import AssetFile
from stac_sm.core.errors import CatalogError, InputError
from stac_sm.core.fingerprint import ALGORITHM_VERSIONS, digest
from stac_sm.core.parallel import map_jobs
from stac_sm.core.period import Period, utc_instant
from stac_sm.core.variables import VARIABLES, Variable
from stac_sm.features.inputs import CLIMATOLOGY_COLLECTION, CLIMATOLOGY_PROPERTY, SPREAD
from stac_sm.features.recipe import Climatology, Feature, Recipe
from stac_sm.features.temporal import Moments
from stac_sm.raster.cog import CogProfile, write_asset
from stac_sm.raster.precedence import precedence_levels
from stac_sm.raster.read import read_window
from stac_sm.raster.readers import DEFAULT_READER
from stac_sm.raster.source import BadItemError, RasterSource, asset_key, raster_source
from stac_sm.stac.catalogs.catalog import open_recipe_catalog, open_writable_catalog
from stac_sm.stac.catalogs.catalog_interface import WritableCatalog
from stac_sm.stac.catalogs.search import BBox, ItemSearch, item_period
from stac_sm.stac.items import ItemDict, raster_asset, raster_item
from stac_sm.stac.links import refresh
from stac_sm.stac.publish import FINGERPRINT_PROPERTY, PublishOutcome, is_published, make_once, stated_algorithm
from stac_sm.storage.single_writer import require_one_process

_YEAR = 0
_MEAN = CogProfile(level=6)
_COUNT = CogProfile(nodata=None, level=6)


@dataclass(frozen=True)
class ClimatologyItem:
    """One item to make: the mean of one grid and month."""

    feature: Feature
    """The feature, with its `Climatology`."""

    month: int
    """1 to 12, or 0 for the whole year."""

    files: tuple[tuple[Period, RasterSource], ...]
    """Files on one grid that have days in the period and month, in order of time; of the same days in the order in
    which they count."""

    code: str = ""
    """``grid:code`` of the granules, where they have one."""

    @property
    def settings(self) -> Climatology:
        """Period, season and least number of days."""
        if self.feature.climatology is None:
            raise InputError(f'feature {self.feature.name!r} has no climatology: add climatology = {{ period = "…" }}')
        return self.feature.climatology

    @property
    def provenance_digest(self) -> str:
        """SHA-256, hex, of everything that determines its values."""
        parts = [
            (source.item_id, source.provenance_digest, _days(self, period), *([level] if level else []))
            for period, same in groupby(self.files, key=lambda file: file[0])
            for (_, source), level in _with_levels(list(same))
        ]
        return digest(
            {
                "normal": self.feature.climatology_key,
                "month": self.month,
                "parts": parts,
                "by": ALGORITHM_VERSIONS["climatology"],
                **({"spread": True} if self.has_spread else {}),
            }
        )

    @property
    def has_spread(self) -> bool:
        """Whether the standard deviation is asked for, too."""
        return self.feature.statistic == "spread"


def features_needing_climatology(recipe: Recipe) -> list[Feature]:
    """Return the features of a recipe that need a climatology, each with all that the recipe takes from its items.

    Parameters
    ----------
    recipe
        The recipe of a project or a model.

    Returns
    -------
    list of Feature
        One feature for each different mean, in the order of the recipe: with ``statistic = "spread"`` where any feature
        of this mean asks for the spread.
    """
    by_key: dict[str, list[Feature]] = {}
    for feature in recipe.sources:
        if feature.climatology_key is not None:
            by_key.setdefault(digest(feature.climatology_key), []).append(feature)
    return [
        _with_spread(same[0]) if any(one.statistic == "spread" for one in same) else same[0] for same in by_key.values()
    ]


def _with_spread(feature: Feature) -> Feature:
    """Return the spread of the source of a feature, under its name: the id of an item has it."""
    return Feature(
        feature.name,
        feature.collection,
        feature.asset,
        time=feature.time,
        valid=feature.valid,
        catalog=feature.catalog,
        sign=feature.sign,
        band=feature.band,
        statistic="spread",
        climatology=feature.climatology,
    )


def make_climatology(
    catalog: WritableCatalog,
    feature: Feature,
    *,
    bbox: BBox | None = None,
    workers: int = 1,
    progress: Callable[[PublishOutcome, int], None] = lambda outcome, total: None,
    left_out: dict[str, str] | None = None,
) -> dict[str, int]:
    """Make the climatology of a feature from its items in the catalogue, and publish it.

    Parameters
    ----------
    catalog
        Where the result goes, and where the feature's items are unless it names another catalogue.
    feature
        With a `Climatology`: period, season, least number of days.
    bbox
        West, south, east, north in degrees: only granules that meet it. None for all.
    workers
        Processes.
    progress
        Called after each item with its outcome and the number of items.
    left_out
        Gets the items of the feature with a value that cannot be right: id and asset key, as ``ID/KEY``, and why. The
        mean is made without them.

    Returns
    -------
    dict
        Number of items by outcome: new, replaced, done. An item has the assets ``mean`` (float32, the feature's unit,
        NaN where fewer than the least number of days have a value), ``count`` (uint16, days with a value) and, of a
        feature with ``statistic = "spread"``, ``std`` (float32, the same unit). An item that has it already is up to
        date for features that do not ask for it.

    Raises
    ------
    CatalogError
        If there is no item of the feature in the period.
    InputError
        If the feature has no climatology, or only one process may write to the store and there are several workers.
    ReadError
        If a file cannot be read.
    """
    require_one_process(catalog.store, workers)
    planned_items = list(
        find_climatology_items(
            open_recipe_catalog(feature.catalog, catalog) if feature.catalog else catalog, feature, bbox, left_out
        )
    )
    if not planned_items:
        raise CatalogError(
            f"climatology of {feature.name!r}: no item of collection {feature.collection} with asset {feature.asset} "
            f"in {feature.climatology.period if feature.climatology else 'any period'}: ingest them first"
        )
    planned_items = _named_as_before(catalog, planned_items)
    outcomes = dict.fromkeys((str(outcome) for outcome in PublishOutcome), 0)
    try:
        for outcome in map_jobs(partial(_make, catalog.root), planned_items, workers, as_ready=True):
            outcomes[str(outcome)] += 1
            progress(outcome, len(planned_items))
    finally:  # what was published before one failed is found, too
        refresh(catalog.store, CLIMATOLOGY_COLLECTION)
    return outcomes


def _named_as_before(catalog: WritableCatalog, planned_items: Sequence[ClimatologyItem]) -> list[ClimatologyItem]:
    """Return items under the name that their ids have in the store already: other features share the mean."""
    there = {
        entry.path.split("/")[1] for entry in catalog.store.list_objects(CLIMATOLOGY_COLLECTION) if "/" in entry.path
    }
    named = []
    for planned in planned_items:
        feature, id = planned.feature, str(_item(planned)["id"])
        start, end = f"{feature.collection}.", id.removeprefix(f"{feature.collection}.{feature.name}")
        names = [one[len(start) : -len(end)] for one in there if one.startswith(start) and one.endswith(end)]
        other = names and feature.name not in names
        named.append(replace(planned, feature=replace(feature, name=min(names))) if other else planned)
    return named


def find_climatology_items(
    where: ItemSearch, feature: Feature, bbox: BBox | None = None, left_out: dict[str, str] | None = None
) -> Iterator[ClimatologyItem]:
    """Find the items to make, one a grid and month (or year), from metadata alone.

    Parameters
    ----------
    where
        Catalogue that has the feature's items.
    feature
        With a `Climatology`.
    bbox
        West, south, east, north in degrees: only granules that meet it. None for all.
    left_out
        Gets the items with a value that cannot be right, and why.

    Yields
    ------
    ClimatologyItem
        Only months for which there is a file.

    Raises
    ------
    InputError
        If the feature has no climatology.
    """
    period = Period.parse(ClimatologyItem(feature, _YEAR, ()).settings.period)
    grids: dict[Any, list[tuple[Period, RasterSource, str]]] = {}
    for item in where.items(feature.collection, period=period, bbox=bbox, left_out=left_out):
        key = asset_key(item, feature.asset)
        if key is None:
            continue
        try:
            source = raster_source(item, key, feature.band).with_feature(feature.valid, feature.sign, where.root)
        except BadItemError as error:
            if left_out is None:
                raise
            left_out[f"{item.id}/{key}"] = str(error)
            continue
        code = item.properties.get("grid:code")
        code = code if isinstance(code, str) and re.fullmatch(r"[\w-]+", code, re.ASCII) else ""  # it is part of an id
        grids.setdefault(source.geobox, []).append((item_period(item), source, code))
    for parts in grids.values():
        files = ((period, source) for period, source, _ in parts)
        whole = tuple(sorted(files, key=lambda file: (file[0], file[1].precedence, file[1].item_id)))
        for month in _months(feature):
            planned = ClimatologyItem(feature, month, whole, parts[0][2])
            used = tuple((p, s) for p, s in whole if _days(planned, p))
            if used:
                yield ClimatologyItem(feature, month, used, planned.code)


def climatology_mean(
    planned: ClimatologyItem, *, reader: str = DEFAULT_READER
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute the mean of many years, the number of days in it, and their standard deviation.

    Every day counts once: a composite counts for each of its days that lie in the period and month, and an older
    version of a file only where the newer one has no value.

    Parameters
    ----------
    planned
        The item to make; its files are read.
    reader
        ``stackstac`` or ``odc``.

    Returns
    -------
    tuple of numpy.ndarray
        Mean (float32, the feature's unit, NaN where fewer than the least number of days have a value), number of days
        with a value (uint16), and standard deviation of the days themselves (as the mean), all (y, x).

    Raises
    ------
    ReadError
        If a file cannot be read.
    """
    shape = tuple(planned.files[0][1].geobox.shape)
    total, squares, count = np.zeros(shape), np.zeros(shape), np.zeros(shape, dtype=np.uint16)
    for days, values in _values(planned, shape, reader):
        valid = ~np.isnan(values)
        total += np.where(valid, values, 0) * days
        if planned.has_spread:
            squares += np.where(valid, np.square(values, dtype=float), 0) * days
        count += np.where(valid, days, 0).astype(np.uint16)
    found = Moments(count.astype(float), total, squares)
    return found.mean(planned.settings.least_days), count, found.spread(planned.settings.least_days)


def _values(planned: ClimatologyItem, shape: tuple[int, ...], reader: str) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the number of days and the values of each file, NaN where a newer one of the same days has a value."""
    for period, same in groupby(planned.files, key=lambda file: file[0]):
        found, newer, before = np.zeros(shape, bool), np.zeros(shape, bool), 0
        for (_, source), level in _with_levels(list(same)):
            if level > before:
                newer, before = found.copy(), level
            values = read_window(source, (slice(0, shape[0]), slice(0, shape[1])), reader)
            values = np.where(newer, np.float32(np.nan), values) if level else values
            found |= ~np.isnan(values)
            yield _days(planned, period), values


def _with_levels(files: Sequence[tuple[Period, RasterSource]]) -> Iterator[tuple[tuple[Period, RasterSource], int]]:
    return zip(files, precedence_levels([source for _, source in files]), strict=True)


def _make(root: str, planned: ClimatologyItem) -> PublishOutcome:
    """Make and publish one item, unless it is published already; runs in a worker process."""
    catalog = open_writable_catalog(root)
    with_spread = replace(planned, feature=_with_spread(planned.feature))
    if not planned.has_spread and is_published(catalog, _item(with_spread)):
        return PublishOutcome.DONE  # its mean is the same
    return make_once(catalog, _item(planned), partial(_assets, planned))


def _item(planned: ClimatologyItem) -> ItemDict:
    source, settings = planned.files[0][1], planned.settings
    period, month = Period.parse(settings.period), f"m{planned.month:02}" if planned.month else "year"
    place = planned.code or digest([str(source.geobox.crs), list(source.geobox.affine)[:6]])[:6]
    mean_of = digest([planned.feature.climatology_key, list(source.geobox.affine)[:6], list(source.geobox.shape)])[:8]
    span = f"{period.start:%Y%m%d}-{period.days[-1]:%Y%m%d}"
    own: dict[str, Any] = {
        CLIMATOLOGY_PROPERTY: planned.feature.climatology_key,
        FINGERPRINT_PROPERTY: planned.provenance_digest,
        **stated_algorithm("climatology"),
    }
    own |= {"stac_sm:month": planned.month} if planned.month else {}
    own |= {"grid:code": planned.code} if planned.code else {}
    return raster_item(
        id=f"{planned.feature.collection}.{planned.feature.name}.{place}.{span}.{month}.{mean_of}",
        collection=CLIMATOLOGY_COLLECTION,
        geobox=source.geobox,
        start=utc_instant(period.start),
        end=utc_instant(period.end),
        properties=own,
        extensions=["grid"] if planned.code else [],
    )


def _assets(planned: ClimatologyItem, folder: Path) -> dict[str, AssetFile]:
    mean, count, spread = climatology_mean(planned)
    geobox, source = planned.files[0][1].geobox, planned.files[0][1]
    known = VARIABLES.get(planned.feature.asset, Variable(planned.feature.name, source.unit or "1", "", (0, 0)))
    title = f"Mean of {planned.settings.period}: {known.description or planned.feature.asset}"
    days = Variable("count", "d", "Days with a value", (0, 65535))
    fields = {
        "mean": raster_asset(known, dtype="float32", nodata=_MEAN.nodata, title=title),
        "count": raster_asset(days, dtype="uint16", nodata=None, roles=["metadata"]),
    }
    made = [("mean", mean, _MEAN), ("count", count, _COUNT)]
    if planned.has_spread:
        title = f"Standard deviation of the days of {planned.settings.period}: {known.description or known.name}"
        fields[SPREAD] = raster_asset(known, dtype="float32", nodata=_MEAN.nodata, title=title)
        made.append((SPREAD, spread, _MEAN))
    return {
        key: write_asset(values, folder / f"{key}.tif", geobox=geobox, profile=profile, fields=fields[key])
        for key, values, profile in made
    }


def _months(feature: Feature) -> Sequence[int]:
    return range(1, 13) if feature.climatology and feature.climatology.season == "month" else (_YEAR,)


def _days(planned: ClimatologyItem, period: Period) -> int:
    """Return the number of days of an item that lie in the climatology's period and month."""
    within = Period.parse(planned.settings.period)
    return sum(1 for day in period.days if day in within and _in_month(day, planned.month))


def _in_month(day: date, month: int) -> bool:
    return month in {_YEAR, day.month}
