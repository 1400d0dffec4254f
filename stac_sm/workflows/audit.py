"""Audit the catalogue: verify every item again, from the store alone.

``stac-sm audit`` calls `audit_project`, and `repair` for what can be derived. An item says what its assets are: they
are there, have its size and checksum, and decode. Its outline is as items of today hold it. Everything in a
collection's folder belongs to an item or is derived from the items; what is derived is what `links.refresh` would
write.
"""

from __future__ import annotations

import json
import posixpath
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

from stac_sm.core.errors import StacSmError
from stac_sm.core.fingerprint import digest
from stac_sm.core.footprints import item_geometry
from stac_sm.core.grid import TileGrid
from stac_sm.core.parallel import map_jobs
from stac_sm.core.period import ONE_DAY, Period
from stac_sm.model.item import MODELS_COLLECTION as MODELS
from stac_sm.model.model import Model
from stac_sm.product.aggregates.staleness import AGGREGATES, stale_aggregates
from stac_sm.product.collection_grid import lies_on
from stac_sm.product.item import PRODUCT_COLLECTION as PRODUCTS
from stac_sm.product.product_id import tile_of
from stac_sm.stac.catalogs.catalog import open_writable_catalog
from stac_sm.stac.catalogs.catalog_interface import WritableCatalog
from stac_sm.stac.collection_fields import add_lacking_fields, lacking_fields
from stac_sm.stac.index.manifest import index_months
from stac_sm.stac.index.update import update_index
from stac_sm.stac.items import COG_MEDIA_TYPE, PARQUET_MEDIA_TYPE, ItemDict, item_json
from stac_sm.stac.links import derived_documents, is_item_path, item_paths, refresh
from stac_sm.stac.publish import FINGERPRINT_PROPERTY
from stac_sm.stations.records import STATIONS_COLLECTION as STATIONS
from stac_sm.stations.screening_item import SCREENING_SCORES_PROPERTY
from stac_sm.stations.screening_thresholds import ScreeningThresholds
from stac_sm.storage.address import is_absolute
from stac_sm.storage.object_meta import ObjectMeta
from stac_sm.storage.store import Store, multihash, sha256
from stac_sm.storage.update import read_if_there, update
from stac_sm.workflows.plan.plan import make_plan
from stac_sm.workflows.project import Project

GRACE_HOURS = 24.0
"""Age from which an unreferenced file is removed: a younger one may belong to an item that is about to be written."""

_ITEMS_A_JOB = 16
_NAMED = 4  # members of a collection that a message names
_ELSEWHERE = (
    "lies on another grid than the project's, {grid!r}, and than other items of its collection, whose ids repeat from "
    "grid to grid: `stac-sm retract` it, and make it in a project of its own"
)


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be."""

    kind: str
    """``missing``, ``corrupt``, ``orphan``, ``item``, ``geometry``, ``collection``, ``link``, ``extent``, ``stale``."""

    path: str
    """Path below the catalogue's root."""

    detail: str
    """What was found, what is required, and what to do."""

    modified: float = field(default=0.0, compare=False, repr=False)
    """Of an unreferenced file: when it was written, seconds since 1970 by the store's clock."""


def audit(
    catalog: WritableCatalog,
    *,
    collections: Sequence[str] = (),
    sample: float = 1.0,
    workers: int = 1,
    progress: Callable[[int], None] = lambda total: None,
) -> list[Finding]:
    """Verify items, assets, links and extents.

    Parameters
    ----------
    catalog
        In a folder or on S3.
    collections
        Ids; all of the catalogue if there are none.
    sample
        Share of the items whose assets are read; which ones follows from their ids, so two audits read the same. What
        is there and what is linked is always checked in full.
    workers
        Processes.
    progress
        Called with the number of parts, whenever one is done.

    Returns
    -------
    list of Finding
        In the order of their paths; empty if all is well.
    """
    there, jobs, findings = set[str](), [], list[Finding]()
    for collection, entries in _by_collection(catalog.store):
        there.add(collection)
        if collections and collection not in collections:
            continue
        found, sound = _listed(catalog.store, collection, entries)
        findings += found
        read = [path for path in sound if _in_sample(path, sample)]
        jobs += [read[at : at + _ITEMS_A_JOB] for at in range(0, len(read), _ITEMS_A_JOB)]
    for collection in collections:
        if collection not in there:
            catalog.collection(collection)  # says which there are
    findings += _root_findings(there, _linked_collections(catalog.store))
    for part in map_jobs(partial(_verify_items, catalog.root), jobs, workers):
        findings += part
        progress(len(jobs))
    return sorted(set(findings), key=lambda finding: (finding.path, finding.kind))


