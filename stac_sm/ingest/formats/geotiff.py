"""Open GeoTIFFs of providers by GDAL's own driver only, with errors that name the file.

The providers of elevation and soil maps read local files, members of archives and files on the web through here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from stac_sm.core.errors import GranuleError
from stac_sm.ingest.rank import Rank, time_digits

_NETWORK = {  # for addresses: no cache of a file that may have changed, no listing of folders, a few tries
    "CPL_VSIL_CURL_NON_CACHED": "/vsicurl/",
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_RETRY_DELAY": "1",
    "GDAL_HTTP_TIMEOUT": "60",
}


@contextmanager
def open_geotiff(href: str) -> Iterator[Any]:
    """Open a GeoTIFF in a file, an archive (``/vsitar/``) or on the web (``/vsicurl/``); use it from one thread at a
    time.

    Parameters
    ----------
    href
        Path or GDAL address.

    Yields
    ------
    rasterio.DatasetReader
        The open dataset.

    Raises
    ------
    GranuleError
        If it cannot be opened, or something cannot be decoded while it is open.
    """
    import rasterio

    try:
        with rasterio.Env(**_NETWORK), rasterio.open(href, driver="GTiff") as data:
            yield data
    except rasterio.errors.RasterioError as error:
        size = f"{Path(href).stat().st_size} bytes found" if Path(href).is_file() else "found something"
        # of GDAL's nested errors the innermost is the clearest; it may span several lines
        raise GranuleError(
            f"{displayed_href(href)}: {size}, no readable GeoTIFF ({_reason(error)}): fetch it again"
        ) from error


def read_heights(href: str, first: int = 0, end: int | None = None) -> np.ndarray:
    """Read the heights of rows of a one-band file.

    Parameters
    ----------
    href
        Path or GDAL address.
    first, end
        First row and row after the last; None for all rows that follow.

    Returns
    -------
    numpy.ndarray
        float32 (y, x), m; NaN where the file has no data.

    Raises
    ------
    GranuleError
        If they cannot be decoded.
    """
    with open_geotiff(href) as data:
        window = ((first, data.height if end is None else end), (0, data.width))
        return np.asarray(data.read(1, window=window, masked=True).astype(np.float32, copy=False).filled(np.nan))


def geotiff_rank(href: str) -> Rank:
    """Return the rank of a file by the time of production in its header, if it has one there.

    Raises
    ------
    GranuleError
        If it cannot be opened.
    """
    with open_geotiff(href) as data:
        return rank_of_tags(data.tags())


def rank_of_tags(tags: Mapping[str, str]) -> Rank:
    """Return the rank of a file by its tags; a time that cannot be read is passed over."""
    return Rank(produced=time_digits(tags.get("TIFFTAG_DATETIME", "")))


def displayed_href(href: str) -> str:
    """Return a file name or address as a person writes it, without GDAL's prefix."""
    for prefix in ("/vsicurl/", "/vsitar/"):
        href = href.removeprefix(prefix)
    return href


def _reason(error: Exception) -> str:
    return " ".join(str(error.__cause__ or error).split())
