"""Daily fields: the values of a feature on a day, on the pixels of one target, composed by one code for all callers.

`DailyFields` composes the value of a day: from files to fields, from fields to the weighted sum of a day, trailing
or exponential mean, climatology or anomaly. A backend decides what an array is. `DaskBackend` makes nodes of a graph,
and nothing is read before compute: `cube.build` predicts with it. `NumpyBackend` reads and resamples at once:
`point_cubes` makes match-ups with it, since a graph would cost more than the work at so few pixels. Both give the same
bits. A worker that makes one task after another lets `KeptArrays` hold what they share.

Every file, lookup and field is made once, whatever day and feature needs it. A target that is too large for one array
is cut into blocks, each filled by one task from the files that it meets: a graph of the whole globe takes a second,
since geometry is worked out in the tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stac_sm.core.fingerprint import digest
from stac_sm.features.derived import add_derived, apply_masks, trailing_mean, weighted_sum
from stac_sm.features.inputs import ResolvedInputs
from stac_sm.features.kept_arrays import KeptArrays
from stac_sm.features.recipe import OF_MANY_YEARS, Feature
from stac_sm.features.temporal import ExponentialMean, exponential_mean_of_fields
from stac_sm.features.time_rules import DayFields, WeightedField
from stac_sm.raster.fetch import content_state
from stac_sm.raster.precedence import precedence_levels
from stac_sm.raster.read import read_window
from stac_sm.raster.readers import get_reader
from stac_sm.raster.resample import TargetPixels, overlapping_grids_by_block, pixel_lookup, regrid, source_window
from stac_sm.raster.source import RasterSource, Window

if TYPE_CHECKING:
    import xarray as xr
    from odc.geo.geobox import GeoBox


class FieldBackend(Protocol):
    """Kind of array that fields are made of: it decides when a value is computed."""

    in_blocks: bool
    """Whether a large target is cut into blocks."""

    arrays: Any
    """Module with ``isnan`` and ``where`` of its arrays."""

    def empty(self, target: TargetPixels) -> Any:
        """Return a field without any value: float32, NaN."""

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function of arrays, now or when its value is needed; bind what is no array, in which Dask would look
        for arrays."""

    def as_field(self, made: Any, target: TargetPixels) -> Any:
        """Return the value of a `call`, float32 of the target's shape, as an array."""

    def by_block(self, function: Callable[..., Any], fields: Sequence[Any], **settings: Any) -> Any:
        """Call a function of the same pixels of several fields; float32 of their shape."""


class NumpyBackend:
    """Arrays in memory, made at once."""

    in_blocks = False
    arrays: Any = np

    def empty(self, target: TargetPixels) -> Any:
        """Return an array of NaN."""
        return np.full(target.shape, np.nan, dtype=np.float32)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call the function now."""
        return function(*arguments)

    def as_field(self, made: Any, target: TargetPixels) -> Any:
        """Return the array as it is."""
        return made

    def by_block(self, function: Callable[..., Any], fields: Sequence[Any], **settings: Any) -> Any:
        """Call the function with the whole fields."""
        return function(*fields, **settings)


class DaskBackend:
    """Arrays of a graph; nothing is read before compute."""

    in_blocks = True

    def __init__(self) -> None:
        import dask.array as da  # here, since most commands make no cube
        from dask import delayed

        self.arrays: Any = da
        self._delayed = delayed

    def empty(self, target: TargetPixels) -> Any:
        """Return a lazy array of NaN, in the blocks of the target."""
        return self.arrays.full(target.shape, np.nan, dtype=np.float32, chunks=target.chunks)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return a task that calls the function."""
        return self._delayed(function, pure=False)(*arguments)

    def as_field(self, made: Any, target: TargetPixels) -> Any:
        """Return an array of one block."""
        return self.arrays.from_delayed(made, target.shape, np.float32)

    def by_block(self, function: Callable[..., Any], fields: Sequence[Any], **settings: Any) -> Any:
        """Return an array of one task a block."""
        return self.arrays.map_blocks(function, *fields, dtype=np.float32, **settings)


