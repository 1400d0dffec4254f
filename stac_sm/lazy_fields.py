"""Lazy fields: dask arrays of what a feature is on a day; nothing is read before compute.

In a graph for one tile every file, lookup and field stands once, whatever day and feature needs it. A target that is
too large for one array is cut into blocks, each filled by one task from the files that it meets: a graph of the whole
globe takes a second, since geometry is worked out in the tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from stac_sm.features import trailing_mean
from stac_sm.fingerprint import digest
from stac_sm.readers import reader
from stac_sm.readers.reading import read_window
from stac_sm.readers.source import RasterSource, Window
from stac_sm.recipe import Feature
from stac_sm.regrid import Target, lookup, meeting, regrid, source_window
from stac_sm.time_rules import DayInputs, Layer


class LazyFields:
    """Lazy fields of one graph on one target."""

    def __init__(self, target: Target, reader_name: str) -> None:
        from dask import delayed

        self._delayed = delayed
        self._target, self._reader = target, reader_name
        self._blocks = target.blocks()
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

    @cached_property
    def _empty(self) -> Any:
        import dask.array as da

        return da.full(self._target.shape, np.nan, dtype=np.float32, chunks=self._target.chunks)

    def _sum(self, layers: Sequence[Layer], resampling: str) -> Any:
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

        name = f"field-{digest([[s.proof, s.href] for s in sources])}-{resampling}-{id(self)}"
        met = self._meeting(tuple(source.geobox for source in sources))
        graph = {
            (name, *place): (fill, block, tuple(sources[i] for i in near), resampling, self._reader)
            for (place, block), near in zip(self._blocks.items(), met, strict=True)
        }
        return da.Array(graph, name, self._target.chunks, dtype=np.float32)

    def _meeting(self, geoboxes: tuple[GeoBox, ...]) -> list[list[int]]:
        """For each block, the numbers of the grids that may meet it."""
        key = ("meeting", geoboxes)
        if key not in self._memo:
            self._memo[key] = meeting(geoboxes, self._target.geobox, list(self._blocks.values()))
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
            self._memo[key] = self._delayed(lookup, pure=False)(geobox, window, self._target, resampling)
        return self._memo[key]


def fill(target: Target, sources: Sequence[RasterSource], resampling: str, reader_name: str) -> np.ndarray:
    """Read what a target needs of some files, and regrid it: float32 of the target's shape."""
    near = [(s, window) for s in sources if (window := source_window(s.geobox, target)) is not None]
    windows = [read_window(source, window, reader_name) for source, window in near]
    lookups = [lookup(source.geobox, window, target, resampling) for source, window in near]
    return regrid(target.shape, windows, lookups, resampling)
