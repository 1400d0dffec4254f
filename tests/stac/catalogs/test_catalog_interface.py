"""The front door: two types of catalogues, and how few files a further kind of catalogue or store takes."""

from __future__ import annotations

import contextlib
import inspect
import typing
from pathlib import Path

import pytest

from stac_sm.core.errors import CatalogError, InputError
from stac_sm.core.period import ONE_DAY, Period
from stac_sm.raster.source import raster_source
from stac_sm.stac.catalogs import catalog as door
from stac_sm.stac.catalogs.api import ApiCatalog
from stac_sm.stac.catalogs.catalog import Catalog, create_skeleton, open_catalog, open_writable_catalog
from stac_sm.stac.catalogs.catalog_interface import ReadableCatalog, WritableCatalog, is_writable
from stac_sm.stac.catalogs.geoparquet import GeoParquetCatalog
from stac_sm.stac.catalogs.static import StaticCatalog
from stac_sm.stac.index.update import update_index
from stac_sm.storage import address, store
from stac_sm.storage.object_meta import ObjectMeta
from stac_sm.storage.signing import sign_href
from stac_sm.storage.store import StoreKind, open_store
from stac_sm.storage.trust import check_href
from tests.support.faulty_server import FaultyServer
from tests.support.product_days import FIRST, TILES, put_day

STRANGE = "a#b?c%20d e ä€"


def members(protocol):
    return {name for one in protocol.__mro__ for name in vars(one) if not name.startswith("_") and one is not object}


@pytest.mark.parametrize("kind", [ApiCatalog, Catalog, GeoParquetCatalog, StaticCatalog])
def test_every_kind_can_be_read(kind):
    assert members(ReadableCatalog) == {"root", "collections", "items", "item"}
    assert all(hasattr(kind, name) for name in members(ReadableCatalog))
    asked = inspect.signature(kind.items).parameters
    assert asked.keys() == inspect.signature(ReadableCatalog.items).parameters.keys()


def test_the_doors_are_typed():
    assert typing.get_type_hints(open_catalog)["return"] is ReadableCatalog
    assert typing.get_type_hints(open_writable_catalog)["return"] is WritableCatalog
    for name, function in inspect.getmembers(door, inspect.isfunction):
        assert typing.Any not in typing.get_type_hints(function).values(), name


@pytest.mark.parametrize("place", ["http://127.0.0.1:9/catalog.json", "x.parquet", "s3://bucket/x.geoparquet"])
def test_what_is_only_read_is_not_opened_for_writing(place):
    with pytest.raises(CatalogError, match="no catalogue that can be written to: give a folder"):
        open_writable_catalog(place)


def test_an_address_that_nothing_opens(tmp_path):
    for opens in (open_catalog, open_writable_catalog):
        with pytest.raises(InputError, match="store 'gs://bucket/x' cannot be opened"):
            opens("gs://bucket/x")


def test_what_can_be_written_to_is_told_apart(project_root):
    assert is_writable(open_catalog(project_root))
    with FaultyServer(project_root) as server:
        assert not is_writable(open_catalog(f"{server.address}/catalog.json"))


def test_a_folder_of_any_name(tmp_path, monkeypatch):
    """Letters that mean something in a URL mean nothing in a path, in none of the ways to name the project."""
    root = tmp_path / STRANGE
    create_skeleton(open_store(root), title="Test")
    name = Path(put_day(open_writable_catalog(root), TILES[0], 0, linked=True)).stem
    update_index(open_store(root), "sm-1km-daily", layout="year/month/day")
    table = root / "sm-1km-daily" / "index" / "2018-07.parquet"
    monkeypatch.chdir(tmp_path)
    for place in (root, str(root), f"{root}/catalog.json", root.as_uri(), STRANGE, f"./{STRANGE}/catalog.json", table):
        catalog = open_catalog(place)
        (found,) = catalog.items("sm-1km-daily", period=Period.of_day(FIRST))
        assert catalog.item("sm-1km-daily", name).id == found.id == name
        assert catalog.items("sm-1km-daily", period=Period.of_day(FIRST + ONE_DAY)) == []


class MemoryStore:
    """A store in the memory of this process."""

    objects: typing.ClassVar[dict[str, bytes]] = {}

    def __init__(self, root):
        self.root, self.lacks = root.rstrip("/"), ""

    def href(self, path):
        return f"{self.root}/{path}"

    def exists(self, path):
        return self.href(path) in self.objects

    def read(self, path):
        if not self.exists(path):
            raise CatalogError(f"{self.href(path)} is no file")
        return self.objects[self.href(path)]

    @contextlib.contextmanager
    def local_file(self, path):
        import tempfile

        with tempfile.NamedTemporaryFile() as file:
            Path(file.name).write_bytes(self.read(path))
            yield Path(file.name)

    def list_objects(self, prefix=""):
        below = f"{self.root}/{prefix}".rstrip("/") + "/"
        for href in sorted(self.objects):
            if href.startswith(below):
                yield ObjectMeta(href.removeprefix(f"{self.root}/"), len(self.objects[href]), "1")

    def list_objects_at(self, folder, paths):
        return (one for one in self.list_objects(folder) if one.path in set(paths))

    def create(self, path, content):
        if self.exists(path):
            return False
        self.replace(path, content)
        return True

    def compare_and_swap(self, path, content, expected):
        if self.objects.get(self.href(path)) != expected:
            return False
        self.replace(path, content)
        return True

    def replace(self, path, content):
        self.objects[self.href(path)] = content.read_bytes() if isinstance(content, Path) else content

    def remove(self, path):
        self.objects.pop(self.href(path), None)


def test_a_further_kind_of_store_is_a_line_in_two_tables(monkeypatch, tmp_path):
    """Made, written, linked, indexed and read: all else asks the tables of ``address`` and ``store``."""
    memory = address.AddressKind("a memory address", frozenset({"mem"}))
    kind = StoreKind(
        MemoryStore,
        presign=lambda href, renewed: href.replace("mem://", "http://127.0.0.1/"),
        read_ranges=lambda href: (
            len(MemoryStore.objects[href]), lambda start, stop: MemoryStore.objects[href][start:stop],
        ),
    )  # fmt: skip
    monkeypatch.setattr(address, "ADDRESS_KINDS", (*address.ADDRESS_KINDS, memory))
    monkeypatch.setattr("stac_sm.storage.trust.ADDRESS_KINDS", address.ADDRESS_KINDS)
    monkeypatch.setitem(store.STORE_KINDS, memory, kind)
    monkeypatch.setattr(MemoryStore, "objects", {})
    root = "mem://box/project"
    create_skeleton(open_store(root), title="Test")
    name = Path(put_day(open_writable_catalog(root), TILES[0], 0, linked=True)).stem
    update_index(open_store(root), "sm-1km-daily", layout="year/month/day")
    catalog = open_catalog(root)
    assert is_writable(catalog)
    for one in (catalog, open_catalog(f"{root}/sm-1km-daily/index/2018-07.parquet")):
        (found,) = one.items("sm-1km-daily")
        href = raster_source(found, "sm").href
        assert found.id == name
        assert check_href(href, one.root) == href
        assert href in MemoryStore.objects
    assert sign_href(href, "").startswith("http://127.0.0.1/box/project/sm-1km-daily/")
