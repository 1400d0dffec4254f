"""The sources there are, by the names that users type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stac_sm.errors import InputError
from stac_sm.naming import unknown
from stac_sm.sources import Source


def source(name: str, settings: dict[str, Any] | None = None) -> Source:
    """Source of a name, with the settings of the project file.

    Raises
    ------
    InputError
        If there is no such source, or no such setting.
    """
    table = source_table()
    if name not in table:
        raise InputError(unknown("source", name, sorted(table)))
    try:
        return table[name](**(settings or {}))
    except TypeError as error:
        raise InputError(f"[sources.{name}] in the project file: {error}; see `stac-sm ingest --help`") from error


def source_table() -> dict[str, Callable[..., Source]]:
    """Every source, by the name that users type."""
    from stac_sm.sources.cop_dem import CopDem
    from stac_sm.sources.era5_land import Era5Land
    from stac_sm.sources.esa_cci import EsaCci
    from stac_sm.sources.glass import GlassAlbedo, GlassLai, GlassLst
    from stac_sm.sources.ismn import Ismn
    from stac_sm.sources.merit_dem import MeritDem
    from stac_sm.sources.modis import Modis
    from stac_sm.sources.smap import Smap
    from stac_sm.sources.smap_s1 import SmapS1
    from stac_sm.sources.soilgrids import SoilGrids

    return {
        "cop-dem": CopDem,
        "era5-land": Era5Land,
        "esa-cci-sm": EsaCci,
        "glass-albedo": GlassAlbedo,
        "glass-lai": GlassLai,
        "glass-lst": GlassLst,
        "ismn": Ismn,
        "merit-dem": MeritDem,
        "modis": Modis,
        "smap": Smap,
        "smap-s1": SmapS1,
        "soilgrids": SoilGrids,
    }
