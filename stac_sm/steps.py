"""The steps of a project between ingest and plan: each composes stages, publishes an item, and is done once.

The item's fingerprint says what made it; where an item with the wanted fingerprint is there already, nothing is done.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shapely.geometry import box, mapping

from stac_sm import model_item
from stac_sm.catalog import Catalog, refresh
from stac_sm.config import Project
from stac_sm.errors import CatalogError, ScreeningError, StacSmError
from stac_sm.evaluate import evaluate
from stac_sm.fingerprint import ALGORITHM_VERSION, digest
from stac_sm.holdout import hold_outs
from stac_sm.items import PARQUET, ItemDict, build_item, item_folder
from stac_sm.matchups import Matchups, match_up, resolve_sites
from stac_sm.model import Model
from stac_sm.period import DAY, Period, utc
from stac_sm.publishing import FINGERPRINT, AssetFile, is_published, publish
from stac_sm.recipe import Feature, Recipe
from stac_sm.screening import Screening, require_sites, screen, training_screener
from stac_sm.stations import Station, read_stations, site_series, sites
from stac_sm.train import fit

if TYPE_CHECKING:
    import pandas as pd

MATCHUPS = "matchups"
BASELINE = "swvl1"
TRIPLET = Recipe(
    (
        Feature("era5land", "era5-land", "swvl1", "nearest", missing="nan"),
        Feature("third", "esa-cci-sm", "cci_sm", "nearest", missing="nan"),
    )
)
"""Beside the station's own series: the other two data sets of the triple collocation."""


@dataclass(frozen=True)
class MatchupStep:
    """Match-ups and triplets of a project."""

    item: ItemDict
    """The match-up item."""

    table: pd.DataFrame
    """Match-ups, one row a site and day."""

    triplets: pd.DataFrame
    """``site, date, insitu, era5land, third``; one row a site and day on which the site measured."""

    new: bool
    """Whether it was made now."""


@dataclass(frozen=True)
class ModelStep:
    """A trained and scored model."""

    item: ItemDict
    """The model item."""

    new: bool
    """Whether it was made now."""

    @property
    def id(self) -> str:
        """Id of the model item."""
        return str(self.item["id"])

    @property
    def scores(self) -> list[Mapping[str, Any]]:
        """Scores of every strategy, method and set of stations."""
        return list(self.item["properties"]["stac_sm:scores"]["results"])


def match_up_step(project: Project) -> MatchupStep:
    """Bring stations and features together, for training and for triple collocation.

    Raises
    ------
    CatalogError
        If there are no stations, or no site and day is left: says what was dropped, and why.
    """
    catalog, period = project.catalog, Period.parse(project.matchups.period)
    stations, where = _stations_and_sites(project, catalog)
    resolutions = {
        name: resolve_sites(catalog, recipe, where, period, project.grid)
        for name, recipe in (("table", project.recipe), ("triplets", TRIPLET))
    }
    proof = digest(_matchup_proof(project, stations, resolutions))
    item = _matchup_item(where, period, proof)
    if is_published(catalog, item):
        return _read_matchups(catalog, str(item["id"]))
    series, unused = site_series(where, stations, project.stations)
    series = series[(series["date"] >= str(period.start)) & (series["date"] < str(period.end))]
    pairs = match_up(where, series, resolutions["table"], project.grid)
    _require_rows(pairs, len(series), period)
    triplets = match_up(where, series, resolutions["triplets"], project.grid).table.rename(columns={"sm": "insitu"})
    triplets = triplets[["site", "date", "insitu", "era5land", "third"]]
    item["properties"] |= {
        "stac_sm:rows": len(pairs.table),
        "stac_sm:sites": int(pairs.table["site"].nunique()),
        "stac_sm:dropped": {"site-days": dict(pairs.dropped), "readings": dict(unused)},
    }
    _publish_tables(catalog, item, {"table": pairs.table, "triplets": triplets})
    return MatchupStep(item, pairs.table, triplets, new=True)


def _stations_and_sites(project: Project, catalog: Catalog) -> tuple[list[Station], pd.DataFrame]:
    """Stations of the catalogue, and the pixels that they share; refused where there are none."""
    stations = read_stations(catalog)
    if not stations:
        raise CatalogError(f"{catalog.root}: no station found, at least one wanted: `stac-sm ingest ismn ARCHIVE.zip`")
    where = sites(stations, project.grid, rules=project.stations)
    if where.empty:
        raise CatalogError(
            f"{len(stations)} stations found, none in grid {project.grid.name} with a sensor that ends at "
            f"{project.stations.max_depth} m or above: check [grid] and [stations]"
        )
    return stations, where


def _require_rows(pairs: Matchups, measured: int, period: Period) -> None:
    if pairs.table.empty:
        dropped = ", ".join(f"{reason}: {n}" for reason, n in pairs.dropped.items())
        raise CatalogError(
            f"match-ups of {period}: {measured} measured site-days found, none with all features "
            f"({dropped or 'no measurement in the period'}): check [matchups] period, and ingest what is missing"
        )


def train_step(project: Project, matchups: MatchupStep) -> ModelStep:
    """Screen the sites, score the way of training on hold-outs, train on all rows, and publish the model.

    Where screening leaves too few sites, the screened model is refused, the unscreened one is trained, and its item
    says so.
    """
    catalog = project.catalog
    proof = digest(_model_proof(project, matchups))
    existing = _existing(catalog, model_item.COLLECTION, f"xgb-{proof[:12]}")
    if existing is not None:
        return ModelStep(existing, new=False)
    screening = screen(matchups.triplets, project.screening)
    rows, status = _training_rows(matchups.table, screening, project)
    model = replace(_fitter(project)(rows), recipe=project.recipe)
    properties = _model_properties(project, matchups, screening, status)
    item = model_item.model_item(
        model,
        fingerprint=proof,
        bbox=_bbox(rows),
        period=_period(rows),
        hyperparameters=asdict(project.training),
        properties=properties,
    )
    item["links"] = [_link(catalog, item, matchups.item)]
    _publish_model(catalog, item, model)
    return ModelStep(item, new=True)


