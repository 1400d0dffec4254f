"""ESA CCI and C3S soil moisture: daily COMBINED and PASSIVE images on the 0.25 degree grid, global or cut out.

The pipeline of ingest scans each NetCDF file here. Which series and product a file holds is taken from its attributes,
and from its name where they say nothing; each has a collection of its own. ACTIVE is in percent of saturation and is
refused. Triple collocation and the validation read the items.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from stac_sm.core.errors import GranuleError
from stac_sm.core.period import Period, utc_instant
from stac_sm.core.variables import VARIABLES, Variable
from stac_sm.ingest.file_content import FileContent
from stac_sm.ingest.formats.field_arrays import field_time_axis
from stac_sm.ingest.formats.latlon_grid import RegularGrid, coordinate
from stac_sm.ingest.formats.name_dates import named_day
from stac_sm.ingest.formats.netcdf import describe_variables, open_netcdf, packing_problem, unpack_values
from stac_sm.ingest.provider_interface import Download, Granule, RasterLayer, Recognition, ScannedFile, has_name_of
from stac_sm.ingest.rank import Rank, time_digits
from stac_sm.raster.cog import CogProfile
from stac_sm.stac.items import raster_item

_SM, _UNCERTAINTY = "sm", "sm_uncertainty"
_SAYING = ("title", "id", "project")
"""Attributes that say which series and product a file holds."""

_UNITS = ("m3 m-3", "m3/m3", "m3.m-3", "m^3 m^-3", "m**3 m**-3", "1")


@dataclass(frozen=True)
class _Product:
    """A daily product, and how its items are named."""

    collection: str
    """Id of its collection."""

    item: str
    """Start of the ids of its items."""

    assets: str
    """Start of the keys of its assets."""

    title: str
    """What people call it."""

    def variable(self, name: str) -> Variable:
        """Return the quantity of a variable of the files, under the key of its asset."""
        kind = VARIABLES[f"cci_{name}"]
        if self.item == _COMBINED.item:
            return kind
        what = "Standard error of the soil moisture" if name == _UNCERTAINTY else "Soil moisture"
        return replace(kind, name=f"{self.assets}_{name}", description=f"{what} of {self.title}")


_COMBINED = _Product("esa-cci-sm", "CCISM", "cci", "ESA CCI, combined product")
_PRODUCTS = {
    ("ESA CCI", "COMBINED"): _COMBINED,
    ("ESA CCI", "PASSIVE"): _Product("esa-cci-sm-passive", "CCIPASSIVE", "cci", "ESA CCI, passive product"),
    ("C3S", "COMBINED"): _Product("c3s-sm", "C3SSM", "c3s", "C3S, combined product"),
    ("C3S", "PASSIVE"): _Product("c3s-sm-passive", "C3SPASSIVE", "c3s", "C3S, passive product"),
}


@dataclass(frozen=True)
class EsaCci:
    """Images ``ESACCI-SOILMOISTURE-L3S-SSMV-COMBINED-YYYYMMDD000000-fvVV.V.nc``, PASSIVE, and those of C3S.

    Of several versions of a day the newest stays: one item a day, or match-ups would count it twice.
    """

    collection: str = _COMBINED.collection
    """Id of the STAC collection of the COMBINED product of ESA CCI."""

    patterns: tuple[str, ...] = ("ESACCI-SOILMOISTURE-L3S-SSM*.nc", "C3S-SOILMOISTURE-L3S-SSM*.nc")
    """Names of its files."""

    downloads: ClassVar[tuple[Download, ...]] = tuple(
        Download(
            product, collection, (_SM, _UNCERTAINTY, "flag"), login, pixels=720 * 1440, bytes_a_pixel=9,
            whole_earth=True,
        )
        for product, collection, login in (
            ("ESA CCI soil moisture, COMBINED, daily", "esa-cci-sm", "registration"),
            ("ESA CCI soil moisture, PASSIVE, daily", "esa-cci-sm-passive", "registration"),
            ("C3S soil moisture, COMBINED, daily", "c3s-sm", "account of the Climate Data Store"),
            ("C3S soil moisture, PASSIVE, daily", "c3s-sm-passive", "account of the Climate Data Store"),
        )
    )  # fmt: skip
    """What to download."""

    def scan(self, file: Path) -> ScannedFile:
        """Return one item a day; a file of the provider has one. A day without any value is left out and named."""
        with open_netcdf(file) as data:
            product, told = self._product(file, _said(data))
            _check_names(file, data)
            grid, days, order = _axes(file, data)
            _check_day(file, days)
            said = f"{_said(data)} {file.name}"
            rank = _rank(file.name, said, str(getattr(data, "product_version", "")), _created(data))
            values = {_SM: _unflagged(data, _SM, order, grid)}
            _check_values(file, values[_SM], _SM)
            lost = {}
            if _UNCERTAINTY in data.variables:
                try:
                    _check_like_sm(file, data, _UNCERTAINTY)
                    values[_UNCERTAINTY] = _unflagged(data, _UNCERTAINTY, order, grid)
                    _check_values(file, values[_UNCERTAINTY], _UNCERTAINTY)
                except GranuleError as error:  # of the error, not of the soil moisture
                    values.pop(_UNCERTAINTY, None)
                    lost[product.variable(_UNCERTAINTY).name] = str(error).removeprefix(f"{file}: ")
        seen = [index for index in range(len(days)) if not np.isnan(values[_SM][index]).all()]
        empty = [str(day) for index, day in enumerate(days) if index not in seen]
        notes = (f"left out {', '.join(empty)}: no pixel has a value without a flag",) if empty else ()
        images = [(days[index], {key: found[index] for key, found in values.items()}) for index in seen]
        granules = [replace(_granule(product, rank, day, grid, image), lost=lost) for day, image in images]
        return ScannedFile(granules, (*told, *notes))

    def claims(self, file: Path) -> list[str]:
        """Return the ids of the items of a file: its days on its grid."""
        with open_netcdf(file) as data:
            product, _ = self._product(file, _said(data))
            _check_names(file, data)
            grid, days, _ = _axes(file, data)
        return [_item_id(product, day, grid) for day in days]

    def recognises(self, content: FileContent) -> Recognition | None:
        """Return whether a file has soil moisture and its flags as the products have them, or only the name of one."""
        title = "ESA CCI or C3S soil moisture"
        if not ({_SM, "flag", "time"} <= set(content.variables) and content.is_field(_SM)):
            return Recognition(title, by_name=True) if has_name_of(self, content.file) else None
        try:
            product, _ = self._product(content.file, " ".join(str(content.attributes.get(key, "")) for key in _SAYING))
        except GranuleError as error:
            return Recognition(title, refusal=str(error).removeprefix(f"{content.file}: "))
        return Recognition(f"soil moisture of {product.title}")

    def rank_of(self, name: str) -> Rank:
        """Return the rank by the name of a file."""
        return _rank(name, name)

    def _product(self, file: Path, inside: str) -> tuple[_Product, tuple[str, ...]]:
        """Return the product of a file, and a note where its name says another one.

        The attributes ``title``, ``id`` and ``project`` count first, then the name.

        Raises
        ------
        GranuleError
            If it is ACTIVE, a mean of more days than one, or neither attributes nor name say what it is.
        """
        name = file.name
        kind, named = _kind(inside) or _kind(name), _kind(name)
        series = _series(inside) or _series(name)
        if kind is None or series is None:
            raise GranuleError(
                f"{file}: found neither series and product in its title, id and name, expected ESA CCI or C3S, "
                "COMBINED or PASSIVE: name it as the provider does"
            )
        if kind == "ACTIVE":
            raise GranuleError(
                f"{file}: found ACTIVE, which is in percent of saturation, expected soil moisture in m3 m-3: take "
                "COMBINED or PASSIVE"
            )
        means = re.search(r"(DEKADAL|MONTHLY|YEARLY)", f"{inside} {name}")
        if means or (series, kind) not in _PRODUCTS:
            found = f"{means[1].lower()} means" if means else f"the product {kind}"
            raise GranuleError(f"{file}: found {found}, expected daily images of COMBINED or PASSIVE: leave it out")
        product = _PRODUCTS[series, kind]
        if product is _COMBINED:
            product = replace(product, collection=self.collection)
        other = [found for found in (named, _series(name)) if found not in (None, kind, series)]
        note = f"its attributes say {series} {kind}, its name {' '.join(other)}: ingested as {series} {kind}"
        return product, (note,) if other else ()


def _said(data: Any) -> str:
    """Return what a file says about its series and product."""
    return " ".join(str(getattr(data, name, "")) for name in _SAYING)


def _kind(text: str) -> str | None:
    """Return the product that a text names: ``COMBINED``, ``PASSIVE``, ``ACTIVE``, ``COMBINED_ADJUSTED``."""
    found = [match[0] for match in re.finditer(r"(?<![A-Z_])(COMBINED|PASSIVE|ACTIVE)(_[A-Z]+)?(?![A-Za-z])", text)]
    return max(found, key=len, default=None)


def _series(text: str) -> str | None:
    """Return the series that a text names."""
    found = {"C3S": r"C3S|Copernicus Climate Change", "ESA CCI": r"ESA.?CCI|Climate Change Initiative"}
    return next((series for series, pattern in found.items() if re.search(pattern, text)), None)


def _granule(product: _Product, rank: Rank, day: date, grid: RegularGrid, values: dict[str, np.ndarray]) -> Granule:
    version = ".".join(str(number) for number in rank.version)
    item = raster_item(
        id=_item_id(product, day, grid),
        collection=product.collection,
        geobox=grid.geobox,
        start=utc_instant(day),
        end=utc_instant(Period.of_day(day).end),
        properties={"version": version} if version else {},
        extensions=["version"] if version else [],
    )
    variables = {key: product.variable(key) for key in values}
    layers = {
        variables[key].name: RasterLayer(variables[key], partial(np.copy, image), grid.geobox, CogProfile())
        for key, image in values.items()
    }
    return Granule(item, dict(layers), rank)


def _item_id(product: _Product, day: date, grid: RegularGrid) -> str:
    return f"{product.item}.A{day:%Y%j}.{grid.name}"


def _axes(file: Path, data: Any) -> tuple[RegularGrid, list[date], Sequence[str]]:
    """Return grid and days of a file, and the names of its dimensions in the order time, latitude, longitude."""
    latitude, longitude = (coordinate(data["sm"].dimensions, start, file) for start in ("lat", "lon"))
    grid = RegularGrid.of(unpack_values(data[latitude]), unpack_values(data[longitude]), file)
    time = field_time_axis(file, describe_variables(data, file), "sm")
    if time is None or time.dims != ("time",):
        raise GranuleError(
            f"{file}: found no instants along time, expected one a day (standard name `time`): is it CCI?"
        )
    days = [date.fromisoformat(str(day)) for day in time.times.astype("datetime64[D]")]
    return grid, days, ("time", latitude, longitude)


def _rank(name: str, said: str, version: str = "", produced: str = "") -> Rank:
    """Return the rank of a file.

    Parameters
    ----------
    name
        Of the file: (8, 1) of ``-fv08.1.nc``, (202012, 0, 0) of ``-TCDR-v202012.0.0.nc``.
    said
        What it says about itself: C3S calls final data TCDR, preliminary data ICDR.
    version
        Version in its attributes, where the name has none.
    produced
        Production stamp.
    """
    match = re.search(r"-f?v(\d+(?:\.\d+)+)\.nc$", name) or re.fullmatch(r"v?(\d+(?:\.\d+)*)", version)
    record = re.search(r"-(TCDR|ICDR)-", said)
    numbers = tuple(int(number) for number in match[1].split(".")) if match else ()
    return Rank(numbers, record[1] == "TCDR" if record else None, produced)


def _created(data: Any) -> str:
    """Return the digits of the time of production that a file states; empty where it states none, or something else."""
    return time_digits(str(getattr(data, "date_created", "")))


def _unflagged(data: Any, name: str, order: Sequence[str], grid: RegularGrid) -> np.ndarray:
    """Read values (time, y, x), m3 m-3, float32; NaN where not seen or where any flag is raised."""
    if problem := packing_problem(data["flag"]):
        raise GranuleError(f"{data.filepath()}: {problem}")
    flag = np.ma.filled(np.ma.asarray(data["flag"][...]).astype(np.int64), -1)
    clear = np.where(flag == 0, unpack_values(data[name]), np.nan)
    images = clear.transpose([data[name].dimensions.index(dimension) for dimension in order])
    return np.stack([grid.north_up(image) for image in images]).astype(np.float32)


def _check_names(file: Path, data: Any) -> None:
    required = ("sm", "flag", "time")
    if any(name not in data.variables for name in required) or "time" not in data["sm"].dimensions:
        found = ", ".join(sorted(data.variables))
        raise GranuleError(f"{file}: found the variables {found}, expected sm and flag on time, lat, lon: is it CCI?")
    alike = {data[name].dimensions for name in ("sm", "flag")}
    if len(alike) != 1 or data["sm"].ndim != 3:
        raise GranuleError(f"{file}: found the dimensions {alike}, expected time, lat, lon for sm and flag: is it CCI?")
    _check_like_sm(file, data, "sm")


def _check_like_sm(file: Path, data: Any, name: str) -> None:
    """Check that a variable is on the axes of soil moisture, in its unit."""
    if data[name].dimensions != data["sm"].dimensions:
        raise GranuleError(f"{file}: {name} has the dimensions {data[name].dimensions}, expected those of sm")
    unit = str(getattr(data[name], "units", ""))
    if unit and unit not in _UNITS:
        raise GranuleError(f"{file}: {name} in {unit!r} found, 'm3 m-3' expected: is it ACTIVE, in percent?")


def _check_values(file: Path, values: np.ndarray, key: str) -> None:
    low, high = VARIABLES[f"cci_{key}"].valid
    if not np.isnan(values).all() and not (np.nanmin(values) >= low and np.nanmax(values) <= high):
        found = f"{np.nanmin(values):g} to {np.nanmax(values):g}"
        raise GranuleError(f"{file}: {key} from {found} found, {low:g} to {high:g} m3 m-3 expected: fetch it again")


def _check_day(file: Path, days: list[date]) -> None:
    """Compare the days of a file with the one in its name."""
    match = re.search(r"-(\d{8})\d{6}-", file.name)
    named = named_day(file, match[1]) if match else None
    if not days or len(set(days)) < len(days) or (named is not None and days != [named]):
        found = ", ".join(map(str, days)) or "none"
        raise GranuleError(f"{file}: found the days {found} inside, expected {named or 'at least one'}: fetch it again")
