"""Native windows by odc-stac."""

from __future__ import annotations

from typing import Any

from stac_sm.readers.source import RasterSource, Window


def read(source: RasterSource, window: Window) -> Any:
    """Lazy dask array (y, x) of the stored values in a window of a file; a failed read raises.

    odc-stac is given one asset on its own grid: a GeoBox of another CRS, or an item that mixes grids, was seen to
    come back as nodata without an error (odc-stac 0.5.3).
    """
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
    return data[band].data[0]


def _item(source: RasterSource) -> Any:
    """The asset as an item of its own, with the metadata that odc-stac reads."""
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
