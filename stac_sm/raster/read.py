"""Reading: the physical values of a window, or an error; a failed read is never nodata.

An href is judged, its bytes are brought to a local file and proven as far as they can be, the header is compared with
the item, and a reader decodes the window. What fails for a while is tried again by the policy of
`stac_sm.storage.retry`.
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
"""Pixels of a window that are read at once, at most: 1 GiB of float32."""

_ADVICE = {
    FaultKind.MISSING: "check that the file is there",
    FaultKind.REFUSED: "check the address, and that you may read it",
    FaultKind.CREDENTIALS: "check the credentials, or how the feature is signed",
    FaultKind.UNTRUSTED: "copy the files into a folder of your own, or correct the item",
    FaultKind.DAMAGED: "check that the file is there and whole, then run again",
    FaultKind.TOO_LARGE: "copy the file into a folder of your own",
}


def read_window(source: RasterSource, window: Window, reader_name: str) -> np.ndarray:
    """Physical values (y, x) of a window, float32, NaN where there is no data.

    Parameters
    ----------
    source
        What the item says. Its ``root`` is where the catalogue came from.
    window
        Rows and columns inside the file.
    reader_name
        ``stackstac`` or ``odc``.

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
        stored = np.asarray(get_reader(reader_name)(source, window).compute(scheduler="synchronous"))
    wanted = tuple(side.stop - side.start for side in window)
    if stored.shape != wanted or stored.dtype != np.dtype(source.dtype):
        raise ReadError(
            f"item {source.item_id!r}, asset {source.asset!r}: {reader_name} gave {stored.shape} {stored.dtype}, "
            f"{wanted} {source.dtype} wanted: take the other reader"
        )
    if source.nodata is not None and np.all(stored == np.asarray(source.nodata).astype(stored.dtype)):
        _confirm_empty(source, window, stored, reader_name)
    return stored


def _confirm_empty(source: RasterSource, window: Window, stored: np.ndarray, reader_name: str) -> None:
    """Ask GDAL, past the reader, whether a window really holds nothing but nodata: readers were seen to make it up."""
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
            f"item {source.item_id!r}, asset {source.asset!r}: {pixels} pixels wanted of {source.href}, at most "
            f"{MOST_PIXELS} are read at once: ask for a smaller box, or correct proj:shape and proj:transform"
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
    """Whether GDAL is behind an error, or what a reader makes of it."""
    return any(type(cause).__module__.startswith("rasterio") for cause in _chain(error))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _undecodable(copy: LocalCopy, told: str) -> AttemptError:
    """What it means that GDAL cannot read a local copy: bring it again, or be done with it."""
    told = told.replace(copy.name, "it") if copy.remote else told
    if copy.remote:
        return AttemptError(FaultKind.DAMAGED if copy.proven else FaultKind.BYTES, told)
    try:  # GDAL does not say whether the file system failed for a while
        with Path(copy.name).open("rb") as file:
            while file.read(1 << 20):
                pass
    except OSError as error:
        fault = fault_of(error)
        return AttemptError(fault if fault in RETRIED_FAULTS else FaultKind.DAMAGED, error.strerror or told)
    return AttemptError(FaultKind.DAMAGED, told)


def _gave_up(source: RasterSource, end: GaveUpError) -> ReadError:
    told = f"{end.fault}: {end.detail}" + (f", after {end.attempts} attempts" if end.attempts > 1 else "")
    return _failed(source, told, _ADVICE.get(end.fault, "try again later"))


def _failed(source: RasterSource, told: str, advice: str) -> ReadError:
    text = f"{source.href} cannot be read ({told})"
    return ReadError(f"item {source.item_id!r}, asset {source.asset!r}: {without_secrets(text)}: {advice}")
