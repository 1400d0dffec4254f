"""State how a validation was made: window, depth, flags, scaling, collocation, versions, what was dropped, citations.

The protocol follows the QA4SM service and Gruber et al. (2020), doi:10.1016/j.rse.2020.111806. `validate` writes it
into the item, ``metrics.json`` and the page, so that no number stands without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stac_sm.core.errors import CatalogError
from stac_sm.core.fingerprint import digest
from stac_sm.core.period import Period
from stac_sm.core.preliminary import RANK_PROPERTY, SOURCES_PROPERTY, is_preliminary
from stac_sm.core.scores.pair import GCOS_UBRMSE, LEAST_YEARS
from stac_sm.core.scores.resampling import BLOCK_DAYS, CONFIDENCE, LEAST_SITES, RESAMPLES
from stac_sm.core.scores.series import SEASONAL_WINDOW, SHORT_WINDOW, Scaling
from stac_sm.stac.catalogs.search import ItemSearch

if TYPE_CHECKING:
    import pandas as pd

    from stac_sm.stations.records import Station, StationRules

ISMN_CITATION = "Dorigo et al. (2021), Hydrology and Earth System Sciences 25, 5749-5804, doi:10.5194/hess-25-5749-2021"
"""What the terms of the ISMN ask to cite, whatever the network."""

_NETWORKS: Mapping[str, str] = {
    "AMMA-CATCH": "Lebel et al. (2009), Journal of Hydrology 375, doi:10.1016/j.jhydrol.2009.03.020",
    "COSMOS": "Zreda et al. (2012), Hydrology and Earth System Sciences 16, doi:10.5194/hess-16-4079-2012",
    "DAHRA": "Tagesson et al. (2015), Global Change Biology 21, doi:10.1111/gcb.12734",
    "HOBE": "Bircher et al. (2012), Hydrology and Earth System Sciences 16, doi:10.5194/hess-16-1445-2012",
    "NAQU": "Su et al. (2011), Hydrology and Earth System Sciences 15, doi:10.5194/hess-15-2303-2011",
    "NGARI": "Su et al. (2011), Hydrology and Earth System Sciences 15, doi:10.5194/hess-15-2303-2011",
    "MAQU": "Su et al. (2011), Hydrology and Earth System Sciences 15, doi:10.5194/hess-15-2303-2011",
    "OZNET": "Smith et al. (2012), Water Resources Research 48, doi:10.1029/2012WR011976",
    "PBO_H2O": "Larson et al. (2008), Geophysical Research Letters 35, doi:10.1029/2008GL036013",
    "SCAN": "Schaefer et al. (2007), Journal of Atmospheric and Oceanic Technology 24, doi:10.1175/2007JTECHA930.1",
    "SMOSMANIA": "Albergel et al. (2008), Hydrology and Earth System Sciences 12, doi:10.5194/hess-12-1323-2008",
    "TAHMO": "van de Giesen et al. (2014), WIREs Water 1, 341-348",
    "TERENO": "Zacharias et al. (2011), Vadose Zone Journal 10, doi:10.2136/vzj2010.0139",
    "USCRN": "Bell et al. (2013), Journal of Hydrometeorology 14, doi:10.1175/JHM-D-12-0146.1",
}
"""As the readme of an archive of the ISMN lists them; a DOI stands only where it was found there."""

_ASK_ISMN = "as the ISMN lists it under the name of the network (ismn.earth)"


@dataclass(frozen=True)
class Reference:
    """A data set that the product is compared with."""

    collection: str
    """Its collection."""

    version: str
    """Its versions, as the items or the archive state them."""


@dataclass(frozen=True)
class ValidationProtocol:
    """How the numbers of a validation were made."""

    period: str
    """UTC days."""

    temporal_window: str
    """Which readings belong to a day of the product."""

    depth: str
    """Which sensors count."""

    flags: str
    """Which readings count."""

    scaling: Scaling
    """How product and other data sets are scaled to the station before they are compared."""

    collocation: str
    """Which pixel belongs to a station."""

    anomalies: str
    """How anomalies are made."""

    intervals: str
    """How intervals are made."""

    references: tuple[Reference, ...]
    """What the product is compared with, and its versions."""

    compared: int
    """Site-days that are compared."""

    dropped: Mapping[str, int]
    """Number that is not compared, by reason."""

    citations: Mapping[str, str]
    """Network to what is to be cited for it."""

    def to_dict(self) -> dict[str, Any]:
        """Return the protocol.

        Returns
        -------
        dict
            Ready for JSON.
        """
        return {
            **{key: value for key, value in vars(self).items() if key not in ("references", "dropped", "citations")},
            "gcos_ubrmse": GCOS_UBRMSE,
            "references": [vars(one) for one in self.references],
            "dropped": dict(self.dropped),
            "citations": dict(self.citations),
        }

    @property
    def lines(self) -> list[tuple[str, str]]:
        """Names and values for the page, in their order."""
        scaled = {
            "none": "none",
            "mean-std": "product and other data sets to the mean and standard deviation of each station",
            "cdf": "product and other data sets to the distribution of each station (CDF matching)",
        }
        return [
            ("period", self.period),
            ("temporal window", self.temporal_window),
            ("depth", self.depth),
            ("flags", self.flags),
            ("scaling", scaled[self.scaling]),
            ("collocation", self.collocation),
            ("anomalies", self.anomalies),
            ("intervals", self.intervals),
            *((f"reference {one.collection}", one.version) for one in self.references),
            ("site-days compared", f"{self.compared:,}"),
            *((f"not compared: {reason}", f"{number:,}") for reason, number in self.dropped.items()),
            *((f"to cite for {network}", text) for network, text in self.citations.items()),
        ]


def validation_protocol(
    period: Period,
    rules: StationRules,
    scaling: Scaling,
    rows: pd.DataFrame,
    dropped: Mapping[str, int],
    references: Sequence[Reference],
) -> ValidationProtocol:
    """Return the protocol of a comparison with stations.

    Parameters
    ----------
    period
        UTC days.
    rules
        Which readings count.
    scaling
        How the product was scaled.
    rows
        What is compared: columns ``site``, ``network``; a row a site and day.
    dropped
        Number that is not compared, by reason.
    references
        What the product is compared with.

    Returns
    -------
    ValidationProtocol
        The protocol.
    """
    low, high = rules.valid
    networks = sorted(set(rows["network"]))
    return ValidationProtocol(
        period=str(period),
        temporal_window=(
            f"the UTC day of the product and the mean of a station's readings from 00:00 to 24:00 UTC of that day; a "
            f"sensor needs {rules.min_hours} of them"
        ),
        depth=f"sensors that end at {rules.max_depth:g} m or above, rounded to the centimetre",
        flags=f"readings flagged {rules.flag}, above {low:g} and below {high:g} m3 m-3",
        scaling=scaling,
        collocation="the pixel of the product that holds the station; stations in one pixel are averaged to one site",
        anomalies=(
            f"long-term: from the mean seasonal cycle of the compared days, smoothed over {SEASONAL_WINDOW} days, "
            f"where they span {LEAST_YEARS:g} years; short-term: from the moving average over {SHORT_WINDOW} days"
        ),
        intervals=(
            f"{100 * CONFIDENCE:g} %, {RESAMPLES} resamples: of a station in circular blocks of {BLOCK_DAYS} days, of "
            f"networks and classes by sites, from {LEAST_SITES} sites; p-values take days as independent"
        ),
        references=tuple(references),
        compared=len(rows),
        dropped=dict(dropped),
        citations={"ISMN": ISMN_CITATION, **{name: _NETWORKS.get(name, _ASK_ISMN) for name in networks}}
        if networks
        else {},
    )


def station_reference(stations: Iterable[Station], collection: str) -> Reference:
    """Return what identifies the readings of stations: the ISMN states no version in its archives.

    Parameters
    ----------
    stations
        Those in the tiles.
    collection
        Their collection.

    Returns
    -------
    Reference
        Its version is the number of series, the last day with a reading, and a digest of the series.
    """
    known = sorted(stations, key=lambda one: one.id)
    last = max((one.period.days[-1] for one in known), default=None)
    content = digest([[one.id, one.checksum] for one in known])[:12]
    return Reference(collection, f"{len(known)} series, readings up to {last}, digest {content}")


def product_reference(catalog: ItemSearch, collection: str, period: Period) -> Reference:
    """Return the versions that the items of another product state.

    Parameters
    ----------
    catalog
        Catalogue with the product.
    collection
        Its collection.
    period
        UTC days.

    Returns
    -------
    Reference
        Its version is what the items state: a version or the release of a file, and whether they are final; ``not
        stated`` where no item states any.
    """
    try:
        items = catalog.items(collection, period=period, left_out={})
    except CatalogError:
        items = []
    found = sorted({text for one in items if (text := _version(one.properties))})
    return Reference(collection, ", ".join(found) or "not stated")


def _version(properties: Mapping[str, Any]) -> str:
    """Return the version that an item states, in words; empty where it states none."""
    rank = properties.get(RANK_PROPERTY) or {}
    numbers = ".".join(map(str, rank.get("version", ())))
    version = str(properties.get("version") or (f"release {numbers}" if numbers else ""))
    sources = properties.get(SOURCES_PROPERTY) or ()
    facts = [rank, *(one for source in sources for one in (source, *(source.get("variables") or {}).values()))]
    final = "final" if any(one.get("final") for one in facts) else ""
    return " ".join(part for part in (version, "preliminary" if is_preliminary(properties) else final) if part)
