"""Check a project: its file, the store it is in, credentials, and whether its catalogue has the inputs of its recipe.

`examine` calls `check_project` after the checks of the machine, when a project was found.
"""

from __future__ import annotations

import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np

from stac_sm.core.errors import CatalogError, StacSmError
from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM
from stac_sm.core.period import ONE_DAY, Period
from stac_sm.doctor.check import FAILED, NOTE, OK, Check, run_check
from stac_sm.doctor.upgrade_checks import newest_item_paths
from stac_sm.features.inputs import CLIMATOLOGY_COLLECTION, search_period
from stac_sm.features.recipe import Feature
from stac_sm.fetch.registry import fetch_sources
from stac_sm.ingest.registry import provider_classes
from stac_sm.model.item import MODELS_COLLECTION
from stac_sm.product.item import PRODUCT_COLLECTION
from stac_sm.raster.cog import CogProfile, write_asset
from stac_sm.raster.read import read_window
from stac_sm.raster.readers import READERS
from stac_sm.raster.source import RasterSource
from stac_sm.stac.catalogs.catalog import open_recipe_catalog
from stac_sm.stac.catalogs.catalog_interface import WritableCatalog
from stac_sm.stac.index.manifest import index_months
from stac_sm.stations.records import STATIONS_COLLECTION
from stac_sm.storage.address import S3, address_kind, is_remote
from stac_sm.storage.object_meta import TEMPORARY
from stac_sm.storage.signing import SIGNERS, sign_href
from stac_sm.storage.store import Store, multihash, open_store, sha256
from stac_sm.workflows.project import Project

_NO_START, _NO_END = "0000", "9999"  # of an extent that is open
_LITTLE = 10 << 30  # a global day takes 1 GB


def check_project(opened: Project) -> Iterator[Check]:
    """Run every check of a project: its store, then its catalogue, then other catalogues of its recipe.

    Parameters
    ----------
    opened
        The project, with its file already read.

    Yields
    ------
    Check
        One result a check.
    """
    store = open_store(opened.folder)
    yield Check("project", "file", OK, f"{store.href('stac-sm.toml')}: {len(opened.recipe.names)} features")
    remote = [feature for feature in opened.recipe.sources if feature.catalog]
    if S3 in {address_kind(place) for place in (store.root, *(feature.catalog for feature in remote))}:
        yield run_check("store", "credentials", _credentials)
    yield from _store(store)
    yield from _catalogue(opened)
    for place in dict.fromkeys(feature.catalog for feature in remote):
        yield run_check("catalogue", place, lambda place=place: _elsewhere(opened, place, remote))  # type: ignore[misc]
    for signer in dict.fromkeys(feature.sign for feature in remote if feature.sign):
        yield run_check("store", f"tokens of {signer}", lambda signer=signer: _signer(signer))  # type: ignore[misc]


def _credentials() -> Check:
    """Report the origin of the credentials, but never the credentials."""
    from stac_sm.storage.s3 import session

    return Check("store", "credentials", OK, f"{session.credentials_origin()} for {session.endpoint_url()}")


def _store(store: Store) -> Iterator[Check]:
    yield run_check("store", "read", lambda: _read(store))
    yield run_check("store", "write", lambda: _write(store))
    yield run_check("store", "pixels", lambda: _read_back(store))
    yield run_check("store", "many writers", lambda: _writers(store))
    if not is_remote(store.root):
        yield run_check("store", "room", lambda: _room(store))


def _read(store: Store) -> Check:
    began = time.perf_counter()
    store.read("catalog.json")
    return Check("store", "read", OK, f"{store.root}, an object in {1000 * (time.perf_counter() - began):.0f} ms")


def _write(store: Store) -> Check:
    """Check that the store creates, refuses to overwrite, and swaps; nobody lists the file that is written here."""
    path = f"{TEMPORARY}doctor-{secrets.token_hex(8)}"
    try:
        kept = store.create(path, b"1") and not store.create(path, b"2") and store.compare_and_swap(path, b"3", b"1")
        if not kept or store.read(path) != b"3":
            raise StacSmError(f"{store.root} does not keep what is written: use another store")
    finally:
        _removed(store, path)
    rule = "a file is created once, and replaced only if unchanged"
    if store.lacks:
        found = f"the store takes files; that {rule} is this process's doing, since the store lacks {store.lacks}"
        return Check("store", "write", NOTE, found, "see `many writers`")
    return Check("store", "write", OK, f"conditional writes work: {rule}")


