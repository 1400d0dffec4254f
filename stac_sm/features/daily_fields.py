"""Point fields: features at some pixels, day after day, each file read once whatever feature and recipe needs it.

The value of a day is composed by the very code that composes it for prediction (`LazyFields.day`); but what is read
and regridded here is so little that a graph would cost more than the work: it is done at once.

Lazy fields: dask arrays of what a feature is on a day; nothing is read before compute.

In a graph for one tile every file, lookup and field stands once, whatever day and feature needs it. A target that is
too large for one array is cut into blocks, each filled by one task from the files that it meets: a graph of the whole
globe takes a second, since geometry is worked out in the tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from odc.geo.geobox import GeoBox

from stac_sm.core.fingerprint import digest
from stac_sm.features.derived import add_derived, apply_masks, trailing_mean
from stac_sm.features.inputs import ResolvedInputs
from stac_sm.features.recipe import Feature
from stac_sm.features.time_rules import DayFields, WeightedField
from stac_sm.raster.read import read_window
from stac_sm.raster.readers import get_reader
from stac_sm.raster.resample import TargetPixels, overlapping_grids_by_block, pixel_lookup, regrid, source_window
from stac_sm.raster.source import RasterSource, Window

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray


class LazyFields:
    """Lazy fields of one graph on one target."""

    def __init__(self, target: TargetPixels, reader_name: str) -> None:
        from dask import delayed

        self._delayed = delayed
        self._target, self._reader = target, reader_name
        self._blocks = target.blocks()
        self._windows: dict[GeoBox, Window | None] = {}
        self._memo: dict[Any, Any] = {}
        get_reader(reader_name)  # an unknown name fails now, not in a worker

    def day(self, feature: Feature, made_of: DayFields) -> tuple[Any, Any]:
        """Dask arrays of the target's shape: the value of a feature, NaN where there is none; and where it was filled
        with its climatology.
        """
        import dask.array as da

        normal = self._sum(made_of.climatology, feature.resampling)
        if feature.statistic == "climatology":
            return normal, None
        days = [self._sum(layers, feature.resampling) for layers in made_of.fields_by_day if layers]
        value = days[0] if days else self._empty
        if feature.trailing > 1:
            value = da.map_blocks(trailing_mean, *(days or [value]), total=feature.trailing, dtype=np.float32)
        gap = None
        if feature.missing == "climatology":
            gap = da.isnan(value) & ~da.isnan(normal)
            value = da.where(gap, normal, value)
        return (value - normal if feature.statistic == "anomaly" else value), gap

    @cached_property
    def _empty(self) -> Any:
        import dask.array as da

        return da.full(self._target.shape, np.nan, dtype=np.float32, chunks=self._target.chunks)

    def _sum(self, layers: Sequence[WeightedField], resampling: str) -> Any:
        """Weighted sum of layers, NaN without any."""
        fields = [(layer.weight, self._field(layer.sources, resampling)) for layer in layers]
        if len(fields) == 1:
            return fields[0][1]
        return sum(np.float32(weight) * field for weight, field in fields) if fields else self._empty

    def _field(self, sources: tuple[RasterSource, ...], resampling: str) -> Any:
        key = ("field", sources, resampling)
        if key not in self._memo:
            make = self._in_one if len(self._blocks) == 1 else self._in_blocks
            self._memo[key] = make(sources, resampling)
        return self._memo[key]

    def _in_one(self, sources: tuple[RasterSource, ...], resampling: str) -> Any:
        import dask.array as da

        near = [(s, window) for s in sources if (window := self._window(s.geobox)) is not None]
        windows = [self._read(source, window) for source, window in near]
        lookups = [self._lookup(source.geobox, window, resampling) for source, window in near]
        field = self._delayed(regrid, pure=False)(self._target.shape, windows, lookups, resampling)
        return da.from_delayed(field, self._target.shape, np.float32)

    def _in_blocks(self, sources: tuple[RasterSource, ...], resampling: str) -> Any:
        import dask.array as da

        name = f"field-{digest([[s.provenance_digest, s.href] for s in sources])}-{resampling}-{id(self)}"
        met = self._meeting(tuple(source.geobox for source in sources))
        graph = {
            (name, *place): (read_and_regrid, block, tuple(sources[i] for i in near), resampling, self._reader)
            for (place, block), near in zip(self._blocks.items(), met, strict=True)
        }
        return da.Array(graph, name, self._target.chunks, dtype=np.float32)

    def _meeting(self, geoboxes: tuple[GeoBox, ...]) -> list[list[int]]:
        """For each block, the numbers of the grids that may meet it."""
        key = ("meeting", geoboxes)
        if key not in self._memo:
            self._memo[key] = overlapping_grids_by_block(geoboxes, self._target.geobox, list(self._blocks.values()))
        found: list[list[int]] = self._memo[key]
        return found

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
            self._memo[key] = self._delayed(pixel_lookup, pure=False)(geobox, window, self._target, resampling)
        return self._memo[key]


def read_and_regrid(
    target: TargetPixels, sources: Sequence[RasterSource], resampling: str, reader_name: str
) -> np.ndarray:
    """Read what a target needs of some files, and regrid it: float32 of the target's shape."""
    near = [(s, window) for s in sources if (window := source_window(s.geobox, target)) is not None]
    windows = [read_window(source, window, reader_name) for source, window in near]
    lookups = [pixel_lookup(source.geobox, window, target, resampling) for source, window in near]
    return regrid(target.shape, windows, lookups, resampling)


