"""Build match-ups: the soil moisture that a site measured on a day, beside the features of its pixel on that day.

The training workflow calls `resolve_sites` (metadata only) and then `match_up_recipes` with the daily means of
`records`; `model` trains on the table. The features come through the functions that prediction uses (`resolve_inputs`
and `DailyFields.day`), for the pixels of the sites only; each file of a tile and day is read once for all its sites and
all recipes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from stac_sm.core.errors import InputError
from stac_sm.core.grid import TileGrid
from stac_sm.core.parallel import map_jobs
from stac_sm.core.period import Period
from stac_sm.features.daily_fields import point_cubes
from stac_sm.features.inputs import ResolvedInputs, resolve_inputs
from stac_sm.features.recipe import Recipe
from stac_sm.raster.readers import DEFAULT_READER
from stac_sm.raster.resample import TargetPixels
from stac_sm.stac.catalogs.search import ItemSearch

if TYPE_CHECKING:
    import pandas as pd

    _Frames = dict[str, pd.DataFrame]


@dataclass(frozen=True)
class Matchups:
    """A table of match-ups and the number of measured days that are not in it."""

    table: pd.DataFrame
    """One row a site and day: ``site, network, lon, lat, tile, row, col, date, sm, n``, then the features."""

    dropped: Mapping[str, int] = field(default_factory=dict)
    """Number of measured site-days left out, by reason; each is counted once, by the first reason that applies."""

    missing: Mapping[str, int] = field(default_factory=dict)
    """Number of measured site-days without a value, by required feature, whatever else is missing; only those that are
    missing on any."""


def resolve_sites(
    catalog: ItemSearch, recipe: Recipe, sites: pd.DataFrame, period: Period, grid: TileGrid
) -> dict[str, ResolvedInputs]:
    """Find the items of the features of each tile that has sites; no pixel is read.

    Parameters
    ----------
    catalog
        Catalogue with the items of the features.
    recipe
        The features.
    sites
        One row a site with a column ``tile``, as `sites_of_stations` gives.
    period
        Days of the match-ups.
    grid
        The grid of the tiles.

    Returns
    -------
    dict
        Tile id to its resolved inputs, in the order of the ids.

    Raises
    ------
    CatalogError
        If a collection or an asset of a feature does not exist.
    """
    return {tile: resolve_inputs(catalog, recipe, grid.geobox(tile), period) for tile in sorted(set(sites["tile"]))}


def match_up(
    sites: pd.DataFrame,
    series: pd.DataFrame,
    resolved: Mapping[str, ResolvedInputs],
    grid: TileGrid,
    *,
    reader: str = DEFAULT_READER,
    workers: int = 1,
) -> Matchups:
    """Join measurements with the features of their pixel and day.

    Parameters
    ----------
    sites
        One row a site: ``site, network, lon, lat, tile, row, col``, as `sites_of_stations` gives.
    series
        One row a site and day: ``site, date, sm, n``; sm in m3 m-3.
    resolved
        Tile id to resolved inputs, as `resolve_sites` gives.
    grid
        The grid that tiles, rows and columns refer to.
    reader
        ``stackstac`` or ``odc``; both give the same values.
    workers
        Processes that read. With more than one the caller's main module must be importable. Does not change the table.

    Returns
    -------
    Matchups
        The table, a row a site and day with a measurement and its features, and the number of rows dropped by reason.

    Raises
    ------
    InputError
        If there is no site.
    ReadError
        If pixels cannot be read.
    """
    return match_up_recipes(sites, series, {"": resolved}, grid, reader=reader, workers=workers)[""]


def match_up_recipes(
    sites: pd.DataFrame,
    series: pd.DataFrame,
    resolved_inputs: Mapping[str, Mapping[str, ResolvedInputs]],
    grid: TileGrid,
    *,
    reader: str = DEFAULT_READER,
    workers: int = 1,
    daily: Collection[str] = (),
) -> dict[str, Matchups]:
    """Join measurements with features as `match_up` does, for several recipes at once.

    A file that more than one recipe needs is read once.

    Parameters
    ----------
    sites, series
        As in `match_up`.
    resolved_inputs
        Name of the recipe to tile id to resolved inputs.
    grid
        The grid that tiles, rows and columns refer to.
    reader, workers
        As in `match_up`.
    daily
        Names of recipes of which every day is kept, whether a site measured on it or not.

    Returns
    -------
    dict
        Name of the recipe to its match-ups; of those in ``daily`` the table is ``site, date`` and the features.

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
    jobs = list(_jobs(sites, resolved_inputs, grid, max(1, workers)))
    parts = list(map_jobs(partial(_features, reader=reader), jobs, workers))
    found = {}
    for key, tiles in resolved_inputs.items():
        features = pd.concat([part[key] for part in parts if key in part], ignore_index=True)
        if key in daily:
            found[key] = Matchups(features)
            continue
        found[key] = _joined(sites, series, features, next(iter(tiles.values())).recipe)
    return found