def _read_back(store: Store) -> Check:
    """Check that pixels come back as they were written, by each reader and by GDAL itself.

    A store can keep every byte and still send headers with it that readers refuse.
    """
    path = f"{TEMPORARY}doctor-{secrets.token_hex(8)}.tif"
    geobox = MODIS_SINUSOIDAL_1KM.geobox("h18v04")[:64, :64]
    values = np.arange(64 * 64, dtype=np.float32).reshape(64, 64)
    try:
        with tempfile.TemporaryDirectory(prefix="stac-sm-") as folder:
            file = Path(folder, "pixels.tif")
            write_asset(values, file, geobox=geobox, profile=CogProfile(), fields={})
            store.create(path, file)
            in_parts = RasterSource(
                "doctor", "pixels", store.href(path), geobox, "float32", -9999.0, None, None, "", root=store.root
            )
            whole = replace(in_parts, checksum=multihash(sha256(file)))  # of a small file with a checksum
        for reader in READERS:
            for source in (whole, in_parts):
                found = read_window(source, (slice(0, 64), slice(0, 64)), reader)
                _same_pixels(found, values, store, reader)
        _same_pixels(_by_gdal(store.href(path)), values, store, "GDAL")
    finally:
        _removed(store, path)
    readers = f"{', '.join(READERS)} and GDAL"
    return Check("store", "pixels", OK, f"pixels that are written there are read by {readers}")


def _by_gdal(href: str) -> np.ndarray:
    import rasterio

    from stac_sm.storage.s3 import session

    environment = session.gdal_env(href) if address_kind(href) == S3 else rasterio.Env()
    try:
        with environment, rasterio.open(href) as file:
            values: np.ndarray = file.read(1)
    except rasterio.errors.RasterioError as error:
        raise StacSmError(f"{href} was written and GDAL cannot read it ({error}): use another store") from error
    return values


def _same_pixels(found: np.ndarray, values: np.ndarray, store: Store, reader: str) -> None:
    if not np.array_equal(found, values):
        raise StacSmError(f"{store.root}: {reader} reads other pixels than were written: use another store")


def _removed(store: Store, path: str) -> None:
    try:
        store.remove(path)
    except (StacSmError, OSError):  # a worker may not remove; its file is never listed
        return


def _writers(store: Store) -> Check:
    lacks = store.lacks
    if not lacks:
        return Check("store", "many writers", OK, "may publish at the same time")
    found = f"without {lacks}, only one process may write, and one that was started elsewhere cannot be seen"
    advice = "give --workers 1, wait until a command has ended before the next one, and never write from two machines"
    return Check("store", "many writers", NOTE, found, advice)


def _room(store: Store) -> Check:
    free = shutil.disk_usage(store.root).free
    found = f"{free / 1e9:.0f} GB free; a global day takes about 1 GB"
    if free >= _LITTLE:
        return Check("store", "room", OK, found)
    return Check("store", "room", NOTE, found, "make room before a large run")


def _catalogue(opened: Project) -> Iterator[Check]:
    """Check the project's own catalogue: inputs of the recipe, stations, models and product."""
    try:
        catalog = opened.catalog
        collections = set(catalog.collections)
    except StacSmError as error:
        yield Check("catalogue", "catalog.json", FAILED, str(error), "stac-sm init DIR makes one")
        return
    yield Check("catalogue", "catalog.json", OK, f"{len(collections)} collections")
    own = [feature for feature in opened.recipe.sources if not feature.catalog]
    for id in dict.fromkeys(feature.collection for feature in own):
        yield run_check("catalogue", id, lambda id=id: _input(opened, catalog, id, own))  # type: ignore[misc]
    if opened.screening.third not in {feature.collection for feature in own}:
        yield run_check("catalogue", opened.screening.third, lambda: _third(opened, catalog))
    for id, advice in _MADE.items():
        yield run_check("catalogue", id, lambda id=id, advice=advice: _made(catalog, id, advice))  # type: ignore[misc]
    yield run_check("catalogue", "index", lambda: _index(catalog))


