"""Triple collocation at stations: station, product, ERA5-Land, ESA CCI and SMAP, every triplet of them.

`validate` resolves the inputs first, since they belong to the provenance of a validation, and reads them only where a
validation is made. Which triplets have dependent errors is decided here: those of the product with one of its inputs or
with stations that it was trained on, and of ESA CCI with SMAP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stac_sm.core.errors import CatalogError
from stac_sm.core.scores.triplets import (
    Dependence,
    TripletResult,
    TripletSummary,
    collocate_triplets,
    dependence_reasons,
    summarize_triplets,
)
from stac_sm.features.recipe import Feature, Recipe
from stac_sm.stac.catalogs.search import ItemSearch
from stac_sm.stations.matchups import match_up_recipes, resolve_sites
from stac_sm.workflows.validation.products import DATA_SETS, OtherProduct
from stac_sm.workflows.validation.stations import HELD_OUT, SEEN, TrainingStations

if TYPE_CHECKING:
    import pandas as pd

    from stac_sm.core.grid import TileGrid
    from stac_sm.core.period import Period
    from stac_sm.features.inputs import ResolvedInputs

STATION, PRODUCT = "station", "product"
"""Names of the first two data sets."""


_MADE_WITH = {frozenset({"ESA CCI", "SMAP"}): "ESA CCI (combined) is made with SMAP from 2015 on"}
_SENSED_BY = {one.collection: one.label for one in DATA_SETS} | {"smap-s1": "SMAP"}
"""Collection to the data set whose errors it shares."""

ResolvedDataSets = Mapping[str, Mapping[str, "ResolvedInputs"]]
"""Column of a data set to tile id to its resolved inputs."""


@dataclass(frozen=True, eq=False)
class StationTriplets:
    """All triplets at all sites."""

    series: pd.DataFrame
    """``site, network, date, station, product`` and a column a data set (`OtherProduct.label`), m3 m-3."""

    sites: Mapping[str, Sequence[TripletResult]]
    """Triplets of each site."""

    least_days: int
    """Fewest common days."""

    @property
    def data_sets(self) -> list[str]:
        """Names of the data sets that have a value anywhere."""
        return [name for name in self.series.columns[3:] if self.series[name].notna().any()]

    @property
    def summaries(self) -> list[TripletSummary]:
        """Medians and quartiles over sites, triplets with independent errors first."""
        return summarize_triplets(self.sites.values())

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers.

        Returns
        -------
        dict
            ``independent`` and ``dependent``: a record a triplet and data set over sites; ``sites``: the triplets of
            each site.
        """
        summaries = self.summaries
        return {
            "least_days": self.least_days,
            "independent": [one.row for one in summaries if not one.dependent],
            "dependent": [one.row for one in summaries if one.dependent],
            "sites": [{"site": site, **one.row} for site, found in self.sites.items() for one in found],
        }


def resolve_data_sets(
    catalog: ItemSearch, sites: pd.DataFrame, period: Period, grid: TileGrid
) -> dict[str, dict[str, ResolvedInputs]]:
    """Find the items of the other data sets at sites, from metadata alone.

    Parameters
    ----------
    catalog
        Catalogue with the data sets.
    sites
        Pixel of each site.
    period
        UTC days.
    grid
        Tile grid.

    Returns
    -------
    dict
        By `OtherProduct.column`, then by tile; data sets that the catalogue lacks are left out.
    """
    found = {}
    for one in DATA_SETS if len(sites) else ():
        recipe = Recipe((Feature(one.column, one.collection, one.asset, "nearest", missing="nan"),))
        try:
            found[one.column] = resolve_sites(catalog, recipe, sites, period, grid)
        except CatalogError:
            continue
    return found


def triplets_at_stations(
    rows: pd.DataFrame,
    sites: pd.DataFrame,
    resolved: ResolvedDataSets,
    grid: TileGrid,
    learned: TrainingStations,
    inputs: Sequence[str],
    *,
    least_days: int,
) -> StationTriplets:
    """Compute triple collocation of every triplet at every site.

    Parameters
    ----------
    rows
        ``site``, ``network``, ``date``, ``observed``, ``product``, m3 m-3: not scaled.
    sites
        Pixel of each site.
    resolved
        As `resolve_data_sets` gives.
    grid
        Tile grid.
    learned
        Stations that the models of the product were trained on.
    inputs
        Collections that the product is made with.
    least_days
        Fewest common days of a triplet.

    Returns
    -------
    StationTriplets
        Series and triplets; none where fewer than three data sets have a value.

    Raises
    ------
    ReadError
        If pixels cannot be read.
    """
    series = rows.rename(columns={"observed": STATION})[["site", "network", "date", STATION, PRODUCT]]
    there = sites[sites["site"].isin(set(rows["site"]))]
    if len(there) and resolved:
        days = rows[["site", "date"]].assign(sm=rows["observed"], n=1)
        tiles = set(there["tile"])
        known = {
            column: {tile: one for tile, one in of_tiles.items() if tile in tiles}
            for column, of_tiles in resolved.items()
        }
        read = match_up_recipes(there, days, known, grid)
        for one in DATA_SETS:
            if one.column in read:
                column = read[one.column].table[["site", "date", one.column]].rename(columns={one.column: one.label})
                series = series.merge(column, on=["site", "date"], how="left")
    found = {}
    for site, part in series.groupby("site", sort=True):
        ordered = part.sort_values("date")
        values = {name: ordered[name].to_numpy(float) for name in series.columns[3:] if ordered[name].notna().any()}
        dependence = dependent_errors(learned.of(str(part["network"].iloc[0])), inputs)
        found[str(site)] = collocate_triplets(values, dependence, place=str(site), least_days=least_days)
    return StationTriplets(series, {site: one for site, one in found.items() if one}, least_days)


def dependent_errors(role: str, inputs: Sequence[str]) -> Dependence:
    """Return which data sets have dependent errors at a station, and why.

    Parameters
    ----------
    role
        What the network of the station was to the models of the product.
    inputs
        Collections that the product is made with.

    Returns
    -------
    dict
        Two data sets to the reason.
    """
    found = dict(_MADE_WITH)
    for one in DATA_SETS:
        if one.collection in inputs:
            found[frozenset({PRODUCT, one.label})] = f"the product is made with {one.label}"
    if role != HELD_OUT:
        why = "the product was trained on this network" if role == SEEN else "it is not known what it was trained on"
        found[frozenset({STATION, PRODUCT})] = why
    return found


def dependent_products(inputs: Sequence[str], others: Sequence[OtherProduct]) -> str:
    """Return why the errors of the product and two others, compared on cells, are not independent.

    Parameters
    ----------
    inputs
        Collections that the product is made with.
    others
        The two.

    Returns
    -------
    str
        The reasons; empty if they are independent.
    """
    names = [PRODUCT, *(_SENSED_BY.get(one.collection, one.name) for one in others)]
    return dependence_reasons(names, dependent_errors(HELD_OUT, inputs))
