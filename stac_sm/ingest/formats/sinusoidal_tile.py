"""Granules of one MODIS sinusoidal tile in HDF4-EOS, as GLASS and the MODIS land products are: names, bands, items.

The providers `glass` and `modis` describe their products as `Band` and let `tile_granule` build item and layers. Stored
integers are kept; scale and fill are those of the file. pyhdf is not thread-safe: one file at a time in each process.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine

from stac_sm.core.errors import GranuleError, InputError
from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM, make_geobox
from stac_sm.core.period import utc_instant
from stac_sm.core.variables import VARIABLES
from stac_sm.ingest.file_content import HDF4, FileContent, metadata_value
from stac_sm.ingest.formats.hdf4eos import (
    AttributeValueError,
    GridField,
    describe_field,
    read_attributes,
    read_field,
)
from stac_sm.ingest.formats.name_dates import named_day
from stac_sm.ingest.provider_interface import Granule, RasterLayer, Recognition
from stac_sm.ingest.rank import Rank
from stac_sm.raster.cog import CogProfile
from stac_sm.stac.items import raster_item

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

SIDES = (1200, 2400, 4800)
"""Pixels along a side of a tile: 1 km, 500 m, 250 m."""

MaskReader = Callable[[Path], np.ndarray]
"""Takes a granule and returns which pixels (y, x) are masked, boolean."""

_TILES_AROUND = 36  # along the equator
_TOLERANCE = 1.0  # metres: corners are written with six decimals, and some versions of the grid differ by millimetres


@dataclass(frozen=True)
class Band:
    """One field of a product, and the asset that it becomes."""

    key: str
    """Asset key."""

    name: str
    """Name of the field in the file."""

    variable: str
    """Name of the variable."""

    dtypes: tuple[str, ...]
    """Types of the stored values that the product has."""

    nodata: int | None = None
    """Stored value of pixels without data in the COG; None takes the file's fill."""

    valid: tuple[int, int] | None = None
    """Least and largest stored value; all others become nodata. None leaves every value as it is."""

    required: tuple[str, ...] = ("scale_factor", "_FillValue")
    """Attributes that the field must have."""

    gap_free: bool = False
    """Whether a field without a single value is an error."""

    sides: tuple[int, ...] = SIDES
    """Numbers of pixels along a side that the product has."""

    asset: Mapping[str, Any] = field(default_factory=dict)
    """More STAC fields of the asset: title, classes."""

    quality: bool = False
    """Whether it holds flags, not values: overviews take single pixels instead of means."""


@dataclass(frozen=True)
class TileName:
    """The parts of the name of a granule."""

    stem: str
    """Name without time of production and suffix, which becomes the id of the item."""

    product: str
    """Short name of the product, e.g. ``GLASS06A01`` or ``MOD11A1``."""

    version: str
    """Version of the product, e.g. ``01`` or ``061``."""

    start: date
    """First day."""

    tile: str
    """Tile, e.g. ``h18v04``."""

    made: str
    """Time of production: digits that sort by time."""

    @classmethod
    def of(cls, file: Path, pattern: str, example: str) -> TileName:
        """Parse the name of a granule.

        Parameters
        ----------
        file
            The granule.
        pattern
            Regular expression with the groups ``stem``, ``product``, ``version``, ``day``, ``tile``, ``made``.
        example
            A correct name, for the message.

        Returns
        -------
        TileName
            The parts.

        Raises
        ------
        GranuleError
            If the name does not match and the metadata of the file state no other, or it has no day or tile that
            exists.
        """
        match = re.fullmatch(pattern, published_name(file, pattern))
        if match is None:
            raise GranuleError(
                f"{file}: found the name {file.name}, expected one like {example}: is it another product? If it was "
                f"renamed: its metadata (CoreMetadata.0) do not say what it was called"
            )
        try:
            MODIS_SINUSOIDAL_1KM.column_row(match["tile"])
        except InputError as error:
            raise GranuleError(f"{file}: its name has no tile that exists ({error}): check the name") from error
        start = named_day(file, match["day"], "%Y%j")
        return cls(match["stem"], match["product"], match["version"], start, match["tile"], match["made"])

    def end(self, days: int) -> date:
        """Return the day after the last one of a composite of so many days, which ends with its year at the latest."""
        return min(self.start + timedelta(days=days), date(self.start.year + 1, 1, 1))


def production_rank(name: str, pattern: str) -> Rank:
    """Return the rank that a granule's name states, by its time of production; the empty one of another name."""
    match = re.fullmatch(pattern, name)
    return Rank(produced=match["made"]) if match else Rank()


def claimed_stems(file: Path, pattern: str) -> list[str]:
    """Return the ids of the items of a granule, by its published name: one, or none of another name."""
    match = re.fullmatch(pattern, published_name(file, pattern))
    return [match["stem"]] if match else []