_MADE = {
    STATIONS_COLLECTION: "stac-sm fetch ismn says what to download, if a model is to be trained here",
    MODELS_COLLECTION: "stac-sm train, before plan",
    PRODUCT_COLLECTION: "stac-sm plan, then stac-sm run PLAN",
}
"""Collections that the flow makes from the inputs, and the commands that make them."""


def _input(opened: Project, catalog: WritableCatalog, id: str, features: list[Feature]) -> Check:
    names = ", ".join(feature.name for feature in features if feature.collection == id)
    if not _has_items(catalog, id):
        fetched = [f"stac-sm fetch {name}, or" for name, one in fetch_sources().items() if id in one.collections]
        advice = " ".join(
            [*fetched, f"stac-sm ingest {_source_of(opened, id)} FILES, or another collection in the recipe"]
        )
        return Check("catalogue", id, FAILED, f"no items, required by {names}", advice)
    lacking = _assets_lacking(catalog, id, features)
    if lacking:
        found = "; ".join(f"{asset} for {', '.join(names)}" for asset, names in lacking.items())
        advice = f"stac-sm ingest {_source_of(opened, id)} FILES that hold it, or another asset in the recipe"
        return Check("catalogue", id, FAILED, f"none of its newest items has the asset {found}", advice)
    first, last = _extent(catalog, id)
    required = _days_lacking(opened, catalog, [one for one in features if one.collection == id], (first, last))
    if not required:
        return Check("catalogue", id, OK, f"items of {first} to {last}, for {names}")
    lacking_days = "; ".join(
        f"{', '.join(map(str, periods))} required for {what}" for what, periods in required.items()
    )
    sources = [name for name, one in fetch_sources().items() if id in one.collections]
    options = " --climatology" if _AVERAGED in required else f" --period {next(iter(required.values()))[0]}"
    commands = "".join(f"stac-sm fetch {name}{options}, then " for name in sources)
    advice = f"{commands}ingest days of these periods, or change them in stac-sm.toml"
    return Check("catalogue", id, NOTE, f"items of {first} to {last}; {lacking_days}", advice)


_AVERAGED = "the climatology"


def _days_lacking(
    opened: Project, catalog: WritableCatalog, features: Sequence[Feature], extent: tuple[str, str]
) -> dict[str, list[Period]]:
    """Return the days outside of a collection's extent by what needs them; match-ups and means take what is there.

    Of the product every day counts, of match-ups and of the years that a recipe averages only whole years. Years whose
    means are made need not be there any more.
    """
    first, last = extent
    there = Period(
        date.fromisoformat(first) if first > _NO_START else date.min,
        date.fromisoformat(last) + ONE_DAY if last < _NO_END else date.max,
    )
    varying = [one for one in features if one.time != "static"]
    if not varying:
        return {}
    found = {
        "the product": _outside(Period.parse(opened.product.period), there, varying) if opened.product.period else []
    }
    found["match-ups"] = _whole_years(_outside(Period.parse(opened.matchups.period), there, varying))
    if CLIMATOLOGY_COLLECTION not in catalog.collections or not _has_items(catalog, CLIMATOLOGY_COLLECTION):
        averaged = {one.climatology.period for one in varying if one.climatology is not None}
        found[_AVERAGED] = [
            part for one in sorted(averaged) for part in _whole_years(_outside(Period.parse(one), there, varying))
        ]
    return {what: periods for what, periods in found.items() if periods}


