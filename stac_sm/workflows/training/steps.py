"""Make the steps of a project between ingest and plan: match-ups, screening, training.

Each composes stages and publishes an item. The item's fingerprint says what made it; where an item with the expected
fingerprint is there already, nothing is done.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pystac

from stac_sm.core.asset_file import AssetFile
from stac_sm.core.errors import CatalogError, InputError
from stac_sm.core.fingerprint import ALGORITHM_VERSIONS, digest
from stac_sm.core.period import ONE_DAY, Period
from stac_sm.core.progress import LogFunction
from stac_sm.core.text import unknown_name_message
from stac_sm.features.inputs import ResolvedInputs, other_depths
from stac_sm.features.recipe import Feature, Recipe
from stac_sm.model import item as model_item
from stac_sm.model.diagnostics.results import DiagnosticsBudget
from stac_sm.model.skill import SKILL_PROPERTY
from stac_sm.stac.catalogs.catalog_interface import WritableCatalog
from stac_sm.stac.items import ItemDict, item_folder, link_to_item, link_to_sources
from stac_sm.stac.links import refresh
from stac_sm.stac.publish import FINGERPRINT_PROPERTY, PublishOutcome, make_once
from stac_sm.stac.simulated import SIMULATED_FIELD, SIMULATED_NOTE, is_simulated, simulated_title
from stac_sm.stations.fold_climatology import plain_features, source_features, sums_of_days
from stac_sm.stations.matchup_item import MATCHUPS_COLLECTION as MATCHUPS
from stac_sm.stations.matchup_item import YEAR_TITLES, matchup_item, read_tables, table_properties, write_tables
from stac_sm.stations.matchups import Matchups, match_up_recipes, resolve_sites
from stac_sm.stations.records import STATIONS_COLLECTION as STATIONS
from stac_sm.stations.records import Station, read_stations, site_daily_means, sites_of_stations, stations_at_sites
from stac_sm.stations.screening import ScreeningResult, screen_sites
from stac_sm.stations.screening_item import (
    LEFT_OUT_STATUS,
    SCREENING_STATUS_PROPERTY,
    screening_properties,
    write_screening_results,
)
from stac_sm.storage.address import asset_address
from stac_sm.storage.single_writer import require_one_process
from stac_sm.storage.store import read_address
from stac_sm.storage.update import read_if_there
from stac_sm.workflows.project import Project

if TYPE_CHECKING:
    import pandas as pd

    from stac_sm.workflows.training.training_run import TrainingRun

OUTSIDE_PERIOD_PROPERTY = "stac_sm:stations_outside_period"
"""Property of match-up and model items: id of a station to the days that its series spans, ``START/END``."""

NOTES_PROPERTY = "stac_sm:notes"
"""Property of model items: sentences that a reader of the scores must know; also in the report."""

_SHOWN = 10  # stations that a message names
_FEW = 3  # features that a message or a title names one by one

_UNIT = "m3 m-3"


def triplet_recipe(project: Project) -> Recipe:
    """Return the features of the triple collocation beside the station's own series: ERA5-Land and the third data set.

    Parameters
    ----------
    project
        Its ``[screening]`` table names the third data set.

    Returns
    -------
    Recipe
        Two features, ``era5land`` and ``third``, m3 m-3.

    Raises
    ------
    InputError
        If the catalogue lacks the collection of the third data set, or nothing says which of its assets is meant.
    """
    rules, catalog = project.screening, project.catalog
    try:
        document = catalog.collection(rules.third)
    except CatalogError as error:
        raise InputError(
            f"[screening] third: found {rules.third!r}, which is no collection of {catalog.root}; it has "
            f"{', '.join(catalog.collections)}: name one of soil moisture in {_UNIT}, or ingest it first"
        ) from error
    known = document.get("item_assets") or {}
    asset = rules.third_asset
    if not asset:
        found = [
            key
            for key, fields in known.items()
            if "data" in fields.get("roles", ["data"])
            and not key.endswith("_uncertainty")
            and any(band.get("unit") == _UNIT for band in fields.get("bands", []))
        ]
        if len(found) != 1:
            raise InputError(
                f"[screening] third: found {rules.third!r} with {', '.join(found) or 'no assets'} in {_UNIT}, one is "
                f"required: write third_asset = … into the table; its assets are {', '.join(known) or 'not listed'}"
            )
        (asset,) = found
    elif known and asset not in known:
        raise InputError(unknown_name_message(f"[screening] third_asset of {rules.third}", asset, list(known)))
    return _triplet_recipe(rules.third, asset)


def _triplet_recipe(collection: str, asset: str) -> Recipe:
    return Recipe(
        (
            Feature("era5land", "era5-land", "swvl1", "nearest", missing="nan"),
            Feature("third", collection, asset, "nearest", missing="nan"),
        )
    )


TRIPLET_RECIPE = _triplet_recipe("esa-cci-sm", "cci_sm")
"""What `triplet_recipe` returns unless the project says otherwise."""


@dataclass(frozen=True)
class MatchupResult:
    """Match-ups and triplets of a project."""

    item: ItemDict
    """The match-up item."""

    table: pd.DataFrame
    """Match-ups, one row a site and day."""

    triplets: pd.DataFrame
    """``site, date, insitu, era5land, third``; one row a site and day on which the site measured."""

    new: bool
    """Whether it was made now."""

    years: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    """``plain`` and ``sums`` of `fold_climatology`, where the recipe has climatologies."""


@dataclass(frozen=True)
class ScreeningStepResult:
    """Screening results of the sites, and what became of the items of their stations."""

    screening: ScreeningResult
    """Every site and its screening result."""

    stations: Mapping[str, int]
    """Number of station items by outcome: ``replaced`` (the result is new), ``done``, ``changed`` (ingested again)."""


@dataclass(frozen=True)
class TrainingResult:
    """A trained and scored model."""

    item: ItemDict
    """The model item."""

    new: bool
    """Whether it was made now."""

    report_hrefs: Mapping[str, str]
    """Asset key -> address, of the report's page (``report``), its numbers (``metrics``) and its station time series
    (``series``), as far as the item has them."""

    flagged: tuple[str, ...]
    """Features that the report flags as leaks: they may identify a station."""

    missing_features: Mapping[str, int] = field(default_factory=dict)
    """Number of measured site-days without a value, by feature; they are left out of the match-ups."""

    @property
    def id(self) -> str:
        """Id of the model item."""
        return str(self.item["id"])

    @property
    def scores(self) -> list[Mapping[str, Any]]:
        """Scores of every strategy, method and set of stations."""
        return list(self.item["properties"]["stac_sm:scores"]["results"])


def match_up_step(project: Project, *, workers: int = 1) -> MatchupResult:
    """Bring stations and features together, for training and for triple collocation.

    Parameters
    ----------
    project
        Its catalogue has the stations and the inputs; its tables ``[stations]`` and ``[matchups]`` have the settings.
    workers
        Processes that read series and features; more than one need a main module that may be imported.

    Returns
    -------
    MatchupResult
        Match-ups and triplets, as they were published.

    Raises
    ------
    CatalogError
        If there are no stations, or no site and day is left: says what was dropped, and why.
    InputError
        If only one process may write to the store, and there are several workers.
    """
    catalog, period = project.catalog, Period.parse(project.matchups.period)
    require_one_process(catalog.store, workers)
    left_out: dict[str, str] = {}
    stations, where, _ = _stations_and_sites(project, catalog, left_out)
    triplet = triplet_recipe(project)
    resolutions = _resolved_inputs(project, triplet, where, period)
    _require_features(catalog, resolutions["table"], period)
    resolutions |= _inputs_of_years(project, where, period)
    outside = _stations_outside_period(stations, where, period)
    item = matchup_item(
        _bbox(where), period, fingerprint=digest(_matchup_provenance(project, stations, resolutions, triplet))
    )

    def make(scratch: Path) -> dict[str, AssetFile]:
        series, unused = site_daily_means(where, stations, project.stations, workers=workers)
        series = series[(series["date"] >= str(period.start)) & (series["date"] < str(period.end))]
        _require_series(series, project, period, outside, unused)
        made = match_up_recipes(where, series, resolutions, project.grid, workers=workers, daily=[_DAYS])
        pairs, triplets = made["table"], made["triplets"].table.rename(columns={"sm": "insitu"})
        _require_rows(pairs, len(series), period, project.recipe)
        triplets = triplets[["site", "date", "insitu", "era5land", "third"]]
        item["properties"] |= table_properties(pairs.table, project.recipe) | {
            "stac_sm:rows": len(pairs.table),
            "stac_sm:sites": int(pairs.table["site"].nunique()),
            "stac_sm:dropped": {"site-days": dict(pairs.dropped), "readings": dict(unused)},
            **({"stac_sm:missing_features": dict(pairs.missing)} if pairs.missing else {}),
            **({OUTSIDE_PERIOD_PROPERTY: outside} if outside else {}),
        }
        for tiles in resolutions.values():
            for resolved in tiles.values():
                left_out.update(resolved.left_out_items)
        if left_out:
            item["properties"]["stac_sm:left_out"] = dict(sorted(left_out.items()))
        item["links"] = [_link_to_collection(STATIONS)]
        return write_tables(pairs.table, triplets, project.recipe, scratch, _tables_of_years(project, pairs, made))

    new = make_once(catalog, item, make) is not PublishOutcome.DONE
    if new:
        refresh(catalog.store, MATCHUPS)
    # Read from the catalogue in either case, so that a model learns from the bytes that were published.
    tables = read_tables(catalog.item(MATCHUPS, item["id"]))
    years = {key: tables.pop(key) for key in YEAR_TITLES if key in tables}
    return MatchupResult(_existing_item(catalog, MATCHUPS, item["id"]), **tables, new=new, years=years)


_PLAIN, _DAYS = "plain", "days"  # names of recipes beside those of table and triplets


def _inputs_of_years(project: Project, where: pd.DataFrame, period: Period) -> dict[str, dict[str, ResolvedInputs]]:
    """Resolve what climatologies of some of the years are made from, where years can be held out."""
    sources, plain = source_features(project.recipe), plain_features(project.recipe)
    several_years = period.start.year < (period.end - ONE_DAY).year
    if not sources or not several_years or "year" not in project.validation.strategies:
        return {}
    periods = [Period.parse(climatology.period) for _, climatology in sources.values()]
    span = Period(min(one.start for one in periods), max(one.end for one in periods))
    daily = tuple(replace(feature, name=name) for name, (feature, _) in sources.items())
    recipes = {_DAYS: (Recipe(daily), span)} | ({_PLAIN: (Recipe(plain), period)} if plain else {})
    return {
        name: resolve_sites(project.catalog, recipe, where, days, project.grid)
        for name, (recipe, days) in recipes.items()
    }


def _tables_of_years(project: Project, pairs: Matchups, made: Mapping[str, Matchups]) -> dict[str, pd.DataFrame] | None:
    """Return the tables from which climatologies of some of the years are made; None for a recipe without any."""
    if _DAYS not in made:
        return None
    names = [feature.name for feature in plain_features(project.recipe)]
    keys = pairs.table[["site", "date"]]
    values = made[_PLAIN].table[["site", "date", *names]] if names else keys
    sums = sums_of_days(made[_DAYS].table, source_features(project.recipe))
    return {"plain": keys.merge(values, on=["site", "date"], how="left"), "sums": sums}


def _stations_and_sites(
    project: Project, catalog: WritableCatalog, left_out: dict[str, str] | None = None
) -> tuple[list[Station], pd.DataFrame, list[Station]]:
    """Return the stations that models may see, the pixels that they share, and the stations that are left out."""
    stations = read_stations(catalog, left_out)
    if not stations:
        raise CatalogError(
            f"{catalog.root}: no station found, at least one is required: `stac-sm ingest ismn ARCHIVE.zip`"
        )
    unseen = _left_out(project.matchups.leave_out, stations)
    where = sites_of_stations(stations, project.grid, rules=project.stations)
    for members in where["stations"]:
        if not unseen.isdisjoint(members):  # nobody learns from a pixel that they lie in
            unseen |= set(members)
    where = where[[unseen.isdisjoint(members) for members in where["stations"]]]
    seen = [station for station in stations if station.id not in unseen]
    if where.empty:
        raise CatalogError(
            f"{len(stations)} stations found, none in grid {project.grid.name} with a sensor that ends at "
            f"{project.stations.max_depth} m or above: check [grid] and [stations]"
        )
    return seen, where, [station for station in stations if station.id in unseen]


def _left_out(networks: Sequence[str], stations: Sequence[Station]) -> set[str]:
    """Return the ids of the stations of some networks.

    Raises
    ------
    InputError
        If there is no such network, or no other.
    """
    known = {station.network for station in stations}
    if unknown := sorted(set(networks) - known):
        raise InputError(
            f"[matchups] leave_out: found {', '.join(unknown)}, which no station is of; "
            f"the networks are {', '.join(sorted(known))}"
        )
    if known <= set(networks):
        raise InputError(
            f"[matchups] leave_out: found all networks, {', '.join(sorted(known))}: leave one to learn from"
        )
    return {station.id for station in stations if station.network in networks}


def _resolved_inputs(
    project: Project, triplet: Recipe, where: pd.DataFrame, period: Period
) -> dict[str, dict[str, ResolvedInputs]]:
    """Resolve the inputs of the table and of the triplets; an error names every feature that cannot be resolved."""
    catalog, grid = project.catalog, project.grid
    recipes = {"table": project.recipe, "triplets": triplet}
    try:
        return {name: resolve_sites(catalog, recipe, where, period, grid) for name, recipe in recipes.items()}
    except CatalogError as first:
        errors = []
        for source in dict.fromkeys(source for recipe in recipes.values() for source in recipe.sources):
            try:
                resolve_sites(catalog, Recipe((source,)), where, period, grid)
            except CatalogError as error:
                errors.append(str(error))
        if len(set(errors)) < 2:
            raise
        raise CatalogError("; ".join(dict.fromkeys(errors))) from first


def _require_features(catalog: WritableCatalog, resolved: Mapping[str, ResolvedInputs], period: Period) -> None:
    """Refuse match-ups for which some required features have no file at any site; names all of them."""
    absent = [
        source
        for source in next(iter(resolved.values())).recipe.sources
        if not any(inputs.by_feature[source.name] for inputs in resolved.values())
        and all(source.name in inputs.blocked_by(inputs.days[0]) for inputs in resolved.values())
    ]
    if absent:
        there = sorted({key for one in absent for key in other_depths(catalog, one)})
        raise CatalogError(
            f"match-ups of {period}: no item found at any station for {len(absent)} features: {_absent(absent)}; "
            "ingest them, or check [matchups] period"
            + (f"; there is {', '.join(there)}, of another depth" * bool(there))
        )


def _absent(features: Sequence[Feature]) -> str:
    """Return features for a message: many of them by collection, each of which is ingested at once."""
    if len(features) <= _FEW:
        return ", ".join(f"{one.name} (collection {one.collection}, asset {one.asset})" for one in features)
    names: dict[str, list[str]] = {}
    for one in features:
        names.setdefault(one.collection, []).append(one.name)
    return "".join(f"\n  {collection}: {', '.join(some)}" for collection, some in names.items()) + "\n "


def _missing_counts(missing: Mapping[str, int], recipe: Recipe) -> str:
    """Return on how many site-days features have no value, for a message: many of a collection as one range."""
    of = {one.name: one.collection for one in recipe.features}
    counts: dict[str, dict[str, int]] = {}
    for name, n in missing.items():
        counts.setdefault(of.get(name, "other"), {})[name] = n
    words = []
    for collection, some in counts.items():
        least, most = min(some.values()), max(some.values())
        each = ", ".join(f"{name} on {n}" for name, n in some.items())
        of_all = f"{len(some)} features on {least if least == most else f'{least} to {most}'}"
        words.append(f"{collection}: {each if len(some) <= _FEW else of_all}")
    return "; ".join(words)


def _stations_outside_period(stations: Sequence[Station], where: pd.DataFrame, period: Period) -> dict[str, str]:
    """Return the stations of the sites whose series has no day in a period: id to the days that it spans."""
    members = {member for some in where["stations"] for member in some}
    return {one.id: str(one.period) for one in stations if one.id in members and not one.period.overlaps(period)}


def _notes(
    outside: Mapping[str, str], where: pd.DataFrame, found: Mapping[str, Any], period: str, recipe: Recipe
) -> list[str]:
    """Return what a reader of the scores must know of the match-ups, a sentence each."""
    notes = []
    if outside:
        notes.append(
            f"{len(outside)} of {sum(map(len, where['stations']))} stations have no reading in the period of the "
            f"match-ups, {period}: {_some_stations(outside)}"
        )
    if missing := found.get("stac_sm:missing_features"):
        notes.append(
            "Measured site-days without a value of a feature are left out of the match-ups: "
            f"{_missing_counts(missing, recipe)}"
        )
    return notes


def _some_stations(outside: Mapping[str, str]) -> str:
    """Return the first stations outside the period and the days that they span, for a message."""
    shown = ", ".join(f"{id} ({days})" for id, days in list(outside.items())[:_SHOWN])
    return shown + (f" and {len(outside) - _SHOWN} more" if len(outside) > _SHOWN else "")


def _require_series(
    series: pd.DataFrame, project: Project, period: Period, outside: Mapping[str, str], unused: Mapping[str, int]
) -> None:
    if series.empty:
        least, most = project.stations.valid
        reasons = {
            "depth": "below the depth limit",
            "flag": "not of the flag",
            "range": f"outside {least:g} to {most:g} m3 m-3",
        }
        readings = ", ".join(f"{unused[reason]} {what}" for reason, what in reasons.items() if unused.get(reason))
        why = f"; {len(outside)} stations lie outside the period: {_some_stations(outside)}" if outside else ""
        raise CatalogError(
            f"match-ups of {period}: no day found at which a station has {project.stations.min_hours} hourly values of "
            "good quality: lower min_hours of [stations] if there are fewer a day, or check [matchups] period"
            + (f"; readings not used: {readings}" if readings else "")
            + why
        )


def _require_rows(pairs: Matchups, measured: int, period: Period, recipe: Recipe) -> None:
    if pairs.table.empty:
        dropped = ", ".join(f"{reason}: {n}" for reason, n in pairs.dropped.items())
        missing = _missing_counts(pairs.missing, recipe)
        raise CatalogError(
            f"match-ups of {period}: {measured} measured site-days found, none with all features ({dropped}): check "
            "[matchups] period, and ingest what is missing" + (f"; without a value: {missing}" if missing else "")
        )


def screen_step(project: Project, matchups: MatchupResult | None = None) -> ScreeningStepResult:
    """Screen every site by triple collocation, and write the result to the items of its stations.

    Parameters
    ----------
    project
        Its ``[screening]`` table has the thresholds.
    matchups
        As `match_up_step` returned them; None calls it.

    Returns
    -------
    ScreeningStepResult
        The screening result of every site, and the number of station items by outcome.

    Raises
    ------
    CatalogError
        If there are no match-ups: see `match_up_step`.
    ConflictError
        If another writer changes an item at the same time.
    """
    matchups = matchups or match_up_step(project)
    catalog, rules = project.catalog, project.screening
    stations, where, unseen = _stations_and_sites(project, catalog)
    screening = screen_sites(matchups.triplets, rules)
    second, third = (feature.collection for feature in triplet_recipe(project).features)
    about = {"second": second, "third": third, "period": project.matchups.period, "confidence": rules.confidence}
    about["rules"] = rules.rules()
    said = screening_properties(where, screening.sites, about) | {
        one.id: {SCREENING_STATUS_PROPERTY: LEFT_OUT_STATUS} for one in unseen
    }
    outcomes = write_screening_results(
        catalog, [(one.id, one.href, one.checksum) for one in [*stations, *unseen]], said
    )
    return ScreeningStepResult(screening, dict(outcomes))


def train_step(
    project: Project,
    matchups: MatchupResult | None = None,
    *,
    workers: int = 1,
    budget: DiagnosticsBudget | None = None,
    log: LogFunction | None = None,
) -> TrainingResult:
    """Screen the sites, score the way of training on hold-outs, train on all rows, and publish the model.

    Where screening leaves too few sites, the screened model is refused, the unscreened one is trained, and its item
    says so.

    Parameters
    ----------
    project
        Its tables ``[training]``, ``[screening]`` and ``[validation]`` have the settings.
    matchups
        As `match_up_step` returned them; None calls it.
    workers
        Processes of `match_up_step`, where it is called.
    budget
        Amount of work for the diagnostics of the report; None: that of a full report.
    log
        Called with a line of text before each part of the work, which takes minutes.

    Returns
    -------
    TrainingResult
        The model item as it is in the catalogue, and the addresses of its report.

    Raises
    ------
    CatalogError
        If there are no match-ups: see `match_up_step`.
    ConflictError
        If another writer changes an item at the same time.
    """
    matchups = matchups or match_up_step(project, workers=workers)
    catalog = project.catalog
    fingerprint = digest(model_provenance(project, matchups.item["properties"][FINGERPRINT_PROPERTY]))
    item = model_item.item_stub(fingerprint)

    def make(scratch: Path) -> dict[str, AssetFile]:
        from stac_sm.workflows.reporting.page import report_asset_fields  # only training needs them
        from stac_sm.workflows.training.training_run import training_run

        stations, where, left_out = _stations_and_sites(project, catalog)
        outside = _stations_outside_period(stations, where, Period.parse(project.matchups.period))
        notes = _notes(outside, where, matchups.item["properties"], project.matchups.period, project.recipe)
        found: dict[str, Any] = {OUTSIDE_PERIOD_PROPERTY: outside} if outside else {}
        found |= {NOTES_PROPERTY: notes} if notes else {}
        screening = screen_step(project, matchups).screening
        run = training_run(
            project, matchups.table, matchups.triplets, screening, years=matchups.years, budget=budget, log=log
        )
        simulated, own = is_simulated(catalog), _model_properties(run, matchups) | found
        if simulated:
            own |= {SIMULATED_FIELD: True, "title": simulated_title(own["title"], simulated)}
        made = model_item.model_item(
            run.model,
            fingerprint=fingerprint,
            bbox=_bbox(run.rows),
            period=_period(run.rows),
            hyperparameters={"boosters": [part.fingerprint_fields() for part in run.learned.parts]},
            properties=own,
            previous=model_item.latest_model(catalog),
        )
        made["links"] += [_link(catalog, made, matchups.item), _link_to_collection(STATIONS)]
        item.update(made)
        assets = model_item.write_model_assets(run.model, scratch)
        sites = stations_at_sites(where, [*stations, *left_out], project.stations)
        facts = {"features": ", ".join(run.model.features), "seed": project.training.seed}
        title = simulated_title(f"Model {item['id']}", simulated)
        said = [SIMULATED_NOTE, *notes] if simulated else notes
        files = run.write_report(scratch, title, facts, sites, said)
        fields = report_asset_fields()
        return assets | {key: AssetFile(file, file.suffix, fields[key]) for key, file in files.items()}

    new = make_once(catalog, item, make) is not PublishOutcome.DONE
    if new:
        refresh(catalog.store, model_item.MODELS_COLLECTION)
    published = _existing_item(catalog, model_item.MODELS_COLLECTION, item["id"])
    model_item.link_successor(catalog, published)
    item_in_catalog = catalog.item(model_item.MODELS_COLLECTION, item["id"])
    missing = matchups.item["properties"].get("stac_sm:missing_features", {})
    return TrainingResult(published, new=new, missing_features=missing, **_report(item_in_catalog))


def _report(item: pystac.Item) -> dict[str, Any]:
    """Return the fields of `TrainingResult` about the report of a model item."""
    names = [name for name in ("report", "metrics", "series") if name in item.assets]
    hrefs = {name: asset_address(item, name) for name in names}
    numbers = json.loads(read_address(hrefs["metrics"])) if "metrics" in hrefs else {}
    flagged = (numbers.get("diagnostics") or {}).get("flagged", [])
    return {"report_hrefs": hrefs, "flagged": tuple(flagged)}


def _model_title(features: Sequence[str]) -> str:
    """Return the title of a model, which names its first features."""
    if len(features) <= _FEW:
        return f"XGBoost on {', '.join(features)}"
    return f"XGBoost on {len(features)} features: {', '.join(features[:_FEW])}, …"


def _model_properties(run: TrainingRun, matchups: MatchupResult) -> dict[str, Any]:
    judged = json.loads(run.screening.sites.to_json(orient="records", double_precision=6))
    return {
        "stac_sm:tuning": {"rounds": asdict(run.learned.rounds), "rmse": dict(run.learned.errors)},
        "title": _model_title(run.model.features),
        "stac_sm:tc_status": run.status,
        "stac_sm:matchups": matchups.item["id"],
        "stac_sm:rows": len(run.table),
        "stac_sm:scores": run.evaluation.to_dict(),
        SKILL_PROPERTY: [one.to_dict() for one in run.skill],
        "stac_sm:screening": judged,
        **({"stac_sm:intervals_refused": run.refused} if run.refused else {}),
    }


def _matchup_provenance(
    project: Project, stations: list[Station], resolutions: Mapping[str, Any], triplet: Recipe = TRIPLET_RECIPE
) -> dict[str, Any]:
    inputs = {
        name: sorted(
            {pair for resolution in tiles.values() for day in resolution.days for pair in resolution.inputs(day)}
        )
        for name, tiles in resolutions.items()
    }
    return {
        "stations": [station.provenance for station in stations],
        "rules": project.stations.fingerprint_fields(),
        "recipes": [project.recipe.fingerprint_fields(), triplet.fingerprint_fields()],
        "grid": project.grid.fingerprint_fields(),
        "period": project.matchups.period,
        "inputs": inputs,
        "algorithm": ALGORITHM_VERSIONS["matchups"],
    }


def model_provenance(project: Project, matchups: str) -> dict[str, Any]:
    """Return what a model of a project is made from: the fields of its fingerprint.

    Parameters
    ----------
    project
        With its settings of today.
    matchups
        Fingerprint of the match-ups.

    Returns
    -------
    dict
        JSON-able.
    """
    return {
        "matchups": matchups,
        "training": project.training.fingerprint_fields(),
        "screening": project.screening.fingerprint_fields(),
        "validation": project.validation.fingerprint_fields(),
        "recipe": project.recipe.fingerprint_fields(),
        "algorithm": ALGORITHM_VERSIONS["model"],
    }


def _existing_item(catalog: WritableCatalog, collection: str, id: str) -> ItemDict:
    """Return an item of a collection without sub-catalogues, as it is in the store."""
    content = read_if_there(catalog.store, f"{collection}/{id}/{id}.json")
    if content is None:
        raise CatalogError(f"{collection}/{id} was published and is gone: run the same command again")
    return dict(json.loads(content))


def _link(catalog: WritableCatalog, item: ItemDict, source: ItemDict) -> dict[str, str]:
    folder = item_folder(catalog.layout(source["collection"]), source)
    href = f"../../{folder}/{source['id']}.json"
    return link_to_item(href, source["id"])


def _link_to_collection(id: str) -> dict[str, str]:
    """Return a link to a whole collection, for its items may be thousands."""
    return link_to_sources(f"../../{id}/collection.json", id)


def _bbox(table: pd.DataFrame) -> list[float]:
    lon, lat = table["lon"], table["lat"]
    return [float(lon.min()), float(lat.min()), float(lon.max()), float(lat.max())]


def _period(table: pd.DataFrame) -> Period:
    return Period(table["date"].min().date(), table["date"].max().date() + ONE_DAY)
