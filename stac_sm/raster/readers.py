"""Readers: windows of native pixels, by stackstac or by odc-stac.

`read` picks one by name. A reader delivers stored values on the grid of the file and nothing else: no warping, no
scaling, no masking. The meaning of a value (scale, offset, nodata) is applied in `source`, and resampling is done in
`resample`, each in one place, so that both readers give the same cube, bit for bit.

stackstac's public function takes a CRS by EPSG code only, and the sinusoidal grid has none. The layer below it, its
reader of one file, takes any grid. It is no public API: stackstac is pinned, and this module is the only one that
imports it. Given the file's own grid, stackstac reads the file as it is, without a warped VRT.

A window is read at once. Where laziness is needed, `daily_fields` has a task for the whole of a read. A graph of dask
for each window would take longer than the read of a few pixels, and match-ups make thousands of such reads.
"""

from __future__ import annotations

from contextlib import closing
from functools import lru_cache
from typing import Any, Protocol
from xml.sax.saxutils import escape

import numpy as np
import pyproj

from stac_sm.core.errors import InputError
from stac_sm.core.projections import SINUSOIDAL, crs_wkt
from stac_sm.core.text import unknown_name_message
from stac_sm.raster.source import RasterSource, Window


def read_by_stackstac(source: RasterSource, window: Window) -> np.ndarray:
    """Return the stored values of a window by stackstac.

    Parameters
    ----------
    source
        The band; its href is a local file.
    window
        Rows and columns inside the file.

    Returns
    -------
    numpy.ndarray
        (y, x), data type of the file.
    """
    from rasterio.enums import Resampling
    from rasterio.windows import Window as RasterioWindow
    from stackstac.raster_spec import RasterSpec
    from stackstac.rio_reader import AutoParallelRioReader

    box, dtype = source.geobox.boundingbox, np.dtype(source.dtype)
    bounds = (box.left, box.bottom, box.right, box.top)
    reader = AutoParallelRioReader(
        url=_url(source),
        spec=RasterSpec(_epsg(str(source.geobox.crs)), bounds, (source.geobox.affine.a, -source.geobox.affine.e)),
        resampling=Resampling.nearest,
        dtype=dtype,
        fill_value=dtype.type(0 if source.nodata is None else source.nodata),
        scale_offset=(1, 0),
    )
    with closing(reader):
        return np.asarray(reader.read(RasterioWindow.from_slices(*window)))


def _url(source: RasterSource) -> str:
    """Return the address for stackstac, which reads files of one band only: of more, GDAL shows it one by a VRT.

    It is written out, since ``vrt://FILE?bands=2`` takes a ``?`` in the name of the file for the end of the name.
    So are files in the sinusoidal grid of MODIS: stackstac searches for the code of their CRS in each read, which takes
    40 ms of a processor where the CRS has a name, as in the files, and 1 ms where it has none. And files with nodata,
    which the VRT does not name: stackstac masks nodata and fills it in again, which takes as long as a third of
    decoding.
    """
    if source.bands == 1 and source.nodata is None and crs_wkt(str(source.geobox.crs)) != crs_wkt(SINUSOIDAL):
        return source.href
    (height, width), affine = source.geobox.shape, source.geobox.affine
    kind = "Byte" if source.dtype == "uint8" else str(source.dtype).capitalize().replace("Ui", "UI")
    return (
        f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}"><SRS>{escape(crs_wkt(str(source.geobox.crs)))}</SRS>'
        f"<GeoTransform>{', '.join(map(repr, affine.to_gdal()))}</GeoTransform>"
        f'<VRTRasterBand dataType="{kind}" band="1"><SimpleSource>'
        f'<SourceFilename relativeToVRT="0" shared="0">{escape(source.href)}</SourceFilename>'
        f"<SourceBand>{source.band}</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )


@lru_cache(maxsize=256)
def _epsg(crs: str) -> int | None:
    """Return the EPSG code as stackstac compares it with the file's; None on both sides reads the file as it is."""
    return pyproj.CRS.from_user_input(crs).to_epsg()


def read_by_odc(source: RasterSource, window: Window) -> np.ndarray:
    """Return the stored values of a window by odc-stac.

    odc-stac is given one asset on its own grid: a GeoBox of another CRS, or an item that mixes grids, was seen to
    come back as nodata without an error (odc-stac 0.5.3).

    Parameters
    ----------
    source
        The band; its href is a local file.
    window
        Rows and columns inside the file.

    Returns
    -------
    numpy.ndarray
        (y, x), data type of the file.
    """
    from dask.local import get_sync
    from odc.stac import load

    band = source.asset if source.bands == 1 else f"{source.asset}.{source.band}"
    data = load(
        [_item(source)],
        bands=[band],
        geobox=source.geobox[window],
        dtype=str(source.dtype),
        chunks={"x": -1, "y": -1},
        resampling="nearest",
    )
    return np.asarray(data[band].data[0].compute(scheduler=get_sync))


def _item(source: RasterSource) -> Any:
    """Return the asset as an item of its own, with the metadata that odc-stac reads."""
    from datetime import UTC, datetime

    import pystac

    box = source.geobox.geographic_extent.boundingbox
    item = pystac.Item(source.item_id, None, list(box), datetime(2000, 1, 1, tzinfo=UTC), {})
    crs = str(source.geobox.crs)
    band = {"data_type": source.dtype} | ({} if source.nodata is None else {"nodata": source.nodata})
    fields = {
        ("proj:code" if crs.upper().startswith("EPSG:") else "proj:wkt2"): crs,
        "proj:shape": list(source.geobox.shape),
        "proj:transform": list(source.geobox.affine)[:6],
        "bands": [band] * source.bands,
    }
    item.stac_extensions = ["https://stac-extensions.github.io/projection/v2.0.0/schema.json"]
    item.add_asset(
        source.asset, pystac.Asset(source.href, media_type=pystac.MediaType.COG, roles=["data"], extra_fields=fields)
    )
    return item


class Reader(Protocol):
    """Function that reads windows of native pixels.

    A read that fails raises; it never gives nodata.
    """

    def __call__(self, source: RasterSource, window: Window) -> np.ndarray:
        """Return the stored values (y, x), data type of the file, in a window that lies inside the file."""


def get_reader(name: str) -> Reader:
    """Return the reader of a name.

    Parameters
    ----------
    name
        ``stackstac`` or ``odc``.

    Returns
    -------
    Reader
        A function of a source and a window.

    Raises
    ------
    InputError
        If there is no reader of this name.
    """
    if name not in READERS:
        raise InputError(unknown_name_message("reader", name, READERS))
    return READERS[name]


READERS: dict[str, Reader] = {"stackstac": read_by_stackstac, "odc": read_by_odc}
DEFAULT_READER = "stackstac"
