"""ERA5-Land in a Zarr store (version 2 or 3), local or by http(s): hourly fields or daily means.

A store is huge, so the period and the box that are wanted are settings. What the user may read is left to ``.netrc``.
A chunk that a store does not have is sea; any other answer than that is an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from stac_sm.core.errors import GranuleError, InputError
from stac_sm.core.period import Period
from stac_sm.ingest.formats.hourly import HourlyFields, finality
from stac_sm.ingest.formats.latlon_grid import RegularGrid, coordinate
from stac_sm.storage.http.client import account_header
from stac_sm.storage.http.documents import FileUrl

if TYPE_CHECKING:
    import xarray as xr

BBox = Sequence[float]

_TIMES = ("valid_time", "time")
_MOST_VALUES = 20_000_000_000  # 80 GB of one variable: more is a forgotten setting
_RETRIES, _RETRY_TIME = 3, timedelta(minutes=2)
_WHOLE_EARTH = (-180.0, -90.0, 180.0, 90.0)


def open_era5_zarr(
    place: Path | FileUrl, wanted: Sequence[str], period: Period | None, bbox: BBox | None
) -> HourlyFields:
    """Fields of a store on the days of a period and the cells that meet a box in degrees; reads coordinates only.

    Raises
    ------
    GranuleError
        If it is no Zarr, or holds something else, or too much.
    """
    with _errors_named(place):
        data = _opened(place)
    found = [name for name in wanted if name in data.data_vars]
    time = next((name for name in _TIMES if name in data.dims), None)
    if wanted[0] not in found or time is None:
        raise GranuleError(f"{place}: found {sorted(map(str, data.variables))}, wanted {wanted[0]} by hour or day")
    versions = [name for name in data.variables if name == "expver" and data[name].dims == (time,)]
    data = data[[*found, *versions]]
    latitude, longitude = (coordinate([str(name) for name in data.dims], start, place) for start in ("lat", "lon"))
    cut = _cut(place, data, time, latitude, longitude, period, _box(bbox))
    return HourlyFields(
        file=place,
        grid=RegularGrid.of(cut[latitude].values, cut[longitude].values, place),
        times=cut[time].values.astype("datetime64[s]"),
        units={name: str(data[name].attrs.get("units", "")) for name in found},
        read=partial(_read, place, cut, (time, latitude, longitude)),
        chunk=_chunk(data[wanted[0]], time),
        final=[finality(version) for version in cut["expver"].values] if "expver" in cut.variables else [],
    )


def _opened(place: Path | FileUrl) -> xr.Dataset:
    import xarray as xr

    try:
        from zarr.storage import LocalStore
    except ImportError as error:
        raise InputError("zarr is not installed: `pip install 'stac_sm[zarr]'` reads Zarr stores") from error
    store: Any
    if isinstance(place, FileUrl):
        store = _web_store(place)
        return xr.open_dataset(store, engine="zarr", chunks=None, consolidated=True, decode_timedelta=False)
    consolidated = (place / ".zmetadata").exists() or None
    store = LocalStore(place, read_only=True)
    return xr.open_dataset(
        store, engine="zarr", chunks=None, consolidated=consolidated or False, decode_timedelta=False
    )


def _web_store(url: FileUrl) -> Any:
    """Store at an address; what fails for a while is asked for again."""
    try:
        from obstore.store import HTTPStore
        from zarr.storage import ObjectStore
    except ImportError as error:
        raise InputError("obstore is not installed: `pip install 'stac_sm[zarr]'` reads Zarr stores") from error
    store = HTTPStore.from_url(
        url.text,
        client_options={"allow_http": True, "default_headers": account_header(urlsplit(url.text).hostname or "")},
        retry_config={"max_retries": _RETRIES, "retry_timeout": _RETRY_TIME},
    )
    return ObjectStore(store, read_only=True)


def _cut(
    place: Path | FileUrl, data: xr.Dataset, time: str, latitude: str, longitude: str, period: Period | None, box: BBox
) -> xr.Dataset:
    """Part of a store in a period and a box."""
    west, south, east, north = box
    lat, lon = data[latitude].values.astype(np.float64), data[longitude].values.astype(np.float64)
    half = [abs(float(axis[-1] - axis[0])) / max(axis.size - 1, 1) / 2 for axis in (lat, lon)]
    rows = np.flatnonzero((lat >= south - half[0]) & (lat <= north + half[0]))
    shifted = (lon - (west - half[1])) % 360
    columns = np.flatnonzero(shifted <= min(east - west + 2 * half[1], 360))
    days = data[time].values.astype("datetime64[D]")
    hours = np.arange(days.size)
    if period is not None:
        hours = np.flatnonzero((days >= np.datetime64(period.start)) & (days < np.datetime64(period.end)))
    counts = (hours.size, rows.size, columns.size)
    if not all(counts) or np.prod(counts, dtype=np.float64) > _MOST_VALUES:
        span = f"{days.min()}/{days.max()}" if days.size else "no days"
        raise GranuleError(
            f"{place}: {counts[0]} times x {counts[1]} rows x {counts[2]} columns found in {span}, some and at most "
            f"{_MOST_VALUES:.0e} wanted: set period and bbox under [sources.era5-land]"
        )
    return data.isel({time: hours, latitude: rows, longitude: columns})


def _read(place: Path | FileUrl, data: xr.Dataset, order: Sequence[str], name: str, start: int, end: int) -> np.ndarray:
    """Values (time, latitude, longitude) of a variable."""
    with _errors_named(place):
        part = data[name].isel({order[0]: slice(start, end)}).squeeze().expand_dims(())
        missing = [dimension for dimension in order if dimension not in part.dims]
        values: np.ndarray = part.expand_dims(missing).transpose(*order).values
    return values


def _chunk(variable: xr.DataArray, time: str) -> int:
    chunks = variable.encoding.get("chunks")
    return int(chunks[variable.dims.index(time)]) if chunks else 1


def _box(bbox: BBox | None) -> BBox:
    if bbox is None:
        return _WHOLE_EARTH
    if len(bbox) != 4 or bbox[0] >= bbox[2] or bbox[1] >= bbox[3]:
        raise InputError(f"[sources.era5-land] bbox: {list(bbox)} found, west, south, east, north in degrees wanted")
    return bbox


@contextmanager
def _errors_named(place: Path | FileUrl) -> Iterator[None]:
    """Name the store in whatever error comes: those of stores and codecs have no class in common."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        kind = type(error).__name__
        raise GranuleError(
            f"{place}: no readable Zarr store with consolidated metadata ({kind}: {error}): check the address"
        ) from error
