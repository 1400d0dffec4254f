"""Check what this version would make again of a project that another version has worked on, before anything is made.

`project_checks.check_project` calls `check_upgrade` last. It reads metadata of the newest results of each stage, not of
all of them: ``stac-sm plan`` and ``audit`` count all. Nothing is changed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from stac_sm.core.errors import StacSmError
from stac_sm.core.fingerprint import ALGORITHM_VERSIONS, VERSION_REASONS, Stage, digest
from stac_sm.core.footprints import item_geometry
from stac_sm.doctor.check import NOTE, OK, Check, run_check
from stac_sm.model.item import MODELS_COLLECTION
from stac_sm.model.model import Model
from stac_sm.product.aggregates.staleness import AGGREGATES, stale_aggregates
from stac_sm.product.item import PRODUCT_COLLECTION
from stac_sm.stac.catalogs.catalog_interface import WritableCatalog
from stac_sm.stac.links import item_paths
from stac_sm.stac.publish import FINGERPRINT_PROPERTY
from stac_sm.stations.matchup_item import MATCHUPS_COLLECTION
from stac_sm.stations.records import STATIONS_COLLECTION
from stac_sm.workflows.audit import stale_products, stale_screening_results
from stac_sm.workflows.project import Project
from stac_sm.workflows.training.steps import model_provenance

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
    stages = {
        STATIONS_COLLECTION: _screening,
        MODELS_COLLECTION: _models,
        PRODUCT_COLLECTION: _products,
        "aggregates": _aggregates,
        "outlines": _outlines,
    }
    for name, question in stages.items():
        folders = {"aggregates": tuple(AGGREGATES), "outlines": (PRODUCT_COLLECTION,)}.get(name, (name,))
        if any(id in catalog.collections and newest_item_paths(catalog, id) for id in folders):
            yield run_check("upgrade", name, lambda question=question: question(opened))  # type: ignore[misc]


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
    told = {}
    for item in items:
        try:
            outdated = Model.from_item(item.self_href).outdated
        except StacSmError as error:
            told[item.id] = f"cannot be read: {error}"
            continue
        whys = [_other_model(opened, item.properties), f"it has {outdated}" if outdated else ""]
        told[item.id] = "; ".join(filter(None, whys))
    found = "; ".join(f"{id}: {why}" for id, why in told.items() if why)
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
    told = "; ".join(f"{count}: {why}" for why, count in whys.items())
    said = f"{len(found)} of {len(paths)} of the newest tile-days would be made again ({told}); {_reasons('product')}"
    return _note(PRODUCT_COLLECTION, said, "stac-sm plan counts all, and run makes them; another version keeps both")


def _aggregates(opened: Project) -> Check:
    found = Counter(one.path.partition("/")[0] for one in stale_aggregates(opened.catalog))
    if not found:
        return _fine("aggregates", "means and global days are made from the tile-days that are there")
    told = ", ".join(f"{count} items of {id}" for id, count in found.items())
    return _note("aggregates", f"{told}: made from other tile-days than there are", "stac-sm audit names them")


def _outlines(opened: Project) -> Check:
    paths = newest_item_paths(opened.catalog, PRODUCT_COLLECTION)
    geometries = [json.loads(opened.catalog.store.read(path))["geometry"] for path in paths]
    old = sum(item_geometry(one) != one for one in geometries)
    if not old:
        return _fine("outlines", f"of {len(paths)} items that were looked at")
    found = f"{old} of {len(paths)} items have outlines of before November 2026 (clockwise)"
    return _note("outlines", found, "stac-sm audit --repair writes them again; nothing becomes stale by it")


def newest_item_paths(catalog: WritableCatalog, collection: str) -> list[str]:
    """Return paths of the newest items of a collection, a few; of one that is laid out by time, of its last month."""
    folder = collection
    if catalog.layout(collection).startswith("year/month"):
        last = catalog.collection(collection)["extent"]["temporal"]["interval"][0][1]
        folder = f"{collection}/{last[:4]}/{last[5:7]}" if last else collection
    # the last composite of a collection ends in a month in which none begins
    return (item_paths(catalog.store, folder) or item_paths(catalog.store, collection))[-_SAMPLE:]


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
