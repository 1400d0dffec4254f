"""Make means: of the days of a month or a year with a value, tile by tile, with the number of these days.

`make_means` is what ``stac-sm annual`` calls. Days are added one after another in float64: the product's values are
multiples of 2**-13, so the sums are exact.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stac_sm.core.errors import InputError
from stac_sm.core.grid import TileGrid
from stac_sm.core.parallel import map_jobs
from stac_sm.core.period import Period
from stac_sm.core.progress import ProgressCallback, steps_of_part
from stac_sm.core.variables import VARIABLES
from stac_sm.product.aggregates.aggregate import Aggregate, WrittenAssets, publish_aggregate
from stac_sm.product.aggregates.mosaic import COUNT_PROFILE, count_fields, make_mosaic, mosaic_of_means
from stac_sm.product.aggregates.source_items import AggregateResult, SourceItem, by_tile, source_item_raster, tile_days
from stac_sm.product.collection_grid import require_grid
from stac_sm.product.file_text import file_text
from stac_sm.product.item import OUTPUT_PROFILE_NUMBER
from stac_sm.product.product_id import GLOBAL, ProductId
from stac_sm.product.quicklook import quicklook_assets
from stac_sm.raster.cog import CogProfile, write_asset
from stac_sm.raster.read import read_window
from stac_sm.raster.readers import DEFAULT_READER
from stac_sm.stac.catalogs.catalog import open_writable_catalog
from stac_sm.stac.catalogs.catalog_interface import WritableCatalog
from stac_sm.stac.index.update import link_and_index
from stac_sm.stac.items import raster_asset
from stac_sm.stac.simulated import is_simulated
from stac_sm.storage.single_writer import require_one_process

if TYPE_CHECKING:
    from numpy.typing import NDArray

ANNUAL = "sm-1km-annual"
MONTHLY = "sm-1km-monthly"
MEAN_PROFILE = CogProfile(level=6)


def make_means(
    catalog: WritableCatalog,
    grid: TileGrid,
    spans: Sequence[Period],
    version: str,
    *,
    collection: str = ANNUAL,
    tiles: Sequence[str] = (),
    least_days: int = 1,
    as_one: bool = False,
    workers: int = 1,
    dry_run: bool = False,
    progress: ProgressCallback = lambda total: None,
) -> list[AggregateResult]:
    """Make the means of years or months from the tile-days that are there, and publish them.

    A mean that is there and made from the same tile-days is left alone; one made from others is replaced.

    Parameters
    ----------
    catalog
        Holds the tile-days, and gets the means.
    grid
        Tile grid of the tile-days.
    spans
        Whole years (for `ANNUAL`) or whole months (for `MONTHLY`).
    version
        Product version.
    collection
        `ANNUAL` or `MONTHLY`.
    tiles
        Tile ids; all that have tile-days if there are none.
    least_days
        A pixel with fewer days with a value has no mean; 1 or more.
    as_one
        Whether to make one file of all tiles, too.
    workers
        Processes.
    dry_run
        Whether to return what would come of it, and to make nothing.
    progress
        Called with the number of tiles, whenever one is there.

    Returns
    -------
    list of AggregateResult
        In the order of spans and tiles; what failed says why.

    Raises
    ------
    InputError
        If ``least_days`` is below 1, the tile-days lie on another grid, or only one process may write to the store and
        there are several workers.
    """
    if least_days < 1:
        raise InputError(f"least days {least_days}: 1 or more is required, a mean of no day has no value")
    require_one_process(catalog.store, workers)
    require_grid(catalog, grid)
    made: list[AggregateResult] = []
    try:
        described_by_span = {
            span: [
                define_mean(collection, span, tile, version, members, least_days)
                for tile, members in by_tile(tile_days(catalog, span, version)).items()
                if not tiles or tile in tiles
            ]
            for span in spans
        }
        total = sum(map(len, described_by_span.values())) * (2 if as_one else 1)
        for span, described in described_by_span.items():
            make_one = partial(_make, catalog.root, grid, dry_run=dry_run)
            found = []
            for one in map_jobs(make_one, described, workers, as_ready=True):
                progress(total)
                found.append(one)
            found.sort(key=lambda one: one.id)
            made += found
            if as_one and found and all(one.outcome != "failed" for one in found):
                members = [_member(one, aggregate) for one, aggregate in zip(found, described, strict=True)]
                whole = define_mean(collection, span, GLOBAL, version, members, least_days)
                with steps_of_part(progress, total, len(members)) as step:
                    made.append(make_mosaic(catalog, grid, whole, step, sm=MEAN_PROFILE, dry_run=dry_run))
    finally:
        if not dry_run:
            link_and_index(catalog, collection, [one.path for one in made if one.outcome != "failed"])
    return made


def mean_of_tile_days(
    read: Callable[[SourceItem], NDArray[np.float32]], members: Sequence[SourceItem], least_days: int
) -> tuple[NDArray[np.float32], NDArray[np.uint16]]:
    """Average the days of a tile, with one day in memory at a time.

    Parameters
    ----------
    read
        Returns soil moisture of a tile-day, (y, x) float32, m3 m-3, NaN where there is no value.
    members
        Tile-days of one tile.
    least_days
        A pixel with fewer days with a value has no mean.

    Returns
    -------
    tuple of numpy.ndarray
        Mean, (y, x) float32, m3 m-3, NaN where there is none; number of days with a value, (y, x) uint16.
    """
    total: Any = 0.0
    count: Any = np.uint16(0)
    for member in members:
        values = read(member)
        valid = ~np.isnan(values)
        total = total + np.where(valid, values, 0).astype(np.float64)
        count = count + valid.astype(np.uint16)
    mean = np.where(count >= least_days, total / np.maximum(count, 1), np.nan)
    return mean.astype(np.float32), count.astype(np.uint16)


def define_mean(
    collection: str, span: Period, tile: str, version: str, members: Sequence[SourceItem], least_days: int
) -> Aggregate:
    """Return the description of the mean of some tile-days, or of the mosaic of the means of some tiles.

    Parameters
    ----------
    collection
        `ANNUAL` or `MONTHLY`.
    span
        Days that it stands for: a year or a month.
    tile
        Tile id; ``global`` for the mosaic.
    version
        Product version.
    members
        Tile-days of the tile; of the mosaic, items of the means, one a tile.
    least_days
        A pixel with fewer days with a value has no mean.

    Returns
    -------
    Aggregate
        Nothing is made yet.
    """
    if tile == GLOBAL:
        return mosaic_of_means(collection, span, version, members, _output(least_days))
    return Aggregate(collection, span, tile, version, tuple(members), _output(least_days))


def _output(least_days: int) -> dict[str, Any]:
    return {
        "profile": OUTPUT_PROFILE_NUMBER,
        "sm": MEAN_PROFILE.fingerprint_fields(),
        "count": COUNT_PROFILE.fingerprint_fields(),
        "least_days": least_days,
    }


_LEAST_DAYS = ", of pixels with at least {}"


def least_days_of(lineage: str) -> int:
    """Return the least number of days of the mean of a tile, which its item states in its lineage.

    Parameters
    ----------
    lineage
        ``processing:lineage`` of the item.

    Returns
    -------
    int
        1 where the item states none.
    """
    found = re.search(_LEAST_DAYS.format(r"(\d+)$"), lineage)
    return int(found[1]) if found else 1


def _make(root: str, grid: TileGrid, aggregate: Aggregate, *, dry_run: bool) -> AggregateResult:
    """Make and publish the mean of one tile; runs in a worker process."""
    catalog, least = open_writable_catalog(root), int(aggregate.output["least_days"])
    lineage = f"Mean of the {len(aggregate.members)} days of {aggregate.span} that were published"
    lineage += _LEAST_DAYS.format(least) if least > 1 else ""
    item = aggregate.item(grid, grid.geobox(aggregate.tile), lineage, simulated=is_simulated(catalog))
    return publish_aggregate(
        catalog, aggregate, item, None if dry_run else partial(_write, catalog, grid, aggregate, least)
    )


def _write(
    catalog: WritableCatalog, grid: TileGrid, aggregate: Aggregate, least_days: int, folder: Path
) -> WrittenAssets:
    def read(member: SourceItem) -> NDArray[np.float32]:
        found = source_item_raster(catalog, member, "sm")
        return read_window(found, (slice(0, found.geobox.shape[0]), slice(0, found.geobox.shape[1])), DEFAULT_READER)

    mean, count = mean_of_tile_days(read, aggregate.members, least_days)
    fields = {
        "sm": raster_asset(
            VARIABLES["sm"], dtype="float32", nodata=MEAN_PROFILE.nodata, title=f"Mean of {aggregate.span}"
        ),
        "count": count_fields(),
    }
    geobox, id = grid.geobox(aggregate.tile), ProductId(aggregate.span, aggregate.tile, aggregate.version)
    simulated = is_simulated(catalog)
    assets = {
        key: write_asset(
            values,
            folder / f"{key}.tif",
            geobox=geobox,
            profile=profile,
            fields=fields[key],
            text=file_text(key, id, simulated=simulated),
        )
        for key, values, profile in (("sm", mean, MEAN_PROFILE), ("count", count, COUNT_PROFILE))
    }
    assets |= quicklook_assets(mean, geobox, folder, id, simulated=simulated)
    return assets, int(np.count_nonzero(~np.isnan(mean)))


def _member(made: AggregateResult, aggregate: Aggregate) -> SourceItem:
    """Return a mean as a source item of the mosaic of means."""
    return replace(
        aggregate.members[0], id=made.id, day=aggregate.span.start, fingerprint=made.fingerprint, path=made.path
    )
