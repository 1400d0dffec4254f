"""ERA5-Land in a Zarr store (version 2 or 3), local or by http(s): hourly fields or daily means.

A store is huge, so the period and the box to read are settings. What the user may read is left to ``.netrc``.
A chunk that a store does not have is sea; any other answer than that is an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from stac_sm.core.errors import GranuleError, InputError, raised_by
from stac_sm.core.period import Period
from stac_sm.ingest.formats.field_arrays import ArrayVariable, FieldAxes, find_axes, hourly_fields
from stac_sm.ingest.formats.hourly import HourlyFields
from stac_sm.ingest.formats.time_axis import durations
from stac_sm.storage.http.client import account_header
from stac_sm.storage.http.documents import FileUrl

if TYPE_CHECKING:
    import xarray as xr

BBox = Sequence[float]

_MOST_VALUES = 20_000_000_000  # 80 GB of one variable: more is a forgotten setting
_RETRIES, _RETRY_TIME = 3, timedelta(minutes=2)
_WHOLE_EARTH = (-180.0, -90.0, 180.0, 90.0)


def open_era5_zarr(
    place: Path | FileUrl, required: Sequence[str], period: Period | None, bbox: BBox | None
) -> HourlyFields:
    """Open the fields of a store in a period and the cells that meet a box in degrees; reads coordinates only.

    Raises
    ------
    GranuleError
        If it is no Zarr, or holds something else, or too much.
    """
    with _errors_named(place):
        data = _opened(place)
    whole = _describe(data)
    axes = find_axes(place, whole, required)
    needed = [
        name for name in whole if name in required or not {axes.latitude, axes.longitude} <= set(whole[name].dims)
    ]
    cut = _cut(place, data[needed], axes, period, _box(bbox))
    return hourly_fields(place, partial(_open_arrays, place, cut), required)


@contextmanager
def _open_arrays(place: Path | FileUrl, data: xr.Dataset) -> Iterator[Mapping[str, ArrayVariable]]:
    with _errors_named(place):
        yield _describe(data)


def _describe(data: xr.Dataset) -> dict[str, ArrayVariable]:
    """Describe the variables of a dataset, by their names."""
    return {str(name): _array(str(name), variable) for name, variable in data.variables.items()}


def _array(name: str, variable: xr.Variable) -> ArrayVariable:
    stated = {key: variable.encoding[key] for key in ("units", "bounds") if key in variable.encoding}
    return ArrayVariable(
        name=name,
        dims=tuple(map(str, variable.dims)),
        shape=tuple(variable.shape),
        attributes={**stated, **{str(key): value for key, value in variable.attrs.items()}},
        read=lambda index: np.asarray(variable[index].values),
        raw=lambda: np.asarray(variable.values),
        times=lambda: _times(name, variable),
        chunks=tuple(variable.encoding.get("chunks") or ()),
    )


def _times(name: str, variable: xr.Variable) -> np.ndarray:
    """Return instants, which are decoded already, or durations of a forecast period."""
    values, units = np.asarray(variable.values), str(variable.attrs.get("units", ""))
    if values.dtype.kind == "M":
        return values.astype("datetime64[s]")
    if values.dtype.kind == "m":
        return values.astype("timedelta64[s]")
    found = durations(values, units)
    if found is None:
        raise GranuleError(f"{name} has the units {units!r}, CF time expected")
    return found


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
    """Open a store at an address; what fails for a while is asked for again."""
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


def _cut(place: Path | FileUrl, data: xr.Dataset, axes: FieldAxes, period: Period | None, box: BBox) -> xr.Dataset:
    """Return the part of a store in a period and a box."""
    west, south, east, north = box
    lat, lon = (data[name].values.astype(np.float64) for name in (axes.latitude, axes.longitude))
    half = [abs(float(axis[-1] - axis[0])) / max(axis.size - 1, 1) / 2 for axis in (lat, lon)]
    rows = np.flatnonzero((lat >= south - half[0]) & (lat <= north + half[0]))
    shifted = (lon - (west - half[1])) % 360
    columns = np.flatnonzero(shifted <= min(east - west + 2 * half[1], 360))
    shape = [data.sizes[name] for name in axes.time.dims]
    days = axes.time.times.astype("datetime64[D]").reshape(shape)
    inside = np.ones(shape, bool)
    if period is not None:
        inside = (days >= np.datetime64(period.start)) & (days < np.datetime64(period.end))
    parts = {axes.latitude: rows, axes.longitude: columns}
    for at, name in enumerate(axes.time.dims):  # of steps ahead of a forecast all that reach into the period
        parts[name] = np.flatnonzero(inside.any(axis=tuple(other for other in range(inside.ndim) if other != at)))
    times = int(np.prod([parts[name].size for name in axes.time.dims])) if inside.any() else 0
    counts = (times, rows.size, columns.size)
    if not all(counts) or np.prod(counts, dtype=np.float64) > _MOST_VALUES:
        span = f"{days.min()}/{days.max()}" if days.size else "no days"
        raise GranuleError(
            f"{place}: {counts[0]} times x {counts[1]} rows x {counts[2]} columns found in {span}, some and at most "
            f"{_MOST_VALUES:.0e} expected: set period and bbox under [sources.era5-land]"
        )
    return data.isel(parts)


def _box(bbox: BBox | None) -> BBox:
    if bbox is None:
        return _WHOLE_EARTH
    if len(bbox) != 4 or bbox[0] >= bbox[2] or bbox[1] >= bbox[3]:
        raise InputError(f"[sources.era5-land] bbox: {list(bbox)} found, west, south, east, north in degrees expected")
    return bbox


@contextmanager
def _errors_named(place: Path | FileUrl) -> Iterator[None]:
    """Name the store in whatever error reading raises: those of stores and codecs have no class in common."""
    try:
        yield
    except Exception as error:
        if isinstance(error, InputError) or not raised_by(error, "xarray", "zarr"):
            raise
        kind = type(error).__name__
        raise GranuleError(
            f"{place}: no readable Zarr store with consolidated metadata ({kind}: {error}): check the address"
        ) from error
