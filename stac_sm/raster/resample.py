"""Regrid values from native pixels to the pixels of a target, in one place, independent of windows and chunks.

`features.daily_fields` calls the parts in this order: `overlapping_grids` and `source_window` decide what to read,
`pixel_lookup` relates the two grids once for all days, and `regrid` fills the target with values. There are three
rules, all on pixel centres:

* ``nearest``: the source pixel that holds the target's centre.
* ``bilinear``: the four source pixels around it, weighted by distance; pixels without value are left out and the
  other weights scaled up, as GDAL does (but GDAL gives nothing where the nearest of the four has no value: a coast
  would lose half a source pixel of land). Beyond the outer centres the edge pixel is repeated, up to the file's edge.
* ``average``: the mean of all source pixels whose centre lies in the target pixel.

Where several files cover a target, the first value found counts, in the order of `raster.precedence`; ``average`` takes
the pixels of all files of one precedence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import pyproj

from stac_sm.core.projections import crs_wkt, snap_to_pixel_edges, transform_points
from stac_sm.raster.source import Window

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

BLOCK = 1200
"""Side of a block in pixels: a tile of the MODIS grid at 1 km."""

_MARGIN = 2  # source pixels around the window that is needed: neighbours, and the curvature between samples
_SAMPLE = 16  # target pixels between two samples of its extent in the source grid
_BAND = 1 << 21  # pixels that are worked on at a time
_RUN = 1 << 16  # pixels that are interpolated at a time: intermediate arrays stay in the processor's cache
_COMPILED = 1 << 18  # pixels from which on compiled loops are worth the time to load them; the bits are the same
_EACH = 64  # pixels of a line between two that are projected, to see whether it is straight
_STRAIGHT = 1e-7  # of a target pixel: how far a straight line may be from what is projected
_NEAR = 1e-5  # of a target pixel: what is nearer to an edge is projected itself; more than that and the snap of an edge
_SIDE = 11  # sample points across and down a source; inside, too: it may lie on both sides of the antimeridian
_CURVED = 0.1  # share of its extent by which a curved source may reach beyond these points
_LEAST_WEIGHT = 1e-6  # of all valid neighbours together; with less, a bilinear value is missing


@dataclass(frozen=True, eq=False)
class TargetPixels:
    """The pixels to fill: all pixels of a GeoBox, or some of them."""

    geobox: GeoBox
    """The grid."""

    rows: np.ndarray | None = None
    """Rows of the selected pixels; None for all pixels."""

    columns: np.ndarray | None = None
    """Columns of the selected pixels; None for all pixels."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(y, x) of the GeoBox, or (pixel,)."""
        return tuple(self.geobox.shape) if self.rows is None else (len(self.rows),)

    @property
    def dims(self) -> tuple[str, ...]:
        """(time, y, x) or (time, pixel): dims of a cube on these pixels."""
        return ("time", "y", "x") if self.rows is None else ("time", "pixel")

    @property
    def chunks(self) -> tuple[tuple[int, ...], ...]:
        """Sizes of the blocks along each dimension of ``shape``; one block unless a side is longer than two."""
        if self.rows is not None or max(self.shape) <= 2 * BLOCK:
            return tuple((size,) for size in self.shape)
        return tuple((BLOCK,) * (size // BLOCK) + ((size % BLOCK,) if size % BLOCK else ()) for size in self.shape)

    def blocks(self) -> dict[tuple[int, ...], TargetPixels]:
        """Cut the target into blocks of at most 1200 x 1200 pixels.

        Returns
        -------
        dict
            Place of each block (row and column of blocks, or 0 for a list of pixels) to its pixels; one block unless a
            side is longer than two blocks.
        """
        if all(len(sizes) == 1 for sizes in self.chunks):
            return {(0,) * len(self.shape): self}
        spans = [[slice(at, at + n) for at, n in zip(_starts(sizes), sizes, strict=True)] for sizes in self.chunks]
        return {
            (i, j): TargetPixels(self.geobox[rows, columns])
            for i, rows in enumerate(spans[0])
            for j, columns in enumerate(spans[1])
        }

    @cached_property
    def centres(self) -> tuple[np.ndarray, np.ndarray]:
        """x and y of the pixel centres in the CRS of the GeoBox, both of ``shape``."""
        if self.rows is not None and self.columns is not None:
            return self._at(self.rows + 0.5, self.columns + 0.5)
        height, width = self.geobox.shape
        rows, columns = np.meshgrid(np.arange(height) + 0.5, np.arange(width) + 0.5, indexing="ij")
        return self._at(rows, columns)

    @property
    def centre_lines(self) -> tuple[np.ndarray, np.ndarray]:
        """x of the columns and y of the rows of the GeoBox, at pixel centres in its CRS."""
        height, width = self.geobox.shape
        y, x = np.arange(height) + 0.5, np.arange(width) + 0.5
        return self._at(y, x)

    def corners(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the corners of pixels.

        Parameters
        ----------
        step
            Every ``step``-th line of corners is taken, and the outermost; of a list of pixels, all four corners of
            each.

        Returns
        -------
        tuple of numpy.ndarray
            x and y in the CRS of the GeoBox, float64.
        """
        if self.rows is not None and self.columns is not None:
            offsets = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
            return self._at(self.rows + offsets[:, :1], self.columns + offsets[:, 1:])
        lines = [np.unique(np.append(np.arange(0, size, step), size)) for size in self.geobox.shape]
        return self._at(*np.meshgrid(*lines, indexing="ij"))

    def _at(self, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        affine = self.geobox.affine
        return affine.c + affine.a * columns, affine.f + affine.e * rows


def source_window(source: GeoBox, target: TargetPixels) -> Window | None:
    """Return the part of a source grid that a target needs.

    In one CRS, grids that only touch do not meet: the tiles beside a tile are not inputs of it.

    Parameters
    ----------
    source
        Grid of a file.
    target
        The pixels to fill.

    Returns
    -------
    tuple of slice or None
        Rows and columns of the source, with a margin of two pixels inside the file; None where the two do not meet.
    """
    return _window_of(source, target.geobox) if target.rows is None else _window(source, target)


@lru_cache(maxsize=1024)
def _window_of(source: GeoBox, geobox: GeoBox) -> Window | None:
    return _window(source, TargetPixels(geobox))


def _window(source: GeoBox, target: TargetPixels) -> Window | None:
    rows, columns = _pixel_coordinates(source, str(target.geobox.crs), *target.corners(_SAMPLE))
    if np.isnan(rows).any():  # partly off the Earth: a coarse sample may miss what is on it
        rows, columns = _pixel_coordinates(source, str(target.geobox.crs), *target.corners(1))
    if np.isnan(rows).all():
        return None
    slack = 0 if crs_wkt(str(source.crs)) == crs_wkt(str(target.geobox.crs)) else _MARGIN
    for at, size in zip((rows, columns), source.shape, strict=True):
        if np.nanmax(at) + slack <= 0 or np.nanmin(at) - slack >= size:
            return None
    part = [
        slice(max(0, int(np.nanmin(at)) - _MARGIN), min(size, int(np.nanmax(at)) + 1 + _MARGIN))
        for at, size in zip((rows, columns), source.shape, strict=True)
    ]
    return None if any(one.stop <= one.start for one in part) else (part[0], part[1])


def overlapping_grids(sources: Sequence[GeoBox], target: TargetPixels) -> set[GeoBox]:
    """Return the source grids that a target needs.

    Parameters
    ----------
    sources
        Grids of files.
    target
        The pixels to fill.

    Returns
    -------
    set of GeoBox
        Those that meet the target; for a target that is cut into blocks, perhaps some more.
    """
    if len(target.blocks()) == 1:
        return {source for source in sources if source_window(source, target) is not None}
    (near,) = overlapping_grids_by_block(sources, target.geobox, [target])
    return {sources[i] for i in near}


def overlapping_grids_by_block(
    sources: Sequence[GeoBox], whole: GeoBox, blocks: Sequence[TargetPixels]
) -> list[list[int]]:
    """Find, for each block of a grid, the source grids that may meet it.

    Parameters
    ----------
    sources
        Grids of files.
    whole
        The grid that the blocks are cut from.
    blocks
        Blocks of it, as `TargetPixels.blocks` gives them.

    Returns
    -------
    list of list of int
        For each block, positions in ``sources``; none that meets it is missing, and some may not meet it.
    """
    spans = _spans(sources, whole)
    found = []
    for block in blocks:
        column, row = ~whole.affine * (block.geobox.affine.c, block.geobox.affine.f)
        height, width = block.geobox.shape
        meets = (spans[:, 0] <= row + height) & (spans[:, 1] >= row)
        meets &= (spans[:, 2] <= column + width) & (spans[:, 3] >= column)
        found.append([int(i) for i in np.flatnonzero(meets)])
    return found


def _spans(sources: Sequence[GeoBox], whole: GeoBox) -> np.ndarray:
    """Return first and last row and column of a grid that each source may cover, (source, 4), on the safe side."""
    spans = np.empty((len(sources), 4))
    across, down = (part.ravel() for part in np.meshgrid(np.linspace(0, 1, _SIDE), np.linspace(0, 1, _SIDE)))
    for crs in {str(source.crs) for source in sources}:
        own = [i for i, source in enumerate(sources) if str(source.crs) == crs]
        boxes = np.array([sources[i].boundingbox for i in own])
        x = boxes[:, :1] + across * (boxes[:, 2:3] - boxes[:, :1])
        y = boxes[:, 1:2] + down * (boxes[:, 3:4] - boxes[:, 1:2])
        rows, columns = _pixel_coordinates(whole, crs, x, y)
        ends = np.stack([rows.min(1), rows.max(1), columns.min(1), columns.max(1)], 1)  # NaN if any of them is
        spans[own] = ends + np.array([-1, 1, -1, 1]) * (
            _MARGIN + _CURVED * np.repeat(ends[:, 1::2] - ends[:, ::2], 2, 1)
        )
    lost = np.isnan(spans).any(axis=1)  # partly off the Earth: it may be anywhere
    spans[lost] = [-np.inf, np.inf, -np.inf, np.inf]
    return spans


def _starts(sizes: Sequence[int]) -> list[int]:
    return [sum(sizes[:i]) for i in range(len(sizes))]


def pixel_lookup(source: GeoBox, window: Window, target: TargetPixels, resampling: str) -> np.ndarray:
    """Relate source pixels to target pixels; the result depends on the two grids only, and serves for every day.

    Parameters
    ----------
    source
        Grid of a file.
    window
        Rows and columns of it that are read, as `source_window` gives them.
    target
        The pixels to fill.
    resampling
        ``nearest``, ``bilinear`` or ``average``.

    Returns
    -------
    numpy.ndarray
        ``nearest``: int32 of the target's shape, position in the flattened window, -1 where there is none.
        ``bilinear``: int32 (3, …), position of the upper left neighbour in the flattened window, which is taken for one
        row and column larger, -1 where there is none; and the bits of two float32: parts of a pixel below and right.
        ``average``: int32 of the window's shape, position in the flattened target, -1 where there is none.
    """
    if resampling == "average":
        return _target_positions(source, window, target)
    crs = str(target.geobox.crs)
    if target.rows is None:
        rows, columns = _pixel_coordinates_of_grid(source, crs, *target.centre_lines)
    else:
        rows, columns = _pixel_coordinates(source, crs, *target.centres)
    outside = ~((rows >= 0) & (rows <= source.shape[0]) & (columns >= 0) & (columns <= source.shape[1]))
    if resampling == "bilinear":
        return _neighbours(rows, columns, outside, window)
    row = np.minimum(np.floor(rows), source.shape[0] - 1) - window[0].start
    column = np.minimum(np.floor(columns), source.shape[1] - 1) - window[1].start
    return np.where(outside, -1, row * (window[1].stop - window[1].start) + column).astype(np.int32)


def regrid(
    target: tuple[int, ...],
    windows: Sequence[np.ndarray],
    lookups: Sequence[np.ndarray],
    resampling: str,
    levels: Sequence[int] = (),
) -> np.ndarray:
    """Fill a target from windows of one or more files.

    Parameters
    ----------
    target
        Shape of the target.
    windows
        Physical values of each window (y, x), float32, NaN where there is no data.
    lookups
        What `pixel_lookup` gives for each of them.
    resampling
        ``nearest``, ``bilinear`` or ``average``.
    levels
        Precedence of each window, ascending: ``average`` takes the pixels of one level, and those of the next one only
        where there is none. None: all have the same.

    Returns
    -------
    numpy.ndarray
        float32 of the target's shape, NaN where no file has a value.
    """
    if resampling == "average":
        if len(set(levels)) < 2:
            return _average(target, windows, lookups)
        result = np.full(target, np.nan, dtype=np.float32)
        for level in dict.fromkeys(levels):
            of_level = [at for at, one in enumerate(levels) if one == level]
            mean = _average(target, [windows[at] for at in of_level], [lookups[at] for at in of_level])
            result = np.where(np.isnan(result), mean, result)
        return result
    fill = _nearest if resampling == "nearest" else _bilinear
    if len(windows) == 1:
        return fill(windows[0], lookups[0])
    result = np.full(target, np.nan, dtype=np.float32)
    for window, where in zip(windows, lookups, strict=True):
        result = np.where(np.isnan(result), fill(window, where), result)
    return result


def _nearest(window: np.ndarray, where: np.ndarray) -> np.ndarray:
    return np.where(where < 0, np.float32(np.nan), window.ravel()[np.maximum(where, 0)])


def _neighbours(rows: np.ndarray, columns: np.ndarray, outside: np.ndarray, window: Window) -> np.ndarray:
    """Return the bilinear result of `pixel_lookup`, from places in the source grid: whole numbers are edges."""
    size = [side.stop - side.start for side in window]
    places = [
        np.clip(np.where(outside, 0, at - side.start - 0.5), 0, n - 1)
        for at, side, n in zip((rows, columns), window, size, strict=True)
    ]
    top, left = (np.floor(at).astype(np.int32) for at in places)
    down, right = ((at - np.floor(at)).astype(np.float32) for at in places)
    position = np.where(outside, np.int32(-1), top * np.int32(size[1] + 1) + left)
    return np.stack(np.broadcast_arrays(position, down.view(np.int32), right.view(np.int32)))


@cache
def _kernel() -> ModuleType | None:
    """Return the compiled loops; None where Numba, or a folder for what it compiles, is missing."""
    try:
        from stac_sm.raster import resample_kernel
    except (ImportError, RuntimeError):
        return None
    return resample_kernel


def _bilinear(window: np.ndarray, where: np.ndarray) -> np.ndarray:
    padded = np.pad(window, ((0, 1), (0, 1)), mode="edge").ravel()  # so that all have four neighbours
    if where[0].size >= _COMPILED and (kernel := _kernel()):
        out = np.empty(where[0].size, np.float32)
        least = np.float32(_LEAST_WEIGHT)
        kernel.interpolate(padded, window.shape[1] + 1, np.ascontiguousarray(where.reshape(3, -1)), least, out)
        return out.reshape(where.shape[1:])
    whole, step = not np.isnan(window).any(), window.shape[1] + 1
    pixels, filled = where.reshape(3, -1), np.empty(where[0].size, np.float32)
    for start in range(0, filled.size, _RUN):
        part = slice(start, start + _RUN)
        filled[part] = _interpolated(padded, step, pixels[:, part], whole)
    return filled.reshape(where.shape[1:])


def _interpolated(padded: np.ndarray, step: int, where: np.ndarray, whole: bool) -> np.ndarray:
    """Return bilinear values of some pixels, (pixel,), from a flattened window of rows of ``step`` pixels."""
    position, down, right = where[0], where[1].view(np.float32), where[2].view(np.float32)
    outside, first = position < 0, np.maximum(position, 0)
    total, weights = np.zeros(position.shape, np.float32), np.zeros(position.shape, np.float32)
    for row, vertical in ((0, 1 - down), (step, down)):
        for column, horizontal in ((0, 1 - right), (1, right)):
            value, weight = padded[row + column :].take(first), vertical * horizontal
            if not whole:
                valid = ~np.isnan(value)
                value, weight = np.where(valid, value, 0), np.where(valid, weight, 0)
            total += value * weight
            weights += weight
    mean = total / np.maximum(weights, _LEAST_WEIGHT)
    return np.where(outside | (weights <= _LEAST_WEIGHT), np.float32(np.nan), mean)


def _average(target: tuple[int, ...], windows: Sequence[np.ndarray], lookups: Sequence[np.ndarray]) -> np.ndarray:
    size = int(np.prod(target))
    total, count = np.zeros(size), np.zeros(size)
    kernel = _kernel() if sum(window.size for window in windows) >= _COMPILED else None
    for window, where in zip(windows, lookups, strict=True):
        for band in _bands(window.shape):
            if kernel is not None:  # sums of a band are added to those before, as below: another order rounds otherwise
                part = np.zeros(size)
                kernel.add_up(window[band], where[band], part, count)
                total += part
                continue
            values, place = window[band].ravel(), where[band].ravel()
            used = (place >= 0) & ~np.isnan(values)
            total += np.bincount(place[used], weights=values[used], minlength=size)
            count += np.bincount(place[used], minlength=size)
    mean = np.full(size, np.nan)
    np.divide(total, count, out=mean, where=count > 0)
    return mean.reshape(target).astype(np.float32)


def _target_positions(source: GeoBox, window: Window, target: TargetPixels) -> np.ndarray:
    """Return the position in the flattened target of every source pixel in a window, int32 (y, x); -1 for none."""
    shape = (window[0].stop - window[0].start, window[1].stop - window[1].start)
    positions = np.empty(shape, np.int32)
    for band in _bands(shape):
        rows = slice(window[0].start + band.start, window[0].start + band.stop)
        positions[band] = _positions_in_band(source, (rows, window[1]), target)
    return positions


def _positions_in_band(source: GeoBox, window: Window, target: TargetPixels) -> np.ndarray:
    affine, grid = source.affine, target.geobox
    x = affine.c + affine.a * (np.arange(window[1].start, window[1].stop) + 0.5)
    y = affine.f + affine.e * (np.arange(window[0].start, window[0].stop) + 0.5)
    position = _positions_on_lines(grid, str(source.crs), x, y)
    if position is None:
        position = _positions(grid, *_pixel_coordinates_of_grid(grid, str(source.crs), x, y))
    if target.rows is None or target.columns is None:
        return position
    return _among(position, target.rows.astype(np.int64) * grid.shape[1] + target.columns)


def _positions(grid: GeoBox, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the position in the flattened grid of coordinates in it, int32; -1 outside, and where they are NaN."""
    inside = (rows >= 0) & (rows < grid.shape[0]) & (columns >= 0) & (columns < grid.shape[1])
    return np.where(inside, np.floor(rows) * grid.shape[1] + np.floor(columns), -1).astype(np.int32)


def _positions_on_lines(grid: GeoBox, crs: str, x: np.ndarray, y: np.ndarray) -> np.ndarray | None:
    """Return `_positions` of all pairs of x and y, where the lines of y are straight and level in the grid.

    So they are from degrees to a sinusoidal or cylindrical grid: a point in `_EACH` is projected, and those between lie
    between them. The pixels are those of projecting each point: whatever lies so near an edge that rounding may decide
    is projected itself. None where lines are not straight, or too short.
    """
    if len(x) < 4 * _EACH or not _in_degrees(crs) or _in_degrees(str(grid.crs)):
        return None
    knots = np.append(np.arange(0, len(x) - 1, _EACH), len(x) - 1)
    knot_rows, knot_columns = _unsnapped(grid, crs, *np.meshgrid(x[knots], y))
    ends = (knot_columns[:, :1], knot_columns[:, -1:])
    straight = ends[0] + (ends[1] - ends[0]) * ((x[knots] - x[0]) / (x[-1] - x[0]))
    bent = np.maximum(np.abs(straight - knot_columns), np.abs(knot_rows - knot_rows[:, :1]))
    if not (bent < _STRAIGHT).all():  # also where a point has no place
        return None
    rows, share = knot_rows[:, 0].copy(), (x - x[0]) / (x[-1] - x[0])
    positions = np.empty((len(y), len(x)), np.int32)
    if positions.size >= _COMPILED and (kernel := _kernel()):
        left, right = (np.ascontiguousarray(end[:, 0]) for end in ends)
        number = kernel.place_lines(rows, left, right, share, *grid.shape, _NEAR, positions)
    else:
        columns = ends[0] + (ends[1] - ends[0]) * share
        near = np.abs(columns - np.round(columns)) < _NEAR
        near |= (np.abs(rows - np.round(rows)) < _NEAR)[:, None]
        positions[:] = np.where(near, -2, _positions(grid, np.broadcast_to(rows[:, None], columns.shape), columns))
        number = np.count_nonzero(near)
    if number > positions.size // 4:
        return None
    if number:
        at = np.nonzero(positions == -2)
        positions[at] = _positions(grid, *_pixel_coordinates(grid, crs, x[at[1]], y[at[0]]))
    return positions


@lru_cache(maxsize=256)
def _in_degrees(crs: str) -> bool:
    return bool(pyproj.CRS.from_user_input(crs).is_geographic)


def _bands(shape: tuple[int, ...]) -> list[slice]:
    """Cut the rows of a window into bands of some million pixels: work on a pixel takes many times its memory."""
    rows = max(1, _BAND // shape[1])
    return [slice(start, min(start + rows, shape[0])) for start in range(0, shape[0], rows)]


def _among(position: np.ndarray, selected: np.ndarray) -> np.ndarray:
    """Return the index in ``selected`` (any order, no repeats) of each position; -1 for those that are not in it."""
    order = np.argsort(selected)
    index = np.minimum(np.searchsorted(selected[order], position), len(selected) - 1)
    return np.where(selected[order][index] == position, order[index], -1).astype(np.int32)


def _pixel_coordinates(grid: GeoBox, crs: str, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns in a grid of points in another CRS.

    Whole numbers are pixel edges; NaN where the CRS of the grid has no such point.
    """
    rows, columns = _unsnapped(grid, crs, x, y)
    defined = np.isfinite(rows) & np.isfinite(columns)  # pyproj gives inf where the grid's CRS has no such place
    return snap_to_pixel_edges(np.where(defined, rows, np.nan)), snap_to_pixel_edges(np.where(defined, columns, np.nan))


def _pixel_coordinates_of_grid(grid: GeoBox, crs: str, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return `_pixel_coordinates` of all pairs of x and y, as arrays that go together: in one CRS, column and row."""
    if crs_wkt(crs) != crs_wkt(str(grid.crs)):
        return _pixel_coordinates(grid, crs, *np.meshgrid(x, y))
    affine = grid.affine
    return (
        snap_to_pixel_edges((y[:, None] - affine.f) / affine.e),
        snap_to_pixel_edges((x[None, :] - affine.c) / affine.a),
    )


def _unsnapped(grid: GeoBox, crs: str, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns as they are projected; infinite where the CRS of the grid has no such point."""
    x, y = transform_points(crs, str(grid.crs), x, y)
    affine = grid.affine
    return (y - affine.f) / affine.e, (x - affine.c) / affine.a
