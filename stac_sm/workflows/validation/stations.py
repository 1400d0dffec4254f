"""Compare the product with stations, network by network.

`validate` calls it. Networks that the model was trained on are scored apart from those that it has not seen.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from stac_sm.core.errors import CatalogError
from stac_sm.core.metrics import Scores, agreement_scores
from stac_sm.core.period import Period
from stac_sm.model.evaluate import station_scores
from stac_sm.model.item import MODELS_COLLECTION as MODELS
from stac_sm.product.aggregates.source_items import SourceItem, by_tile
from stac_sm.raster.pixels import read_pixels
from stac_sm.raster.source import BadItemError, raster_source
from stac_sm.stac.catalogs.catalog import StoreDocuments
from stac_sm.stac.catalogs.catalog_interface import WritableCatalog
from stac_sm.stac.catalogs.search import item_from_document
from stac_sm.stations.matchup_item import MATCHUPS_COLLECTION as MATCHUPS
from stac_sm.stations.records import DROPPED, site_daily_means
from stac_sm.storage.address import asset_address
from stac_sm.storage.store import table_file

if TYPE_CHECKING:
    from stac_sm.stations.records import Station, StationRules

HELD_OUT, SEEN, UNKNOWN = "held out", "trained on", "not known"
"""What a network was to the models of the product."""

_METHOD = "product"

DROPPED_REASONS = (
    "readings of sensors whose sensing depth exceeds the limit",
    "readings without the required flag",
    "readings outside the valid range",
    "readings of days with too few of them",
    "site-days without a tile-day of the product",
    "site-days on which the product has no value",
)
"""Why something measured in the period is not compared, in the order of the checks."""


@dataclass(frozen=True)
class TrainingStations:
    """Stations that the models of a product were trained on."""

    sites: frozenset[str]
    """Ids of the sites of their match-ups, whether or not screening kept them: they took part in the choice."""

    networks: frozenset[str]
    """Networks of these sites."""

    known: bool
    """Whether every model says what it was trained on."""

    def of(self, network: str) -> str:
        """Return what a network was to the models: trained on, or held out.

        Parameters
        ----------
        network
            Name of the network.

        Returns
        -------
        str
            The role, as it is printed.
        """
        return SEEN if network in self.networks else HELD_OUT if self.known else UNKNOWN


@dataclass(frozen=True)
class NetworkScores:
    """Scores of the product against one network."""

    network: str
    """Its name; empty for all of one ``role``."""

    role: str
    """Whether the models have seen it."""

    sites: int
    """Sites with a day in common."""

    pooled: Scores
    """Of all its sites and days."""

    median: Scores
    """Median of the scores of its sites with at least 10 days; ``n`` is the median number of days."""

    @property
    def row(self) -> dict[str, Any]:
        """Scores for a table and for JSON."""
        pooled, median = vars(self.pooled), vars(self.median)
        return {
            "network": self.network or "all",
            "role": self.role,
            "sites": self.sites,
            **pooled,
            **{f"median_{name}": value for name, value in median.items() if name != "n"},
        }


def rows_at_stations(
    catalog: WritableCatalog,
    members: Sequence[SourceItem],
    sites: pd.DataFrame,
    stations: Sequence[Station],
    rules: StationRules,
    period: Period,
    left_out: dict[str, str],
    dropped: dict[str, int] | None = None,
) -> tuple[pd.DataFrame, frozenset[str]]:
    """Return observed and published soil moisture of every site and day that has both, and the models used.

    Parameters
    ----------
    catalog
        Catalogue with product and stations.
    members
        Tile-days of the product.
    sites
        Pixel of each site.
    stations
        Their station items.
    rules
        Which measurements count.
    period
        UTC days.
    left_out
        Gets the items with a value that cannot be right: id and asset key, as ``ID/KEY``, and why.
    dropped
        Gets the number of readings and of site-days that are not compared, by reason (see `DROPPED_REASONS`).

    Returns
    -------
    pandas.DataFrame
        ``site``, ``network``, ``date`` (UTC day), ``observed``, ``product`` (m3 m-3), in order of site and date.
    frozenset
        Ids of models.

    Raises
    ------
    ReadError
        If a series or a file cannot be read.
    """
    observed, readings = site_daily_means(sites, stations, rules, period=period)
    observed = observed.astype({"site": object})  # of no station, it would be a column of numbers
    measured = sites[sites["site"].isin(set(observed["site"]))]
    tiles = {str(tile): part for tile, part in measured.groupby("tile")}
    pairs = [(one, tiles[tile]) for tile, days in by_tile(members).items() if tile in tiles for one in days]
    with ThreadPoolExecutor(max(2, StoreDocuments(catalog.store).workers)) as pool:
        read = list(pool.map(lambda pair: _of_day(catalog, pair[0], pair[1], left_out), pairs))
    columns = ["site", "network", "date", "product"]
    found = pd.DataFrame([row for rows, _ in read for row in rows], columns=columns)
    found["date"] = pd.to_datetime(found["date"]).astype("datetime64[ns]")
    table = found.merge(observed.rename(columns={"sm": "observed"}), on=["site", "date"])
    on_tile_days = len(table)
    table = table.dropna(subset=["observed", _METHOD]).sort_values(["site", "date"], ignore_index=True)
    counts = (*(readings[reason] for reason in DROPPED), len(observed) - on_tile_days, on_tile_days - len(table))
    (dropped if dropped is not None else {}).update(zip(DROPPED_REASONS, counts, strict=True))
    return table[["site", "network", "date", "observed", _METHOD]], frozenset(
        model for _, model in read if model is not None
    )


def half_widths_at_sites(catalog: WritableCatalog, members: Sequence[SourceItem], sites: pd.DataFrame) -> pd.DataFrame:
    """Return half widths of the prediction intervals of the product at a few sites.

    Parameters
    ----------
    catalog
        Catalogue with the product.
    members
        Tile-days of the product; those without intervals are left out.
    sites
        Pixels of the sites: ``site, network, tile, row, col``.

    Returns
    -------
    pandas.DataFrame
        ``site``, ``date`` (UTC day), ``half_width`` (m3 m-3).

    Raises
    ------
    ReadError
        If a file cannot be read.
    """
    tiles = {str(tile): part for tile, part in sites.groupby("tile")}
    pairs = [(one, tiles[tile]) for tile, days in by_tile(members).items() if tile in tiles for one in days]
    with ThreadPoolExecutor(max(2, StoreDocuments(catalog.store).workers)) as pool:
        read = list(pool.map(lambda pair: _of_day(catalog, pair[0], pair[1], {}, "uncertainty"), pairs))
    rows = [row for rows, _ in read for row in rows]
    found = pd.DataFrame(rows, columns=["site", "network", "date", "half_width"]).drop(columns="network")
    found["date"] = pd.to_datetime(found["date"]).astype("datetime64[ns]")
    return found.astype({"site": object})


def training_stations(catalog: WritableCatalog, models: Iterable[str]) -> TrainingStations:
    """Return the stations in the match-ups of some models.

    Parameters
    ----------
    catalog
        Catalogue with the models.
    models
        Their ids.

    Returns
    -------
    TrainingStations
        Of all these models together.
    """
    tables = [_matchups_of(catalog, model) for model in sorted(models)]
    known = [table for table in tables if table is not None]
    return TrainingStations(
        sites=frozenset(site for table in known for site in table["site"]),
        networks=frozenset(network for table in known for network in table["network"]),
        known=bool(tables) and len(known) == len(tables),
    )


def score_networks(rows: pd.DataFrame, learned: TrainingStations) -> list[NetworkScores]:
    """Score every network, those held out first; before them all that have the same role.

    Parameters
    ----------
    rows
        As `rows_at_stations` returns them.
    learned
        Stations that the models were trained on.

    Returns
    -------
    list of NetworkScores
        In the order in which they are printed.
    """
    roles = rows["network"].map(learned.of)
    found = []
    for role in (HELD_OUT, UNKNOWN, SEEN):
        part = rows[roles == role]
        if len(part):
            found.append(_scored("", role, part))
            found += [_scored(str(name), role, of) for name, of in part.groupby("network", sort=True)]
    return found


def sites_to_show(rows: pd.DataFrame, networks: Sequence[NetworkScores]) -> dict[str, str]:
    """Return the sites whose series are drawn, and why: best, middle and worst by RMSE, of held-out networks first.

    Parameters
    ----------
    rows
        As `rows_at_stations` returns them.
    networks
        Scores of the networks.

    Returns
    -------
    dict of str to str
        Site -> why it is shown.
    """
    held = {one.network for one in networks if one.role == HELD_OUT and one.network}
    found = score_sites(rows[rows["network"].isin(held)] if held else rows)
    ranked = sorted(found, key=lambda site: (found[site].rmse, site))
    chosen: dict[str, str] = {}
    for why, place in (("best", 0.0), ("middle", 0.5), ("worst", 1.0)):
        if ranked:
            chosen.setdefault(ranked[round(place * (len(ranked) - 1))], why)
    return chosen


def score_sites(rows: pd.DataFrame) -> dict[str, Scores]:
    """Score each site with at least 10 days.

    Parameters
    ----------
    rows
        As `rows_at_stations` returns them.

    Returns
    -------
    dict of str to Scores
        By site, m3 m-3 but for R.
    """
    return station_scores(rows, _METHOD)


def _scored(network: str, role: str, rows: pd.DataFrame) -> NetworkScores:
    return NetworkScores(
        network,
        role,
        int(rows["site"].nunique()),
        agreement_scores(rows[_METHOD], rows["observed"]),
        _median(score_sites(rows)),
    )


def _median(found: Mapping[str, Scores]) -> Scores:
    def middle(name: str) -> float:
        values = np.array([getattr(one, name) for one in found.values()], float)
        known = values[np.isfinite(values)]
        return float(np.median(known)) if known.size else float("nan")

    days = int(middle("n")) if found else 0
    return Scores(days, r=middle("r"), rmse=middle("rmse"), ubrmse=middle("ubrmse"), bias=middle("bias"))


def _of_day(
    catalog: WritableCatalog, member: SourceItem, sites: pd.DataFrame, left_out: dict[str, str], asset: str = "sm"
) -> tuple[list[tuple[Any, ...]], str | None]:
    """Return values of a tile-day at the pixels of sites, and the model that it was made by; None if it is left out."""
    item = item_from_document(json.loads(catalog.store.read(member.path)), catalog.store.href(member.path))
    if asset not in item.assets and asset != "sm":
        return [], None
    try:
        source = raster_source(item, asset).with_feature(None, "", catalog.root)
    except BadItemError as error:
        left_out[f"{item.id}/{asset}"] = str(error)
        return [], None
    pixels = [(int(row), int(column)) for row, column in zip(sites["row"], sites["col"], strict=True)]
    values = read_pixels(source, pixels)
    rows = zip(sites["site"], sites["network"], [member.day] * len(pixels), values, strict=True)
    return list(rows), str(item.properties.get("stac_sm:model", ""))


def _matchups_of(catalog: WritableCatalog, model: str) -> pd.DataFrame | None:
    """Return sites and networks of a model's match-ups; None where the catalogue does not have them."""
    try:
        item = catalog.item(MODELS, model)
        table = asset_address(catalog.item(MATCHUPS, str(item.properties["stac_sm:matchups"])), "table")
        return pd.read_parquet(table_file(table), columns=["site", "network"]).drop_duplicates()
    except (CatalogError, KeyError, OSError, ValueError):
        return None
