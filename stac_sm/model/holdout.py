"""Split a match-up table into folds whose groups (sites, years, networks, blocks) are never on both sides.

Evaluation, tuning and the calibration of intervals take their folds from here. Nothing is random but the seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stac_sm.core.columns import Columns, Fold, day_column, label_column, require_columns, suggest_names
from stac_sm.core.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

_MOST_NETWORKS = 12
"""Most folds of networks: the ISMN has 80, and each fold is two trainings."""

_GroupsOf = Callable[["pd.DataFrame", Columns, float], "pd.Series[str]"]


def hold_out(
    table: pd.DataFrame,
    strategy: str,
    *,
    folds: int = 5,
    seed: int = 0,
    columns: Columns | None = None,
    block_degrees: float = 5.0,
) -> list[Fold]:
    """Cut a table into folds that hold each row out once, and never part a group.

    Parameters
    ----------
    table
        One row per site and day. Order of rows does not matter: a row falls into the same fold anywhere.
    strategy
        What a group is: ``random`` (one site on one day), ``site``, ``year``, ``network`` (each network is a fold of
        its own, whatever ``folds`` says; of more than 12, folds hold several; networks that share a site are one) or
        ``block`` (all sites in one cell of ``block_degrees``).
    folds
        Number of folds; fewer if there are fewer groups.
    seed
        Groups are put in the order of the SHA-256 of seed and group name and dealt out in turn, so a split is the same
        on any machine, and folds differ by at most one group.
    columns
        Names of the columns; `Columns` as it stands if left out.
    block_degrees
        Width and height of a block.

    Returns
    -------
    list of Fold
        At least two.

    Raises
    ------
    InputError
        If the strategy is unknown, a column is missing or has gaps, or there are fewer than two groups.
    """
    check_strategy(strategy)
    if folds < 2:
        raise InputError(f"hold-out: found folds={folds}; at least 2 required, e.g. folds=5")
    groups = _STRATEGIES[strategy](table, columns or Columns(), block_degrees)
    names = _dealt_order(groups, seed)
    if len(names) < 2:
        raise InputError(_too_few(strategy, names))
    count = min(max(folds, _MOST_NETWORKS) if strategy == "network" else folds, len(names))
    return [_fold(strategy, names[i::count], groups, i, count) for i in range(count)]


def hold_outs(
    table: pd.DataFrame,
    strategies: Sequence[str] = ("random", "site", "year"),
    *,
    folds: int = 5,
    seed: int = 0,
    columns: Columns | None = None,
    block_degrees: float = 5.0,
) -> dict[str, list[Fold] | InputError]:
    """Split a table by several strategies.

    Parameters
    ----------
    table
        Match-ups, one row a site and day.
    strategies
        Names of strategies, see `hold_out`.
    folds, seed, columns, block_degrees
        As in `hold_out`.

    Returns
    -------
    dict
        Strategy to its folds, or to the error that says why the table does not allow it.

    Raises
    ------
    InputError
        If a strategy is unknown.
    """
    cuts: dict[str, list[Fold] | InputError] = {}
    for strategy in strategies:
        check_strategy(strategy)
        try:
            cuts[strategy] = hold_out(
                table, strategy, folds=folds, seed=seed, columns=columns, block_degrees=block_degrees
            )
        except InputError as error:
            cuts[strategy] = error
    return cuts


def check_strategy(strategy: str) -> str:
    """Check the name of a strategy.

    Parameters
    ----------
    strategy
        What the user wrote.

    Returns
    -------
    str
        The name, unchanged.

    Raises
    ------
    InputError
        If there is no such strategy; names the nearest ones.
    """
    if strategy not in _STRATEGIES:
        raise InputError(
            f"hold-out: no strategy {strategy!r} ({suggest_names(strategy, _STRATEGIES)}); "
            f"write one of {', '.join(_STRATEGIES)}"
        )
    return strategy


def _by_row(table: pd.DataFrame, columns: Columns, _: float) -> pd.Series[str]:
    """Return site and day, so that two rows of one site and day are never split."""
    return label_column(table, columns.site) + "\0" + day_column(table, columns.time).dt.strftime("%Y-%m-%d")


def _by_site(table: pd.DataFrame, columns: Columns, _: float) -> pd.Series[str]:
    return label_column(table, columns.site)


def _by_year(table: pd.DataFrame, columns: Columns, _: float) -> pd.Series[str]:
    return day_column(table, columns.time).dt.strftime("%Y")


def _by_network(table: pd.DataFrame, columns: Columns, _: float) -> pd.Series[str]:
    """Return networks; those that share a site are one group, or that site would be on both sides."""
    networks, sites = label_column(table, columns.network), label_column(table, columns.site)
    joined: dict[str, set[str]] = {}
    for _site, members in networks.groupby(sites).unique().items():
        group = set().union(*(joined.get(member, {member}) for member in members))
        joined.update(dict.fromkeys(group, group))
    return networks.map({member: "+".join(sorted(group)) for member, group in joined.items()})


def _by_block(table: pd.DataFrame, columns: Columns, degrees: float) -> pd.Series[str]:
    """Return the cell of the median place of a site, so that one whose coordinates were corrected is not split."""
    require_columns(table, [columns.lon, columns.lat], "the block strategy")
    sites = label_column(table, columns.site)
    places = table[[columns.lon, columns.lat]].astype(float).groupby(sites).transform("median")
    if places.isna().any(axis=None):
        lost = sorted(set(sites[places.isna().any(axis=1)]))
        raise InputError(
            f"table: no place for {len(lost)} sites ({', '.join(lost[:5])}); fill lon and lat, or drop them"
        )
    lon = (places[columns.lon] + 180) % 360 - 180  # -180 and 180 are one meridian
    column, row = (np.floor(values / degrees).astype(int).astype(str) for values in (lon, places[columns.lat]))
    cells: pd.Series[str] = column.str.cat(row, sep=",")
    return cells


_STRATEGIES: dict[str, _GroupsOf] = {
    "random": _by_row,
    "site": _by_site,
    "year": _by_year,
    "network": _by_network,
    "block": _by_block,
}

_ADVICE = {
    "random": ("row", "match up more days"),
    "site": ("site", "match up more stations, or validate by year"),
    "year": ("year", "match up a longer period, or validate by site"),
    "network": ("network", "add the stations of another network, or validate by site"),
    "block": ("block", "make the blocks smaller, or validate by site"),
}


def _dealt_order(groups: pd.Series[str], seed: int) -> list[str]:
    """Group names in an order that only they and the seed decide."""
    return sorted(groups.unique(), key=lambda name: hashlib.sha256(f"{seed}\0{name}".encode()).digest())


def _fold(strategy: str, held_out: Sequence[str], groups: pd.Series[str], i: int, count: int) -> Fold:
    """Return the fold that holds out some of the groups."""
    single = len(held_out) == 1 and strategy != "random"
    test: NDArray[np.bool_] = groups.isin(held_out).to_numpy()
    return Fold(
        name=f"{strategy} {held_out[0]}" if single else f"{strategy} {i + 1}/{count}",
        train=np.flatnonzero(~test),
        test=np.flatnonzero(test),
    )


def _too_few(strategy: str, names: Sequence[str]) -> str:
    """Return the error about a table with fewer than two groups."""
    thing, advice = _ADVICE[strategy]
    found = f"1 {thing} ({names[0].replace(chr(0), ' ')})" if names else f"no {thing}"
    return f"hold-out by {strategy}: found {found} in the table, at least 2 required; {advice}"
