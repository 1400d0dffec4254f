"""Thresholds of screening: table ``[screening]`` of the project file, by which `stations.screening` decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from stac_sm.core.errors import InputError


@dataclass(frozen=True)
class ScreeningThresholds:
    """Requirements on a station to be kept, and on the number of stations that must be left."""

    min_correlation: float = 0.6
    """Least correlation of the station with the unknown truth."""

    max_error_std: float = 0.06
    """Largest standard deviation of the station's error, m3 m-3."""

    min_days: int = 100
    """Least number of days on which all three series have a value."""

    min_sites: int = 5
    """Fewest kept sites on which a screened model is trained."""

    min_sites_for_intervals: int = 10
    """Fewest sites from which prediction intervals are issued."""

    confidence: float = 0.9
    """Share covered by the bootstrap intervals of correlation and error."""

    decide_by: Literal["bounds", "estimate"] = "bounds"
    """Figures that the thresholds apply to: the lower bound of the correlation's interval and the upper bound of the
    error's, or the estimates themselves."""

    max_failed_resamples: float = 0.2
    """Largest share of the resamples that may allow no triple collocation; with more, a site is undetermined."""

    @property
    def series_names(self) -> tuple[str, str, str]:
        """What reasons call the station and the other two data sets."""
        return "station", "ERA5-Land", "ESA CCI"

    def __post_init__(self) -> None:
        for name in ("confidence", "max_failed_resamples"):
            if not 0 <= (found := getattr(self, name)) < 1:
                raise InputError(f"[screening] {name}: found {found:g}, a share from 0 to below 1 is required")

    def fingerprint_fields(self) -> dict[str, Any]:
        """Return the thresholds as they enter fingerprints.

        Returns
        -------
        dict
            Name to value. The keys are spelled out, so that renaming a field makes no result stale.
        """
        return {
            "min_correlation": self.min_correlation,
            "max_error_std": self.max_error_std,
            "min_days": self.min_days,
            "min_sites": self.min_sites,
            "min_sites_for_intervals": self.min_sites_for_intervals,
            "confidence": self.confidence,
            "decide_by": self.decide_by,
            "max_failed_resamples": self.max_failed_resamples,
        }

    def rules(self) -> dict[str, Any]:
        """Return the thresholds that decide about a single site, as its screening result states them.

        Returns
        -------
        dict
            Name to value, without the numbers of sites that a training requires, and without ``confidence``, which
            the result states beside its intervals.
        """
        others = {"min_sites", "min_sites_for_intervals", "confidence"}
        return {name: value for name, value in self.fingerprint_fields().items() if name not in others}
