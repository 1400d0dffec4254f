"""Sources without an interface, or behind a form: the page to open, and what to select there for a project.

`stac-sm fetch` prints it; a person follows it, and `stac-sm ingest` reads what comes back under any name.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from stac_sm.core.period import ONE_DAY
from stac_sm.core.places import BBox
from stac_sm.fetch.era5_land import areas
from stac_sm.fetch.request import ByHand, Selection

_GLASS_PRODUCTS = {
    "glass-albedo": ("GLASS02A06.V40", "Albedo/MODIS/1km", 8, "ABD_BSA_VIS, ABD_BSA_NIR, ABD_BSA_shortwave"),
    "glass-lai": ("GLASS01E01.V60", "LAI/MODIS/500M", 8, "LAI"),
    "glass-lst": ("GLASS06A01.V01", "LST/MODIS/Daily/1KM", 1, "LST"),
}
"""Product and version, folder of the archive, days of a file, and fields, by collection."""

_MOST = 12  # names in one line


def _glass(selection: Selection) -> list[str]:
    needed = [id for id in _GLASS_PRODUCTS if id in selection.assets] or list(_GLASS_PRODUCTS)
    steps = [f"tiles: {_some(selection.modis_tiles)}"]
    for id in needed:
        product, folder, days, fields = _GLASS_PRODUCTS[id]
        days_of = " and ".join(f"{one.start:%Y/%j} to {one.end - ONE_DAY:%Y/%j}" for one in selection.spans(id))
        every = "each day" if days == 1 else f"every {days} days from day 1 of a year"
        steps.append(
            f"{product}: https://glass.hku.hk/archive/{folder}/YYYY/DDD/, YYYY/DDD from {days_of}, "
            f"{every}; of each folder the files {product}.AYYYYDDD.TILE.*.hdf ({fields}); not the .xml and .jpg beside "
            "them; the last number of a name is the day of production, so list the folder"
        )
    return steps


def _ismn(selection: Selection) -> list[str]:
    period = selection.period
    return [
        "log in with a free account, open the Data Viewer, and choose Download",
        f"area: {'; '.join(_box(box) for box in areas(selection.boxes))}; better the whole Earth, or all networks of "
        "your climate: a model is tested at stations that it has not seen",
        f"period: {period.start} to {period.end - ONE_DAY}",
        f"variable: soil moisture; depth: 0 to {selection.station_depth_m:g} m (others are left out by ingest)",
        "format: Variables stored in separate files (CEOP) or Header + values; with metadata; one zip, left as it is",
    ]


def _merit(selection: Selection) -> list[str]:
    packages = sorted({name for box in areas(selection.boxes) for name in merit_packages(box)})
    return [
        "fill in the form of the page; user name and password come by e-mail",
        f"version 1.0.3, Elevation (adjusted), packages of 30 degrees: {_some(packages)}",
        "licence: CC BY-NC 4.0 or ODbL 1.0; for an open one take cop-dem, which `stac-sm fetch cop-dem` fetches",
    ]


def merit_packages(box: BBox) -> list[str]:
    """Return the names of the packages of MERIT DEM that meet a box.

    Parameters
    ----------
    box
        West, south, east, north in degrees, west below east.

    Returns
    -------
    list of str
        Such as ``dem_tif_n30w120.tar``, by the lower left corner of 30 x 30 degrees; there are none south of 60 S.
    """
    west, south, east, north = box
    return [
        f"dem_tif_{'n' if lat >= 0 else 's'}{abs(lat):02d}{'e' if lon >= 0 else 'w'}{abs(lon):03d}.tar"
        for lat in range(max(-60, math.floor(south / 30) * 30), min(90, math.ceil(north / 30) * 30), 30)
        for lon in range(max(-180, math.floor(west / 30) * 30), min(180, math.ceil(east / 30) * 30), 30)
    ]


def _smap_s1(selection: Selection) -> list[str]:
    period = selection.periods.get("smap-s1", selection.period)
    return [
        "log in with an Earthdata account, and open the order form of Earthdata Search from the page",
        f"product SPL2SMAP_S, version 3; area: {'; '.join(_box(box) for box in areas(selection.boxes))}",
        f"period: {period.start} to {period.end - ONE_DAY}; there is nothing before 2015-03-31",
        "whole granules in HDF5, not reformatted: soil_moisture_1km, soil_moisture_3km and their retrieval_qual_flag",
    ]


def _smap(selection: Selection) -> list[str]:
    period = selection.periods.get("smap", selection.period)
    return [
        "log in with an Earthdata account, and open the order form of Earthdata Search from the page",
        "product SPL3SMP, newest version, whole granules in HDF5 (each has the whole Earth)",
        f"period: {period.start} to {period.end - ONE_DAY}; there is nothing before 2015-03-31",
    ]


def _box(box: BBox) -> str:
    west, south, east, north = box
    return f"west {west:g}, south {south:g}, east {east:g}, north {north:g}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return ", ".join(names[:_MOST]) + more


_NO_INTERFACE = "its archive is a tree of web folders whose file names cannot be known before"
_FORM = "it is given by a web page after a login, and has no interface for programs"

BY_HAND = (
    ByHand("glass", tuple(_GLASS_PRODUCTS), "https://glass.hku.hk/archive/", _glass, _NO_INTERFACE),
    ByHand("ismn", ("ismn-stations",), "https://ismn.earth/en/dataviewer/", _ismn, _FORM),
    ByHand(
        "merit-dem",
        ("merit-dem",),
        "https://hydro.iis.u-tokyo.ac.jp/~yamadai/MERIT_DEM/",
        _merit,
        "a password is sent to those who fill in a form",
    ),
    ByHand("smap", ("smap",), "https://nsidc.org/data/spl3smp", _smap, "its order form is not spoken to by stac_sm"),
    ByHand(
        "smap-s1",
        ("smap-s1",),
        "https://nsidc.org/data/spl2smap_s/versions/3",
        _smap_s1,
        "its order form is not spoken to by stac_sm",
    ),
)
"""Sources of this kind."""
