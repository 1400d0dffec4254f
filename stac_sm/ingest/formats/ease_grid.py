"""EASE-Grid 2.0, global (EPSG:6933): the grids of SMAP, and cells placed on them by row and column.

SMAP files list cells with indices and degrees instead of holding an image. The provider builds `Cells` from the
indices, checks them against the degrees, and gets an image of a window.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from affine import Affine

from stac_sm.core.errors import GranuleError
from stac_sm.core.grid import make_geobox
from stac_sm.core.projections import transformer_from_lonlat

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

CRS = "EPSG:6933"
_LEFT, _TOP = -17367530.44516138, 7314540.83063855  # outer corner of all grids, metres
_TOLERANCE = 0.1  # cells: degrees are float32 in the files
_FILL = 65534  # of row and column indices


@dataclass(frozen=True)
class EaseGrid:
    """One of the nested grids."""

    rows: int
    """Rows of cells."""

    columns: int
    """Columns of cells."""

    @property
    def cell(self) -> float:
        """Width and height of a cell in metres."""
        return -2 * _LEFT / self.columns

    def geobox(self, window: tuple[slice, slice] | None = None) -> GeoBox:
        """Return shape, affine and CRS of the whole grid, or of a window of rows and columns."""
        row, column = (0, 0) if window is None else (window[0].start, window[1].start)
        shape = (self.rows, self.columns) if window is None else tuple(part.stop - part.start for part in window)
        affine = Affine(self.cell, 0, _LEFT + column * self.cell, 0, -self.cell, _TOP - row * self.cell)
        return make_geobox(shape, affine, CRS)


EASE2_36KM = EaseGrid(406, 964)
EASE2_9KM = EaseGrid(1624, 3856)
EASE2_3KM = EaseGrid(4872, 11568)
EASE2_1KM = EaseGrid(14616, 34704)


@dataclass(frozen=True)
class Cells:
    """Cells of a grid, in the order of a file's values."""

    grid: EaseGrid
    """The grid."""

    rows: np.ndarray
    """Row of each cell (n,), from north."""

    columns: np.ndarray
    """Column of each cell (n,), from west."""

    @classmethod
    def of(cls, grid: EaseGrid, file: Path, rows: np.ndarray, columns: np.ndarray) -> Cells:
        """Build cells from indices as a file holds them.

        Parameters
        ----------
        grid
            The grid that the indices count on.
        file
            The file, for messages.
        rows, columns
            Indices from the upper left, integers of any shape, which are flattened; the fill value 65534 becomes -1.

        Returns
        -------
        Cells
            As many cells as indices.

        Raises
        ------
        GranuleError
            If one lies outside the grid.
        """
        row, column = (index.astype(np.int64).ravel() for index in (rows, columns))
        row, column = np.where(row == _FILL, -1, row), np.where(column == _FILL, -1, column)
        if row.size != column.size or (row >= grid.rows).any() or (column >= grid.columns).any():
            raise GranuleError(
                f"{file}: rows to {row.max(initial=-1)} and columns to {column.max(initial=-1)} found, a grid of "
                f"{grid.rows} x {grid.columns} cells expected: is it another resolution?"
            )
        placed = (row >= 0) & (column >= 0)
        return cls(grid, np.where(placed, row, -1), np.where(placed, column, -1))

    def check_place(self, file: Path, lon: np.ndarray, lat: np.ndarray) -> None:
        """Compare rows and columns with the degrees that the file gives, where it gives any.

        Parameters
        ----------
        file
            The file, for messages.
        lon, lat
            Degrees east and north of each cell; values outside the Earth are ignored.

        Raises
        ------
        GranuleError
            If they disagree by more than a tenth of a cell.
        """
        lon, lat = (np.ravel(axis).astype(np.float64) for axis in (lon, lat))
        known = (self.rows >= 0) & (np.abs(lon) <= 180) & (np.abs(lat) <= 90)
        x, y = transformer_from_lonlat(CRS).transform(lon[known], lat[known])
        off_x = np.abs((x - _LEFT) / self.grid.cell - self.columns[known] - 0.5)
        off_y = np.abs((_TOP - y) / self.grid.cell - self.rows[known] - 0.5)
        off_x = np.minimum(off_x, self.grid.columns - off_x)
        worst = max(off_x.max(initial=0), off_y.max(initial=0))
        if worst > _TOLERANCE:
            raise GranuleError(
                f"{file}: its latitudes and longitudes lie {worst:.2f} cells from its rows and columns, less than "
                f"{_TOLERANCE} expected: one of the two is wrong; fetch it again"
            )

    def window(self, inside: np.ndarray) -> tuple[slice, slice]:
        """Return the rows and columns that hold the marked cells; ``inside`` is boolean (n,)."""
        marked = inside & (self.rows >= 0)
        rows, columns = self.rows[marked], self.columns[marked]
        return slice(int(rows.min()), int(rows.max()) + 1), slice(int(columns.min()), int(columns.max()) + 1)

    def image(self, values: np.ndarray, window: tuple[slice, slice]) -> np.ndarray:
        """Return values (n,) as (y, x) of a window, float32; NaN where there is no cell."""
        shape = tuple(part.stop - part.start for part in window)
        row, column = self.rows - window[0].start, self.columns - window[1].start
        inside = (self.rows >= 0) & (row >= 0) & (row < shape[0]) & (column >= 0) & (column < shape[1])
        image = np.full(shape, np.nan, np.float32)
        image[row[inside], column[inside]] = np.ravel(values)[inside]
        return image
