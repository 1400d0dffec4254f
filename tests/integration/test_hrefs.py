"""One project in places whose names hold what a URL parser cuts or decodes: everything that follows an href finds it.

The table `PLACES` has a line for each thing that turns an href into a place; what each of them reads must be what it
reads in a folder of a plain name. Outside judges open what is served: pystac-client and GDAL.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pystac_client
import pytest
import rasterio

from stac_sm.core.errors import InputError
from stac_sm.core.period import Period
from stac_sm.ingest.pipeline import ingest
from stac_sm.model.item import MODELS_COLLECTION
from stac_sm.model.model import Model
from stac_sm.product.item import PRODUCT_COLLECTION
from stac_sm.product.read import open_product
from stac_sm.raster.pixels import read_pixels
from stac_sm.raster.read import read_window
from stac_sm.raster.source import raster_source
from stac_sm.stac.catalogs.catalog import open_catalog, open_writable_catalog
from stac_sm.stac.index.update import refresh_and_index
from stac_sm.stations.matchup_item import MATCHUPS_COLLECTION, read_tables
from stac_sm.stations.records import StationRules, read_stations, station_daily_means
from stac_sm.storage.address import asset_address, join_address
from stac_sm.storage.store import open_store
from stac_sm.workflows.audit import audit
from stac_sm.workflows.project import find_project
from stac_sm.workflows.training.steps import train_step
from stac_sm.workflows.training.training_rows import read_training_rows
from stac_sm.workflows.validation.stations import training_stations
from tests.support import station_project
from tests.support.faulty_server import FaultyServer
from tests.support.fields import SMALL, TILE, new_catalog
from tests.support.object_stores import environment_of, moto_server, new_bucket
from tests.support.product_days import put_day
from tests.support.rival_files import RIVALS
from tests.support.served import running

NAMES = ("#02 why? 100%25 %zz", "höhe a b;c=[d]&e:f,<g>")
"""Names of folders and prefixes: a fragment, a query, escapes and half ones; letters beyond ASCII, and the rest."""

WINDOW = (slice(1, 5), slice(2, 8))
DAY = Period.parse("2018-07-01")


def sources(catalog):
    """A band of a file of one band, by the catalogue of the project."""
    item = catalog.items("era5-land")[0]
    return raster_source(item, "swvl1").with_feature(None, "", catalog.root)


def total(values) -> float:
    return float(np.nansum(np.asarray(values, float)))


def by_item(catalog):
    return Model.from_item(catalog.items(MODELS_COLLECTION)[0].get_self_href())


PLACES = {
    "reader stackstac": lambda catalog: total(read_window(sources(catalog), WINDOW, "stackstac")),
    "reader odc": lambda catalog: total(read_window(sources(catalog), WINDOW, "odc")),
    "pixels": lambda catalog: total(read_pixels(sources(catalog), [(1, 1), (3, 4)])),
    "product": lambda catalog: total(open_product(catalog, BBOX, DAY)["sm"].compute()),
    "stations": lambda catalog: total(
        station_daily_means(read_stations(catalog)[0], rules=StationRules())["sm"].to_numpy()
    ),
    "match-ups": lambda catalog: {
        name: len(one) for name, one in read_tables(catalog.items(MATCHUPS_COLLECTION)[0]).items()
    },
    "item by id": lambda catalog: catalog.item(PRODUCT_COLLECTION, catalog.items(PRODUCT_COLLECTION)[0].id).id,
    "model": lambda catalog: by_item(catalog).features,
    "training rows": lambda catalog: len(read_training_rows(catalog.items(MODELS_COLLECTION)[0])),
    "validation": lambda catalog: len(training_stations(catalog, [catalog.items(MODELS_COLLECTION)[0].id]).sites),
    "index": lambda catalog: total(
        read_window(sources(open_catalog(join_address(catalog.root, "era5-land/index/2018-06.parquet"))), WINDOW, "odc")
    ),
}
"""What reads -> what it finds. Models and validation are of projects, which lie in a store: not on the web."""

IN_A_STORE = {"model", "training rows", "validation"}
BBOX = tuple(SMALL.geobox(TILE).geographic_extent.boundingbox)


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    """A project with stations, inputs, match-ups, a model, a tile-day and an index, in a folder of a plain name."""
    folder = tmp_path_factory.mktemp("hrefs") / "plain"
    project = station_project.a_project(folder)
    train_step(project)
    put_day(project.catalog, TILE, 0, linked=True)
    for collection in ("era5-land", PRODUCT_COLLECTION):
        refresh_and_index(open_writable_catalog(folder), collection)
    return folder


@pytest.fixture(scope="module")
def found(plain):
    """What each reads in the plain folder."""
    catalog = open_catalog(plain)
    return {name: read(catalog) for name, read in PLACES.items()}


@pytest.fixture(scope="module", params=NAMES)
def moved(request, plain) -> Path:
    """The same project in a folder of another name."""
    return Path(shutil.copytree(plain, plain.parent / request.param / "project"))


@pytest.mark.parametrize("place", PLACES)
def test_in_a_folder(moved, found, place):
    assert PLACES[place](open_catalog(moved)) == found[place]


@pytest.fixture(scope="module", params=NAMES)
def in_bucket(request, plain) -> Iterator[str]:
    """The same project below a prefix; keys are as the names are, and no other than these are asked for."""
    store = moto_server()
    bucket = new_bucket(store, f"hrefs-{NAMES.index(request.param)}")
    with environment_of(store):
        root = f"s3://{bucket}/{request.param}/project"
        target = open_store(root)
        for entry in open_store(plain).list_objects():
            target.replace(entry.path, (plain / entry.path).read_bytes())
        yield root


@pytest.mark.parametrize("place", PLACES)
def test_below_a_prefix(in_bucket, found, place):
    assert PLACES[place](open_catalog(in_bucket)) == found[place]


@pytest.fixture(scope="module")
def web(plain, moved) -> Iterator[tuple[str, list[str]]]:
    """The moved folder by http: its address as a URI, and as an IRI where that says the same."""
    name = moved.parent.name
    with FaultyServer(plain.parent) as server:
        spellings = [quote(name)] if "#" in name else [quote(name), name.replace("<g>", "%3Cg%3E")]
        yield name, [f"{server.address}/{one}/project/catalog.json" for one in spellings]


@pytest.mark.parametrize("place", sorted(set(PLACES) - IN_A_STORE - {"index"}))
def test_by_http(web, found, place):
    for address in web[1]:
        assert PLACES[place](open_catalog(address)) == found[place], address


def test_an_index_by_http(web, found):
    for address in web[1]:
        indexed = open_catalog(address.replace("catalog.json", "era5-land/index/2018-06.parquet"))
        assert total(read_window(sources(indexed), WINDOW, "odc")) == found["index"], address


def test_a_file_of_two_bands_with_its_own_name(tmp_path, moved):
    """A name inside the catalogue, of others: theirs hold what ours never do."""
    catalog, item = open_catalog(moved), open_catalog(moved).items("era5-land")[0].clone()
    with rasterio.open(sources(catalog).href) as file:
        profile, values = file.profile | {"count": 2}, file.read(1)
    name = tmp_path / "a#1?b %41 é&<.tif"
    with rasterio.open(name, "w", **profile) as file:
        file.write(np.stack([values, values + 1]))
    asset = item.assets["swvl1"]
    (band,) = asset.extra_fields.pop("bands")
    for gone in ("file:checksum", "file:size"):
        asset.extra_fields.pop(gone, None)
    asset.extra_fields["bands"] = [band | {"name": "one"}, band | {"name": "two"}]
    item.set_self_href(str(tmp_path / "item.json"))
    asset.href = f"./{name.name}"
    source = raster_source(item, "swvl1", "two").with_feature(None, "", str(tmp_path))
    wanted = (values + 1)[WINDOW]
    for reader in ("stackstac", "odc"):
        np.testing.assert_array_equal(read_window(source, WINDOW, reader), wanted)


def test_what_is_served_is_opened_by_others(moved):
    catalog = open_catalog(moved)
    with running(moved) as address:
        client = pystac_client.Client.open(address)
        (item,) = client.search(collections=[PRODUCT_COLLECTION]).items()
        with rasterio.open(f"/vsicurl/{item.assets['sm'].href}") as file:
            served = file.read(1)
    stored = catalog.item(PRODUCT_COLLECTION, item.id)
    with rasterio.open(asset_address(stored, "sm")) as file:
        np.testing.assert_array_equal(served, file.read(1))


def test_it_is_sound_and_takes_more(moved):
    catalog = open_writable_catalog(moved)
    assert audit(catalog, collections=["era5-land", PRODUCT_COLLECTION, MODELS_COLLECTION, MATCHUPS_COLLECTION]) == []
    put_day(catalog, TILE, 1, linked=True)
    assert audit(catalog, collections=[PRODUCT_COLLECTION]) == []
    assert find_project(moved).catalog.root == str(moved)


@pytest.mark.parametrize(
    "rivals", [one for one in RIVALS if one.source not in {"merit-dem", "smap"}], ids=lambda one: one.source
)
def test_files_in_such_folders_are_ingested(tmp_path, rivals):
    folder = tmp_path / "".join(NAMES)
    folder.mkdir()
    (result,) = ingest(new_catalog(folder / "catalog"), rivals.source, [rivals.write(folder, "old")])
    assert result.status == "new", result.error


@pytest.mark.parametrize("source", ["cop-dem", "soilgrids", "era5-land", "merit-dem"])
def test_a_file_url_is_the_path_that_it_names_for_each_source(tmp_path, source):
    """Of a user, who may read what they name; a catalogue's own href goes through `check_href`."""
    file = tmp_path / "#1 é?.txt"
    file.write_text("no granule")
    catalog = new_catalog(tmp_path / "catalog")
    said = [ingest(catalog, source, [one])[0].error for one in (str(file), file.as_uri())]
    assert said[0] == said[1]
    with pytest.raises(InputError, match="does not exist"):
        ingest(catalog, source, ["file:///nowhere/x.tif"])
    with pytest.raises(InputError, match="on the host"):
        ingest(catalog, source, ["file://elsewhere/x.tif"])