def _outside(period: Period, there: Period, features: Sequence[Feature]) -> list[Period]:
    """Return the days of a period before and after those that are there, but for days that an item nearby may make."""
    parts = [
        Period(start, end)
        for start, end in (
            (period.start, min(period.end, there.start)),
            (max(period.start, there.end), period.end),
        )
        if start < end
    ]
    reach = max(len(search_period(one, Period.of_day(there.start)) or ()) // 2 - one.days_back for one in features)
    return [one for one in parts if len(one) > max(reach, 0)]


def _whole_years(parts: Sequence[Period]) -> list[Period]:
    return [one for one in parts if len(one) >= 365]


def _third(opened: Project, catalog: WritableCatalog) -> Check:
    """Check the third data set of triple collocation, which only `train` and `screen` read."""
    id = opened.screening.third
    if id in catalog.collections and _has_items(catalog, id):
        return Check("catalogue", id, OK, "items of {} to {}, third of [screening]".format(*_extent(catalog, id)))
    fetched = [f"stac-sm fetch {name}, or" for name, one in fetch_sources().items() if id in one.collections]
    advice = [*fetched, f"stac-sm ingest {_source_of(opened, id)} FILES, if stations are to be screened here"]
    return Check("catalogue", id, NOTE, "no items yet, the third data set of [screening]", " ".join(advice))


def _assets_lacking(catalog: WritableCatalog, id: str, features: list[Feature]) -> dict[str, list[str]]:
    """Return assets that features read and that none of the newest items has, with the names of those features."""
    held = set[str]()
    for path in newest_item_paths(catalog, id):
        held |= set(catalog.document(path).get("assets", {}))
    lacking: dict[str, list[str]] = {}
    for feature in features:
        if feature.collection == id and feature.asset not in held:
            lacking.setdefault(feature.asset, []).append(feature.name)
    return lacking


def _source_of(opened: Project, id: str) -> str:
    """Return the word after ``ingest``: MODIS products share one, so do ESA CCI and C3S; else the collection."""
    shared = {"modis|m[coy]d": "modis", "esa-cci-sm|c3s-sm": "esa-cci-sm"}
    found = (source for start, source in shared.items() if re.match(start, id))
    return id if id in provider_classes() or id in opened.sources else next(found, "SOURCE")


def _has_items(catalog: WritableCatalog, id: str) -> bool:
    """Return whether a collection links to items, or to catalogues of them; no item is read."""
    return any(link["rel"] in {"item", "child"} for link in catalog.collection(id)["links"])


def _extent(catalog: WritableCatalog, id: str) -> tuple[str, str]:
    first, last = catalog.collection(id)["extent"]["temporal"]["interval"][0]
    return (first or _NO_START)[:10], (last or _NO_END)[:10]


def _made(catalog: WritableCatalog, id: str, advice: str) -> Check:
    if id not in catalog.collections or not _has_items(catalog, id):
        return Check("catalogue", id, NOTE, "no items yet", advice)
    return Check("catalogue", id, OK, "items of {} to {}".format(*_extent(catalog, id)))


def _index(catalog: WritableCatalog) -> Check:
    """Check that there is an index: nothing depends on it, but without it all items are read."""
    filled = [id for id in catalog.collections if _has_items(catalog, id)]
    bare = [id for id in filled if not index_months(catalog.store, id)]
    if not bare:
        return Check("catalogue", "index", OK, f"of {len(filled)} collections with items")
    found = f"none of {', '.join(bare)}: planning and searching read each of their items"
    return Check("catalogue", "index", NOTE, found, "stac-sm index, from some 1,000 items on")


def _elsewhere(opened: Project, place: str, features: list[Feature]) -> Check:
    required = sorted({feature.collection for feature in features if feature.catalog == place})
    found = open_recipe_catalog(place, opened.catalog)
    missing = sorted(set(required) - set(found.collections))
    if missing:
        raise CatalogError(f"{place} has no {', '.join(missing)}: correct `collection` of the recipe")
    return Check("catalogue", place, OK, f"has {', '.join(required)}")


def _signer(signer: str) -> Check:
    if signer not in SIGNERS:
        raise StacSmError(f"signer {signer!r} is unknown: known are {', '.join(filter(None, SIGNERS))}")
    sign_href("https://example.org/none", signer)  # an href that gets no token: only the package is tried
    return Check("store", f"tokens of {signer}", OK, "its package is installed; tokens are fetched when files are read")
