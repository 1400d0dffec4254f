"""Feature cubes: from items, a GeoBox and a period to a lazy Dataset. Training and prediction both come through here.

Two steps: `resolve` says which items make which feature on which day, from metadata alone; `build` turns that
into lazy arrays. Nothing is read before compute; each file is read once in a graph, however many days need it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pystac
from odc.geo.geobox import GeoBox

from stac_sm.catalog import ItemSearch, item_period, open_items
from stac_sm.errors import CatalogError, InputError
from stac_sm.fingerprint import digest
from stac_sm.grid import MODIS_SINUSOIDAL_1KM, TileGrid, footprint
from stac_sm.period import Period
from stac_sm.readers import reader
from stac_sm.readers.reading import read_window
from stac_sm.readers.source import RasterSource, Window, asset_key, raster_source
from stac_sm.recipe import Feature, Recipe
from stac_sm.regrid import Target, lookup, regrid, source_window
from stac_sm.variables import VARIABLES

if TYPE_CHECKING:
    import xarray as xr

DEFAULT_READER = "stackstac"
_LONGEST_COMPOSITE = 31  # days: how far before a day an item may begin that still covers it


@dataclass(frozen=True)
class Layer:
    """Files that together make one field, and its weight in the value of a day."""

    weight: float
    """Share of this field in the day's value; the weights of a day sum to 1."""

    sources: tuple[RasterSource, ...]
    """Files, in the order of their ids."""


@dataclass(frozen=True)
class Resolution:
    """Which files make which feature on which day."""

    recipe: Recipe
    """The recipe that was resolved."""

    days: tuple[date, ...]
    """Every day of the period."""

    layers: Mapping[str, Mapping[date, tuple[Layer, ...]]]
    """Feature name -> day -> fields to be summed; a day without input is left out."""

    def inputs(self, day: date) -> list[tuple[str, str]]:
        """Id (with asset key) of every file that a day needs, and a checksum of what the day takes from it.

        The checksum covers the bytes of the file, what the item says about them, and their weight in the day's value.
        """
        needed = [layer for days in self.layers.values() for layer in days.get(day, ())]
        pairs = ((s, layer.weight) for layer in needed for s in layer.sources)
        return sorted({(f"{s.item_id}/{s.asset}", digest([s.proof, weight])) for s, weight in pairs})

    def items(self, day: date) -> list[tuple[str, str]]:
        """Id and href of every item that a day needs."""
        needed = [layer for days in self.layers.values() for layer in days.get(day, ())]
        return sorted({(s.item_id, s.item_href) for layer in needed for s in layer.sources})

    def missing(self, day: date) -> list[str]:
        """Features and masks without any input on a day."""
        return [name for name, days in self.layers.items() if day not in days]

    def blocked_by(self, day: date) -> list[str]:
        """The missing that a day cannot do without: masks, and features whose gaps are not left to the model."""
        optional = {feature.name for feature in self.recipe.features if feature.missing != "nodata"}
        return [name for name in self.missing(day) if name not in optional]

    def only(self, days: Iterable[date]) -> Resolution:
        """The same for some of the days."""
        return replace(self, days=tuple(days))


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


def resolve(catalog: ItemSearch, recipe: Recipe, geobox: GeoBox, period: Period) -> Resolution:
    """Find the items of every feature and day, from metadata alone."""
    outline = footprint(geobox)
    if outline is None:
        raise InputError(f"the box {geobox.boundingbox} lies off the Earth: choose another tile")
    target = Target(geobox)
    layers = {}
    for feature in recipe.sources:
        where = open_items(feature.catalog) if feature.catalog else catalog
        items = where.items(feature.collection, period=_search_period(feature, period), bbox=outline.bounds)
        fields = _fields(items, feature, target)
        chosen = ((day, _choose(fields, feature, day)) for day in period.days)
        layers[feature.name] = {day: found for day, found in chosen if found}
    return Resolution(recipe, tuple(period.days), layers)


def build(resolution: Resolution, target: Target, *, reader: str = DEFAULT_READER) -> xr.Dataset:
    """Lazy Dataset of resolved features on all or some pixels of a GeoBox: dims (time, y, x) or (time, pixel)."""
    import dask.array as da
    import xarray as xr

    from stac_sm.features import add_derived, apply_masks

    dims = ("time", "y", "x") if target.rows is None else ("time", "pixel")
    fields = _LazyFields(target, reader)
    variables = {}
    for feature in resolution.recipe.sources:
        days = resolution.layers[feature.name]
        slices = [fields.day(days.get(day, ()), feature.resampling) for day in resolution.days]
        variables[feature.name] = xr.Variable(dims, da.stack(slices), _attributes(feature, days))
    cube = xr.Dataset(variables, coords=_coordinates(target, resolution.days))
    return apply_masks(add_derived(cube, resolution.recipe.derived), resolution.recipe.masks)