def published_name(file: Path, pattern: str) -> str:
    """Return the name under which the provider published a granule.

    Parameters
    ----------
    file
        The granule.
    pattern
        Regular expression of the names of its product.

    Returns
    -------
    str
        Its own name where that fits, else the one that its metadata state; its own name where they state none, and
        where the file is no readable HDF4.
    """
    if re.fullmatch(pattern, file.name):
        return file.name
    try:
        return stated_name(read_attributes(file)[1], pattern) or file.name
    except GranuleError:
        return file.name


def stated_name(attributes: Mapping[str, str], pattern: str) -> str:
    """Return the published name that the EOS core metadata of a granule state.

    Parameters
    ----------
    attributes
        Texts among the attributes of the file.
    pattern
        Regular expression of the names of its product.

    Returns
    -------
    str
        ``LOCALGRANULEID``, or a name made of product, first day, tile and version; empty where they are not stated,
        or name another product.
    """
    core = "".join(text for key, text in sorted(attributes.items()) if key.startswith("CoreMetadata."))
    name = metadata_value(core, "LOCALGRANULEID")
    if re.fullmatch(pattern, name):
        return name
    product, version = metadata_value(core, "SHORTNAME"), metadata_value(core, "VERSIONID").lstrip("V")
    start, made = (re.sub(r"\D", "", metadata_value(core, key)) for key in ("RANGEBEGINNINGDATE", "PRODUCTIONDATETIME"))
    tile = _tile_of_corner(attributes)
    try:
        day, stamp = datetime.strptime(start[:8], "%Y%m%d"), datetime.strptime(made[:14], "%Y%m%d%H%M%S")
        names = (
            f"{product}.V{int(version):02d}.A{day:%Y%j}.{tile}.{stamp:%Y%j}.hdf",
            f"{product}.A{day:%Y%j}.{tile}.{int(version):03d}.{stamp:%Y%j%H%M%S}.hdf",
        )
    except ValueError:
        return ""
    return next((name for name in names if re.fullmatch(pattern, name)), "")


def _tile_of_corner(attributes: Mapping[str, str]) -> str:
    """Return the tile whose upper left corner the structural metadata state; empty where they state none."""
    corner = re.search(r"\bUpperLeftPointMtrs=\((-?[\d.]+),(-?[\d.]+)\)", attributes.get("StructMetadata.0", ""))
    if corner is None:
        return ""
    (west, north), side = MODIS_SINUSOIDAL_1KM.origin, -2 * MODIS_SINUSOIDAL_1KM.origin[0] / _TILES_AROUND
    column, row = (float(corner[1]) - west) / side, (north - float(corner[2])) / side
    return f"h{round(column):02d}v{round(row):02d}"


def recognise_tile(
    content: FileContent, fields: Sequence[str], pattern: str, product: str, example: str
) -> Recognition | None:
    """Return whether a file is a granule of a product.

    Parameters
    ----------
    content
        What the file holds.
    fields
        Fields of which the product's granules have at least one.
    pattern
        Regular expression of their names.
    product
        The product, in words.
    example
        A correct name, for the message.

    Returns
    -------
    Recognition or None
        None if it has neither the fields nor the name.
    """
    if content.kind == HDF4 and not content.problem:
        if set(fields).isdisjoint(content.variables):
            return None
        if re.fullmatch(pattern, content.name):
            return Recognition(f"{product} ({content.name})")
        name = stated_name(content.attributes, pattern)
        if name:
            return Recognition(f"{product} ({name}, as its metadata state)")
        why = (
            "it has the fields of this product, but neither its name nor its metadata (CoreMetadata.0) state product, "
            f"day and tile: give it back its published name, like {example}"
        )
        return Recognition(product, refusal=why)
    return Recognition(product, by_name=True) if re.fullmatch(pattern, content.name) else None


