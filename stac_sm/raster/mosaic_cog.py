"""Write mosaics: a whole grid in one file, filled tile by tile and turned into a COG block by block.

`product.aggregates` calls this for daily mosaics and means over all tiles, and ingest for rasters of any size
(`write_cog_by_rows`). Memory is bounded by one tile and GDAL's
cache (`cog.CACHE_BYTES`), whatever the size of the grid: 43,200 x 21,600 pixels would take 3.7 GB as an array. Where
there is no tile, the files hold no blocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from affine import Affine

from stac_sm.core.errors import ReadError
from stac_sm.core.footprints import footprint_geometry
from stac_sm.core.grid import TileGrid, make_geobox
from stac_sm.core.projections import crs_wkt, named_wkt
from stac_sm.raster.cog import CogProfile, CogText, bounded_gdal, same_raster_values

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

_BLOCK = 256
_CELLS = (0.1, 0.05, 0.02, 0.01)  # degrees: sides of the cells of an overview, the largest that gives enough of them
_LEAST_CELLS = 512
_WARP_MEGABYTES = 64

Tiles = Mapping[str, Callable[[], np.ndarray]]
"""Tile id -> function that returns its array (y, x), NaN where there is no value."""


def whole_grid_geobox(grid: TileGrid) -> GeoBox:
    """Return all tiles of a grid as one GeoBox.

    Parameters
    ----------
    grid
        A tile grid.

    Returns
    -------
    GeoBox
        Shape (rows, columns) of all tiles together, affine and CRS.
    """
    (height, width), (dx, dy), (columns, rows) = grid.tile_shape, grid.pixel, grid.tiles
    affine = Affine(dx, 0, grid.origin[0], 0, -dy, grid.origin[1])
    return make_geobox((rows * height, columns * width), affine, crs_wkt(grid.crs))


def write_mosaic_cog(
    tiles: Tiles,
    grid: TileGrid,
    file: Path,
    profile: CogProfile,
    dtype: str,
    *,
    progress: Callable[[], None],
    text: CogText = CogText(),
) -> int:
    """Write the COG of a whole grid, and verify that it reads back.

    Parameters
    ----------
    tiles
        Tile id to a function that returns its array; each is called once. A missing tile stays empty.
    grid
        The tile grid; its tiles fill the raster.
    file
        The COG. Beside it lies an intermediate file while it is written.
    profile
        Nodata, rounding, overviews, compression.
    dtype
        Data type of the stored values.
    progress
        Called after each tile.
    text
        Names, unit and metadata in the file.

    Returns
    -------
    int
        Number of pixels with a value.

    Raises
    ------
    ReadError
        If it reads back differently than it was written.
    """
    plain = file.with_suffix(".plain.tif")
    with bounded_gdal():
        valid = _fill(tiles, grid, plain, profile, dtype, progress, text)
        _to_cog(plain, file, profile)
        if not same_raster_values(plain, file):
            raise ReadError(f"{file} was written but cannot be decoded to the same values: check the disk, run again")
    plain.unlink()
    return valid


def write_cog_by_rows(strips: Iterable[np.ndarray], file: Path, *, geobox: GeoBox, profile: CogProfile) -> None:
    """Write the COG of a raster that is too large for memory, some rows at a time, and verify that it reads back.

    Parameters
    ----------
    strips
        float32 (y, x), NaN where there is no value: all rows from north to south, some of them at a time.
    file
        The COG. Beside it lies an intermediate file while it is written.
    geobox
        Shape, affine and CRS of all rows.
    profile
        Nodata, overviews, compression; without a step and a scale.

    Raises
    ------
    ReadError
        If it reads back differently than it was written.
    """
    import rasterio
    from rasterio.crs import CRS
    from rasterio.windows import Window

    plain, (height, width), row = file.with_suffix(".plain.tif"), geobox.shape, 0
    form = {"driver": "GTiff", "tiled": True, "bigtiff": "if_safer", "compress": "deflate", "zlevel": 1, "count": 1}
    form |= {"height": height, "width": width, "transform": geobox.affine, "dtype": "float32"}
    with bounded_gdal():
        with rasterio.open(
            plain, "w", crs=CRS.from_wkt(named_wkt(str(geobox.crs))), nodata=profile.nodata, **form
        ) as out:
            for strip in strips:
                out.write(_stored(strip, profile, "float32"), 1, window=Window(0, row, width, len(strip)))
                row += len(strip)
        _to_cog(plain, file, profile)
        if row != height or not same_raster_values(plain, file):
            raise ReadError(f"{file} was written but cannot be decoded to the same values: check the disk, run again")
    plain.unlink()


def degree_mean_overview(file: Path, grid: TileGrid) -> tuple[NDArray[np.float32], GeoBox]:
    """Compute an overview in degrees: the mean of the values in each cell.

    It is made from the overview of the file whose pixels are at most half a cell.

    Parameters
    ----------
    file
        COG of a whole grid, local.
    grid
        Its tile grid.

    Returns
    -------
    tuple
        Values (y, x), float32, in the unit of the file, NaN where there is none; and their GeoBox (EPSG:4326).
    """
    import rasterio
    from rasterio.warp import Resampling, reproject

    geobox = overview_geobox(grid)
    values = np.full(tuple(geobox.shape), np.nan, np.float32)
    with bounded_gdal(), rasterio.open(file, **_coarse(file, grid, geobox)) as source:
        reproject(
            rasterio.band(source, 1),
            values,
            dst_transform=geobox.affine,
            dst_crs="EPSG:4326",
            dst_nodata=np.nan,
            init_dest_nodata=True,
            resampling=Resampling.average,
            warp_mem_limit=_WARP_MEGABYTES,
        )
    return values, geobox


def overview_geobox(grid: TileGrid) -> GeoBox:
    """Return cells in degrees that hold a whole grid.

    Parameters
    ----------
    grid
        A tile grid.

    Returns
    -------
    GeoBox
        EPSG:4326; cells of 0.1 degrees, or smaller ones for a small grid.
    """
    _, (west, south, east, north) = footprint_geometry(whole_grid_geobox(grid))
    side = max(east - west, north - south)
    cell = next((cell for cell in _CELLS if side / cell >= _LEAST_CELLS), _CELLS[-1])
    left, top = math.floor(west / cell + 1e-3) * cell, math.ceil(north / cell - 1e-3) * cell
    shape = math.ceil((top - south) / cell - 1e-3), math.ceil((east - left) / cell - 1e-3)
    return make_geobox(shape, Affine(cell, 0, round(left, 9), 0, -cell, round(top, 9)), "EPSG:4326")


def _coarse(file: Path, grid: TileGrid, geobox: GeoBox) -> dict[str, int]:
    """Return the overview of a file to read, as keyword of ``rasterio.open``; empty for the full resolution."""
    import rasterio

    _, (west, _, east, _) = footprint_geometry(whole_grid_geobox(grid))
    pixel = (east - west) / (grid.tiles[0] * grid.tile_shape[1])
    with rasterio.open(file) as source:
        factors = source.overviews(1)
    fitting = [i for i, factor in enumerate(factors) if factor * pixel <= geobox.affine.a / 2]
    return {"overview_level": fitting[-1]} if fitting else {}


def _fill(
    tiles: Tiles,
    grid: TileGrid,
    file: Path,
    profile: CogProfile,
    dtype: str,
    progress: Callable[[], None],
    text: CogText,
) -> int:
    """Write the intermediate file and return the number of values; blocks do not cross tile edges where possible."""
    import rasterio
    from rasterio.crs import CRS
    from rasterio.windows import Window

    geobox, (height, width), valid = whole_grid_geobox(grid), grid.tile_shape, 0
    form = {"driver": "GTiff", "tiled": True, "sparse_ok": True, "bigtiff": "if_safer", "compress": "deflate"}
    form |= {"zlevel": 1, "blockysize": _block(height), "blockxsize": _block(width), "count": 1, "dtype": dtype}
    form |= {"height": geobox.shape[0], "width": geobox.shape[1], "transform": geobox.affine}
    with rasterio.open(file, "w", crs=CRS.from_wkt(named_wkt(grid.crs)), nodata=profile.nodata, **form) as canvas:
        for tile, array in sorted(tiles.items(), key=lambda one: grid.column_row(one[0])[::-1]):
            values, (column, row) = array(), grid.column_row(tile)
            valid += int(np.count_nonzero(~np.isnan(values))) if values.dtype.kind == "f" else int((values > 0).sum())
            canvas.write(_stored(values, profile, dtype), 1, window=Window(column * width, row * height, width, height))
            progress()
        text.put_into(canvas)
    return valid


def _stored(values: np.ndarray, profile: CogProfile, dtype: str) -> np.ndarray:
    if values.dtype.kind == "f" and profile.nodata is not None:
        values = np.where(np.isnan(values), np.float32(profile.nodata), values)
    return values.astype(dtype)


def _to_cog(plain: Path, file: Path, profile: CogProfile) -> None:
    """Copy to a COG with overviews, by GDAL, which holds some blocks at a time."""
    from rasterio.shutil import copy

    floating = profile.nodata is not None
    copy(
        plain,
        file,
        driver="COG",
        compress="DEFLATE",
        level=profile.level,
        predictor=3 if floating else 2,
        blocksize=profile.block,
        overview_resampling=profile.overviews,
        sparse_ok=True,
        bigtiff="IF_SAFER",
        num_threads=2,
    )


def _block(size: int) -> int:
    """Return the side of a block: a multiple of 16, as TIFF requires, that divides a tile if one does."""
    fitting = [side for side in range(16, _BLOCK + 1, 16) if size % side == 0]
    return max(fitting) if fitting and max(fitting) >= 64 else _BLOCK
