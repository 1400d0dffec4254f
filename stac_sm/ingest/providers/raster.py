"""Raster series of one's own: GeoTIFFs with a date in their names, and CF NetCDF files.

What the other providers know of their files, the user says: variable, unit, where the date stands, scale and nodata.
These settings are kept in the project file as ``[sources.ID]``, and ID is the collection. Values are stored as float32
in the unit that is named, so that every reader gets them without a scale. `registry` finds these sources by their
field ``source``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyproj
from affine import Affine

from stac_sm.core.asset_file import AssetFile
from stac_sm.core.errors import GranuleError, InputError
from stac_sm.core.fingerprint import digest
from stac_sm.core.grid import make_geobox
from stac_sm.core.period import Period, utc_instant
from stac_sm.core.projections import crs_wkt, projection_properties
from stac_sm.core.variables import VARIABLES, VOLUMETRIC, Variable, canonical_unit
from stac_sm.ingest.formats.cf_grid import LONGEST, CfSeries, cf_series
from stac_sm.ingest.formats.geotiff import geotiff_rank, open_geotiff
from stac_sm.ingest.formats.name_dates import NamePattern
from stac_sm.ingest.formats.netcdf import describe_variables, open_netcdf, unpack_values
from stac_sm.ingest.provider_interface import Granule, ScannedFile
from stac_sm.ingest.rank import Rank, time_digits
from stac_sm.raster.cog import CogProfile, verified_asset
from stac_sm.raster.mosaic_cog import write_cog_by_rows
from stac_sm.stac.items import COG_MEDIA_TYPE, ItemDict, check_id, raster_asset, raster_item

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

STATIC = "static"
STATIC_PERIOD = Period.parse("1900/2099")
"""Days of an item that counts on every day."""

_EVERYWHERE = (-180.0, -90.0, 180.0, 90.0)
_NETCDF = (".nc", ".nc4", ".cdf")
_STRIP = 1 << 24  # pixels that are in memory at a time
_PHYSICAL = (-0.05, 1.05)  # m3 m-3: retrievals may lie a little outside 0 to 1
_PROFILE = CogProfile()

Strips = Callable[[], Iterator[np.ndarray]]
"""float32 (y, x), NaN where there is no value: all rows of a field from north to south, some at a time."""


@dataclass(frozen=True)
class FieldLayer:
    """One field as an asset, read and written some rows at a time."""

    variable: Variable
    """Name, unit and meaning."""

    strips: Strips
    """Reads it."""

    geobox: GeoBox
    """Where its pixels lie."""

    def write(self, stem: Path) -> AssetFile:
        """Write a COG, decode it again, and describe it."""
        file = stem.with_name(stem.name + ".tif")
        write_cog_by_rows(self.strips(), file, geobox=self.geobox, profile=_PROFILE)
        return verified_asset(file, raster_asset(self.variable, dtype="float32", nodata=_PROFILE.nodata))


@dataclass(frozen=True)
class Field:
    """One field of a file."""

    period: Period
    """Days that it stands for."""

    strips: Strips
    """Reads it."""


@dataclass(frozen=True)
class Raster:
    """A series of rasters: the settings that ``stac-sm ingest raster`` takes as options."""

    id: str
    """Id of the collection, by which the source is named, too."""

    variable: str
    """Name of the variable: in a NetCDF file, of the asset and of the band."""

    unit: str
    """Unit of the values once the file's own scale, then ``scale`` and ``offset`` were applied."""

    source: str = "raster"
    """Says what kind of source a table of the project file describes."""

    datetime: str = ""
    """Where the date stands in file names, as for ``strftime``: ``%Y%j``."""

    period: str = ""
    """``static``, or the days for which every file stands; takes the place of ``datetime``."""

    days: int = 0
    """Number of days that a file or field counts from its date on (composites); 0: as the date or time axis says."""

    scale: float = 1.0
    """Value = value of the file, by its own scale and offset, x scale + offset."""

    offset: float = 0.0
    """See ``scale``."""

    nodata: tuple[float, ...] = ()
    """Stored values without data, beside the ones that the file states itself."""

    crs: str = ""
    """CRS of files that state none."""

    band: int = 0
    """Number of the band, from 1, in a GeoTIFF of several; 0: the only one."""

    title: str = ""
    """Title of the collection."""

    license: str = "other"
    """SPDX identifier; with an open licence the collection may be given to anybody."""

    patterns: ClassVar[tuple[str, ...]] = ("*.tif", "*.tiff", "*.TIF", "*.TIFF", "*.nc", "*.nc4", "*.cdf")
    selecting: ClassVar[tuple[str, ...]] = ("title", "license", "source")
    """Settings that change no item."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "nodata", tuple(float(value) for value in self.nodata))
        where = f"[sources.{self.id}]"
        check_id(self.id)
        if not re.fullmatch(r"[A-Za-z_]\w*", self.variable):
            raise InputError(f"{where} variable: found {self.variable!r}, letters, digits and _ are required")
        if not self.unit.strip():
            raise InputError(f"{where} unit: found nothing, a unit is required, e.g. 'm3 m-3', or '1' for none")
        if self.source != "raster":
            raise InputError(f"{where} source: found {self.source!r}, 'raster' is required")
        if not np.isfinite([self.scale, self.offset]).all() or self.scale == 0:
            raise InputError(f"{where}: scale {self.scale}, offset {self.offset} found; finite, scale not 0, required")
        if not 0 <= self.days <= LONGEST or self.band < 0:
            raise InputError(f"{where}: days {self.days}, band {self.band} found; 0 to {LONGEST} days are required")
        if self.datetime:
            _ = self._pattern  # says what is wrong with it
        if self.datetime and self.period:
            raise InputError(f"{where}: both datetime and period found, one of them is required")
        if self.days and (self.period or (self.datetime and not self._by_day)):
            raise InputError(f"{where}: days = {self.days} found without a day from which to count: leave it out")
        if self.period not in ("", STATIC):
            Period.parse(self.period)
        if self.crs:
            _known_crs(self.crs, where)
        self._check_unit(where)

    def _check_unit(self, where: str) -> None:
        """Refuse a unit that is not the one of a variable that has its own: percent in place of m3 m-3 above all."""
        known = VARIABLES.get(self.variable)
        if known is None or canonical_unit(self.unit) == canonical_unit(known.unit):
            return
        what = f"{where} unit: {self.variable} in {self.unit!r} found, {known.unit} required"
        if known.unit == VOLUMETRIC and canonical_unit(self.unit) == "%":
            raise InputError(
                f"{what}: percent by volume is converted by --scale 0.01 --unit {VOLUMETRIC!r}; percent of saturation "
                "is another quantity: give it another variable name"
            )
        raise InputError(f"{what}: convert it by scale and offset, or give it another variable name")

    @property
    def collection(self) -> str:
        """Id of the STAC collection."""
        return self.id

    @cached_property
    def _pattern(self) -> NamePattern | None:
        return NamePattern(self.datetime) if self.datetime else None

    @property
    def _by_day(self) -> bool:
        return "%d" in self.datetime or "%j" in self.datetime

    @property
    def layout(self) -> str:
        """Folders of the items: a search by day looks into the folder of the day on which an item begins."""
        if self.period:
            return "flat"
        by_month = self._by_day or "%m" in self.datetime or "%b" in self.datetime
        return "year/month" if by_month else "year"

    def collection_document(self) -> dict[str, Any]:
        """Return the JSON of the collection, as it is before it has an item."""
        variable = self._variable
        band = {"name": variable.name, "unit": variable.unit, "data_type": "float32", "nodata": _PROFILE.nodata}
        days = STATIC_PERIOD if self.period == STATIC else Period.parse(self.period) if self.period else None
        title = self.title or f"{self.variable} of {self.id}"
        return {
            "type": "Collection",
            "stac_version": "1.1.0",
            "stac_extensions": ["https://stac-extensions.github.io/raster/v2.0.0/schema.json"],
            "id": self.id,
            "title": title,
            "description": f"{title}: a raster series that was ingested by `stac-sm ingest raster`. Values are those "
            f"of its files in {variable.unit}, on their own grid.",
            "license": self.license,
            "keywords": [self.variable, "raster series"],
            "extent": {
                "spatial": {"bbox": [list(_EVERYWHERE)]},
                "temporal": {"interval": [[f"{days.start}T00:00:00Z" if days else "1900-01-01T00:00:00Z", None]]},
            },
            "item_assets": {
                self.variable: {
                    "title": variable.description,
                    "type": COG_MEDIA_TYPE,
                    "roles": ["data"],
                    "bands": [{**band, "raster:sampling": "area"}],
                }
            },
            "stac_sm:layout": self.layout,
            "summaries": {"bands": [band]},
            "links": [
                {"rel": rel, "href": "../catalog.json", "type": "application/json", "title": "Project"}
                for rel in ("root", "parent")
            ],
        }

    def scan(self, file: Path) -> ScannedFile:
        """Return one item a field. All values are read once, so that what cannot be right stops the file."""
        with self._open(file) as (geobox, fields, rank):
            kept, empty = list[Field](), list[Field]()
            for field in fields:
                (kept if self._has_values(file, field) else empty).append(field)
        if not kept:
            raise GranuleError(f"{file}: no pixel with a value found: is nodata right, or the file empty?")
        notes = (f"left out {', '.join(str(one.period) for one in empty)}: no pixel has a value",) if empty else ()
        return ScannedFile([self._granule(geobox, field, rank) for field in kept], notes)

    def claims(self, file: Path) -> list[str]:
        """Return the ids of the items of a file, by its header and its name."""
        with self._open(file) as (geobox, fields, _):
            return [self._item_id(geobox, field.period) for field in fields]

    def _granule(self, geobox: GeoBox, field: Field, rank: Rank) -> Granule:
        item: ItemDict = raster_item(
            id=self._item_id(geobox, field.period),
            collection=self.id,
            geobox=geobox,
            start=utc_instant(field.period.start),
            end=utc_instant(field.period.end),
        )
        return Granule(item, {self.variable: FieldLayer(self._variable, field.strips, geobox)}, rank)

    @property
    def _variable(self) -> Variable:
        known = VARIABLES.get(self.variable)
        unit = canonical_unit(self.unit)
        about = known.description if known is not None else f"{self.variable} of {self.id}"
        return Variable(self.variable, unit, about, (-np.inf, np.inf), static=self.period == STATIC)

    def _item_id(self, geobox: GeoBox, period: Period) -> str:
        """Return the id of an item: collection, days, and the grid, since one day may have several files."""
        return f"{self.id}.{_days_id(period)}.{_grid_id(geobox)}"

    def _open(self, file: Path) -> AbstractContextManager[tuple[GeoBox, list[Field], Rank]]:
        return self._open_netcdf(file) if file.suffix.lower() in _NETCDF else self._open_geotiff(file)

    def _stated_period(self, file: Path) -> Period:
        """Return the days that settings or file name state."""
        if self.period:
            return STATIC_PERIOD if self.period == STATIC else Period.parse(self.period)
        if self._pattern is None:
            raise GranuleError(
                f"{file}: its date is not known, one required: say where it stands in the name (--datetime '%Y%j'), or "
                "for which days the file stands (--period static, --period 2018)"
            )
        found = self._pattern.period_of(file)
        return Period(found.start, found.widened(self.days - 1).end) if self.days else found

    @contextmanager
    def _open_geotiff(self, file: Path) -> Iterator[tuple[GeoBox, list[Field], Rank]]:
        period = self._stated_period(file)
        with open_geotiff(str(file)) as data:
            count, affine, shape, stated = data.count, data.transform, data.shape, data.crs
            scales = data.scales
        if self.band > count or (count > 1 and not self.band):
            raise GranuleError(
                f"{file}: {count} bands found, {f'band {self.band}' if self.band else 'one'} expected: name one by "
                "--band"
            )
        if affine.b or affine.d or affine.a <= 0 or not affine.e:
            raise GranuleError(
                f"{file}: transform {tuple(affine)[:6]} found, rows along x and columns along y expected: warp it by "
                "gdalwarp"
            )
        self._check_scale(file, scales[max(self.band, 1) - 1])
        upside_down = affine.e > 0
        if upside_down:
            affine = Affine(affine.a, 0, affine.c, 0, -affine.e, affine.f + affine.e * shape[0])
        geobox = make_geobox(shape, affine, self._crs_of(file, None if stated is None else stated.to_wkt()))
        _check_longitudes(file, geobox)
        strips = partial(self._geotiff_strips, file, upside_down)
        yield geobox, [Field(period, strips)], geotiff_rank(str(file))

    def _crs_of(self, file: Path, stated: str | None) -> str:
        if stated is None and not self.crs:
            raise GranuleError(f"{file}: no CRS found, one required: name it by --crs, e.g. EPSG:4326 or a PROJ string")
        found = crs_wkt(stated or self.crs)
        authority = pyproj.CRS.from_user_input(found).to_authority(min_confidence=100)
        return ":".join(authority) if authority and authority[0] == "EPSG" else found

    def _geotiff_strips(self, file: Path, upside_down: bool) -> Iterator[np.ndarray]:
        with open_geotiff(str(file)) as data:
            band, (height, width) = self.band or 1, data.shape
            for top, end in _rows(height, width):
                first, last = (height - end, height - top) if upside_down else (top, end)
                stored = data.read(band, window=((first, last), (0, width)), masked=True)
                values = np.ma.getdata(stored) * data.scales[band - 1] + data.offsets[band - 1]
                missing = np.ma.getmaskarray(stored) | _is_any(np.ma.getdata(stored), self.nodata)
                found = self._converted(values, missing)
                yield found[::-1] if upside_down else found

    @contextmanager
    def _open_netcdf(self, file: Path) -> Iterator[tuple[GeoBox, list[Field], Rank]]:
        with open_netcdf(file) as data:
            arrays = describe_variables(data, file)
            series = cf_series(arrays, self.variable, file, crs=self.crs, days=self.days)
            stated: Mapping[str, Any] = arrays[self.variable].attributes
            rank = Rank(produced=time_digits(str(getattr(data, "date_created", ""))))
        self._check_scale(file, float(stated.get("scale_factor", 1.0)))
        if canonical_unit(str(stated.get("units", ""))) == "%" != canonical_unit(self.unit) and not self._converts:
            raise GranuleError(
                f"{file}: {self.variable} in percent found, {self.unit!r} expected: add --scale 0.01 where it is "
                "percent by volume, or --unit '%'"
            )
        fields = [
            Field(period, partial(self._netcdf_strips, file, series, step))
            for step, period in enumerate(self._periods(file, series))
        ]
        yield series.grid.geobox, fields, rank

    def _periods(self, file: Path, series: CfSeries) -> Sequence[Period]:
        """Return the days of the fields: of one field the settings count, of several the time axis."""
        if len(series.periods) > 1 or (self._pattern is None and not self.period):
            if self.period:
                raise GranuleError(
                    f"{file}: {len(series.periods)} times found, one field expected for --period {self.period}: leave "
                    "--period out, or select one"
                )
            if not series.periods:
                raise GranuleError(
                    f"{file}: no time axis found, one required: say where the date stands in the name (--datetime "
                    "'%Y%j'), or for which days the file stands (--period static, --period 2018)"
                )
            return series.periods
        stated = self._stated_period(file)
        if series.periods and not self.period and not stated.overlaps(series.periods[0]):
            raise GranuleError(
                f"{file}: its name says {stated}, its time {series.periods[0]}: one of the two is wrong; correct "
                "--datetime or the file"
            )
        return [stated]

    def _netcdf_strips(self, file: Path, series: CfSeries, step: int) -> Iterator[np.ndarray]:
        rows, columns = series.grid.rows, series.grid.columns
        with open_netcdf(file) as data:
            variable = data[self.variable]
            for top, end in _rows(rows.size, columns.size):
                own = rows[top:end]
                index = series.index(step, slice(int(own.min()), int(own.max()) + 1))
                values = unpack_values(variable, index)
                missing = np.isnan(values)
                if self.nodata:
                    variable.set_auto_maskandscale(False)
                    missing |= _is_any(np.asarray(variable[index]), self.nodata)
                    variable.set_auto_maskandscale(True)
                found = self._converted(values, missing)
                yield np.ascontiguousarray(found[np.ix_(own - own.min(), columns)])

    def _converted(self, values: np.ndarray, missing: Any) -> np.ndarray:
        if self._converts:
            values = values.astype(np.float64) * self.scale + self.offset
        found = values.astype(np.float32)
        found[missing] = np.nan
        return found

    @property
    def _converts(self) -> bool:
        return (self.scale, self.offset) != (1.0, 0.0)

    def _check_scale(self, file: Path, scale: float) -> None:
        """Refuse a scale that the file applies itself already: applied twice, values would look almost right."""
        if scale != 1.0 and np.isclose(scale, self.scale, rtol=1e-6, atol=0):
            raise GranuleError(
                f"{file}: it states the scale {scale:g} itself, and --scale {self.scale:g} would apply it again: leave "
                "--scale out"
            )

    def _has_values(self, file: Path, field: Field) -> bool:
        """Return whether a field has a value; refuse soil moisture that cannot be m3 m-3."""
        low, high = np.inf, -np.inf
        for strip in field.strips():
            if np.isfinite(strip).any():
                low, high = min(low, float(np.nanmin(strip))), max(high, float(np.nanmax(strip)))
            if np.isinf(strip).any():
                raise GranuleError(f"{file}: infinite values found, numbers expected: name their code by --nodata")
        outside = low < _PHYSICAL[0] or high > _PHYSICAL[1]
        if canonical_unit(self.unit) == VOLUMETRIC and low <= high and outside:
            raise GranuleError(
                f"{file}: {self.variable} from {low:g} to {high:g} found, 0 to 1 {VOLUMETRIC} expected: name codes for "
                "no data by --nodata, and convert percent by volume by --scale 0.01"
            )
        return low <= high


def _rows(height: int, width: int) -> Iterator[tuple[int, int]]:
    """Yield first row and row after the last of strips that fit into memory; whole blocks of a COG."""
    step = max(512, _STRIP // width // 512 * 512)
    for top in range(0, height, step):
        yield top, min(top + step, height)


def _is_any(stored: np.ndarray, codes: Sequence[float]) -> np.ndarray:
    """Return which stored values are one of some codes, in the precision in which they are stored."""
    found = np.zeros(stored.shape, dtype=bool)
    for code in codes:
        found |= stored == (np.asarray(code).astype(stored.dtype) if stored.dtype.kind == "f" else code)
    return found


def _days_id(period: Period) -> str:
    if period == STATIC_PERIOD:
        return STATIC
    for form in ("%Y", "%Y-%m"):
        if period == Period.parse(f"{period.start:{form}}"):
            return f"A{period.start:{form}}"
    first = f"A{period.start:%Y%j}"
    return first if len(period) == 1 else f"{first}-{len(period)}d"


def _grid_id(geobox: GeoBox) -> str:
    stated = projection_properties(geobox)
    place = [round(value, 9) for value in stated["proj:transform"]]
    digits = digest([stated["proj:code"] or crs_wkt(stated["proj:wkt2"]), stated["proj:shape"], place])[:8]
    return "".join(chr(ord("a") + int(digit, 16)) for digit in digits)  # no digits: they could be taken for a day


def _known_crs(text: str, where: str) -> None:
    try:
        pyproj.CRS.from_user_input(text)
    except pyproj.exceptions.CRSError as error:
        raise InputError(f"{where} crs: found {text!r}, which is no CRS; write e.g. 'EPSG:6933'") from error


def _check_longitudes(file: Path, geobox: GeoBox) -> None:
    """Refuse longitudes from 0 to 360, whose eastern half no reader would find."""
    if geobox.crs is None or not geobox.crs.geographic:
        return
    box, pixel = geobox.boundingbox, geobox.affine.a
    if box.left < -180 - pixel or box.right > 180 + pixel:
        raise GranuleError(
            f"{file}: longitudes from {box.left:g} to {box.right:g} found, -180 to 180 expected: turn it, e.g. by "
            "gdalwarp -t_srs EPSG:4326 --config CENTER_LONG 0"
        )