def audit_project(
    project: Project,
    collections: Sequence[str] = (),
    *,
    sample: float = 1.0,
    workers: int = 1,
    progress: Callable[[int], None] = lambda total: None,
    note: Callable[[str], None] = lambda text: None,
) -> list[Finding]:
    """Verify the items of a project, and find products, global days, means and screening results that are stale.

    Parameters
    ----------
    project
        With its catalogue, and the grid that its products lie on.
    collections
        Ids; all of the catalogue if there are none.
    sample
        Share of the items whose assets are read, as in `audit`.
    workers
        Processes.
    progress
        Called with the number of parts, whenever one is done.
    note
        Called with what was not judged, and why.

    Returns
    -------
    list of Finding
        What `audit` finds, in the order of paths, then stale products, aggregates and screening results; empty if all
        is well.

    Raises
    ------
    CatalogError
        If there is no such collection.
    """
    catalog, chosen = project.catalog, set(collections)
    findings = audit(catalog, collections=collections, sample=sample, workers=workers, progress=progress)
    if not chosen or PRODUCTS in chosen:
        findings += stale_products(catalog, project.grid, note=note)
    if not chosen or chosen & AGGREGATES.keys():
        stale = (
            one for one in stale_aggregates(catalog, project.grid) if not chosen or one.path.partition("/")[0] in chosen
        )
        findings += [Finding("stale", one.path, one.detail) for one in stale]
    if not chosen or STATIONS in chosen:
        findings += stale_screening_results(catalog, project.screening)
    return findings


def stale_screening_results(
    catalog: WritableCatalog, thresholds: ScreeningThresholds, *, paths: Sequence[str] | None = None
) -> list[Finding]:
    """Return the stations whose screening result was decided by other rules than those of the project.

    Parameters
    ----------
    catalog
        Catalogue with the items of stations.
    thresholds
        ``[screening]`` of the project.
    paths
        Of the items that are judged; None: all stations.

    Returns
    -------
    list of Finding
        One a station, of the kind ``stale``, in the order of paths; its detail names the rules that differ. Stations
        without figures of a screening are never stale.
    """
    rules = thresholds.rules() | {"confidence": thresholds.confidence}
    findings = []
    for path in item_paths(catalog.store, STATIONS) if paths is None else paths:
        item, _ = _checked_item(catalog.store, path)
        if item is None:
            continue
        figures = item["properties"].get(SCREENING_SCORES_PROPERTY)
        if figures is None:
            continue
        found = {"confidence": figures.get("confidence"), **figures.get("rules", {})}
        other = [f"{name} {found.get(name)!r} found, {value!r} required" for name, value in rules.items()
                 if found.get(name) != value]  # fmt: skip
        if other and "rules" not in figures:
            other = ["by a version that decided by the estimate alone and did not state its rules"]
        if other:
            detail = f"screened {'' if 'rules' not in figures else 'by other rules: '}{', '.join(other)}"
            findings.append(Finding("stale", path, f"{detail}: `stac-sm screen` replaces it"))
    return findings


