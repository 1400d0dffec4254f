"""Points and boxes in degrees, as people type them: values out of range are refused, and a swap of the two is named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stac_sm.core.errors import InputError

if TYPE_CHECKING:
    pass

BBox = tuple[float, float, float, float]
"""West, south, east, north in degrees."""

SIDES = ("west", "south", "east", "north")
"""Names of the numbers of a box, in their order."""


def check_point(lon: float, lat: float) -> None:
    """Refuse a longitude or latitude that no place has; a swap of the two is named as such.

    Parameters
    ----------
    lon
        Degrees east.
    lat
        Degrees north.

    Raises
    ------
    InputError
        If the longitude is not within -180 and 180, or the latitude not within -90 and 90.
    """
    if not _on_globe(lon, lat):
        swapped = f"; if latitude came first, give {lat:g},{lon:g}" if _on_globe(lat, lon) else ""
        raise InputError(
            f"longitude {lon:g}, latitude {lat:g} found; the longitude comes first, -180 to 180 degrees east, then the "
            f"latitude, -90 to 90 degrees north{swapped or _within_half_turn(lon, lat)}"
        )


def check_box(bbox: Sequence[float]) -> BBox:
    """Refuse a box whose degrees no place has, or that is upside down; a swap of lon and lat is named as such.

    Parameters
    ----------
    bbox
        West, south, east, north in degrees; west is greater than east across the antimeridian.

    Returns
    -------
    tuple of float
        The four numbers.

    Raises
    ------
    InputError
        If a longitude is not within -180 and 180, a latitude not within -90 and 90, or south is greater than north.
    """
    west, south, east, north = (float(degrees) for degrees in bbox)
    found = f"box {sides_text((west, south, east, north))} found"
    if not (_on_globe(west, south) and _on_globe(east, north)):
        swapped = swapped_box((west, south, east, north))
        hint = f"; if latitude came first, give {','.join(f'{one:g}' for one in swapped)}" if swapped else ""
        raise InputError(
            f"{found}; WEST,SOUTH,EAST,NORTH are required in degrees, -180 to 180 east and -90 to 90 north"
            f"{hint or _within_half_turn(west, south) or _within_half_turn(east, north)}"
        )
    if south > north:
        raise InputError(f"{found}, with south above north; the order is WEST,SOUTH,EAST,NORTH")
    return west, south, east, north


def sides_text(bbox: Sequence[float]) -> str:
    """Return the words by which messages repeat a box that was typed.

    Parameters
    ----------
    bbox
        West, south, east, north in degrees.

    Returns
    -------
    str
        ``west 6, south 43, east 9, north 46``.
    """
    return ", ".join(f"{side} {degrees:g}" for side, degrees in zip(SIDES, bbox, strict=True))


def swapped_box(bbox: BBox) -> BBox | None:
    """Return the box that was meant where somebody typed latitudes before longitudes.

    Parameters
    ----------
    bbox
        West, south, east, north in degrees, as typed.

    Returns
    -------
    tuple of float or None
        The same numbers, each pair the other way round; None where that is no box on the Earth.
    """
    west, south, east, north = bbox
    if west > east or not (_on_globe(south, west) and _on_globe(north, east)):
        return None
    return south, west, north, east


def _on_globe(lon: float, lat: float) -> bool:
    return abs(lon) <= 180 and abs(lat) <= 90  # false for NaN


def _within_half_turn(lon: float, lat: float) -> str:
    """Return which longitude is meant by one of 0 to 360 degrees."""
    return f"; {lon:g} degrees east is {lon - 360:g}" if 180 < lon <= 360 and abs(lat) <= 90 else ""
