"""Build feature cubes: from items, a GeoBox and a period to a lazy Dataset.

There are two steps: `resolve_inputs` (`features.inputs`) finds the items of each feature and day from metadata alone,
and `build` turns them into lazy arrays. Prediction, validation, ``stac-sm features`` and users of Python come through
here. Nothing is read before compute; each file is read once in a graph, however many days need it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM, TileGrid
from stac_sm.core.period import Period
from stac_sm.core.variables import VARIABLES
from stac_sm.features.daily_fields import DailyFields, DaskBackend
from stac_sm.features.derived import add_derived, apply_masks
from stac_sm.features.inputs import ResolvedInputs, resolve_inputs
from stac_sm.features.kept_arrays import KeptArrays
from stac_sm.features.recipe import Feature, Recipe
from stac_sm.features.time_rules import DayFields
from stac_sm.raster.readers import DEFAULT_READER
from stac_sm.raster.resample import TargetPixels
from stac_sm.stac.catalogs.search import ItemSearch

if TYPE_CHECKING:
    import xarray as xr
    from odc.geo.geobox import GeoBox


def feature_cube(
    catalog: ItemSearch,
    recipe: Recipe | Mapping[str, Any],
    tile_or_geobox: str | GeoBox,
    period: Period | str,
    *,
    reader: str = DEFAULT_READER,
    grid: TileGrid = MODIS_SINUSOIDAL_1KM,
) -> xr.Dataset:
    """Build the features of a recipe on a grid, lazily.

    Parameters
    ----------
    catalog
        Where the items are.
    recipe
        The features, or the table of a project file that holds them.
    tile_or_geobox
        Id of a tile of ``grid``, or any GeoBox.
    period
        Days of the cube, each of them: a `Period`, or e.g. ``"2019-06-08/2019-06-10"``, the last day included.
    reader
        ``stackstac`` or ``odc``: both give the same values, bit for bit.
    grid
        The grid that a tile id refers to.

    Returns
    -------
    xarray.Dataset
        Dims (time, y, x), coordinates of pixel centres in the CRS of the GeoBox (``spatial_ref``); one float32
        variable a feature, chunked by day (a large GeoBox in blocks, too), NaN where there is no value; attrs
        ``units``, ``long_name``, ``items``; ``statistic`` where it is none of days (``climatology``, ``anomaly``,
        ``spread``), ``days_without_input`` (ISO dates) where a day has no item, and
        ``left_out`` (text) where an item has a value that cannot be right.
        One boolean variable a mask, True where there is no soil moisture.
        No pixel is read before compute.

    Raises
    ------
    InputError
        If there is no such tile, period, reader or recipe.
    CatalogError
        If a collection is missing, or an item lacks what is needed to place its pixels.
    ReadError
        At compute, if pixels cannot be read: a failed read is never NaN.
    """
    geobox = grid.geobox(tile_or_geobox) if isinstance(tile_or_geobox, str) else tile_or_geobox
    known = recipe if isinstance(recipe, Recipe) else Recipe.from_dict(recipe)
    return build(resolve_inputs(catalog, known, geobox, Period.of(period)), TargetPixels(geobox), reader=reader)


def build(
    resolved: ResolvedInputs,
    target: TargetPixels,
    *,
    reader: str = DEFAULT_READER,
    kept: KeptArrays | None = None,
) -> xr.Dataset:
    """Build a lazy Dataset of resolved features on all or some pixels of a GeoBox.

    Parameters
    ----------
    resolved
        Items of each feature and day, as `resolve_inputs` gives them.
    target
        The pixels: a GeoBox, or rows and columns in it.
    reader
        ``stackstac`` or ``odc``: both give the same values, bit for bit.
    kept
        What earlier cubes on the same pixels have left, and this one leaves to later ones; None: nothing.

    Returns
    -------
    xarray.Dataset
        As in `feature_cube`; dims (time, y, x), or (time, pixel) where the target is rows and columns. Where a feature
        fills gaps with its climatology, a boolean variable ``gap_filled`` is True in pixels that were filled.

    Raises
    ------
    InputError
        If there is no such reader.
    ReadError
        At compute, if pixels cannot be read.
    """
    import dask.array as da
    import xarray as xr

    fields = DailyFields(target, reader, DaskBackend(), kept)
    recipe, days = resolved.recipe, resolved.days
    variables, filled = {}, []
    for feature in recipe.sources:
        made_of = resolved.by_feature[feature.name]
        slices = [fields.day(feature, made_of.get(day, DayFields())) for day in days]
        variables[feature.name] = xr.Variable(
            target.dims, da.stack([value for value, _ in slices]), _attributes(resolved, feature)
        )
        if feature.missing == "climatology":
            filled.append(da.stack([gap for _, gap in slices]))
    if filled:
        attributes = {
            "units": "1",
            "long_name": "a feature was filled with its climatology",
            "grid_mapping": "spatial_ref",
        }
        variables["gap_filled"] = xr.Variable(target.dims, da.any(da.stack(filled), axis=0), attributes)
    cube = xr.Dataset(variables, coords=_coordinates(target, days))
    return apply_masks(add_derived(cube, recipe.derived), recipe.masks)


def _attributes(resolved: ResolvedInputs, feature: Feature) -> dict[str, Any]:
    days = resolved.by_feature[feature.name]
    sources = [source for made_of in days.values() for layer in made_of.fields for source in layer.sources]
    known = VARIABLES.get(feature.asset)
    plain = known.description if known else (sources[0].title if sources else "") or feature.asset
    described: dict[str, Any] = {"long_name": _long_name(plain, feature)}
    if known:
        described["units"] = known.unit
    if sources and sources[0].unit:  # a file may come in another unit than the table of variables names
        described["units"] = sources[0].unit
    items = sorted({source.item_id for source in sources})
    described |= {"collection": feature.collection, "items": items, "grid_mapping": "spatial_ref"}
    if feature.statistic != "value":
        described["statistic"] = feature.statistic
    if absent := [day.isoformat() for day in resolved.days if day not in days]:
        described["days_without_input"] = absent
    if bad := resolved.left_out.get(feature.name):
        described["left_out"] = sorted(bad.values())
    return described


def _long_name(plain: str, feature: Feature) -> str:
    """Return what a variable is, and what was made of it: the mean of many days is not called as a day is."""
    words = [plain]
    if feature.trailing > 1:
        words.append(f"mean of {feature.trailing} days")
    if feature.exponential:
        words.append(f"exponential mean of {feature.exponential:g} days")
    if feature.lag:
        words.append(f"{feature.lag} days before")
    if feature.climatology is not None and feature.statistic != "value":
        years = Period.parse(feature.climatology.period)
        made = {"climatology": "mean", "spread": "standard deviation", "anomaly": "anomaly from the mean"}
        words.append(f"{made[feature.statistic]} of {years.start.year} to {years.days[-1].year}")
    return ", ".join(words)


def _coordinates(target: TargetPixels, days: Sequence[date]) -> dict[str, Any]:
    from odc.geo.xr import xr_coords

    time = np.array(days, dtype="datetime64[ns]")
    spatial = xr_coords(target.geobox, dims=("y", "x"))
    if target.rows is None:
        return {"time": time, **{str(name): value for name, value in spatial.items()}}
    x, y = target.centres
    return {"time": time, "x": ("pixel", x), "y": ("pixel", y), "spatial_ref": spatial["spatial_ref"]}