def point_cubes(
    resolutions: Mapping[str, ResolvedInputs], target: TargetPixels, *, reader: str
) -> dict[str, xr.Dataset]:
    """Features of several recipes at some pixels of one GeoBox, in memory.

    Parameters
    ----------
    resolutions
        What makes the features of each recipe; their days may differ.
    target
        The pixels: a GeoBox, and rows and columns in it.
    reader
        ``stackstac`` or ``odc``.

    Returns
    -------
    dict
        For each recipe what `cube.build` gives on these pixels and its days, computed but for the attributes: dims
        (time, pixel), float32 features, NaN where there is no value, boolean masks.

    Raises
    ------
    ReadError
        If pixels cannot be read.
    """
    fields = PointFields(target, reader)
    columns = {key: _empty_columns(resolution, target) for key, resolution in resolutions.items()}
    places = {key: {day: i for i, day in enumerate(one.days)} for key, one in resolutions.items()}
    for day in sorted({day for resolution in resolutions.values() for day in resolution.days}):
        fields.forget_windows()
        for key, resolution in resolutions.items():
            if day in places[key]:
                for feature in resolution.recipe.sources:
                    made_of = resolution.by_feature[feature.name].get(day, DayFields())
                    columns[key][feature.name][places[key][day]] = fields.day(feature, made_of)[0]
    return {key: _cube(resolution, target, columns[key]) for key, resolution in resolutions.items()}


class PointFields(LazyFields):
    """Fields on the pixels of one target as arrays in memory; those made once are kept, they are small."""

    def __init__(self, target: TargetPixels, reader_name: str) -> None:
        super().__init__(target, reader_name)
        self._read_windows: dict[RasterSource, NDArray[np.float32]] = {}
        self._in_graphs = False

    def forget_windows(self) -> None:
        """Let go of the pixels around the points, which are many; two resamplings of one file share them in a day."""
        self._read_windows.clear()

    def day(self, feature: Feature, made_of: DayFields) -> tuple[Any, Any]:
        """Arrays of the target's shape: as in `LazyFields.day`, but computed."""
        self._in_graphs = feature.trailing > 1  # its mean is made by blocks of a dask array
        return _computed(super().day(feature, made_of))

    @property
    def _empty(self) -> Any:
        return self._as_wanted(np.full(self._target.shape, np.nan, dtype=np.float32))

    def _sum(self, layers: Sequence[WeightedField], resampling: str) -> Any:
        return self._as_wanted(super()._sum(layers, resampling)) if layers else self._empty

    def _as_wanted(self, values: NDArray[np.float32]) -> Any:
        import dask.array as da

        return da.from_array(values, chunks=-1, name=False) if self._in_graphs else values

    def _field(self, sources: tuple[RasterSource, ...], resampling: str) -> NDArray[np.float32]:
        key = ("field", sources, resampling)
        if key not in self._memo:
            near = [(s, window) for s in sources if (window := self._window(s.geobox)) is not None]
            windows = [self._read(source, window) for source, window in near]
            lookups = [self._lookup(source.geobox, window, resampling) for source, window in near]
            self._memo[key] = regrid(self._target.shape, windows, lookups, resampling)
        found: NDArray[np.float32] = self._memo[key]
        return found

    def _read(self, source: RasterSource, window: Any) -> NDArray[np.float32]:
        if source not in self._read_windows:
            self._read_windows[source] = read_window(source, window, self._reader)
        return self._read_windows[source]

    def _lookup(self, geobox: Any, window: Any, resampling: str) -> NDArray[Any]:
        key = ("lookup", geobox, resampling)
        if key not in self._memo:
            self._memo[key] = pixel_lookup(geobox, window, self._target, resampling)
        found: NDArray[Any] = self._memo[key]
        return found


def _computed(values: tuple[Any, Any]) -> tuple[Any, Any]:
    first, second = (one.compute(scheduler="synchronous") if hasattr(one, "compute") else one for one in values)
    return first, second


def _empty_columns(resolution: ResolvedInputs, target: TargetPixels) -> dict[str, NDArray[np.float32]]:
    shape = (len(resolution.days), *target.shape)
    return {feature.name: np.full(shape, np.nan, np.float32) for feature in resolution.recipe.sources}


def _cube(resolution: ResolvedInputs, target: TargetPixels, columns: Mapping[str, NDArray[np.float32]]) -> xr.Dataset:
    """Features with the derived ones and masks, as in a cube."""
    import dask.array as da
    import xarray as xr
    from odc.geo.xr import xr_coords

    x, y = target.centres
    coords = {
        "time": np.array(resolution.days, dtype="datetime64[ns]"),
        "x": ("pixel", x),
        "y": ("pixel", y),
        "spatial_ref": xr_coords(target.geobox[:1, :1], dims=("y", "x"))["spatial_ref"],
    }
    variables = {name: (target.dims, da.from_array(values, chunks=-1, name=False)) for name, values in columns.items()}
    recipe = resolution.recipe
    cube = apply_masks(add_derived(xr.Dataset(variables, coords=coords), recipe.derived), recipe.masks)
    return cube.compute(scheduler="synchronous")
