"""Read the physical values of a window, or raise: a failed read is never nodata.

Feature cubes, climatologies and the product's own readers call `read_window`. It checks the href, brings the bytes to a
local file (`fetch`), compares the header with the item, and lets a reader (`readers`) decode the window. What fails for
a while is tried again by the policy of `stac_sm.storage.retry`.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from stac_sm.core.errors import CatalogError, ReadError, StacSmError
from stac_sm.raster.fetch import LocalCopy, local_copy
from stac_sm.raster.readers import get_reader
from stac_sm.raster.source import RasterSource, Window, complete_from_header
from stac_sm.storage.retry import RETRIED_FAULTS, AttemptError, FaultKind, GaveUpError, RetryPolicy, fault_of, retry
from stac_sm.storage.signing import without_secrets
from stac_sm.storage.trust import check_href

MOST_PIXELS = 1 << 28
"""Largest number of pixels of a window: 1 GiB of float32."""

_ADVICE = {
    FaultKind.MISSING: "check that the file is there",
    FaultKind.REFUSED: "check the address, and that you may read it",
    FaultKind.CREDENTIALS: "check the credentials, or how the feature is signed",
    FaultKind.UNTRUSTED: "copy the files into a folder of your own, or correct the item",
    FaultKind.DAMAGED: "check that the file is there and whole, then run again",
    FaultKind.TOO_LARGE: "copy the file into a folder of your own",
}


def read_window(source: RasterSource, window: Window, reader_name: str) -> np.ndarray:
    """Read the physical values of a window.

    Parameters
    ----------
    source
        The band. Its ``root`` is the catalogue that the item came from.
    window
        Rows and columns inside the file.
    reader_name
        ``stackstac`` or ``odc``.

    Returns
    -------
    numpy.ndarray
        float32 (y, x), in the unit of the source, NaN where there is no data.

    Raises
    ------
    CatalogError
        If the href may not be followed, the window is too large, or item and file disagree.
    ReadError
        If the pixels cannot be read: names item, asset and href without secrets, the fault, and the attempts made.
    """
    policy = RetryPolicy.from_environment()
    try:
        return retry(lambda _: _attempt(source, window, reader_name, policy), policy, restarts=True)
    except GaveUpError as end:
        failure: StacSmError = _gave_up(source, end)
    except StacSmError as error:
        failure = type(error)(without_secrets(str(error)))
    except Exception as error:  # whatever a reader raises, the user must see which file it was
        failure = _failed(source, f"{type(error).__name__}: {error}", _ADVICE[FaultKind.DAMAGED])
    raise failure  # outside of the handlers: no cause or context, which may hold a token


def _attempt(source: RasterSource, window: Window, reader_name: str, policy: RetryPolicy) -> np.ndarray:
    source = replace(source, href=check_href(source.href, source.root))
    _check_size(source, window)
    with local_copy(source, window, source.root, policy) as copy:
        try:
            known = _HEADERS.completed(source, copy)
            stored = _stored(replace(known, href=copy.name), window, reader_name)
        except StacSmError:
            raise
        except Exception as error:
            if not _of_gdal(error):
                raise
            failure = _undecodable(copy, str(error))
        else:
            return known.physical(stored)
    raise failure


def _stored(source: RasterSource, window: Window, reader_name: str) -> np.ndarray:
    import rasterio

    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):
        stored = get_reader(reader_name)(source, window)
    required = tuple(side.stop - side.start for side in window)
    if stored.shape != required or stored.dtype != np.dtype(source.dtype):
        raise ReadError(
            f"item {source.item_id!r}, asset {source.asset!r}: {reader_name} gave {stored.shape} {stored.dtype}, "
            f"{required} {source.dtype} is required: take the other reader"
        )
    if source.nodata is not None and _holds_only(stored, np.asarray(source.nodata).astype(stored.dtype)):
        _confirm_empty(source, window, stored, reader_name)
    return stored


def _holds_only(values: np.ndarray, one: np.ndarray) -> bool:
    """Return whether all values are this one; as a rule, the first row says no."""
    return bool(np.all(values[:1] == one) and np.all(values == one))


def _confirm_empty(source: RasterSource, window: Window, stored: np.ndarray, reader_name: str) -> None:
    """Read a window that holds nodata only again, by GDAL itself.

    Readers were seen to return nodata for a failed read.
    """
    import rasterio

    with rasterio.open(source.href, driver="GTiff") as file:
        found = file.read(source.band, window=window)
    if not np.array_equal(found, stored):
        raise ReadError(
            f"item {source.item_id!r}, asset {source.asset!r}: {reader_name} gave nodata only, the file has values in "
            "the window: take the other reader"
        )


def _check_size(source: RasterSource, window: Window) -> None:
    pixels = math.prod(side.stop - side.start for side in window)
    if pixels > MOST_PIXELS:
        raise CatalogError(
            f"item {source.item_id!r}, asset {source.asset!r}: a window of {pixels} pixels of {source.href} is too "
            f"large, at most {MOST_PIXELS} are read at once: ask for a smaller box, or correct proj:shape and "
            "proj:transform"
        )


class _Headers:
    """Sources completed by their headers, each compared once a process for each state of its file."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[tuple[RasterSource, str], RasterSource] = {}

    def completed(self, source: RasterSource, copy: LocalCopy) -> RasterSource:
        key = (source, copy.state)
        with self._lock:
            found = self._known.get(key)
        if found is None:
            found = complete_from_header(source, copy.name)
            with self._lock:
                if len(self._known) >= 1 << 16:
                    self._known.clear()
                if copy.state:
                    self._known[key] = found
        return found


_HEADERS = _Headers()


def _of_gdal(error: BaseException) -> bool:
    """Return whether GDAL raised an error, or a reader because of one."""
    return any(type(cause).__module__.startswith("rasterio") for cause in _chain(error))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _undecodable(copy: LocalCopy, reason: str) -> AttemptError:
    """Return the fault when GDAL cannot decode a local copy: bringing it again may help, or not."""
    reason = reason.replace(copy.name, "it") if copy.remote else reason
    if copy.remote:
        return AttemptError(FaultKind.DAMAGED if copy.checksum_verified else FaultKind.BYTES, reason)
    try:  # GDAL does not say whether the file system failed for a while
        with Path(copy.name).open("rb") as file:
            while file.read(1 << 20):
                pass
    except OSError as error:
        fault = fault_of(error)
        return AttemptError(fault if fault in RETRIED_FAULTS else FaultKind.DAMAGED, error.strerror or reason)
    return AttemptError(FaultKind.DAMAGED, reason)


def _gave_up(source: RasterSource, end: GaveUpError) -> ReadError:
    reason = f"{end.fault}: {end.detail}" + (f", after {end.attempts} attempts" if end.attempts > 1 else "")
    return _failed(source, reason, _ADVICE.get(end.fault, "try again later"))


def _failed(source: RasterSource, reason: str, advice: str) -> ReadError:
    text = f"{source.href} cannot be read ({reason})"
    return ReadError(f"item {source.item_id!r}, asset {source.asset!r}: {without_secrets(text)}: {advice}")