class _LazyFields:
    """Lazy fields of one graph: every file, lookup and field stands in it once."""

    def __init__(self, target: Target, reader_name: str) -> None:
        from dask import delayed

        self._delayed = delayed
        self._target, self._reader = target, reader_name
        self._windows: dict[GeoBox, Window | None] = {}
        self._memo: dict[Any, Any] = {}
        reader(reader_name)  # an unknown name fails now, not in a worker

    def day(self, layers: Sequence[Layer], resampling: str) -> Any:
        """Dask array of the target's shape: the weighted sum of the layers, NaN without any."""
        import dask.array as da

        shape = self._target.shape
        if not layers:
            return da.full(shape, np.nan, dtype=np.float32, chunks=shape)
        fields = [(layer.weight, self._field(layer.sources, resampling)) for layer in layers]
        if len(fields) == 1:
            return fields[0][1]
        return sum(np.float32(weight) * field for weight, field in fields)

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


def _search_period(feature: Feature, period: Period) -> Period | None:
    if feature.time == "static":
        return None
    reach = feature.max_gap if feature.time in {"composite", "previous"} else 0
    return period.widened(reach + _LONGEST_COMPOSITE) if reach else period


def _fields(
    items: Iterable[pystac.Item], feature: Feature, target: Target
) -> list[tuple[Period, tuple[RasterSource, ...]]]:
    """Files that meet the target, by the days they cover; files of the same days make one field."""
    fields: dict[Period, list[RasterSource]] = {}
    meets: dict[GeoBox, bool] = {}
    for item in items:
        key = asset_key(item, feature.asset)
        if key is None:
            continue  # a collection may keep its variables in items of their own
        source = replace(raster_source(item, key), valid=feature.valid, sign=feature.sign)
        if source.geobox not in meets:
            meets[source.geobox] = source_window(source.geobox, target) is not None
        if meets[source.geobox]:
            fields.setdefault(item_period(item), []).append(source)
    return sorted((period, tuple(sources)) for period, sources in fields.items())


def _choose(
    fields: Sequence[tuple[Period, tuple[RasterSource, ...]]], feature: Feature, day: date
) -> tuple[Layer, ...]:
    """Fields and weights that make the value of a day; empty if there are none."""
    if feature.time == "static":
        sources = [source for _, sources in fields for source in sources]
        return (Layer(1.0, tuple(sorted(sources, key=lambda source: source.item_id))),) if sources else ()
    if feature.time == "daily":
        return tuple(Layer(1.0, sources) for period, sources in fields if day in period)[:1]
    if feature.time == "previous":
        past = [(period, sources) for period, sources in fields if period.start <= day]
        fresh = [sources for period, sources in past if (day - period.start).days <= feature.max_gap]
        return (Layer(1.0, fresh[-1]),) if fresh else ()
    return _interpolate(fields, feature.max_gap, day)


def _interpolate(
    fields: Sequence[tuple[Period, tuple[RasterSource, ...]]], max_gap: int, day: date
) -> tuple[Layer, ...]:
    """Linear between the middles of two composites; alone, a composite serves the days that it covers."""
    middles = [(period.start + timedelta(days=len(period) // 2), period, sources) for period, sources in fields]
    before = max((m for m in middles if m[0] <= day), default=None, key=lambda m: m[0])
    after = min((m for m in middles if m[0] >= day), default=None, key=lambda m: m[0])
    if before and after and (after[0] - before[0]).days <= max_gap:
        if before[0] == after[0]:
            return (Layer(1.0, before[2]),)
        late = (day - before[0]).days / (after[0] - before[0]).days
        return Layer(1.0 - late, before[2]), Layer(late, after[2])
    covering = [sources for _, period, sources in middles if day in period]
    return (Layer(1.0, covering[0]),) if covering else ()


def _attributes(feature: Feature, days: Mapping[date, Sequence[Layer]]) -> dict[str, Any]:
    sources = [source for layers in days.values() for layer in layers for source in layer.sources]
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


def require_inputs(resolution: Resolution, where: str) -> None:
    """Refuse a resolution in which some feature has no input on any day.

    Raises
    ------
    CatalogError
        Naming the features and their collections.
    """
    absent = [feature for feature in resolution.recipe.sources if not resolution.layers[feature.name]]
    if absent:
        names = ", ".join(
            f"{feature.name} (collection {feature.collection}, asset {feature.asset})" for feature in absent
        )
        first, last = resolution.days[0], resolution.days[-1]
        raise CatalogError(f"{where}, {first} to {last}: no item found for {names}: ingest them, or choose other days")