def tile_granule(
    file: Path,
    name: TileName,
    *,
    end: date,
    collection: str,
    bands: Sequence[Band],
    properties: Mapping[str, Any] | None = None,
    mask: MaskReader | None = None,
) -> Granule:
    """Build the item and the layers of a granule.

    Parameters
    ----------
    file
        The granule.
    name
        Its parsed name.
    end
        Day after its last one.
    collection
        Collection of the item.
    bands
        Fields to keep.
    properties
        Properties of the item besides those of time and place.
    mask
        Pixels that become nodata in every band that is no quality flag.

    Returns
    -------
    Granule
        The item without assets, and a layer a band; pixels are read when a layer is written.

    Raises
    ------
    GranuleError
        If a field is not as the product requires, or does not lie on the tile of the name. Where only attributes of
        some fields cannot be right, their assets are left out and named.
    """
    layers, left_out, lost = {}, {}, dict[str, str]()
    for band in bands:
        try:
            found = describe_field(file, band.name, band.required, flags=band.quality)
        except AttributeValueError as error:
            if len(lost) + 1 == sum(not one.quality for one in bands):
                raise  # no field with values is left
            lost[band.key] = str(error).removeprefix(f"{file}: ")
            continue
        layers[band.key] = _layer(file, name.tile, band, found, mask)
        if found.left_out:
            left_out[band.key] = found.left_out
    boxes = {layer.geobox for layer in layers.values()}
    if len(boxes) != 1:
        shapes = ", ".join(f"{key} {tuple(layer.geobox.shape)}" for key, layer in layers.items())
        raise GranuleError(f"{file}: found fields of several shapes ({shapes}), expected one: fetch it again")
    classified = any("classification:" in key for band in bands for key in band.asset)
    item = raster_item(
        id=name.stem,
        collection=collection,
        geobox=boxes.pop(),
        start=utc_instant(name.start),
        end=utc_instant(end),
        properties={
            "grid:code": MODIS_SINUSOIDAL_1KM.grid_code(name.tile),
            "version": name.version,
            **(properties or {}),
        },
        extensions=["grid", "version", "classification"] if classified else ["grid", "version"],
    )
    return Granule(item, {**layers}, Rank(produced=name.made), left_out=left_out, lost=lost)


def read_band(
    file: Path, band: Band, fill: int | None, nodata: int | None, mask: MaskReader | None = None
) -> np.ndarray:
    """Read the stored values of a band.

    Parameters
    ----------
    file
        The granule.
    band
        The field, with its valid range.
    fill
        Stored value without data in the file; None if it has none.
    nodata
        Stored value for pixels without data in the result; None leaves all values as they are.
    mask
        Returns the pixels that become nodata as well.

    Returns
    -------
    numpy.ndarray
        (y, x), data type of the file; fill, values outside the valid range and masked pixels are ``nodata``.

    Raises
    ------
    GranuleError
        If they cannot be decoded, or a product without gaps has no value at all.
    """
    stored = read_field(file, band.name)
    if nodata is None:
        return stored
    absent = stored == nodata if fill is None else (stored == fill) | (stored == nodata)
    if band.valid is not None:
        absent |= (stored < band.valid[0]) | (stored > band.valid[1])
    if band.gap_free and absent.all():
        raise GranuleError(
            f"{file}: field {band.name} has no pixel with a value, in a product without gaps: fetch it again"
        )
    stored[absent if mask is None else absent | mask(file)] = nodata
    return stored


def _layer(file: Path, tile: str, band: Band, found: GridField, mask: MaskReader | None) -> RasterLayer:
    if found.dtype not in band.dtypes:
        expected = " or ".join(band.dtypes)
        raise GranuleError(f"{file}: field {band.name} is {found.dtype}, expected {expected}: is it another product?")
    nodata = found.fill if band.nodata is None else band.nodata
    values = partial(read_band, file, band, found.fill, nodata, None if band.quality else mask)
    overviews, roles = ("nearest", ("quality",)) if band.quality else ("average", ("data",))
    profile = CogProfile(nodata=nodata, scale=found.scale, overviews=overviews)
    geobox = _geobox(file, tile, found, band.sides)
    return RasterLayer(VARIABLES[band.variable], values, geobox, profile, roles, band.asset)


def _geobox(file: Path, tile: str, found: GridField, sides: Sequence[int]) -> GeoBox:
    """Return the tile of the name at the file's pixel size: 250 m and 500 m pixels nest exactly in those of 1 km."""
    whole = MODIS_SINUSOIDAL_1KM.geobox(tile)
    if found.shape not in [(side, side) for side in sides]:
        expected = " or ".join(map(str, sides))
        raise GranuleError(f"{file}: found {found.shape} pixels, expected {expected} along each side")
    box = whole.boundingbox
    edges = (box.left, box.top, box.right, box.bottom)
    if any(abs(a - b) > _TOLERANCE for a, b in zip(found.bounds, edges, strict=True)):
        raise GranuleError(
            f"{file}: its StructMetadata.0 says left, top, right, bottom {_metres(found.bounds)}, "
            f"tile {MODIS_SINUSOIDAL_1KM.describe(tile)} of its name is {_metres(edges)}: one of the two is wrong; "
            "fetch it again"
        )
    return make_geobox(found.shape, whole.affine * Affine.scale(whole.shape[0] / found.shape[0]), whole.crs)


def _metres(bounds: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.1f}" for value in bounds)


def bit_field(
    name: str, description: str, offset: int, length: int, classes: Mapping[int, tuple[str, str]]
) -> dict[str, Any]:
    """Return a bit field of the classification extension; classes are name and description by value."""
    described = [_class(value, *words) for value, words in classes.items()]
    return {"name": name, "description": description, "offset": offset, "length": length, "classes": described}


def _class(value: int, name: str, description: str) -> dict[str, Any]:
    return {"value": value, "name": name, "description": description}