def _training_rows(table: pd.DataFrame, screening: Screening, project: Project) -> tuple[pd.DataFrame, str]:
    """Rows of the kept sites; all rows, and the reason, where screening was refused."""
    try:
        require_sites(screening, project.screening)
    except ScreeningError as error:
        return table, f"unscreened: {error}"
    kept = table[table["site"].isin(screening.kept)]
    return kept, f"screened: {len(screening.kept)} of {len(screening.sites)} sites kept"


def _fitter(project: Project) -> Any:
    return partial(fit, features=project.recipe.names, settings=project.training)


def _model_properties(project: Project, matchups: MatchupStep, screening: Screening, status: str) -> dict[str, Any]:
    table, rules = matchups.table, project.validation
    folds = hold_outs(table, rules.strategies, folds=rules.folds, seed=rules.seed)
    screener = training_screener(matchups.triplets, project.screening, table)
    baselines = [BASELINE] if BASELINE in table else []
    evaluation = evaluate(table, folds, _fitter(project), screener=screener, baselines=baselines)
    judged = json.loads(screening.sites.to_json(orient="records", double_precision=6))
    return {
        "title": f"XGBoost on {', '.join(project.recipe.names)}",
        "stac_sm:tc_status": status,
        "stac_sm:matchups": matchups.item["id"],
        "stac_sm:rows": len(table),
        "stac_sm:scores": evaluation.to_dict(),
        "stac_sm:screening": judged,
    }


def _matchup_proof(project: Project, stations: list[Station], resolutions: Mapping[str, Any]) -> dict[str, Any]:
    inputs = {
        name: sorted(
            {pair for resolution in tiles.values() for day in resolution.days for pair in resolution.inputs(day)}
        )
        for name, tiles in resolutions.items()
    }
    return {
        "stations": [(station.id, station.checksum) for station in stations],
        "rules": asdict(project.stations),
        "recipes": [project.recipe.to_dict(), TRIPLET.to_dict()],
        "grid": asdict(project.grid),
        "period": project.matchups.period,
        "inputs": inputs,
        "algorithm": ALGORITHM_VERSION,
    }


def _model_proof(project: Project, matchups: MatchupStep) -> dict[str, Any]:
    settings = asdict(project.training)
    settings.pop("nthread")  # does not change the model
    return {
        "matchups": matchups.item["properties"][FINGERPRINT],
        "training": settings,
        "screening": asdict(project.screening),
        "validation": asdict(project.validation),
        "recipe": project.recipe.to_dict(),
        "algorithm": ALGORITHM_VERSION,
    }


def _matchup_item(where: pd.DataFrame, period: Period, proof: str) -> ItemDict:
    bbox = _bbox(where)
    return build_item(
        id=f"matchups-{proof[:12]}",
        collection=MATCHUPS,
        geometry=mapping(box(bbox[0], bbox[1], bbox[2], bbox[3])),
        bbox=bbox,
        start=utc(period.start),
        end=utc(period.end),
        properties={FINGERPRINT: proof},
        extensions=[],
    )


def _publish_tables(catalog: Catalog, item: ItemDict, tables: Mapping[str, pd.DataFrame]) -> None:
    with tempfile.TemporaryDirectory(prefix="stac-sm-") as scratch:
        assets = {}
        for key, table in tables.items():
            file = Path(scratch, f"{key}.parquet")
            table.to_parquet(file, index=False)
            assets[key] = AssetFile(file, ".parquet", {"title": _TITLES[key], "type": PARQUET, "roles": ["data"]})
        publish(catalog, item, assets)
    refresh(catalog.store, MATCHUPS)


_TITLES = {"table": "Match-ups: one row a site and day", "triplets": "Triplets for triple collocation"}


def _publish_model(catalog: Catalog, item: ItemDict, model: Model) -> None:
    with tempfile.TemporaryDirectory(prefix="stac-sm-") as scratch:
        publish(catalog, item, model_item.write_assets(model, Path(scratch)))
    refresh(catalog.store, model_item.COLLECTION)


def _read_matchups(catalog: Catalog, id: str) -> MatchupStep:
    import pandas as pd

    item = catalog.item(MATCHUPS, id)
    tables = {key: pd.read_parquet(str(item.assets[key].get_absolute_href())) for key in _TITLES}
    return MatchupStep(item.to_dict(), **tables, new=False)


def _existing(catalog: Catalog, collection: str, id: str) -> ItemDict | None:
    try:
        return catalog.item(collection, id).to_dict()
    except StacSmError:
        return None


def _link(catalog: Catalog, item: ItemDict, source: ItemDict) -> dict[str, str]:
    folder = item_folder(catalog.layout(source["collection"]), source)
    href = f"../../{folder}/{source['id']}.json"
    return {"rel": "derived_from", "href": href, "type": "application/geo+json", "title": source["id"]}


def _bbox(table: pd.DataFrame) -> list[float]:
    lon, lat = table["lon"], table["lat"]
    return [float(lon.min()), float(lat.min()), float(lon.max()), float(lat.max())]


def _period(table: pd.DataFrame) -> Period:
    return Period(table["date"].min().date(), table["date"].max().date() + DAY)
