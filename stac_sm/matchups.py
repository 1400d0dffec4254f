"""Match-ups: what a site measured on a day, beside the features of its pixel on that day.

The features come through the very functions that prediction uses (``cube.resolve`` and ``cube.build``), for the
pixels of the sites only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from stac_sm.catalog import Catalog
from stac_sm.cube import DEFAULT_READER, build
from stac_sm.errors import InputError
from stac_sm.grid import TileGrid
from stac_sm.period import Period
from stac_sm.recipe import Recipe
from stac_sm.regrid import Target
from stac_sm.resolution import Resolution, resolve

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Matchups:
    """A table of match-ups and the account of what is not in it."""

    table: pd.DataFrame
    """One row a site and day: ``site, network, lon, lat, tile, row, col, date, sm, n``, then the features."""

    dropped: Mapping[str, int] = field(default_factory=dict)
    """Number of measured site-days left out, by reason."""


def resolve_sites(
    catalog: Catalog, recipe: Recipe, sites: pd.DataFrame, period: Period, grid: TileGrid
) -> dict[str, Resolution]:
    """Which items make the features of each tile with sites in it; reads no pixels."""
    return {tile: resolve(catalog, recipe, grid.geobox(tile), period) for tile in sorted(set(sites["tile"]))}


def match_up(
    sites: pd.DataFrame,
    series: pd.DataFrame,
    resolutions: Mapping[str, Resolution],
    grid: TileGrid,
    *,
    reader: str = DEFAULT_READER,
) -> Matchups:
    """Bring measurements and features together.

    Parameters
    ----------
    sites
        One row a site: ``site, network, lon, lat, tile, row, col``.
    series
        One row a site and day: ``site, date, sm, n``; sm in m3 m-3.
    resolutions
        What `resolve_sites` gives.
    grid
        The grid of tiles, rows and columns.
    reader
        ``stackstac`` or ``odc``.

    Raises
    ------
    InputError
        If there is no site.
    ReadError
        If pixels cannot be read.
    """
    import pandas as pd

    if sites.empty:
        raise InputError("no station found: ingest ISMN archives, or check depth and flag under [stations]")
    parts = [
        _features_of_tile(sites[sites["tile"] == tile], resolution, Target(grid.geobox(tile)), reader)
        for tile, resolution in resolutions.items()
    ]
    features = pd.concat(parts, ignore_index=True)
    joined = series.merge(features, on=["site", "date"], how="left", indicator="_found", validate="one_to_one")
    recipe = next(iter(resolutions.values())).recipe
    table, dropped = _drop(joined, recipe)
    described = sites.merge(table, on="site", how="inner")
    columns = ["site", "network", "lon", "lat", "tile", "row", "col", "date", "sm", "n", *recipe.names]
    return Matchups(described[columns].sort_values(["site", "date"], ignore_index=True), dropped)


def _features_of_tile(sites: pd.DataFrame, resolution: Resolution, whole: Target, reader: str) -> pd.DataFrame:
    """Features and masks at the sites of one tile, one row a site and day.

    Days on which a needed feature has no item at all are not read: their features are NaN, and nothing is masked.
    """
    import pandas as pd

    target = Target(whole.geobox, sites["row"].to_numpy(), sites["col"].to_numpy())
    complete = np.array([not resolution.blocked_by(day) for day in resolution.days])
    columns = _empty(resolution.recipe, (len(resolution.days), len(sites)))
    if complete.any():
        cube = build(resolution.only(np.array(resolution.days)[complete]), target, reader=reader)
        values = cube.compute(scheduler="threads")
        for name, column in columns.items():
            column[complete] = values[name].values
    return pd.DataFrame(
        {
            "site": np.repeat(sites["site"].to_numpy(), len(resolution.days)),
            "date": np.tile(np.array(resolution.days, dtype="datetime64[ns]"), len(sites)),
            **{name: column.T.ravel() for name, column in columns.items()},
        }
    )


def _empty(recipe: Recipe, shape: tuple[int, int]) -> dict[str, np.ndarray]:
    """A column (day, site) for every feature, NaN, and for every mask, False."""
    features = {name: np.full(shape, np.nan, dtype=np.float32) for name in recipe.names}
    return {**features, **{mask.name: np.zeros(shape, dtype=bool) for mask in recipe.masks}}


def _drop(joined: pd.DataFrame, recipe: Recipe) -> tuple[pd.DataFrame, dict[str, int]]:
    """Rows that can be learned from, and the others counted by the first reason that applies."""
    dropped: Counter[str] = Counter()
    reasons = [("outside the period", joined["_found"] != "both")]
    reasons += [(mask.name, joined[mask.name].eq(True)) for mask in recipe.masks]
    reasons += [(f"no value of {name}", joined[name].isna()) for name in recipe.required]
    left = np.ones(len(joined), dtype=bool)
    for reason, hit in reasons:
        dropped[reason] += int((hit.to_numpy() & left).sum())
        left &= ~hit.to_numpy()
    return joined[left].drop(columns="_found"), {reason: n for reason, n in dropped.items() if n}