@dataclass(frozen=True, eq=False)
class _Job:
    """Sites of one tile and some days, with the resolved inputs of each recipe."""

    sites: pd.DataFrame
    """Sites of the tile."""

    target: TargetPixels
    """Pixels of the sites."""

    resolved_inputs: Mapping[str, ResolvedInputs]
    """Resolved inputs of the tile by name of the recipe."""


def _jobs(
    sites: pd.DataFrame, resolved_inputs: Mapping[str, Mapping[str, ResolvedInputs]], grid: TileGrid, workers: int
) -> Iterator[_Job]:
    """Yield a job a tile, or several for some of its days each where there are more workers than tiles."""
    tiles = sorted({tile for known in resolved_inputs.values() for tile in known})
    parts = -(-workers // len(tiles)) if tiles else 1
    for tile in tiles:
        inside = sites[sites["tile"] == tile]
        target = TargetPixels(grid.geobox(tile), inside["row"].to_numpy(), inside["col"].to_numpy())
        known = {key: found[tile] for key, found in resolved_inputs.items() if tile in found}
        days = sorted({day for resolved in known.values() for day in resolved.days})
        size = -(-len(days) // parts)
        for start in range(0, len(days), size):
            some = set(days[start : start + size])
            yield _Job(inside, target, {key: _some_days(resolved, some) for key, resolved in known.items()})


def _some_days(resolved: ResolvedInputs, days: Collection[date]) -> ResolvedInputs:
    """Return the resolved inputs of some days only, without those of the others: they travel to a worker."""
    made_of = {
        name: {day: inputs for day, inputs in known.items() if day in days}
        for name, known in resolved.by_feature.items()
    }
    return replace(resolved.only(day for day in resolved.days if day in days), by_feature=made_of)


def _features(job: _Job, reader: str) -> _Frames:
    """Read the features and masks at the sites of one tile, by recipe: one row a site and day.

    Days on which a needed feature has no item at all are not read: their features are NaN, and nothing is masked.
    """
    complete = {
        key: np.array([not resolved.blocked_by(day) for day in resolved.days], dtype=bool)
        for key, resolved in job.resolved_inputs.items()
    }
    read = {key: one.only(np.array(one.days)[complete[key]]) for key, one in job.resolved_inputs.items()}
    cubes = point_cubes({key: one for key, one in read.items() if one.days}, job.target, reader=reader)
    frames = {}
    for key, resolved in job.resolved_inputs.items():
        columns = _empty(resolved.recipe, (len(resolved.days), len(job.sites)))
        if key in cubes:
            for name, column in columns.items():
                column[complete[key]] = cubes[key][name].values
        frames[key] = _frame(job.sites, resolved, columns)
    return frames


def _frame(sites: pd.DataFrame, resolved: ResolvedInputs, columns: Mapping[str, np.ndarray]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(
        {
            "site": np.repeat(sites["site"].to_numpy(), len(resolved.days)),
            "date": np.tile(np.array(resolved.days, dtype="datetime64[ns]"), len(sites)),
            **{name: column.T.ravel() for name, column in columns.items()},
        }
    )


def _empty(recipe: Recipe, shape: tuple[int, int]) -> dict[str, np.ndarray]:
    """Return a column (day, site) for every feature, NaN, and for every mask, False."""
    features = {name: np.full(shape, np.nan, dtype=np.float32) for name in recipe.names}
    return {**features, **{mask.name: np.zeros(shape, dtype=bool) for mask in recipe.masks}}


def _joined(sites: pd.DataFrame, series: pd.DataFrame, features: pd.DataFrame, recipe: Recipe) -> Matchups:
    """Join measurements with the features of their site and day, in the order of both."""
    joined = series.merge(features, on=["site", "date"], how="left", indicator="_found", validate="one_to_one")
    table, dropped = _drop(joined, recipe)
    missing = {name: n for name in recipe.required if (n := int(joined[name].isna().sum()))}
    described = sites.merge(table, on="site", how="inner")
    columns = ["site", "network", "lon", "lat", "tile", "row", "col", "date", "sm", "n", *recipe.names]
    return Matchups(described[columns].sort_values(["site", "date"], ignore_index=True), dropped, missing)


def _drop(joined: pd.DataFrame, recipe: Recipe) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return the rows that can be trained on, and count the others by the first reason that applies."""
    dropped: Counter[str] = Counter()
    reasons = [("outside the period", joined["_found"] != "both")]
    reasons += [(mask.name, joined[mask.name].eq(True)) for mask in recipe.masks]
    reasons += [(f"no value of {name}", joined[name].isna()) for name in recipe.required]
    left = np.ones(len(joined), dtype=bool)
    for reason, hit in reasons:
        dropped[reason] += int((hit.to_numpy() & left).sum())
        left &= ~hit.to_numpy()
    return joined[left].drop(columns="_found"), {reason: n for reason, n in dropped.items() if n}
