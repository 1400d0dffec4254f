"""The sources that inputs are fetched from, by the names that users type.

`workflows.fetch` looks them up; a new one is one line, here or in `by_hand`.
"""

from __future__ import annotations

from stac_sm.core.errors import InputError
from stac_sm.core.text import unknown_name_message
from stac_sm.fetch.by_hand import BY_HAND
from stac_sm.fetch.cds import LONGEST_QUEUE_S
from stac_sm.fetch.cop_dem import CopDemSource
from stac_sm.fetch.era5_land import Era5LandSource
from stac_sm.fetch.esa_cci import C3sSoilMoistureSource
from stac_sm.fetch.modis import ModisSource
from stac_sm.fetch.request import ByHand, Source
from stac_sm.fetch.soilgrids import SoilGridsSource


def fetch_sources(*, longest_queue_s: float = LONGEST_QUEUE_S) -> dict[str, Source | ByHand]:
    """Return every source, by the name that users type.

    Parameters
    ----------
    longest_queue_s
        Seconds that a request may take at the Climate Data Store.

    Returns
    -------
    dict
        Name to source; those without an interface say what a person does.
    """
    return {
        "cop-dem": CopDemSource(),
        "era5-land": Era5LandSource(longest_queue_s),
        "esa-cci-sm": C3sSoilMoistureSource(longest_queue_s=longest_queue_s),
        "modis": ModisSource(),
        "soilgrids": SoilGridsSource(),
        **{one.name: one for one in BY_HAND},
    }


def fetch_source(name: str, *, longest_queue_s: float = LONGEST_QUEUE_S) -> Source | ByHand:
    """Return the source of a name.

    Parameters
    ----------
    name
        As users type it; ``glass-lst`` and its like stand for ``glass``.
    longest_queue_s
        Seconds that a request may take at the Climate Data Store.

    Returns
    -------
    Source or ByHand
        One that is fetched from, or one that says what a person does.

    Raises
    ------
    InputError
        If there is no such source.
    """
    table = fetch_sources(longest_queue_s=longest_queue_s)
    found = table.get("glass" if name.startswith("glass-") else name)
    if found is None:
        raise InputError(unknown_name_message("source", name, sorted(table)))
    return found
