"""Feature cubes: from items, a GeoBox and a period to a lazy Dataset. Training and prediction both come through here.

Two steps: `resolve` says which items make which feature on which day, from metadata alone; `build` turns that
into lazy arrays. Nothing is read before compute; each file is read once in a graph, however many days need it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
from odc.geo.geobox import GeoBox

from stac_sm.catalog import ItemSearch
from stac_sm.features import add_derived, apply_masks, trailing_mean
from stac_sm.grid import MODIS_SINUSOIDAL_1KM, TileGrid
from stac_sm.period import Period
from stac_sm.readers import reader
from stac_sm.readers.reading import read_window
from stac_sm.readers.source import RasterSource, Window
from stac_sm.recipe import Feature, Recipe
from stac_sm.regrid import Target, lookup, regrid, source_window
from stac_sm.resolution import Resolution, resolve
from stac_sm.time_rules import DayInputs, Layer
from stac_sm.variables import VARIABLES

if TYPE_CHECKING:
    import xarray as xr

DEFAULT_READER = "stackstac"


def feature_cube(
    catalog: ItemSearch,
    recipe: Recipe | Mapping[str, Any],
    tile_or_geobox: str | GeoBox,
    period: Period | str,
    *,
    reader: str = DEFAULT_READER,
    grid: TileGrid = MODIS_SINUSOIDAL_1KM,
) -> xr.Dataset:
    """Features of a recipe on a grid, lazily.

    Parameters
    ----------
    catalog
        Where the items are.
    recipe
        The features, or the table of a project file that holds them.
    tile_or_geobox
        Id of a tile of ``grid``, or any GeoBox.
    period
        Days wanted, each of them: a `Period`, or e.g. ``"2019-06-08/2019-06-10"``.
    reader
        ``stackstac`` or ``odc``: both give the same values, bit for bit.
    grid
        The grid that a tile id refers to.

    Returns
    -------
    xarray.Dataset
        Dims (time, y, x), coordinates of pixel centres in the CRS of the GeoBox (``spatial_ref``); one float32
        variable a feature, chunked by day, NaN where there is no value; attrs ``units``, ``long_name``, ``items``.
        One boolean variable a mask, True where there is no soil moisture.
        No pixel is read before compute.

    Raises
    ------
    CatalogError
        If a collection is missing, or an item lacks what is needed to place its pixels.
    ReadError
        At compute, if pixels cannot be read: a failed read is never NaN.
    """
    geobox = grid.geobox(tile_or_geobox) if isinstance(tile_or_geobox, str) else tile_or_geobox
    known = recipe if isinstance(recipe, Recipe) else Recipe.from_dict(recipe)
    return build(resolve(catalog, known, geobox, Period.of(period)), Target(geobox), reader=reader)


def build(resolution: Resolution, target: Target, *, reader: str = DEFAULT_READER) -> xr.Dataset:
    """Lazy Dataset of resolved features on all or some pixels of a GeoBox: dims (time, y, x) or (time, pixel)."""
    import dask.array as da
    import xarray as xr

    fields = _LazyFields(target, reader)
    recipe, days = resolution.recipe, resolution.days
    variables, filled = {}, []
    for feature in recipe.sources:
        made_of = resolution.made_of[feature.name]
        slices = [fields.day(feature, made_of.get(day, DayInputs())) for day in days]
        variables[feature.name] = xr.Variable(
            target.dims, da.stack([value for value, _ in slices]), _attributes(feature, made_of)
        )
        if feature.missing == "climatology":
            filled.append(da.stack([gap for _, gap in slices]))
    if filled:
        told = {"units": "1", "long_name": "a feature was filled with its climatology", "grid_mapping": "spatial_ref"}
        variables["gap_filled"] = xr.Variable(target.dims, da.any(da.stack(filled), axis=0), told)
    cube = xr.Dataset(variables, coords=_coordinates(target, days))
    return apply_masks(add_derived(cube, recipe.derived), recipe.masks)


class _LazyFields:
    """Lazy fields of one graph: every file, lookup and field stands in it once."""

    def __init__(self, target: Target, reader_name: str) -> None:
        from dask import delayed

        self._delayed = delayed
        self._target, self._reader = target, reader_name
        self._windows: dict[GeoBox, Window | None] = {}
        self._memo: dict[Any, Any] = {}
        reader(reader_name)  # an unknown name fails now, not in a worker

    def day(self, feature: Feature, made_of: DayInputs) -> tuple[Any, Any]:
        """Dask arrays of the target's shape: the value of a feature, NaN where there is none; and where it was filled
        with its climatology.
        """
        import dask.array as da

        normal = self._sum(made_of.normal, feature.resampling)
        if feature.statistic == "climatology":
            return normal, None
        days = [self._sum(layers, feature.resampling) for layers in made_of.days if layers]
        value = days[0] if days else self._empty
        if feature.trailing > 1:
            value = da.map_blocks(trailing_mean, *(days or [value]), total=feature.trailing, dtype=np.float32)
        gap = None
        if feature.missing == "climatology":
            gap = da.isnan(value) & ~da.isnan(normal)
            value = da.where(gap, normal, value)
        return (value - normal if feature.statistic == "anomaly" else value), gap

    @property
    def _empty(self) -> Any:
        import dask.array as da

        return da.full(self._target.shape, np.nan, dtype=np.float32, chunks=self._target.shape)

    def _sum(self, layers: Sequence[Layer], resampling: str) -> Any:
        """Weighted sum of layers, NaN without any."""
        fields = [(layer.weight, self._field(layer.sources, resampling)) for layer in layers]
        if len(fields) == 1:
            return fields[0][1]
        return sum(np.float32(weight) * field for weight, field in fields) if fields else self._empty

    def _field(self, sources: tuple[RasterSource, ...], resampling: str) -> Any:
        import dask.array as da

        key = ("field", sources, resampling)
        if key not in self._memo:
            near = [(s, window) for s in sources if (window := self._window(s.geobox)) is not None]
            windows = [self._read(source, window) for source, window in near]
            lookups = [self._lookup(source.geobox, window, resampling) for source, window in near]
            field = self._delayed(regrid, pure=False)(self._target.shape, windows, lookups, resampling)
            self._memo[key] = da.from_delayed(field, self._target.shape, np.float32)
        return self._memo[key]

    def _window(self, geobox: GeoBox) -> Window | None:
        if geobox not in self._windows:
            self._windows[geobox] = source_window(geobox, self._target)
        return self._windows[geobox]

    def _read(self, source: RasterSource, window: Window) -> Any:
        key = ("read", source)
        if key not in self._memo:
            self._memo[key] = self._delayed(read_window, pure=False)(source, window, self._reader)
        return self._memo[key]

    def _lookup(self, geobox: GeoBox, window: Window, resampling: str) -> Any:
        key = ("lookup", geobox, resampling)
        if key not in self._memo:
            self._memo[key] = self._delayed(lookup, pure=False)(geobox, window, self._target, resampling)
        return self._memo[key]


def _attributes(feature: Feature, days: Mapping[date, DayInputs]) -> dict[str, Any]:
    sources = [source for made_of in days.values() for layer in made_of.layers for source in layer.sources]
    known = VARIABLES.get(feature.asset)
    told = {"units": known.unit, "long_name": known.description} if known else {"long_name": feature.asset}
    if sources and sources[0].unit:  # the item knows best
        told["units"] = sources[0].unit
    items = sorted({source.item_id for source in sources})
    return {**told, "collection": feature.collection, "items": items, "grid_mapping": "spatial_ref"}


def _coordinates(target: Target, days: Sequence[date]) -> dict[str, Any]:
    from odc.geo.xr import xr_coords

    time = np.array(days, dtype="datetime64[ns]")
    spatial = xr_coords(target.geobox, dims=("y", "x"))
    if target.rows is None:
        return {"time": time, **{str(name): value for name, value in spatial.items()}}
    x, y = target.centres
    return {"time": time, "x": ("pixel", x), "y": ("pixel", y), "spatial_ref": spatial["spatial_ref"]}
