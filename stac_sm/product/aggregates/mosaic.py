"""Make mosaics: the tiles of one day, or of one mean, in one file for the whole grid.

`make_mosaics` is what ``stac-sm mosaic`` calls; `aggregates.means` makes the mosaics of its means here. A mosaic
has an overview in degrees that maps can draw, and a thumbnail.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stac_sm.core.asset_file import AssetFile
from stac_sm.core.grid import TileGrid
from stac_sm.core.period import Period
from stac_sm.core.progress import ProgressCallback, steps_of_part
from stac_sm.core.variables import VARIABLES, Variable
from stac_sm.product.aggregates.aggregate import Aggregate, WrittenAssets, publish_aggregate
from stac_sm.product.aggregates.source_items import AggregateResult, SourceItem, source_item_raster, tile_days
from stac_sm.product.collection_grid import require_grid
from stac_sm.product.file_text import file_text
from stac_sm.product.item import OUTPUT_PROFILE_NUMBER, SM_PROFILE
from stac_sm.product.product_id import GLOBAL, ProductId
from stac_sm.product.quicklook import visual_asset
from stac_sm.raster.cog import CogProfile, verified_asset, write_asset
from stac_sm.raster.mosaic_cog import (
    degree_mean_overview,
    overview_geobox,
    whole_grid_geobox,
    write_mosaic_cog,
)
from stac_sm.raster.plots import legend_thumbnail
from stac_sm.raster.read import read_window
from stac_sm.raster.readers import DEFAULT_READER
from stac_sm.stac.catalogs.catalog_interface import WritableCatalog
from stac_sm.stac.index.update import link_and_index
from stac_sm.stac.items import raster_asset, value_range
from stac_sm.stac.simulated import is_simulated, simulated_title

DAILY_GLOBAL = "sm-1km-daily-global"
COUNT = Variable("count", "d", "Days with a value", (0, 65535))
COUNT_PROFILE = CogProfile(nodata=None, overviews="nearest", level=6)
OVERVIEW_PROFILE = CogProfile(step=2.0**-13, overviews="average", level=6)


def make_mosaics(
    catalog: WritableCatalog,
    grid: TileGrid,
    period: Period,
    version: str,
    *,
    dry_run: bool = False,
    progress: ProgressCallback = lambda total: None,
) -> list[AggregateResult]:
    """Make the global days of a period from the tile-days that are there, and publish them.

    A day that is there and made from the same tile-days is left alone; one made from others is replaced. Days without
    a tile-day are left out.

    Parameters
    ----------
    catalog
        Holds the tile-days, and gets the mosaics.
    grid
        Tile grid of the tile-days.
    period
        UTC days.
    version
        Product version.
    dry_run
        Whether to return what would come of it, and to make nothing.
    progress
        Called with the number of tiles of a day, whenever one has been written.

    Returns
    -------
    list of AggregateResult
        In the order of days; what failed says why.

    Raises
    ------
    InputError
        If the tile-days lie on another grid.
    """
    require_grid(catalog, grid)
    made: list[AggregateResult] = []
    try:
        found = [tile_days(catalog, month, version) for month in period.months()]
        total = sum(map(len, found))
        for members in found:
            for day in sorted({member.day for member in members}):
                of_day = [member for member in members if member.day == day]
                aggregate = define_daily_mosaic(Period.of_day(day), version, of_day)
                with steps_of_part(progress, total, len(of_day)) as step:
                    made.append(make_mosaic(catalog, grid, aggregate, step, dry_run=dry_run))
    finally:
        if not dry_run:
            link_and_index(catalog, DAILY_GLOBAL, [one.path for one in made if one.outcome != "failed"])
    return made


def define_daily_mosaic(day: Period, version: str, members: Sequence[SourceItem]) -> Aggregate:
    """Return the description of the global day of some tile-days.

    Parameters
    ----------
    day
        The UTC day.
    version
        Product version.
    members
        Tile-days of this day.

    Returns
    -------
    Aggregate
        Nothing is made yet.
    """
    return Aggregate(
        DAILY_GLOBAL, day, GLOBAL, version, tuple(members), {**_OUTPUT, "sm": SM_PROFILE.fingerprint_fields()}
    )


def mosaic_of_means(
    collection: str, span: Period, version: str, members: Sequence[SourceItem], output: Mapping[str, Any]
) -> Aggregate:
    """Return the description of the mosaic of the means of some tiles.

    Parameters
    ----------
    collection
        Collection of the means.
    span
        Days that they stand for: a year or a month.
    version
        Product version.
    members
        Items of the means, one a tile.
    output
        Profile of the files of the means, and settings that change their values.

    Returns
    -------
    Aggregate
        Nothing is made yet.
    """
    return Aggregate(collection, span, GLOBAL, version, tuple(members), {**_OUTPUT, **output})


def make_mosaic(
    catalog: WritableCatalog,
    grid: TileGrid,
    aggregate: Aggregate,
    progress: ProgressCallback,
    *,
    sm: CogProfile = SM_PROFILE,
    dry_run: bool = False,
) -> AggregateResult:
    """Make and publish one mosaic, if it is not there: ``sm``, ``overview``, ``thumbnail``, and ``count`` of means.

    Parameters
    ----------
    catalog
        Holds the source items, and gets the mosaic.
    grid
        Tile grid of the source items.
    aggregate
        What it is made from.
    progress
        Called with the number of tiles, whenever one has been written.
    sm
        Profile of the file of soil moisture.
    dry_run
        Whether to return what would come of it, and to make nothing.

    Returns
    -------
    AggregateResult
        What came of it; if it failed, why.
    """
    places = grid.tiles[0] * grid.tiles[1]
    lineage = f"Mosaic of {len(aggregate.members)} of the {places} tiles of grid {grid.name}, on {aggregate.span}"
    item = aggregate.item(grid, whole_grid_geobox(grid), lineage, simulated=is_simulated(catalog))
    return publish_aggregate(
        catalog, aggregate, item, None if dry_run else partial(_write, catalog, grid, aggregate, progress, sm)
    )


def _write(
    catalog: WritableCatalog,
    grid: TileGrid,
    aggregate: Aggregate,
    progress: ProgressCallback,
    profile: CogProfile,
    folder: Path,
) -> WrittenAssets:
    step = partial(progress, len(aggregate.members))
    id = ProductId(aggregate.span, aggregate.tile, aggregate.version)
    file, simulated = folder / "sm.tif", is_simulated(catalog)
    tiles = {m.tile: partial(_array, catalog, m, "sm") for m in aggregate.members}
    text = file_text("sm", id, simulated=simulated)
    valid = write_mosaic_cog(tiles, grid, file, profile, "float32", progress=step, text=text)
    assets = {"sm": verified_asset(file, raster_asset(VARIABLES["sm"], dtype="float32", nodata=profile.nodata))}
    assets |= _overviews(file, grid, id, folder, simulated)
    if aggregate.collection != DAILY_GLOBAL:
        file = folder / "count.tif"
        tiles = {m.tile: partial(_array, catalog, m, "count") for m in aggregate.members}
        text = file_text("count", id, simulated=simulated)
        write_mosaic_cog(tiles, grid, file, COUNT_PROFILE, "uint16", progress=lambda: None, text=text)
        assets["count"] = verified_asset(file, count_fields())
    return assets, valid


def count_fields() -> dict[str, Any]:
    """Return the fields of the asset with the number of days with a value.

    Returns
    -------
    dict
        Of an asset in a STAC item.
    """
    return raster_asset(COUNT, dtype="uint16", nodata=None, roles=["metadata"])


def _array(catalog: WritableCatalog, member: SourceItem, asset: str) -> np.ndarray:
    """Return all values of a source item, NaN where there is none."""
    found = source_item_raster(catalog, member, asset)
    height, width = found.geobox.shape
    return read_window(found, (slice(0, height), slice(0, width)), DEFAULT_READER)


def _overviews(file: Path, grid: TileGrid, id: ProductId, folder: Path, simulated: bool) -> dict[str, AssetFile]:
    """Return the picture that maps draw, the values it is drawn from, in degrees, and a thumbnail with its legend."""
    values, geobox = degree_mean_overview(file, grid)
    coarse = write_asset(
        values,
        folder / "overview.tif",
        geobox=geobox,
        profile=OVERVIEW_PROFILE,
        fields=_overview_fields(values, grid),
        text=file_text("overview", id, simulated=simulated),
    )
    thumbnail = folder / "thumbnail.png"
    title = simulated_title(f"Soil moisture, {id.span}", simulated)
    legend_thumbnail(values, geobox.boundingbox.bbox, thumbnail, title=title)
    preview = {"title": "Preview with a legend", "type": "image/png", "roles": ["thumbnail"]}
    return {  # visual first: of equal roles, maps draw the first
        "visual": visual_asset(values, geobox, folder, id, simulated=simulated),
        "overview": coarse,
        "thumbnail": AssetFile(thumbnail, ".png", preview, lambda href: True),
    }


def _overview_fields(values: np.ndarray, grid: TileGrid) -> dict[str, Any]:
    """Return its own place, since that of the item is another, and the range by which maps choose their colours."""
    geobox = overview_geobox(grid)
    title = f"Mean in cells of {geobox.affine.a:g} degrees"
    fields = raster_asset(
        VARIABLES["sm"], dtype="float32", nodata=OVERVIEW_PROFILE.nodata, roles=["overview"], title=title
    )
    fields["bands"][0] |= value_range(values, None)
    place = {"proj:code": "EPSG:4326", "proj:wkt2": None, "proj:projjson": None, "proj:shape": list(geobox.shape)}
    return {**fields, **place, "proj:transform": list(geobox.affine)[:6], "proj:bbox": list(geobox.boundingbox.bbox)}


_OUTPUT = {"profile": OUTPUT_PROFILE_NUMBER, "overview": OVERVIEW_PROFILE.fingerprint_fields()}