def stale_products(
    catalog: WritableCatalog,
    grid: TileGrid,
    *,
    paths: Sequence[str] | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> list[Finding]:
    """Return products that are there, but would be made from something else today: from metadata alone.

    Parameters
    ----------
    catalog
        Catalogue with the products, and what they are made from.
    grid
        Grid of the project. Where all products lie on another one, nothing can be made in their place, and none is
        judged; where some do, they are findings.
    paths
        Of the items that are judged; None: all of the product.
    note
        Called with a message where the products lie on another grid.

    Returns
    -------
    list of Finding
        One a product, of the kind ``stale``, or ``item`` where it lies on another grid than others.
    """
    made: dict[tuple[str, str, str], dict[date, str]] = {}
    elsewhere = []
    for path in item_paths(catalog.store, PRODUCTS) if paths is None else paths:  # not by links, which may be broken
        item, _ = _checked_item(catalog.store, path)
        if item is not None:
            properties = item["properties"]
            if "proj:transform" in properties and not lies_on(item, grid):
                elsewhere.append(path)
                continue
            key = (properties["stac_sm:model"], properties["version"], tile_of(item["id"]))
            made.setdefault(key, {})[date.fromisoformat(properties["start_datetime"][:10])] = path
    mixed = [Finding("item", path, _ELSEWHERE.format(grid=grid.name)) for path in elsewhere] if made else []
    if elsewhere and not made:
        note(
            f"{len(elsewhere)} items of {PRODUCTS} lie on another grid than [grid] of the project, {grid.name!r}: "
            "whether they are stale was not judged; restore [grid]"
        )
    return mixed + [finding for key, paths in made.items() for finding in _stale(catalog, grid, key, paths)]


def _stale(
    catalog: WritableCatalog, grid: TileGrid, key: tuple[str, str, str], paths: Mapping[date, str]
) -> Iterator[Finding]:
    model_id, version, tile = key
    try:
        model = Model.from_item(catalog.item(MODELS, model_id).self_href)
        period = Period(min(paths), max(paths) + ONE_DAY)
        plan = make_plan(catalog, model, [tile], period, grid=grid, version=version)
    except StacSmError as error:
        yield from (Finding("stale", path, f"cannot be judged: {error}") for path in paths.values())
        return
    for day in plan.days:
        if day.made.day in paths and day.state != "done":
            changed = f"changed since it was made: {', '.join(day.changed) or 'inputs or model'}"
            gone = f"no input since it was made: {', '.join(day.blocked_by)}" if day.blocked_by else changed
            yield Finding("stale", paths[day.made.day], f"{gone}; `stac-sm plan` and `run` replace it")


def repair(catalog: WritableCatalog, findings: Iterable[Finding], *, grace_hours: float = GRACE_HOURS) -> list[Finding]:
    """Repair what can be derived: links, extents, outlines, and members of collections that this version ships.

    Unreferenced files that are old enough are removed.

    An item whose outline is written again keeps its fingerprint and its assets; the index of its collection follows.

    Parameters
    ----------
    catalog
        In a folder or on S3.
    findings
        As `audit` returned them.
    grace_hours
        Hours before an unreferenced file is removed: it may belong to an item that is being published.

    Returns
    -------
    list of Finding
        What is left: it needs the command that made it.
    """
    found = list(findings)
    outlines = [one.path for one in found if one.kind == "geometry"]
    for path in outlines:
        update(catalog.store, path, lambda content: None if content is None else _with_todays_geometry(content))
    for collection in sorted({PurePosixPath(path).parts[0] for path in outlines}):
        if index_months(catalog.store, collection):
            update_index(catalog.store, collection, layout=catalog.layout(collection))
    for one in found:
        if one.kind == "collection":
            add_lacking_fields(catalog.store, PurePosixPath(one.path).parts[0])
    for collection in sorted({PurePosixPath(one.path).parts[0] for one in found if one.kind in {"link", "extent"}}):
        refresh(catalog.store, collection)
    young = young_files(found, grace_hours=grace_hours)
    for one in found:
        if one.kind == "orphan" and one not in young and not _is_named_now(catalog.store, one.path):
            catalog.store.remove(one.path)
    repaired = {"collection", "link", "extent", "geometry"}
    return [one for one in found if one.kind not in repaired and not _gone(catalog.store, one)]


def young_files(findings: Iterable[Finding], *, grace_hours: float = GRACE_HOURS) -> set[Finding]:
    """Return unreferenced files that are no failure yet: of items that were replaced lately, or that are being made.

    Parameters
    ----------
    findings
        As `audit` returned them.
    grace_hours
        Hours from which an unreferenced file is left behind by something that failed.

    Returns
    -------
    set of Finding
        Of kind ``orphan``, younger than that.
    """
    latest = time.time() - grace_hours * 3600
    return {one for one in findings if one.kind == "orphan" and one.modified > latest}


def _is_named_now(store: Store, path: str) -> bool:
    """Return whether the item of a file's folder names it by now, or a sub-catalogue has items by now.

    An audit takes hours, and a run that makes the item meanwhile takes the file that an earlier one has left.
    """
    folder, name = posixpath.split(path)
    if name == "catalog.json" and item_paths(store, folder):
        return True
    content = read_if_there(store, f"{folder}/{posixpath.basename(folder)}.json")
    try:
        assets = json.loads(content or b"{}").get("assets", {}).values()
        return any(_local(folder, asset["href"]) == path for asset in assets)
    except (ValueError, KeyError, TypeError, AttributeError):
        return True  # it is no item, and what belongs to it is not known


def _gone(store: Store, finding: Finding) -> bool:
    return finding.kind == "orphan" and (not store.exists(finding.path) or _is_named_now(store, finding.path))


def _with_todays_geometry(content: bytes) -> bytes:
    item = json.loads(content)
    return item_json({**item, "geometry": item_geometry(item["geometry"])})


def _geometry_findings(path: str, item: ItemDict) -> Iterator[Finding]:
    geometry = item.get("geometry")
    if isinstance(geometry, dict) and item_geometry(geometry) != geometry:
        found = "its exterior ring is clockwise, or has vertices that it does not need"
        yield Finding("geometry", path, f"{found}: `stac-sm audit --repair` writes it again, its fingerprint stays")


def _checked_item(store: Store, path: str) -> tuple[ItemDict | None, list[Finding]]:
    """Return an item, or None and what is wrong with its JSON."""
    try:
        item = json.loads(store.read(path))
        place = PurePosixPath(path)
        wanted = {"type": "Feature", "id": place.stem, "collection": place.parts[0]}
        wrong = {key: item.get(key) for key, value in wanted.items() if item.get(key) != value}
        if not wrong and isinstance(item["properties"][FINGERPRINT_PROPERTY], str) and len(item["bbox"]) in {4, 6}:
            return item, []
        told = ", ".join(f"{key} {value!r} found, {wanted[key]!r} expected" for key, value in wrong.items())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        told = f"no item: {error!r}"
    detail = f"{told or 'fingerprint or bbox missing'}: remove it, and make or ingest it again"
    return None, [Finding("item", path, detail)]


def _by_collection(store: Store) -> Iterator[tuple[str, list[ObjectMeta]]]:
    """Yield the id of each collection that is there with the files in its folder, from one listing of the catalogue."""
    for id, found in groupby(store.list_objects(), key=lambda entry: entry.path.partition("/")[0]):
        entries = list(found)
        if any(entry.path == f"{id}/collection.json" for entry in entries):
            yield id, entries


def _linked_collections(store: Store) -> set[str]:
    """Return the ids of the collections that the root links to."""
    hrefs = (link["href"] for link in json.loads(store.read("catalog.json"))["links"] if link["rel"] == "child")
    return {PurePosixPath(posixpath.normpath(href)).parts[0] for href in hrefs}


def _root_findings(there: set[str], linked: set[str]) -> Iterator[Finding]:
    for id in sorted(linked - there):
        yield Finding("link", "catalog.json", f"links to collection {id}, which is not there: `stac-sm init` makes it")
    for id in sorted(there - linked):
        yield Finding("link", "catalog.json", f"does not link to collection {id}, which is there: add the link")


def _listed(store: Store, collection: str, entries: list[ObjectMeta]) -> tuple[list[Finding], list[str]]:
    """Return what is wrong by one listing and one look at each item, and the paths of the items whose JSON is sound."""
    paths, findings, named = [entry.path for entry in entries if is_item_path(entry.path)], list[Finding](), set[str]()
    spans: dict[str, ItemDict] = {}
    for path in paths:
        item, wrong = _checked_item(store, path)
        findings += wrong
        if item is not None:
            findings += _geometry_findings(path, item)
            folder = posixpath.dirname(path)
            named |= {path, *(_local(folder, asset["href"]) for asset in item.get("assets", {}).values())}
            spans[path] = {"bbox": item["bbox"], "properties": item["properties"]}
    findings += _document_findings(store, collection)
    bad = {path for path in paths if path not in spans}
    if not bad:
        required = derived_documents(store, collection, paths, spans)
        named |= {path for path, _ in required}
        findings += [finding for path, document in required for finding in _compared(store, path, document)]
    return [*findings, *_orphans(entries, named, {posixpath.dirname(path) for path in bad})], list(spans)


def _document_findings(store: Store, collection: str) -> Iterator[Finding]:
    path = f"{collection}/collection.json"
    try:
        lacking = lacking_fields(store, json.loads(store.read(path)))
    except (ValueError, TypeError, AttributeError, KeyError):
        return  # what reads its links says so
    if lacking:
        named = ", ".join(lacking[:_NAMED]) + (f" and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else "")
        detail = f"lacks {named} of this version: `stac-sm audit --repair` adds it, and changes nothing that is there"
        yield Finding("collection", path, detail)


def _compared(store: Store, path: str, document: dict[str, Any]) -> Iterator[Finding]:
    content = read_if_there(store, path)
    if content is None:
        yield Finding("link", path, "missing: `stac-sm audit --repair` makes it")
        return
    if content == item_json(document):
        return
    try:
        found = json.loads(content)
    except ValueError:
        found = {}
    if found.get("extent") != document.get("extent"):
        yield Finding("extent", path, "not that of the items: `stac-sm audit --repair` rebuilds it")
    if {**found, "extent": None} != {**document, "extent": None}:
        yield Finding("link", path, "not what the items make of it: `stac-sm audit --repair` rebuilds it")


def _orphans(entries: Sequence[ObjectMeta], named: set[str], spared: set[str]) -> Iterator[Finding]:
    """Yield files that no item names and nothing derives; the folders of broken items are left alone."""
    for entry in entries:
        folder, name = posixpath.split(entry.path)
        unknown = spared and name in {"catalog.json", "collection.json"}  # what derives is not known
        if entry.path not in named and folder not in spared and not unknown and "/index/" not in entry.path:
            told = "no item names it: `stac-sm audit --repair` removes it when it is old"
            yield Finding("orphan", entry.path, told, entry.modified)


def _verify_items(root: str, paths: Sequence[str]) -> list[Finding]:
    """Read every asset of some items; runs in a worker process."""
    import rasterio

    store = open_writable_catalog(root).store
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):  # whatever lies beside a raster; set once for all
        return [finding for path in paths for finding in _asset_findings(store, path)]


def _asset_findings(store: Store, path: str) -> Iterator[Finding]:
    item, folder = json.loads(store.read(path)), posixpath.dirname(path)
    for link in item.get("links", []):
        target = _local(folder, str(link.get("href", "")))
        if not is_absolute(target) and not store.exists(target):
            yield Finding("link", path, f"its link {link.get('rel')} leads to {target}, which is not there")
    for key, asset in item.get("assets", {}).items():
        where = _local(folder, asset["href"])
        if not is_absolute(where):
            yield from _file_findings(store, where, f"asset {key!r} of {path}", asset)


def _file_findings(store: Store, path: str, what: str, asset: dict[str, Any]) -> Iterator[Finding]:
    if not store.exists(path):
        yield Finding("missing", path, f"{what}: make or ingest the item again")
        return
    with store.local_file(path) as file:
        found = {"file:size": file.stat().st_size, "file:checksum": multihash(sha256(file))}
        wrong = [
            f"{key} {value} found, {asset.get(key)} expected" for key, value in found.items() if value != asset.get(key)
        ]
        told = "; ".join(wrong) or _undecodable(file, str(asset.get("type", "")))
    if told:
        yield Finding("corrupt", path, f"{what}: {told}: remove it, and make or ingest the item again")


def _undecodable(file: Path, media_type: str) -> str:
    """Return why a file cannot be decoded; empty if it can."""
    try:
        if media_type == COG_MEDIA_TYPE:
            _decode_raster(file)
        elif media_type == PARQUET_MEDIA_TYPE:
            _decode_table(file)
        elif "json" in media_type and "ubjson" not in media_type:
            json.loads(file.read_bytes())
    except Exception as error:  # whatever a library finds in a file that is not what it should be
        return f"cannot be decoded ({error})"
    return ""


def _decode_raster(path: Path) -> None:
    import rasterio

    with rasterio.open(path, driver="GTiff") as file:
        for _, window in file.block_windows(1):
            file.read(1, window=window)


def _decode_table(file: Path) -> None:
    import pyarrow.parquet as pq

    for _ in pq.ParquetFile(file).iter_batches():
        pass


def _local(folder: str, href: str) -> str:
    """Return the path below the root of a relative href; others as they are."""
    return href if is_absolute(href) else posixpath.normpath(posixpath.join(folder, href))


def _in_sample(path: str, share: float) -> bool:
    return int(digest(path)[:8], 16) < share * 2**32