class DailyFields:
    """Values of features on the pixels of one target, day after day.

    Parameters
    ----------
    target
        The pixels.
    reader_name
        ``stackstac`` or ``odc``.
    backend
        What the arrays are: `DaskBackend` for a graph, `NumpyBackend` for arrays in memory.
    kept
        Where lookups, fields that do not change, and pixels of exponential means are kept for the next task of the
        same pixels; None, a list of pixels and a target of several blocks keep nothing.

    Raises
    ------
    InputError
        If there is no reader of this name.
    """

    def __init__(
        self, target: TargetPixels, reader_name: str, backend: FieldBackend, kept: KeptArrays | None = None
    ) -> None:
        self._target, self._reader, self._backend = target, reader_name, backend
        self._blocks = target.blocks() if backend.in_blocks else {}
        self._kept = kept if target.rows is None and len(self._blocks) == 1 else None
        self._windows: dict[int, Window | None] = {}  # by number of the grid
        self._pixels: dict[int, Any] = {}  # by id of the known source
        self._memo: dict[Any, Any] = {}
        self._same: dict[int, tuple[RasterSource, RasterSource]] = {}  # both are kept, so that no id is given again
        self._unique: dict[RasterSource, RasterSource] = {}
        self._only: dict[int, tuple[tuple[RasterSource, ...], _OneFile | None]] = {}  # by id of the files of a field
        self._grids: dict[GeoBox, int] = {}  # numbers: to hash and compare grids takes longer than a mean
        self._grid_of: dict[int, tuple[GeoBox, int]] = {}  # by id
        get_reader(reader_name)  # an unknown name fails now, not in a worker

    def day(self, feature: Feature, made_of: DayFields) -> tuple[Any, Any]:
        """Compose the value of a feature on a day.

        Parameters
        ----------
        feature
            The feature, with its time rule, statistic and rule for missing values.
        made_of
            Files of the day and of the climatology, with their weights.

        Returns
        -------
        tuple
            Arrays of the backend, of the target's shape: float32 values, NaN where there is none; and True where the
            value is the climatology's because the feature has none, or None if the feature is never filled.

        Raises
        ------
        ReadError
            If pixels cannot be read; with `DaskBackend`, at compute.
        """
        arrays = self._backend.arrays
        normal = self._sum(made_of.climatology, feature.resampling, lasting=True)
        if feature.statistic in OF_MANY_YEARS:
            return normal, None
        if feature.exponential_mean is not None:
            value = self._exponential_mean(made_of.fields_by_day, feature.resampling, feature.exponential_mean)
        else:
            lasting = feature.time == "static"
            days = [self._sum(layers, feature.resampling, lasting) for layers in made_of.fields_by_day if layers]
            value = days[0] if days else self._empty
            if feature.trailing > 1:
                value = self._backend.by_block(trailing_mean, days or [value], total=feature.trailing)
        gap = None
        if feature.missing == "climatology":
            gap = arrays.isnan(value) & ~arrays.isnan(normal)
            value = arrays.where(gap, normal, value)
        return (value - normal if feature.statistic == "anomaly" else value), gap

    def forget_pixels(self, keep: Iterable[tuple[RasterSource, ...]] = ()) -> None:
        """Release the pixels that were read, which are many in memory.

        Parameters
        ----------
        keep
            Files of fields that are needed again: those in the windows of exponential means. Other files rarely serve
            more than a day.
        """
        fields = {id(sources): sources for sources in keep}
        kept = {id(self._known(source)) for sources in fields.values() for source in sources}
        self._pixels = {source: pixels for source, pixels in self._pixels.items() if source in kept}

    @cached_property
    def _empty(self) -> Any:
        return self._backend.empty(self._target)

    def _sum(self, layers: Sequence[WeightedField], resampling: str, lasting: bool = False) -> Any:
        """Return the weighted sum of layers, NaN without any; lasting ones serve other days and tasks, too."""
        fields = [(layer.weight, self._field(layer.sources, resampling, lasting)) for layer in layers]
        if len(fields) == 1:
            return fields[0][1]
        if not fields:
            return self._empty
        weights = tuple(weight for weight, _ in fields)
        return self._backend.by_block(weighted_sum, [field for _, field in fields], weights=weights)

    def _exponential_mean(
        self, days: Sequence[tuple[WeightedField, ...]], resampling: str, mean: ExponentialMean
    ) -> Any:
        """Return the exponentially weighted mean of days, the newest first; NaN where too few days have a value.

        Where each field is one file, and all lie on one grid, the mean is made on that grid and regridded once: a
        coarse input costs as little as its own pixels. Else each field is regridded.
        """
        parts = [[(layer.weight, self._only_file(layer.sources)) for layer in day] for day in days]
        found = [one for day in parts for _, one in day]
        if not found:
            return self._empty
        if None not in found and len({one.grid for one in found if one}) == 1:
            place: dict[int, int] = {}
            window = DaysOfWindow(
                mean,
                tuple(
                    tuple((weight, place.setdefault(one.key, len(place))) for weight, one in day if one)
                    for day in parts
                ),
            )
            files = tuple({one.key: one.source for one in found if one}.values())
            key = ("exponential", tuple(place), window, resampling)  # the mean and its anomaly share it
            if key not in self._memo:
                in_blocks = len(self._blocks) > 1
                make = self._mean_in_blocks if in_blocks else self._mean_in_one
                self._memo[key] = make(files, window, resampling)
            return self._memo[key]
        there = [day for day in days if day]
        fields = [self._sum(day, resampling) for day in there]
        number = iter(range(len(there)))
        window = DaysOfWindow(mean, tuple(((1.0, next(number)),) if day else () for day in days))
        return self._backend.by_block(mean_of_window, fields, window=window)

    def _only_file(self, sources: tuple[RasterSource, ...]) -> _OneFile | None:
        """Return the file that makes a field alone; None where several do. Days share the tuples of their files."""
        if id(sources) not in self._only:
            one = None
            if len(sources) == 1:
                known = self._known(sources[0])
                one = _OneFile(known, id(known), self._grid(known.geobox))
            self._only[id(sources)] = sources, one
        return self._only[id(sources)][1]

    def _grid(self, geobox: GeoBox) -> int:
        """Return the number of a grid: equal grids have one."""
        if id(geobox) not in self._grid_of:
            self._grid_of[id(geobox)] = geobox, self._grids.setdefault(geobox, len(self._grids))
        return self._grid_of[id(geobox)][1]

    def _known(self, source: RasterSource) -> RasterSource:
        """Return the one object for a file: to hash it each time it is in a window would take longer than the mean."""
        if id(source) not in self._same:
            self._same[id(source)] = source, self._unique.setdefault(source, source)
        return self._same[id(source)][1]

    def _mean_in_one(self, files: tuple[RasterSource, ...], window: DaysOfWindow, resampling: str) -> Any:
        grid = files[0].geobox
        place = self._window(grid)
        if place is None:
            return self._empty
        values = self._backend.call(window.mean_of, [self._read(source, place, lasting=True) for source in files])
        lookup = self._lookup(grid, place, resampling)
        field = self._backend.call(regrid, self._target.shape, [values], [lookup], resampling)
        return self._backend.as_field(field, self._target)

    def _mean_in_blocks(self, files: tuple[RasterSource, ...], window: DaysOfWindow, resampling: str) -> Any:
        grid = files[0].geobox
        digests = [digest([source.provenance_digest, source.href]) for source in files]
        name = f"exponential-{digest([digests, repr(window)])}-{resampling}-{id(self)}"
        graph: dict[Any, Any] = {}
        met = self._overlapping((grid,))
        for (place, block), near in zip(self._blocks.items(), met, strict=True):
            if not near:
                graph[name, *place] = (np.full, block.shape, np.float32(np.nan))
                continue
            reads = [(f"window-{one}-{id(self)}", *place) for one in digests]
            graph |= {key: (read_source, source, block, self._reader) for key, source in zip(reads, files, strict=True)}
            graph[name, *place] = (regrid_mean, block, reads, grid, window, resampling)
        return self._backend.arrays.Array(graph, name, self._target.chunks, dtype=np.float32)

    def _field(self, sources: tuple[RasterSource, ...], resampling: str, lasting: bool) -> Any:
        """Return the pixels of some files, regridded to the target."""
        key = ("field", tuple([id(self._known(source)) for source in sources]), resampling)
        if key not in self._memo:
            if len(self._blocks) > 1:
                self._memo[key] = self._in_blocks(sources, resampling)
            else:
                self._memo[key] = self._backend.as_field(self._in_one(sources, resampling, lasting), self._target)
        return self._memo[key]

    def _in_one(self, sources: tuple[RasterSource, ...], resampling: str, lasting: bool) -> Any:
        regridded: Callable[..., np.ndarray] = regrid
        states = [content_state(source) for source in sources] if lasting and self._kept is not None else [""]
        if self._kept is not None and all(states):
            key = ("field", sources, tuple(states), resampling, self._reader, self._target.geobox)
            if (found := self._kept.find(key)) is not None:
                return self._backend.call(partial(_itself, found))  # nothing is read
            regridded = partial(self._kept.get, key, regrid)
        near = [(s, window) for s in sources if (window := self._window(s.geobox)) is not None]
        windows = [self._read(source, window) for source, window in near]
        lookups = [self._lookup(source.geobox, window, resampling) for source, window in near]
        levels = precedence_levels([source for source, _ in near])
        return self._backend.call(regridded, self._target.shape, windows, lookups, resampling, levels)

    def _in_blocks(self, sources: tuple[RasterSource, ...], resampling: str) -> Any:
        name = f"field-{digest([[s.provenance_digest, s.href] for s in sources])}-{resampling}-{id(self)}"
        met = self._overlapping(tuple(source.geobox for source in sources))
        graph = {
            (name, *place): (read_and_regrid, block, tuple(sources[i] for i in near), resampling, self._reader)
            for (place, block), near in zip(self._blocks.items(), met, strict=True)
        }
        return self._backend.arrays.Array(graph, name, self._target.chunks, dtype=np.float32)

    def _overlapping(self, geoboxes: tuple[GeoBox, ...]) -> list[list[int]]:
        """Return, for each block, the numbers of the grids that may overlap it."""
        key = ("overlapping", geoboxes)
        if key not in self._memo:
            self._memo[key] = overlapping_grids_by_block(geoboxes, self._target.geobox, list(self._blocks.values()))
        found: list[list[int]] = self._memo[key]
        return found

    def _window(self, geobox: GeoBox) -> Window | None:
        grid = self._grid(geobox)
        if grid not in self._windows:
            self._windows[grid] = source_window(geobox, self._target)
        return self._windows[grid]

    def _read(self, source: RasterSource, window: Window, lasting: bool = False) -> Any:
        key = id(self._known(source))
        if key not in self._pixels:
            read: Callable[..., np.ndarray] = read_window
            if lasting and self._kept is not None and (state := content_state(source)):
                read = partial(self._kept.get, ("pixels", source, state, _ends(window), self._reader), read_window)
            self._pixels[key] = self._backend.call(partial(read, source, window, self._reader))
        return self._pixels[key]

    def _lookup(self, geobox: GeoBox, window: Window, resampling: str) -> Any:
        key = ("lookup", self._grid(geobox), resampling)
        if key not in self._memo:
            make: Callable[..., np.ndarray] = pixel_lookup
            if self._kept is not None:
                lasting = ("lookup", geobox, resampling, _ends(window), self._target.geobox)
                make = partial(self._kept.get, lasting, pixel_lookup)
            self._memo[key] = self._backend.call(partial(make, geobox, window, self._target, resampling))
        return self._memo[key]


