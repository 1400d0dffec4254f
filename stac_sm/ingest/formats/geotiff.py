"""GeoTIFFs of providers: opened by no other driver than GDAL's own for GeoTIFF, with errors that name the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from stac_sm.core.errors import GranuleError
from stac_sm.ingest.rank import Rank, time_digits

_NETWORK = {  # for addresses: nothing remembered of a file that may have changed, no listing of folders, a few tries
    "CPL_VSIL_CURL_NON_CACHED": "/vsicurl/",
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_RETRY_DELAY": "1",
    "GDAL_HTTP_TIMEOUT": "60",
}


@contextmanager
def open_geotiff(href: str) -> Iterator[Any]:
    """Dataset of a GeoTIFF in a file, an archive (``/vsitar/``) or the web (``/vsicurl/``); one thread at a time.

    Raises
    ------
    GranuleError
        If it cannot be opened, or something cannot be decoded meanwhile.
    """
    import rasterio

    try:
        with rasterio.Env(**_NETWORK), rasterio.open(href, driver="GTiff") as data:
            yield data
    except rasterio.errors.RasterioError as error:
        size = f"{Path(href).stat().st_size} bytes found" if Path(href).is_file() else "found something"
        # what GDAL says twice says it worse, and its cause may span several lines
        raise GranuleError(
            f"{displayed_href(href)}: {size}, no readable GeoTIFF ({_reason(error)}): fetch it again"
        ) from error


def read_heights(href: str, first: int = 0, end: int | None = None) -> np.ndarray:
    """Heights of rows of a one-band file (y, x), m, float32; NaN where it has no data.

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
    """A file name or address as a person writes it."""
    for prefix in ("/vsicurl/", "/vsitar/"):
        href = href.removeprefix(prefix)
    return href


def _reason(error: Exception) -> str:
    return " ".join(str(error.__cause__ or error).split())
