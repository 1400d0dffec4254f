"""Registry of the providers, by the names that users type.

The pipeline of ingest and ``stac-sm ingest --help`` look providers up here; a new provider is one line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from stac_sm.core.errors import InputError
from stac_sm.core.text import unknown_name_message
from stac_sm.ingest.provider_interface import Provider

RASTER = "raster"
"""Name that users type for a raster series of their own; its settings are kept by the id of its collection."""


def create_provider(name: str, settings: dict[str, Any] | None = None) -> Provider:
    """Create the source of a name, with the settings of the project file.

    Parameters
    ----------
    name
        A provider's name, or the id of a raster series of the user's own.
    settings
        Its table of the project file; None: all as usual.

    Returns
    -------
    Provider
        The source.

    Raises
    ------
    InputError
        If there is no such source, or no such setting.
    """
    table = provider_classes()
    kind = source_class(name, settings or {})
    if kind is None:
        raise InputError(
            unknown_name_message("source", name, sorted(table))
            + f"; a series of your own: stac-sm ingest {RASTER} PATHS --collection ID …"
        )
    own = {} if name in table else {"id": name}
    try:
        return kind(**own, **(settings or {}))
    except TypeError as error:
        raise InputError(f"[sources.{name}] in the project file: {error}; see `stac-sm ingest --help`") from error


def source_class(name: str, settings: Mapping[str, Any]) -> Callable[..., Provider] | None:
    """Return what makes the source of a name.

    Parameters
    ----------
    name
        A provider's name, or the id of a raster series of the user's own.
    settings
        Its table of the project file; of a raster series it says ``source = "raster"``.

    Returns
    -------
    callable or None
        Takes the settings, and of a raster series also ``id``; None if there is no such source.
    """
    from stac_sm.ingest.providers.raster import Raster

    return provider_classes().get(name) or (Raster if settings.get("source") == RASTER else None)


def provider_classes() -> dict[str, Callable[..., Provider]]:
    """Return every source, by the name that users type.

    Returns
    -------
    dict
        Name to the class of the source.
    """
    from stac_sm.ingest.providers.cop_dem import CopDem
    from stac_sm.ingest.providers.era5_land import Era5Land
    from stac_sm.ingest.providers.esa_cci import EsaCci
    from stac_sm.ingest.providers.glass import GlassAlbedo, GlassLai, GlassLst
    from stac_sm.ingest.providers.ismn import Ismn
    from stac_sm.ingest.providers.merit_dem import MeritDem
    from stac_sm.ingest.providers.modis import Modis
    from stac_sm.ingest.providers.smap import Smap, SmapS1
    from stac_sm.ingest.providers.soilgrids import SoilGrids

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
