"""ERA5-Land: soil water, soil temperature and snow of NetCDF, GRIB and Zarr to daily UTC means."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from stac_sm.core.errors import GranuleError
from stac_sm.core.fingerprint import digest
from stac_sm.core.period import Period, utc_instant
from stac_sm.core.variables import VARIABLES
from stac_sm.ingest.formats.hourly import HourlyFields
from stac_sm.ingest.provider_interface import Granule, RasterLayer, ScannedFile
from stac_sm.ingest.providers.era5_grib import open_era5_grib
from stac_sm.ingest.providers.era5_netcdf import open_era5_netcdf
from stac_sm.ingest.providers.era5_zarr import open_era5_zarr
from stac_sm.raster.cog import CogProfile
from stac_sm.stac.items import raster_item
from stac_sm.storage.http.documents import FileUrl, fetch_file

REQUIRED_VARIABLES = ("swvl1", "stl1", "sd")
_GRIB = (".grb", ".grib", ".grb2", ".grib2")


@dataclass(frozen=True)
class Era5Land:
    """Files and stores of ERA5-Land with one or more hours of each day."""

    min_hours: int = 24
    """Least number of hours in a daily mean; days with fewer are left out and counted. 1 for daily means."""

    period: str | None = None
    """Days that are taken, e.g. ``2018-06-01/2018-08-31``; all unless told."""

    bbox: Sequence[float] | None = None
    """West, south, east, north in degrees: part that is taken of a Zarr store; all unless told."""

    collection: str = "era5-land"
    """Id of the STAC collection."""

    patterns: tuple[str, ...] = ("*.nc", "*.zarr", *(f"*{suffix}" for suffix in _GRIB))
    """Names of its files; a folder that ends with ``.zarr`` is one of them."""

    selecting: ClassVar[tuple[str, ...]] = ("period", "bbox")
    """Settings that say which items are made, and change none of them."""

    def scan(self, file: Path) -> ScannedFile:
        """One item a day that has enough hours."""
        if file.is_dir():
            return self._scan(open_era5_zarr(file, REQUIRED_VARIABLES, self._period, self.bbox))
        return self._scan((open_era5_grib if file.suffix in _GRIB else open_era5_netcdf)(file, REQUIRED_VARIABLES))

    def scan_url(self, url: FileUrl) -> ScannedFile:
        """As ``scan``, of a Zarr store at an address."""
        return self._scan(open_era5_zarr(url, REQUIRED_VARIABLES, self._period, self.bbox))

    def parts(self, file: Path) -> Sequence[Path]:
        """The file; of a Zarr store the folder, then everything in it."""
        return [file, *sorted(file.rglob("*"))] if file.is_dir() else [file]

    def url_checksum(self, url: FileUrl) -> str:
        """SHA-256 of what a store says about itself, but for its size: days that are added leave others as they are.

        Values that the provider revises are not noticed.
        """
        for name in (".zmetadata", "zarr.json"):
            try:
                return digest(_without_shapes(json.loads(fetch_file(FileUrl(f"{url}/{name}")))))
            except GranuleError as error:
                if getattr(error.__cause__, "code", None) != 404:
                    raise
                missing = error
            except ValueError as error:
                raise GranuleError(f"{url}/{name}: no JSON found ({error}): is it a Zarr store?") from error
        raise GranuleError(f"{url}: no .zmetadata and no zarr.json found, a Zarr store wanted ({missing})") from missing

    @property
    def _period(self) -> Period | None:
        return None if self.period is None else Period.parse(self.period)

    def _scan(self, hourly: HourlyFields) -> ScannedFile:
        days = {day: at for day, at in hourly.days().items() if self._period is None or day in self._period}
        enough = {day: hours for day, hours in days.items() if len(hours) >= self.min_hours}
        if not enough:
            most = max((len(hours) for hours in days.values()), default=0)
            raise GranuleError(
                f"{hourly.file}: at most {most} hours a day found, {self.min_hours} wanted: "
                f"if that is all there is, set min_hours = {most} under [sources.era5-land]"
            )
        left = len(days) - len(enough)
        notes = (f"{left} days left out: fewer than {self.min_hours} hours",) if left else ()
        return ScannedFile(self._granules(hourly, enough), notes)

    def _granules(self, hourly: HourlyFields, days: dict[date, np.ndarray]) -> Iterator[Granule]:
        geobox = hourly.grid.geobox
        for day, hours in days.items():
            item = raster_item(
                id=f"ERA5L.A{day:%Y%j}.{hourly.grid.name}",
                collection=self.collection,
                geobox=geobox,
                start=utc_instant(day),
                end=utc_instant(Period.of_day(day).end),
                properties={"stac_sm:hours": len(hours)},
            )
            layers = {
                name: RasterLayer(VARIABLES[name], partial(hourly.mean, name, hours), geobox, CogProfile())
                for name in hourly.units
            }
            yield Granule(item, dict(layers))


def _without_shapes(document: Any) -> Any:
    if isinstance(document, dict):
        return {key: _without_shapes(value) for key, value in document.items() if key != "shape"}
    return [_without_shapes(value) for value in document] if isinstance(document, list) else document
