"""Readers: windows of native pixels, by stackstac or odc-stac.

A reader delivers stored values on the grid of the file and nothing else: no warping, no scaling, no masking. What a
value means (scale, offset, nodata) and where it goes (``stac_sm.regrid``) is decided by us, in one place, so that
both readers give the same cube, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from stac_sm.errors import InputError
from stac_sm.naming import unknown
from stac_sm.readers.source import RasterSource, Window


class Reader(Protocol):
    """Reads windows of native pixels.

    A read that fails raises; it never gives nodata.
    """

    def __call__(self, source: RasterSource, window: Window) -> Any:
        """Lazy dask array (y, x) of the stored values in a window that lies inside the file."""


def reader(name: str) -> Reader:
    """Reader of a name: ``stackstac`` or ``odc``.

    Raises
    ------
    InputError
        If there is none.
    """
    if name not in READERS:
        raise InputError(unknown("reader", name, READERS))
    return READERS[name]()


def _stackstac() -> Reader:
    from stac_sm.readers.stackstac import read

    return read


def _odc() -> Reader:
    from stac_sm.readers.odc import read

    return read


READERS: dict[str, Callable[[], Reader]] = {"stackstac": _stackstac, "odc": _odc}