def _ends(window: Window) -> tuple[int, ...]:
    """Return a window as part of a key: slices have no hash."""
    return tuple(end for side in window for end in (side.start, side.stop))


def _itself(array: np.ndarray) -> np.ndarray:
    return array


@dataclass(frozen=True, eq=False)
class _OneFile:
    """The file that makes a field alone."""

    source: RasterSource
    """The file."""

    key: int
    """Its number among the files of one target."""

    grid: int
    """Number of its grid."""


def on_one_grid(layers: Sequence[WeightedField]) -> bool:
    """Return whether fields are a file each, on one grid: then an exponential mean is made on that grid.

    Parameters
    ----------
    layers
        Fields of the days of the mean.

    Returns
    -------
    bool
        False if a field has several files, or none is there.
    """
    if not layers or any(len(layer.sources) != 1 for layer in layers):
        return False
    grid = layers[0].sources[0].geobox
    return all(layer.sources[0].geobox is grid or layer.sources[0].geobox == grid for layer in layers)


@dataclass(frozen=True)
class DaysOfWindow:
    """How the days of an exponential mean are made of some arrays."""

    mean: ExponentialMean
    """Weights of the days."""

    days: tuple[tuple[tuple[float, int], ...], ...]
    """Of each day, the newest first: weight and number of the arrays whose sum it is; empty for a day without input."""

    def mean_of(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """Return the exponentially weighted mean of the days.

        Parameters
        ----------
        arrays
            float32, of one shape, NaN = missing.

        Returns
        -------
        numpy.ndarray
            float32 of that shape, NaN where days with a value have too little weight.
        """
        return exponential_mean_of_fields([self._day(parts, arrays) for parts in self.days], self.mean)

    @staticmethod
    def _day(parts: Sequence[tuple[float, int]], arrays: Sequence[np.ndarray]) -> np.ndarray | None:
        if len(parts) < 2:
            return arrays[parts[0][1]] if parts else None
        total: np.ndarray = sum(np.float32(weight) * arrays[at] for weight, at in parts)  # type: ignore[assignment]
        return total


def mean_of_window(*fields: np.ndarray, window: DaysOfWindow) -> np.ndarray:
    """Return the exponentially weighted mean of fields; see `DaysOfWindow.mean_of`."""
    return window.mean_of(fields)


def read_source(source: RasterSource, target: TargetPixels, reader_name: str) -> np.ndarray | None:
    """Read what a target needs of a file.

    Parameters
    ----------
    source
        The file.
    target
        The pixels to fill.
    reader_name
        ``stackstac`` or ``odc``.

    Returns
    -------
    numpy.ndarray or None
        float32 (y, x), NaN where there is no data; None where the two do not meet.

    Raises
    ------
    ReadError
        If pixels cannot be read.
    """
    window = source_window(source.geobox, target)
    return None if window is None else read_window(source, window, reader_name)


def regrid_mean(
    target: TargetPixels, windows: Sequence[np.ndarray | None], grid: GeoBox, days: DaysOfWindow, resampling: str
) -> np.ndarray:
    """Make an exponentially weighted mean on the grid of its files, and regrid it to a target.

    Parameters
    ----------
    target
        The pixels to fill.
    windows
        What `read_source` gives of each file.
    grid
        Grid of the files.
    days
        Which of them make which day.
    resampling
        ``nearest``, ``bilinear`` or ``average``.

    Returns
    -------
    numpy.ndarray
        float32 of the target's shape, NaN where there is no mean.
    """
    there, window = [one for one in windows if one is not None], source_window(grid, target)
    if window is None or len(there) < len(windows):
        return np.full(target.shape, np.nan, dtype=np.float32)
    return regrid(target.shape, [days.mean_of(there)], [pixel_lookup(grid, window, target, resampling)], resampling)


def read_and_regrid(
    target: TargetPixels, sources: Sequence[RasterSource], resampling: str, reader_name: str
) -> np.ndarray:
    """Read what a target needs of some files, and regrid it.

    Parameters
    ----------
    target
        The pixels to fill.
    sources
        The files, in the order in which they count. A later file fills only what others left missing; with ``average``
        all pixels of files of one precedence count.
    resampling
        ``nearest``, ``bilinear`` or ``average``.
    reader_name
        ``stackstac`` or ``odc``.

    Returns
    -------
    numpy.ndarray
        float32 of the target's shape, NaN where no file has a value.

    Raises
    ------
    ReadError
        If pixels cannot be read.
    """
    near = [(s, window) for s in sources if (window := source_window(s.geobox, target)) is not None]
    windows = [read_window(source, window, reader_name) for source, window in near]
    lookups = [pixel_lookup(source.geobox, window, target, resampling) for source, window in near]
    return regrid(target.shape, windows, lookups, resampling, precedence_levels([source for source, _ in near]))


def point_cubes(
    resolved_inputs: Mapping[str, ResolvedInputs], target: TargetPixels, *, reader: str
) -> dict[str, xr.Dataset]:
    """Compute the features of several recipes at some pixels of one GeoBox, in memory.

    Parameters
    ----------
    resolved_inputs
        Name of each recipe to its resolved inputs; their days may differ.
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
    fields = DailyFields(target, reader, NumpyBackend())
    columns = {key: _empty_columns(resolved, target) for key, resolved in resolved_inputs.items()}
    places = {key: {day: i for i, day in enumerate(resolved.days)} for key, resolved in resolved_inputs.items()}
    for day in sorted({day for resolved in resolved_inputs.values() for day in resolved.days}):
        fields.forget_pixels(keep=_in_windows(resolved_inputs, day))
        for key, resolved in resolved_inputs.items():
            if day in places[key]:
                for feature in resolved.recipe.sources:
                    made_of = resolved.by_feature[feature.name].get(day, DayFields())
                    columns[key][feature.name][places[key][day]] = fields.day(feature, made_of)[0]
    return {key: _cube(resolved, target, columns[key]) for key, resolved in resolved_inputs.items()}


def _in_windows(resolved_inputs: Mapping[str, ResolvedInputs], day: date) -> Iterator[tuple[RasterSource, ...]]:
    """Yield the files of each field of the exponential means of a day."""
    for resolved in resolved_inputs.values():
        for feature in resolved.recipe.sources:
            if feature.exponential and day in resolved.by_feature[feature.name]:
                layers = resolved.by_feature[feature.name][day].fields
                yield from (layer.sources for layer in layers)


def _empty_columns(resolved: ResolvedInputs, target: TargetPixels) -> dict[str, NDArray[np.float32]]:
    shape = (len(resolved.days), *target.shape)
    return {feature.name: np.full(shape, np.nan, np.float32) for feature in resolved.recipe.sources}


def _cube(resolved: ResolvedInputs, target: TargetPixels, columns: Mapping[str, NDArray[np.float32]]) -> xr.Dataset:
    """Return features with the derived ones and masks, as in a cube."""
    import dask.array as da
    import xarray as xr
    from dask.local import get_sync
    from odc.geo.xr import xr_coords

    x, y = target.centres
    coords = {
        "time": np.array(resolved.days, dtype="datetime64[ns]"),
        "x": ("pixel", x),
        "y": ("pixel", y),
        "spatial_ref": xr_coords(target.geobox[:1, :1], dims=("y", "x"))["spatial_ref"],
    }
    variables = {name: (target.dims, da.from_array(values, chunks=-1, name=False)) for name, values in columns.items()}
    recipe = resolved.recipe
    cube = apply_masks(add_derived(xr.Dataset(variables, coords=coords), recipe.derived), recipe.masks)
    return cube.compute(scheduler=get_sync)  # by its name, dask would import all of distributed first
