"""Name strategies, methods and classes for readers of the report, and hold the published figures beside ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stac_sm.core.scores.groups import climate_class
from stac_sm.model.evaluate import CLIMATOLOGY, CORRECTED, SCREENED, UNSCREENED

UNIT = "m³ m⁻³"

STRATEGY_LABELS: Mapping[str, tuple[str, str]] = {
    "random": ("Random rows", "A random k-fold split of rows: the model has seen other days of the same site."),
    "site": ("Unseen sites", "Whole sites are held out: the model has never seen the place."),
    "year": ("Unseen years", "Whole years are held out: the model has seen the site in other years."),
    "network": ("Unseen networks", "Whole networks are held out, each in turn, with all their sites."),
    "block": ("Unseen regions", "All sites in a block of longitude and latitude are held out together."),
}
"""Name and meaning of each strategy."""


@dataclass(frozen=True)
class PublishedScore:
    """A published figure, of other data than ours."""

    source: str
    """Whose product, and on what."""

    r: str
    """Correlation, as published."""

    rmse: str
    """RMSE, m3 m-3, as published."""

    ubrmse: str
    """ubRMSE, m3 m-3, as published."""


PUBLISHED_SCORES = (
    PublishedScore("GLASS SM, random rows, pooled", "0.941", "0.038", ""),
    PublishedScore("GLASS SM, unseen sites, pooled", "about 0.715", "about 0.079", ""),
    PublishedScore("GLASS SM, median of stations, trained on all stations", "0.64", "", "0.055"),
    PublishedScore("GLASS SM, median of stations, trained after triple collocation", "0.74", "", "0.052"),
    PublishedScore("GLASS SM, dense networks", "0.69 to 0.89", "", "0.033 to 0.048"),
)
"""What the GLASS SM paper reports."""


def strategy_label(strategy: str) -> str:
    """Return the name of a strategy for a reader."""
    return STRATEGY_LABELS[strategy][0] if strategy in STRATEGY_LABELS else strategy


def method_label(method: str, names: Mapping[str, str]) -> str:
    """Return the name of a way of training, or of a baseline, for a reader."""
    if method in (UNSCREENED, SCREENED):
        return "Model, all sites" if method == UNSCREENED else "Model, screened sites"
    if method == CLIMATOLOGY:
        return "Seasonal climatology of the training sites"
    column = method.removesuffix(CORRECTED)
    return names.get(column, column) + (", bias-corrected" if method.endswith(CORRECTED) else "")


def climate_label(code: str) -> str:
    """Return the main class of a Koeppen-Geiger code."""
    return climate_class(code.upper()) or "unknown"


def latitude_band_label(lat: float) -> str:
    """Return the band of a latitude in degrees north, either side of the equator."""
    bands = ((23.5, "0 to 23.5°"), (35.0, "23.5 to 35°"), (45.0, "35 to 45°"), (60.0, "45 to 60°"))
    return next((name for limit, name in bands if abs(lat) < limit), "60 to 90°")
