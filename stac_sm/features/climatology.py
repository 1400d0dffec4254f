"""Climatology: the mean of many years of a feature at each pixel of its own grid, as items of a collection.

A mean is made once for a period that the recipe fixes, on the grid of the granules, so that a coarse input stays
coarse. Recipes take it through the feature's own resampling (`resolution`), as climatology, anomaly or to fill gaps.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stac_sm.core.asset_file import AssetFile
from stac_sm.core.errors import CatalogError, InputError
from stac_sm.core.fingerprint import ALGORITHM_VERSIONS, digest
from stac_sm.core.parallel import map_jobs
from stac_sm.core.period import Period, utc_instant
from stac_sm.core.variables import VARIABLES, Variable
from stac_sm.features.inputs import CLIMATOLOGY_COLLECTION, CLIMATOLOGY_PROPERTY
from stac_sm.features.recipe import Climatology, Feature, Recipe
from stac_sm.raster.cog import CogProfile, write_asset
from stac_sm.raster.read import read_window
from stac_sm.raster.readers import DEFAULT_READER
from stac_sm.raster.source import RasterSource, asset_key, raster_source
from stac_sm.stac.catalogs.catalog import Catalog, open_catalog, open_recipe_catalog
from stac_sm.stac.catalogs.search import BBox, ItemSearch, item_period
from stac_sm.stac.items import ItemDict, raster_asset, raster_item
from stac_sm.stac.links import refresh
from stac_sm.stac.publish import FINGERPRINT_PROPERTY, PublishOutcome, is_published, publish

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
    """Files on one grid that have days in the period and month, in order of time."""

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
        """SHA-256 of all that makes it."""
        parts = [(source.item_id, source.provenance_digest, _days(self, period)) for period, source in self.files]
        return digest(
            {
                "normal": self.feature.climatology_key,
                "month": self.month,
                "parts": parts,
                "by": ALGORITHM_VERSIONS["climatology"],
            }
        )


def features_needing_climatology(recipe: Recipe) -> list[Feature]:
    """Features of a recipe that need a climatology, each mean once."""
    wanted = {
        digest(feature.climatology_key): feature for feature in recipe.sources if feature.climatology_key is not None
    }
    return list(wanted.values())


def make_climatology(
    catalog: Catalog,
    feature: Feature,
    *,
    bbox: BBox | None = None,
    workers: int = 1,
    progress: Callable[[PublishOutcome, int], None] = lambda outcome, total: None,
) -> dict[str, int]:
    """Make the climatology of a feature from the items that are there, and publish it.

    Parameters
    ----------
    catalog
        Where the result goes, and where the feature's items are unless it names another catalogue.
    feature
        With a `Climatology`: period, season, least number of days.
    bbox
        West, south, east, north in degrees: only granules that meet it.
    workers
        Processes.

    Returns
    -------
    dict
        Number of items by outcome: new, replaced, done. An item has the assets ``mean`` (float32, the feature's unit,
        NaN where fewer than the least number of days have a value) and ``count`` (uint16, days with a value).

    Raises
    ------
    CatalogError
        If there is no item of the feature in the period.
    ReadError
        If a file cannot be read.
    """
    normals = list(
        find_climatology_items(
            open_recipe_catalog(feature.catalog, catalog) if feature.catalog else catalog, feature, bbox
        )
    )
    if not normals:
        raise CatalogError(
            f"climatology of {feature.name!r}: no item of collection {feature.collection} with asset {feature.asset} "
            f"in {feature.climatology.period if feature.climatology else 'any period'}: ingest them first"
        )
    outcomes = dict.fromkeys((str(outcome) for outcome in PublishOutcome), 0)
    for outcome in map_jobs(partial(_make, catalog.root), normals, workers, as_ready=True):
        outcomes[str(outcome)] += 1
        progress(outcome, len(normals))
    refresh(catalog.store, CLIMATOLOGY_COLLECTION)
    return outcomes


def find_climatology_items(where: ItemSearch, feature: Feature, bbox: BBox | None = None) -> Iterator[ClimatologyItem]:
    """The items to make: one a grid and month (or year), from metadata alone."""
    period = Period.parse(ClimatologyItem(feature, _YEAR, ()).settings.period)
    grids: dict[Any, list[tuple[Period, RasterSource, str]]] = {}
    for item in where.items(feature.collection, period=period, bbox=bbox):
        key = asset_key(item, feature.asset)
        if key is not None:
            source = raster_source(item, key, feature.band).with_feature(feature.valid, feature.sign, where.root)
            code = str(item.properties.get("grid:code") or "")
            grids.setdefault(source.geobox, []).append((item_period(item), source, code))
    for parts in grids.values():
        whole = tuple(sorted(((p, s) for p, s, _ in parts), key=lambda part: (part[0], part[1].item_id)))
        for month in _months(feature):
            normal = ClimatologyItem(feature, month, whole, parts[0][2])
            used = tuple((p, s) for p, s in whole if _days(normal, p))
            if used:
                yield ClimatologyItem(feature, month, used, normal.code)


def climatology_mean(normal: ClimatologyItem, *, reader: str = DEFAULT_READER) -> tuple[np.ndarray, np.ndarray]:
    """Mean (float32, NaN where too few days have a value) and number of days (uint16), both (y, x).

    Every day counts once: a composite counts for each of its days that lie in the period and month.
    """
    shape = tuple(normal.files[0][1].geobox.shape)
    total, count = np.zeros(shape), np.zeros(shape, dtype=np.uint16)
    for period, source in normal.files:
        days = _days(normal, period)
        values = read_window(source, (slice(0, shape[0]), slice(0, shape[1])), reader)
        valid = ~np.isnan(values)
        total += np.where(valid, values, 0) * days
        count += np.where(valid, days, 0).astype(np.uint16)
    mean = np.where(count >= normal.settings.least_days, total / np.maximum(count, 1), np.nan)
    return mean.astype(np.float32), count


def _make(root: str, normal: ClimatologyItem) -> PublishOutcome:
    """Make and publish one item, if it is not there; runs in a worker process."""
    catalog, item = open_catalog(root), _item(normal)
    if is_published(catalog, item):
        return PublishOutcome.DONE
    mean, count = climatology_mean(normal)
    with tempfile.TemporaryDirectory(prefix="stac-sm-") as folder:
        return publish(catalog, item, _assets(normal, mean, count, Path(folder)))


def _item(normal: ClimatologyItem) -> ItemDict:
    source, wanted = normal.files[0][1], normal.settings
    period, month = Period.parse(wanted.period), f"m{normal.month:02}" if normal.month else "year"
    place = normal.code or digest([str(source.geobox.crs), list(source.geobox.affine)[:6]])[:6]
    mean_of = digest([normal.feature.climatology_key, list(source.geobox.affine)[:6], list(source.geobox.shape)])[:8]
    span = f"{period.start:%Y%m%d}-{period.days[-1]:%Y%m%d}"
    own: dict[str, Any] = {
        CLIMATOLOGY_PROPERTY: normal.feature.climatology_key,
        FINGERPRINT_PROPERTY: normal.provenance_digest,
    }
    own |= {"stac_sm:month": normal.month} if normal.month else {}
    own |= {"grid:code": normal.code} if normal.code else {}
    return raster_item(
        id=f"{normal.feature.collection}.{normal.feature.name}.{place}.{span}.{month}.{mean_of}",
        collection=CLIMATOLOGY_COLLECTION,
        geobox=source.geobox,
        start=utc_instant(period.start),
        end=utc_instant(period.end),
        properties=own,
        extensions=["grid"] if normal.code else [],
    )


def _assets(normal: ClimatologyItem, mean: np.ndarray, count: np.ndarray, folder: Path) -> dict[str, AssetFile]:
    geobox, source = normal.files[0][1].geobox, normal.files[0][1]
    known = VARIABLES.get(normal.feature.asset, Variable(normal.feature.name, source.unit or "1", "", (0, 0)))
    title = f"Mean of {normal.settings.period}: {known.description or normal.feature.asset}"
    days = Variable("count", "d", "Days with a value", (0, 65535))
    fields = {
        "mean": raster_asset(known, dtype="float32", nodata=_MEAN.nodata, title=title),
        "count": raster_asset(days, dtype="uint16", nodata=None, roles=["metadata"]),
    }
    return {
        key: write_asset(values, folder / f"{key}.tif", geobox=geobox, profile=profile, fields=fields[key])
        for key, values, profile in (("mean", mean, _MEAN), ("count", count, _COUNT))
    }


def _months(feature: Feature) -> Sequence[int]:
    return range(1, 13) if feature.climatology and feature.climatology.season == "month" else (_YEAR,)


def _days(normal: ClimatologyItem, period: Period) -> int:
    """Days of an item that lie in the climatology's period and month."""
    within = Period.parse(normal.settings.period)
    return sum(1 for day in period.days if day in within and _in_month(day, normal.month))


def _in_month(day: date, month: int) -> bool:
    return month in {_YEAR, day.month}
