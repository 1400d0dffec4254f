"""Screen stations by triple collocation: which ones represent their pixel.

The three data sets are station, ERA5-Land and a third one (ESA CCI by default). The training workflow screens all sites
once for the report and the items, and again inside each hold-out with the rows that may be used there
(`training_screener`). A station is kept if the bounds of its bootstrap intervals pass the thresholds, undetermined if
the bootstrap shows that its estimate cannot be trusted, and rejected otherwise. The last two keep their reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from stac_sm.core.arrays import Float64Array
from stac_sm.core.columns import Columns, day_column, label_column, require_columns
from stac_sm.core.errors import InputError, ScreeningError
from stac_sm.core.metrics import TripleCollocation, collocation_figures, common_rows, triple_collocation
from stac_sm.stations.screening_thresholds import ScreeningThresholds

if TYPE_CHECKING:
    import pandas as pd

SERIES = ("insitu", "era5land", "third")
"""Columns of a table of triplets beside ``site`` and ``date``; m3 m-3, NaN = no value. The first is screened."""

KEPT = "kept"
_BLOCK_DAYS = 30  # longer than surface soil moisture remembers, so that blocks of days are nearly independent
_LEAST_FINITE = 0.5  # share of the resamples that must allow triple collocation, for an interval
_REASONS_SHOWN = 5  # in a message; the report lists all
_SITE_COLUMNS = [
    "site", "n", "status", "correlation", "error_std", "snr_db", "correlation_low", "correlation_high",
    "error_std_low", "error_std_high", "resamples", "failed_resamples",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class ScreeningResult:
    """Result of triple collocation for each site: kept, or rejected or undetermined with the reason."""

    sites: pd.DataFrame
    """One row per site: ``site, n, status, correlation, error_std, snr_db, correlation_low, correlation_high,
    error_std_low, error_std_high, resamples, failed_resamples``. ``status`` is ``kept``, or ``rejected: `` or
    ``undetermined: `` and the reason. The figures belong to the station's series, errors in m3 m-3; those that triple
    collocation refuses are NaN. ``resamples`` allowed triple collocation, ``failed_resamples`` did not."""

    thresholds: ScreeningThresholds
    """Requirements that the sites were screened with."""

    @property
    def kept(self) -> list[str]:
        """Ids of the sites kept, in order."""
        return list(self.sites.loc[self.sites["status"] == KEPT, "site"])

    @property
    def reasons(self) -> dict[str, str]:
        """Why each of the other sites is not kept: the reason of a rejection, or ``undetermined: `` and the reason."""
        out = self.sites[self.sites["status"] != KEPT]
        return {
            site: status.removeprefix("rejected: ") for site, status in zip(out["site"], out["status"], strict=True)
        }


def screen_sites(
    triplets: pd.DataFrame, thresholds: ScreeningThresholds, *, seed: int = 0, bootstrap: int = 200
) -> ScreeningResult:
    """Screen every site of a table by the triple collocation of its daily series.

    Parameters
    ----------
    triplets
        Columns ``site, date, insitu, era5land, third``: one row per site and day, soil moisture in m3 m-3, NaN where
        there is no value. The order of rows does not matter.
    thresholds
        Requirements on a site.
    seed
        Seed of the bootstrap. The resamples of a site depend on the seed and its id only, not on other sites.
    bootstrap
        Resamples per site, each of circular blocks of 30 days (Politis and Romano 1992), since days are not
        independent; 0 for no intervals, where ``thresholds.decide_by`` is ``"estimate"``.

    Returns
    -------
    ScreeningResult
        A row for every site in the table.

    Raises
    ------
    InputError
        If a column is missing, a site or day is empty, a site has one day twice, or there are no resamples for the
        bounds that decide.

    Notes
    -----
    The bounds of an interval decide, because with a year or two of days an estimate alone keeps stations by luck. An
    estimate outside its own interval, or one that many resamples cannot repeat, rests on a few days: the site is
    undetermined, which QA4SM calls undeducible.
    """
    import pandas as pd

    if bootstrap < 1 and thresholds.decide_by == "bounds":
        raise InputError("screening by bounds: found 0 resamples, at least 1 is required: decide_by = 'estimate'")
    ordered = _ordered(triplets)
    rows = [
        _screened_site(str(site), part, thresholds, seed, bootstrap)
        for site, part in ordered.groupby("site", sort=True)
    ]
    return ScreeningResult(sites=pd.DataFrame(rows, columns=_SITE_COLUMNS), thresholds=thresholds)


def require_sites(screening: ScreeningResult, thresholds: ScreeningThresholds) -> None:
    """Refuse a screening that leaves too few sites to train on.

    Parameters
    ----------
    screening
        Result of `screen_sites`.
    thresholds
        Its ``min_sites`` is the least number of sites kept.

    Raises
    ------
    ScreeningError
        With the counts and the reasons, if fewer than ``thresholds.min_sites`` are kept.
    """
    kept, found = len(screening.kept), len(screening.sites)
    if kept >= thresholds.min_sites:
        return
    reasons = "; ".join(f"{site}: {reason}" for site, reason in list(screening.reasons.items())[:_REASONS_SHOWN])
    more = f"; and {found - kept - _REASONS_SHOWN} more" if found - kept > _REASONS_SHOWN else ""
    raise ScreeningError(
        f"screened training refused: {kept} {'site' if kept == 1 else 'sites'} of {found} kept, "
        f"{thresholds.min_sites} required (reasons: {reasons or 'no site in the table'}{more}); "
        "train unscreened or lower [screening] min_sites"
    )


def training_screener(
    triplets: pd.DataFrame, thresholds: ScreeningThresholds, table: pd.DataFrame, columns: Columns | None = None
) -> Callable[[pd.DataFrame], list[str]]:
    """Return a function that screens the training rows of a hold-out without using what is held out.

    The series of a station are longer than its match-ups. Of them are used: the sites and the years that occur in the
    training rows, without the days of rows that are held out.

    Parameters
    ----------
    triplets
        As in `screen_sites`.
    thresholds
        Requirements on a site.
    table
        All match-ups; rows that are not passed to the returned function are held out.
    columns
        Names in the tables of match-ups; None for the usual ones.

    Returns
    -------
    Callable
        Takes training rows of the table and returns the sites kept; it raises `ScreeningError` as `require_sites` does.

    Raises
    ------
    InputError
        If a column is missing, a site or day is empty, or a site has one day twice.
    """
    ordered, whole = _ordered(triplets), _keys(table, columns or Columns())

    def kept_sites(rows: pd.DataFrame) -> list[str]:
        """Return the sites kept by the triplets that belong to these rows."""
        seen = _keys(rows, columns or Columns())
        allowed = ordered["site"].isin(seen["site"]) & ordered["date"].dt.year.isin(seen["date"].dt.year)
        marked = (
            ordered[allowed].merge(whole, how="left", indicator="matched_up").merge(seen, how="left", indicator="seen")
        )
        held_out = (marked["matched_up"] == "both") & (marked["seen"] != "both")
        screening = screen_sites(marked[~held_out], thresholds)
        require_sites(screening, thresholds)
        return screening.kept

    return kept_sites


def _keys(table: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """Return site and day of the rows of a table, each pair once."""
    import pandas as pd

    keys = pd.DataFrame({"site": label_column(table, columns.site), "date": day_column(table, columns.time)})
    return keys.drop_duplicates()


def _ordered(triplets: pd.DataFrame) -> pd.DataFrame:
    """Return triplets by site and day, after checking them."""
    require_columns(triplets, ["site", "date", *SERIES], "triple collocation")
    table = triplets[list(SERIES)].assign(site=label_column(triplets, "site"), date=day_column(triplets, "date"))
    twice = table.duplicated(["site", "date"])
    if twice.any():
        site, day = table.loc[twice, ["site", "date"]].iloc[0]
        raise InputError(
            f"triplets: site {site!r} has day {day:%Y-%m-%d} more than once ({int(twice.sum())} such rows in all); "
            "one row per site and day is required; average the sensors of a site first"
        )
    return table.sort_values(["site", "date"], ignore_index=True)


def _screened_site(
    site: str, part: pd.DataFrame, thresholds: ScreeningThresholds, seed: int, bootstrap: int
) -> dict[str, Any]:
    """Return the row of a site in the table of results."""
    series = [part[name].to_numpy(dtype=float) for name in SERIES]
    figures = triple_collocation(*series, min_n=thresholds.min_days, names=thresholds.series_names)
    resampled = _resampled(common_rows(*series), site, seed, bootstrap) if figures.ok else np.empty((2, 0))
    intervals = [_interval(draws, thresholds.confidence) for draws in resampled]
    finite = int(np.isfinite(resampled[0]).sum())
    return {
        "site": site,
        "n": figures.n,
        "status": _status(figures, intervals, resampled.shape[1] - finite, resampled.shape[1], thresholds),
        "correlation": figures.correlation[0],
        "error_std": figures.error_std[0],
        "snr_db": figures.snr_db[0],
        "correlation_low": intervals[0][0],
        "correlation_high": intervals[0][1],
        "error_std_low": intervals[1][0],
        "error_std_high": intervals[1][1],
        "resamples": finite,
        "failed_resamples": resampled.shape[1] - finite,
    }


def _status(
    figures: TripleCollocation,
    intervals: Sequence[tuple[float, float]],
    failed: int,
    resamples: int,
    thresholds: ScreeningThresholds,
) -> str:
    """Return ``kept``, or why not; ``intervals`` are those of correlation and error."""
    if not figures.ok:
        return f"rejected: {figures.status}"
    correlation, error = figures.correlation[0], figures.error_std[0]
    if failed > thresholds.max_failed_resamples * resamples:
        return (
            f"undetermined: triple collocation fails in {failed} of {resamples} resamples, at most "
            f"{thresholds.max_failed_resamples:.0%} allowed (TC R {correlation:.2f})"
        )
    if resamples:
        named = (("TC R", correlation, ".2f"), ("error", error, ".3f"))
        outside = [
            f"{name} {value:{digits}} lies outside its own interval, {low:{digits}} to {high:{digits}}"
            for (name, value, digits), (low, high) in zip(named, intervals, strict=True)
            if not low <= value <= high
        ]
        if outside:
            return f"undetermined: {' and '.join(outside)}"
    what, faults = "", []
    if thresholds.decide_by == "bounds":
        what, correlation, error = "bound of ", intervals[0][0], intervals[1][1]
    if correlation < thresholds.min_correlation:
        faults.append(f"{what and 'lower '}{what}TC R {correlation:.2f} < {thresholds.min_correlation:.2f}")
    if error > thresholds.max_error_std:
        faults.append(f"{what and 'upper '}{what}error {error:.3f} > {thresholds.max_error_std:.3f}")
    return f"rejected: {' and '.join(faults)}" if faults else KEPT


def _resampled(rows: Float64Array, site: str, seed: int, resamples: int) -> Float64Array:
    """Return correlation with the truth and error std in resamples of blocks of days, dims (figure, resample); NaN
    where a resample allows none.

    Each block enters by its sums, so a resample costs a few additions whatever the number of days.
    """
    n = rows.shape[1]
    length = max(1, min(_BLOCK_DAYS, n // 4))  # so that a short series still has blocks to choose from
    draws = _generator(site, seed).integers(n, size=(resamples, -(-n // length)))
    sums = _block_sums(rows - rows.mean(axis=1, keepdims=True), length)[draws].sum(axis=1)
    count = length * draws.shape[1]
    means = sums[:, :3] / count
    q = (sums[:, 3:].reshape(-1, 3, 3) - count * means[:, :, None] * means[:, None, :]) / (count - 1)
    figures = collocation_figures(q)
    return np.stack((figures["correlation"][:, 0], figures["error_std"][:, 0]))


def _block_sums(rows: Float64Array, length: int) -> Float64Array:
    """Return sums of the three series and of their nine products over the block that starts at each day, circular."""
    products = (rows[:, None] * rows[None]).reshape(9, -1)
    moments = np.vstack((rows, products))
    wrapped = np.concatenate((np.zeros((12, 1)), moments, moments[:, :length]), axis=1).cumsum(axis=1)
    return np.asarray((wrapped[:, length : length + rows.shape[1]] - wrapped[:, : rows.shape[1]]).T)


def _interval(draws: Float64Array, confidence: float) -> tuple[float, float]:
    """Return quantiles of the finite resamples; NaN if too many are not finite."""
    finite = draws[np.isfinite(draws)]
    if not finite.size or finite.size < _LEAST_FINITE * draws.size:
        return np.nan, np.nan
    low, high = np.quantile(finite, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _generator(site: str, seed: int) -> np.random.Generator:
    """Return a random generator that depends on one site and the seed only."""
    return np.random.default_rng(list(hashlib.sha256(f"{seed}\0{site}".encode()).digest()))
