"""The Interrupted Goode Homolosine of SoilGrids: the grid of its global mosaic, and the lobes that it is cut into.

Ingest places windows of the mosaic by it, and fetch asks the web service of SoilGrids for windows on the same pixels.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

from affine import Affine

from stac_sm.core.grid import make_geobox
from stac_sm.core.places import BBox

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

HOMOLOSINE = "+proj=igh +lat_0=0 +lon_0=0 +datum=WGS84 +units=m +no_defs"
PIXEL, WEST, NORTH, SHAPE = 250.0, -19949750.0, 8361000.0, (58034, 159246)
"""The global mosaic: pixel, upper left corner (m), rows and columns."""

_STEP = 0.02  # degrees between the points of a box that are looked up in the mosaic
_SEAMS_NORTH, _SEAMS_SOUTH = (-40.0,), (-100.0, -20.0, 80.0)  # degrees east at which the lobes are cut
_BESIDE = 1e-6  # degrees: a seam belongs to the lobe west of it


def split_at_lobes(west: float, south: float, east: float, north: float) -> list[BBox]:
    """Cut a box where the projection is cut: a window across a gap would be mostly gap.

    Parameters
    ----------
    west, south, east, north
        Degrees; west is below east.

    Returns
    -------
    list of tuple
        Boxes, each in one lobe north or south of the equator; the box itself where no seam crosses it.
    """
    halves = [(max(south, 0.0), north, _SEAMS_NORTH), (south, min(north, 0.0), _SEAMS_SOUTH)]
    cut = [(low, high, [seam for seam in seams if west < seam < east]) for low, high, seams in halves if low < high]
    if not any(seams for _, _, seams in cut):
        cut = [(south, north, [])]
    edges = [(low, high, pairwise([west, *seams, east])) for low, high, seams in cut]
    return [(left + _BESIDE, low, right, high) for low, high, pairs in edges for left, right in pairs]


def degrees_grid(bbox: BBox) -> GeoBox:
    """Build a grid of degrees on a box, fine enough to find its outermost places in another projection.

    Parameters
    ----------
    bbox
        West, south, east, north in degrees.

    Returns
    -------
    GeoBox
        In EPSG:4326, pixels of at most 0.02 degrees.
    """
    west, south, east, north = bbox
    rows, columns = (max(1, math.ceil(size / _STEP)) for size in (north - south, east - west))
    affine = Affine((east - west) / columns, 0, west, 0, (south - north) / rows, north)
    return make_geobox((rows, columns), affine, "EPSG:4326")
