"""Say what the files of the product state of themselves: names, units and ranges of their bands, product and time.

GDAL, QGIS and titiler show these texts where a file is opened alone, without its item.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from stac_sm.core.period import utc_instant
from stac_sm.core.variables import VARIABLES, VOLUMETRIC
from stac_sm.product.product_id import PREFIX, ProductId
from stac_sm.raster.cog import CogText
from stac_sm.stac.items import isoformat
from stac_sm.stac.simulated import SIMULATED_NOTE, simulated_title


def _band(name: str, unit: str, long_name: str, low: float, high: float) -> CogText:
    """Return what a band says; its description has the unit, since QGIS and titiler show that and no unit beside it."""
    described = f"{name} ({unit})" if unit else name
    return CogText(described, unit, {"long_name": long_name, "valid_min": f"{low:g}", "valid_max": f"{high:g}"})


COLOURS = ("red", "green", "blue", "alpha")
"""Names of the bands of ``visual``."""

_SM = _band("Soil moisture", VOLUMETRIC, VARIABLES["sm"].description, *VARIABLES["sm"].valid)
_BANDS = {
    "sm": _SM,
    "overview": _SM,
    "uncertainty": _band(
        "Uncertainty of soil moisture", VOLUMETRIC, "Half width of the prediction interval of soil moisture", 0, 1
    ),
    "qa": _band("Quality flags", "", "Quality flags, one a bit: see classification:bitfields of the item", 0, 255),
    "count": _band("Days with a value", "d", "Number of days with soil moisture", 0, 65535),
    "visual": CogText(bands=COLOURS),
}


def file_text(asset: str, id: ProductId | None, *, simulated: bool = False) -> CogText:
    """Return what the file of an asset states.

    Parameters
    ----------
    asset
        Asset key: ``sm``, ``uncertainty``, ``qa``, ``count``, ``overview`` or ``visual``.
    id
        Span, tile and version; None: the file states its band alone.
    simulated
        Whether band and file say that they are simulated.

    Returns
    -------
    CogText
        Band description with its unit, unit, ``long_name``, ``valid_min`` and ``valid_max``; of the file
        ``TIFFTAG_IMAGEDESCRIPTION``, ``PRODUCT``, ``ITEM``, ``TILE``, ``VERSION``, ``TIME_START`` and ``TIME_END``
        (UTC, the last second inside); ``SIMULATED`` where it is.
    """
    band = _BANDS[asset]
    if simulated and band.band:
        long_name = f"Simulated: {band.of_band['long_name']}"
        band = replace(
            band, band=simulated_title(band.band, simulated), of_band={**band.of_band, "long_name": long_name}
        )
    if id is None:
        return band
    last = utc_instant(id.span.end) - timedelta(seconds=1)
    described = band.band or simulated_title("Soil moisture in colours", simulated)
    of_file = {
        "TIFFTAG_IMAGEDESCRIPTION": f"{described}, {id.tile}, {id.span}",
        "PRODUCT": PREFIX,
        "ITEM": str(id),
        "TILE": id.tile,
        "VERSION": id.version,
        "TIME_START": isoformat(utc_instant(id.span.start)),
        "TIME_END": isoformat(last),
        **({"SIMULATED": SIMULATED_NOTE} if simulated else {}),
    }
    return replace(band, of_file=of_file)
