"""ERA5-Land in GRIB, edition 1 and 2, read by GDAL: its driver in rasterio's wheel decodes CCSDS as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stac_sm.core.errors import GranuleError
from stac_sm.ingest.formats.grib import MessageFacts, check_messages
from stac_sm.ingest.formats.hourly import HourlyFields, finality
from stac_sm.ingest.formats.latlon_grid import RegularGrid
from stac_sm.ingest.formats.time_axis import check_spacing, describe_grib_statistic, refusal

_ELEMENTS = {"SWVL1": "swvl1", "ST": "stl1", "STL1": "stl1", "SD": "sd"}
"""Names that GDAL has for ECMWF's table 128 of GRIB 1."""

_PARAMETERS = {("192", "128", "39"): "swvl1", ("192", "128", "139"): "stl1", ("0", "1", "254"): "sd"}
"""Discipline, category and number of ECMWF's GRIB 2."""

_PROCESS = {"8": 23, "11": 26, "12": 25}
"""Where the statistical process lies among the values of a template of GRIB 2 for a time interval, by its number."""

_UNITS = {"[m^3/m^3]": "m3/m3", "[K]": "K", "[m]": "m", "[-]": ""}
_OPTIONS = {"GRIB_NORMALIZE_UNITS": "NO"}  # or kelvin become degrees Celsius
_OPEN = {"driver": "GRIB", "USE_IDX": "NO"}  # an index beside the file may belong to another one

Bands = Mapping[tuple[str, int], Sequence[int]]
"""Numbers of the bands by variable and second, final data first."""


def open_era5_grib(file: Path, required: Sequence[str]) -> HourlyFields:
    """Open the fields of a file; reads no pixels.

    Raises
    ------
    GranuleError
        If it is no GRIB, is cut off, or holds something else.
    """
    messages = check_messages(file)
    with _opened(file) as data:
        tags = [data.tags(band) for band in data.indexes]
        if len(messages) != len(tags):  # messages of several fields
            messages = [MessageFacts("", 0, None)] * len(tags)
        statistics = {
            grib_variable(tag): what for one, tag in zip(messages, tags, strict=True) if (what := _statistic(one, tag))
        }
        refused = {name: refusal(file, name, what, "by the heads of its messages") for name, what in statistics.items()}
        main = next((name for name in required if name in {grib_variable(tag) for tag in tags}), required[0])
        if main in refused:
            raise refused[main]
        bands: dict[tuple[str, int], list[int]] = {}
        for band, tag in zip(data.indexes, tags, strict=True):
            bands.setdefault((grib_variable(tag), _second(tag)), []).append(band)
        final = [finality(message.version) for message in messages]
        for same in bands.values():
            same.sort(key=lambda band: (True, None, False).index(final[band - 1]))
        stated: dict[str, set[str]] = {}
        for tag in tags:
            stated.setdefault(grib_variable(tag), set()).add(
                _UNITS.get(tag.get("GRIB_UNIT", ""), tag.get("GRIB_UNIT", ""))
            )
        units = {name: " and ".join(sorted(found)) for name, found in stated.items()}
        grid = RegularGrid.of(*_centres(file, data), file)
    # where an hour is there twice, as in files that were joined, it is so on the time axis
    instants = [
        (second, nth) for name, second in sorted(bands) if name == main for nth in range(len(bands[name, second]))
    ]
    seconds = [second for second, _ in instants]
    found = [name for name in required if name in units]
    if not seconds or any((name, second) not in bands for name in found for second in seconds):
        held = ", ".join(sorted({tag.get("GRIB_ELEMENT", "?") for tag in tags}))
        raise GranuleError(
            f"{file}: {len(tags)} fields of {held} found, {required[0]} expected, and {', '.join(required[1:])} for "
            "the same hours or not at all: is it ERA5-Land? Variables of other hours belong into files of their own"
        )
    times = np.array(seconds, dtype="datetime64[s]")
    check_spacing(main, times, file)
    return HourlyFields(
        file=file,
        grid=grid,
        times=times,
        units={name: units[name] for name in found},
        read=partial(_read, file, bands, instants),
        final=[final[bands[main, second][nth] - 1] for second, nth in instants],
        left_out={name: str(why).removeprefix(f"{file}: ") for name, why in refused.items() if name in found},
    )


def _statistic(message: MessageFacts, tags: Mapping[str, str]) -> str:
    """Return what a message holds if it is a mean, an accumulation or another statistic over a time; else empty."""
    values = tags.get("GRIB_PDS_TEMPLATE_ASSEMBLED_VALUES", "").split()
    place = _PROCESS.get(tags.get("GRIB_PDS_PDTN", ""))
    process = int(values[place]) if place is not None and len(values) > place else None
    return describe_grib_statistic(message.stream, message.time_range, process)


def _opened(file: Path) -> Any:
    import rasterio

    try:
        with rasterio.Env(**_OPTIONS):
            return rasterio.open(file, **_OPEN)
    except rasterio.errors.RasterioError as error:
        raise _unreadable(file, error) from error


def _read(file: Path, bands: Bands, instants: Sequence[tuple[int, int]], name: str, start: int, end: int) -> np.ndarray:
    """Read values (time, latitude, longitude) of a variable, float32; NaN where the file's bitmap has no value."""
    import rasterio

    with _opened(file) as data:
        values = np.empty((end - start, *data.shape), np.float32)
        for index, (second, nth) in enumerate(instants[start:end]):
            band = bands[name, second][: nth + 1][-1]  # of a variable that is there once, the only one
            try:
                with rasterio.Env(**_OPTIONS):
                    field = data.read(band)
            except rasterio.errors.RasterioError as error:
                raise _unreadable(file, error) from error
            nodata = data.nodatavals[band - 1]
            values[index] = field if nodata is None else np.where(field == nodata, np.nan, field)
    return values


def _centres(file: Path, data: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return latitudes and longitudes of the pixel centres."""
    affine = data.transform
    if data.crs is None or not data.crs.is_geographic or affine.b or affine.d:
        raise GranuleError(f"{file}: a grid that is not in degrees found, regular latitudes and longitudes expected")
    rows, columns = np.arange(data.height) + 0.5, np.arange(data.width) + 0.5
    return np.round(affine.f + rows * affine.e, 6), np.round(affine.c + columns * affine.a, 6)


def grib_variable(tags: Mapping[str, str]) -> str:
    """Return our name of a field by its tags in GDAL, or GDAL's where it is none of ours."""
    element = tags.get("GRIB_ELEMENT", "")
    if "GRIB_DISCIPLINE" not in tags:
        return _ELEMENTS.get(element, element)
    category, number = [*tags.get("GRIB_PDS_TEMPLATE_ASSEMBLED_VALUES", "").split()[:2], "", ""][:2]
    return _PARAMETERS.get((tags["GRIB_DISCIPLINE"].partition("(")[0], category, number), element)


def _second(tags: Mapping[str, str]) -> int:
    return int(tags.get("GRIB_VALID_TIME", "0").split()[0])


def _unreadable(file: Path, error: Exception) -> GranuleError:
    return GranuleError(
        f"{file}: {file.stat().st_size} bytes found that are no readable GRIB ({error}): fetch it again"
    )
