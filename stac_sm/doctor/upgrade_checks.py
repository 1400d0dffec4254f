"""Check what this version would make again of a project that another version has worked on, before anything is made.

`project_checks.check_project` calls `check_upgrade` last. It reads metadata of the newest results of each stage, not of
all of them: ``stac-sm plan`` and ``audit`` count all. Nothing is changed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from stac_sm.core.errors import StacSmError
from stac_sm.core.fingerprint import ALGORITHM_VERSIONS, VERSION_REASONS, Stage, digest
from stac_sm.core.footprints import item_geometry
from stac_sm.doctor.check import NOTE, OK, Check, run_check
from stac_sm.features.inputs import CLIMATOLOGY_COLLECTION
from stac_sm.model.item import MODELS_COLLECTION
from stac_sm.model.model import Model
from stac_sm.product.aggregates.staleness import AGGREGATES, stale_aggregates
from stac_sm.product.item import OUTPUT_PROFILE_REASONS, PRODUCT_COLLECTION
from stac_sm.stac.catalogs.catalog_interface import WritableCatalog
from stac_sm.stac.collection_fields import lacking_fields
from stac_sm.stac.links import item_paths
from stac_sm.stac.publish import ALGORITHM_PROPERTY, FINGERPRINT_PROPERTY, RETRACTED_PROPERTY, UNSTATED_ALGORITHM
from stac_sm.stations.matchup_item import MATCHUPS_COLLECTION
from stac_sm.stations.records import STATIONS_COLLECTION
from stac_sm.workflows.audit import stale_products, stale_screening_results
from stac_sm.workflows.project import Project
from stac_sm.workflows.training.steps import model_provenance
from stac_sm.workflows.validation.validate import VALIDATION_COLLECTION

_SAMPLE = 50  # items of a stage that are read


def check_upgrade(opened: Project) -> Iterator[Check]:
    """Check what is out of date by this version, stage by stage, and why.

    Parameters
    ----------
    opened
        Project with its catalogue.

    Yields
    ------
    Check
        ``ok`` where results of a stage are up to date, a ``note`` where some would be made again. Stages without
        results are left out.
    """
    catalog = opened.catalog
    inputs = dict.fromkeys(one.collection for one in opened.recipe.sources if not one.catalog)
    stages: dict[str, tuple[Iterable[str], Callable[[Project], Check]]] = {
        "inputs": (inputs, _inputs),
        CLIMATOLOGY_COLLECTION: ([CLIMATOLOGY_COLLECTION], partial(_stated, CLIMATOLOGY_COLLECTION)),
        STATIONS_COLLECTION: ([STATIONS_COLLECTION], _screening),
        MATCHUPS_COLLECTION: ([MATCHUPS_COLLECTION], partial(_stated, MATCHUPS_COLLECTION)),
        MODELS_COLLECTION: ([MODELS_COLLECTION], _models),
        PRODUCT_COLLECTION: ([PRODUCT_COLLECTION], _products),
        "aggregates": (AGGREGATES, _aggregates),
        VALIDATION_COLLECTION: ([VALIDATION_COLLECTION], partial(_stated, VALIDATION_COLLECTION)),
        "outlines": (catalog.collections, _outlines),
        "collections": (catalog.collections, _collections),
    }
    for name, (folders, question) in stages.items():
        if any(id in catalog.collections and newest_item_paths(catalog, id) for id in folders):
            yield run_check("upgrade", name, lambda question=question: question(opened))  # type: ignore[misc]


def _inputs(opened: Project) -> Check:
    """Compare the versions that the newest granules state with that of ingest."""
    older, count = Counter[str](), 0
    for id in dict.fromkeys(one.collection for one in opened.recipe.sources if not one.catalog):
        for item in _newest_items(opened.catalog, id) if id in opened.catalog.collections else ():
            count += 1
            older[id] += (_algorithm("ingest", item) or 0) < int(ALGORITHM_VERSIONS["ingest"])
    found = ", ".join(f"{number} of {id}" for id, number in older.items() if number)
    if not found:
        return _fine("inputs", f"{count} of the newest granules, which were looked at")
    advice = "stac-sm ingest of the same files replaces them, and makes stale what is made from them"
    return _note("inputs", f"granules of an earlier version of ingest: {found}; {_reasons('ingest')}", advice)


def _stated(id: str, opened: Project) -> Check:
    """Compare the versions that the newest items of a stage state with that of today."""
    stage, command = _STATED[id]
    items = _newest_items(opened.catalog, id, _SAMPLE)
    versions = [version for item in items if (version := _algorithm(stage, item)) is not None]
    older = [version for version in versions if version < int(ALGORITHM_VERSIONS[stage])]
    if not older:
        return _fine(id, f"{len(items)} items that were looked at")
    said = f"{len(older)} of {len(items)} items are of a version before {ALGORITHM_VERSIONS[stage]}"
    return _note(id, f"{said}; {_reasons(stage, min(older))}", f"{command} makes them again")


_STATED: dict[str, tuple[Stage, str]] = {
    CLIMATOLOGY_COLLECTION: ("climatology", "stac-sm climatology"),
    MATCHUPS_COLLECTION: ("matchups", "stac-sm matchup, or train,"),
    VALIDATION_COLLECTION: ("validation", "stac-sm validate"),
}
"""Collections whose items state the version of their stage, with that stage and its command."""


def _algorithm(stage: Stage, item: Mapping[str, Any]) -> int | None:
    """Return the version of its stage that made an item, or an earlier one; None where it is not known."""
    properties = item["properties"]
    if ALGORITHM_PROPERTY in properties:
        return int(properties[ALGORITHM_PROPERTY])
    if stage != "validation":
        return int(UNSTATED_ALGORITHM)
    if "stac_sm:protocol" in properties:  # since 3, where there are stations
        return 3
    return 1 if properties.get("stac_sm:scores", {}).get("stations") else None


def _screening(opened: Project) -> Check:
    paths = newest_item_paths(opened.catalog, STATIONS_COLLECTION)
    found = stale_screening_results(opened.catalog, opened.screening, paths=paths)
    if not found:
        return _fine(STATIONS_COLLECTION, f"screening results of {len(paths)} stations that were looked at")
    why = f"{found[0].detail.partition(': `')[0]}; {_reasons('model')}"
    return _note(STATIONS_COLLECTION, f"{len(found)} of {len(paths)} stations: {why}", "stac-sm screen, or train")


def _models(opened: Project) -> Check:
    """Compare each model with the one that `train` would make of the same match-ups."""
    items = [opened.catalog.item(MODELS_COLLECTION, id) for id in _ids(opened.catalog, MODELS_COLLECTION)]
    changes = {}
    for item in items:
        try:
            outdated = Model.from_item(item.self_href).outdated
        except StacSmError as error:
            changes[item.id] = f"cannot be read: {error}"
            continue
        whys = [_other_model(opened, item.properties), f"it has {outdated}" if outdated else ""]
        changes[item.id] = "; ".join(filter(None, whys))
    found = "; ".join(f"{id}: {why}" for id, why in changes.items() if why)
    if not found:
        return _fine(MODELS_COLLECTION, f"{len(items)} models")
    advice = "stac-sm train makes another; until a plan takes that one, the products of this one stay as they are"
    return _note(MODELS_COLLECTION, found, advice)


def _other_model(opened: Project, properties: Mapping[str, Any]) -> str:
    """Return why `train` would make another model of the same match-ups; empty if it would not, or nobody can tell."""
    catalog, id = opened.catalog, properties.get("stac_sm:matchups")
    path = f"{MATCHUPS_COLLECTION}/{id}/{id}.json"
    if not id or not catalog.store.exists(path):
        return ""
    now = model_provenance(opened, json.loads(catalog.store.read(path))["properties"][FINGERPRINT_PROPERTY])
    found, version = properties[FINGERPRINT_PROPERTY], int(ALGORITHM_VERSIONS["model"])
    if digest(now) == found:
        return ""
    for older in range(version - 1, 0, -1):
        if digest({**now, "algorithm": str(older)}) == found:
            return f"made by version {older} of training, version {version} is there: {_reasons('model', older)}"
    return f"settings of today, or version {version} of training, make another one: {_reasons('model')}"


def _products(opened: Project) -> Check:
    paths = newest_item_paths(opened.catalog, PRODUCT_COLLECTION)
    found = [one for one in stale_products(opened.catalog, opened.grid, paths=paths) if one.kind == "stale"]
    if not found:
        return _fine(PRODUCT_COLLECTION, f"{len(paths)} of the newest tile-days, which were looked at")
    whys = Counter(one.detail.removeprefix("changed since it was made: ").partition("; `")[0] for one in found)
    changes = "; ".join(f"{count}: {why}" for why, count in whys.items())
    said = f"{len(found)} of {len(paths)} of the newest tile-days would be made again ({changes})"
    said += _why(changes, "product")
    return _note(PRODUCT_COLLECTION, said, "stac-sm plan counts all, and run makes them; another version keeps both")


def _aggregates(opened: Project) -> Check:
    found = Counter(
        (one.path.partition("/")[0], one.detail.partition(": `")[0])
        for one in stale_aggregates(opened.catalog, opened.grid)
    )
    if not found:
        return _fine("aggregates", "means and global days are made from the tile-days that are there, by this version")
    changes = "; ".join(f"{count} of {id}: {why}" for (id, why), count in found.items())
    commands = dict.fromkeys(f"stac-sm {AGGREGATES[id]}" for id, _ in found)
    advice = f"stac-sm audit names them; {', '.join(commands)} make them again"
    return _note("aggregates", f"{changes}{_why(' '.join(why for _, why in found), 'aggregates')}", advice)


def _why(changes: str, stage: Stage) -> str:
    """Return the reasons of what has changed: of the version of a stage, and of the number of the output profile."""
    reasons = [_reasons(stage)] if "algorithm" in changes else []
    if "output profile" in changes:
        reasons += [f"output profile {number}: {why}" for number, why in OUTPUT_PROFILE_REASONS.items()]
    return "".join(f"; {one}" for one in reasons)


def _outlines(opened: Project) -> Check:
    catalog = opened.catalog
    geometries = [item.get("geometry") for id in catalog.collections for item in _newest_items(catalog, id)]
    old = sum(item_geometry(one) != one for one in geometries if one)
    if not old:
        return _fine("outlines", f"of {len(geometries)} items that were looked at, the newest of each collection")
    found = f"{old} of {len(geometries)} items, the newest of each collection, have outlines of before November 2026"
    found += " (clockwise, or with needless vertices)"
    return _note("outlines", found, "stac-sm audit --repair writes them again; nothing becomes stale by it")


def _collections(opened: Project) -> Check:
    catalog = opened.catalog
    lacking = {id: lacking_fields(catalog.store, catalog.collection(id)) for id in catalog.collections}
    named = [f"{id} {', '.join(names[:2])}{' …' * (len(names) > 2)}" for id, names in lacking.items() if names]
    if not named:
        return _fine("collections", f"{len(lacking)} documents have what this version ships")
    found = f"{len(named)} of {len(lacking)} documents lack members that this version ships: {'; '.join(named)}"
    return _note("collections", found, "stac-sm audit --repair adds them, and changes nothing that is there")


def newest_item_paths(catalog: WritableCatalog, collection: str) -> list[str]:
    """Return paths of the newest items of a collection, a few; of one that is laid out by time, of its last month."""
    folder = collection
    if catalog.layout(collection).startswith("year/month"):
        last = catalog.collection(collection)["extent"]["temporal"]["interval"][0][1]
        folder = f"{collection}/{last[:4]}/{last[5:7]}" if last else collection
    # the last composite of a collection ends in a month in which none begins
    return (item_paths(catalog.store, folder) or item_paths(catalog.store, collection))[-_SAMPLE:]


def _newest_items(catalog: WritableCatalog, collection: str, most: int = 3) -> list[dict[str, Any]]:
    """Return a few of the newest items of a collection, without withdrawal notices."""
    found = [json.loads(catalog.store.read(path)) for path in newest_item_paths(catalog, collection)[-most:]]
    return [item for item in found if RETRACTED_PROPERTY not in item.get("properties", {})]


def _ids(catalog: WritableCatalog, collection: str) -> list[str]:
    return [path.rpartition("/")[2].removesuffix(".json") for path in newest_item_paths(catalog, collection)]


def _reasons(stage: Stage, since: int | None = None) -> str:
    """Return why versions of a stage were raised, after one of them or recently."""
    known = VERSION_REASONS.get(stage, {})
    chosen = [f"{number}: {why}" for number, why in known.items() if since is None or int(number) > since]
    return f"versions of {stage}: {'; '.join(chosen)}" if chosen else f"version {ALGORITHM_VERSIONS[stage]} of {stage}"


def _fine(name: str, found: str) -> Check:
    return Check("upgrade", name, OK, f"up to date: {found}")


def _note(name: str, found: str, advice: str) -> Check:
    return Check("upgrade", name, NOTE, found, advice)
