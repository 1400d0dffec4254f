"""Check for leakage: predictors that identify the site, and predictors that are the target measured once more.

The first let random folds reward a model that knows sites by heart. The second, such as soil moisture at another depth
of the same station or a copy of the target with noise, make every score look like skill, and do not exist where no
station is. `diagnose` runs the check; the report lists the flagged features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stac_sm.core.arrays import Float64Array
from stac_sm.core.columns import Columns, day_column, label_column
from stac_sm.core.metrics import pearson_r
from stac_sm.model.diagnostics.fold_diagnostics import FoldModels, strategy_gap, train_folds
from stac_sm.model.diagnostics.results import (
    CLEAR,
    FLAGGED,
    WATCHED,
    DiagnosticsBudget,
    LeakageCheck,
    PermutationImportance,
    StrategyGap,
)
from stac_sm.model.evaluate import Fitter

_NAMES_SITE = 0.5  # share of later rows whose site a feature tells, from which on it is a name of the site
_CONSTANT = 0.05  # share of the variance within sites, below which a feature hardly changes at a site
_SAME_AS_PLACE = 0.99  # rank correlation with longitude or latitude over sites
_FEWEST_SITES = 4  # for such a correlation
_MATTERS = 0.1  # of the error under random folds: the least increase that counts as help
_TRANSFERS = 1 / 3  # of the help under random folds must be left at unseen sites

# Of near predictors. At the stations of SCAN, soil moisture at 4, 8, 20 and 40 inches follows that at 2 inches with R
# of the site means of 0.92, 0.86, 0.78 and 0.76, and one factor without offset explains 77, 62, 40 and 24 % of its
# variance. Rainfall of any number of days has R of the site means up to 0.81, and such a factor explains nothing; SMAP
# at the stations of `matchup_conus` has 0.47. A copy with noise has R of the site means near 1, as noise averages out.
_NEAR_SITES = 10  # least number of sites: the means of a few follow each other by chance
_NEAR_ROWS = 10  # least number of rows of such a site
_COPY_BETWEEN, _COPY_WITHIN = 0.9, 0.15  # least R of site means, and within sites, of a copy with noise
_DEPTH_BETWEEN, _DEPTH_WITHIN = 0.7, 0.2  # the same of a sensor at another depth, which also has …
_DEPTH_EXPLAINED = 0.2  # least share of the target's variance that one factor without offset explains
_SAME = 0.95  # R over all rows, from which on a feature is the target whatever the number of sites


def check_leakage(
    rows: pd.DataFrame, importance: Sequence[PermutationImportance], cuts: dict[str, FoldModels], columns: Columns
) -> list[LeakageCheck]:
    """Check every feature; the flagged ones come first, then those that identify the site best."""
    if "random" not in cuts:
        return []
    least = _MATTERS * cuts["random"].error()
    worth = {(one.feature, one.strategy): one.increase for one in importance}
    sites, dates = label_column(rows, columns.site).to_numpy(dtype=str), day_column(rows, columns.time).to_numpy()
    target = rows[columns.target].to_numpy(dtype=float)
    found = []
    for name in dict.fromkeys(one.feature for one in importance):
        near = near_predictor(rows[name].to_numpy(dtype=float), target, sites)
        named, place = (
            site_identification_skill(rows[name].to_numpy(dtype=float), sites, dates),
            _place(rows, name, columns),
        )
        known, unseen = worth[name, "random"], worth[name, "site"]
        within = _within(rows[name].astype(float), sites)
        names_it = named >= _NAMES_SITE or within < _CONSTANT or bool(place)
        harm = known >= least and unseen <= _TRANSFERS * known
        status = FLAGGED if near or (names_it and harm) else WATCHED if names_it else CLEAR
        found.append(LeakageCheck(name, named, within, place, known, unseen, status, near))
    order = (FLAGGED, WATCHED, CLEAR)
    return sorted(found, key=lambda leak: (order.index(leak.status), _best_first(leak.names_site), leak.feature))


def site_identification_skill(values: Float64Array, sites: NDArray[np.str_], dates: NDArray[np.datetime64]) -> float:
    """Return how well a feature alone tells which site a row belongs to.

    Parameters
    ----------
    values, sites, dates
        1-D, of one length: the feature, NaN where missing; the site and the day of each row.

    Returns
    -------
    float
        `LeakageCheck.names_site`; NaN where no site has two rows with a value.
    """
    frame = pd.DataFrame({"value": values, "site": sites, "date": dates}).dropna().sort_values(["site", "date"])
    place = frame.groupby("site").cumcount() / frame.groupby("site")["value"].transform("size")
    early, late = frame[place < 0.5].sort_values(["value", "site"]), frame[place >= 0.5]
    if early.empty or late.empty:
        return math.nan
    known, asked = early["value"].to_numpy(), late["value"].to_numpy()
    right = np.searchsorted(known, asked).clip(1, max(len(known) - 1, 1))
    left, right = right - 1, np.minimum(right, len(known) - 1)
    nearest = np.where(np.abs(asked - known[left]) <= np.abs(known[right] - asked), left, right)
    return float((early["site"].to_numpy()[nearest] == late["site"].to_numpy()).mean())


def near_predictor(values: Float64Array, target: Float64Array, sites: NDArray[np.str_]) -> str:
    """Return how closely a feature follows the target, if it does so as only a measurement at the same station does.

    Parameters
    ----------
    values, target, sites
        1-D, of one length: the feature and the target, NaN where missing, in any units; the site of each row.

    Returns
    -------
    str
        The correlations that show it: of the site means and within sites, over sites with at least 10 rows. Empty for
        any other feature, and with fewer than 10 such sites, unless R over all rows is 0.95 or more.
    """
    frame = pd.DataFrame({"x": values, "y": target, "site": sites}).dropna()
    if len(frame) >= _NEAR_ROWS and (r := pearson_r(frame["x"], frame["y"])) >= _SAME:
        return f"R {r:.2f} with the target over all rows"
    frame = frame[frame.groupby("site")["x"].transform("size") >= _NEAR_ROWS]
    means = frame.groupby("site")[["x", "y"]].mean()
    if len(means) < _NEAR_SITES:
        return ""
    inside = frame[["x", "y"]] - means.loc[frame["site"]].to_numpy()
    between, within = pearson_r(means["x"], means["y"]), pearson_r(inside["x"], inside["y"])
    factor = float((means["x"] * means["y"]).sum() / max((means["x"] ** 2).sum(), np.finfo(float).tiny))
    left = float(((frame["y"] - factor * frame["x"]) ** 2).sum())
    whole = float(((frame["y"] - frame["y"].mean()) ** 2).sum())
    explained = 1 - left / whole if whole > 0 else math.nan
    copied = between >= _COPY_BETWEEN and within >= _COPY_WITHIN
    deeper = between >= _DEPTH_BETWEEN and within >= _DEPTH_WITHIN and explained >= _DEPTH_EXPLAINED
    return f"R {between:.2f} with the target between sites and {within:.2f} within them" if copied or deeper else ""


def _within(values: pd.Series[float], sites: NDArray[np.str_]) -> float:
    """Compute `LeakageCheck.within`."""
    whole = float(((values - values.mean()) ** 2).mean())
    inside = float(((values - values.groupby(sites).transform("mean")) ** 2).mean())
    return inside / whole if whole > 0 else math.nan


def _best_first(named: float) -> float:
    """Return the sorting key: what identifies sites best first, NaN last."""
    return math.inf if math.isnan(named) else -named


def _place(rows: pd.DataFrame, name: str, columns: Columns) -> str:
    """Return the coordinate that orders the sites as the feature does, if there is one."""
    sites = label_column(rows, columns.site)
    means = rows[name].astype(float).groupby(sites).mean().rank()
    for role, column in (("lon", columns.lon), ("lat", columns.lat)):
        if column in rows and len(means) >= _FEWEST_SITES and means.nunique() > 1:
            along = rows[column].astype(float).groupby(sites).mean().rank()
            if along.nunique() > 1 and abs(pearson_r(means, along)) >= _SAME_AS_PLACE:
                return role
    return ""


def strategy_gap_without(
    rows: pd.DataFrame, names: Sequence[str], fitter: Fitter, seed: int, columns: Columns, budget: DiagnosticsBudget
) -> StrategyGap | None:
    """Return the gap where nothing can be learned from some features."""
    silenced = rows.assign(**dict.fromkeys(names, 0.0))
    cuts = {}
    for strategy in ("site", "random"):
        cut = train_folds(silenced, strategy, fitter, seed, columns, budget, [])
        if cut is None:
            return None
        cuts[strategy] = cut
    return strategy_gap(cuts)
