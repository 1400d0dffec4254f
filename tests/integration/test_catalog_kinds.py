"""One catalogue, asked as every kind that there is: the cube is the same, bit for bit, and so are its fingerprints.

The writers and servers are others' work: rustac writes the stac-geoparquet and serves one API, pgstac on PostgreSQL
the other, moto keeps the bucket.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import rustac
from shapely.geometry import box, shape

from stac_sm.core.errors import CatalogError
from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM
from stac_sm.core.period import ONE_DAY, Period
from stac_sm.features.cube import feature_cube
from stac_sm.features.inputs import resolve_inputs
from stac_sm.features.recipe import Feature, Recipe
from stac_sm.raster.source import raster_source
from stac_sm.stac.catalogs.catalog import open_catalog
from tests.support import fields
from tests.support.faulty_server import FaultyServer
from tests.support.missing import need
from tests.support.object_stores import environment_of, moto_server, new_bucket
from tests.support.pgstac import pgstac_server, why_no_pgstac
from tests.support.served import rustac_serving

pytestmark = pytest.mark.xdist_group("pgstac")

GEOBOX = fields.SMALL.geobox(fields.TILE)
DAYS = Period.parse("2018-06-29/2018-07-02")
RECIPE = Recipe(
    (*fields.RECIPE.features, Feature("smap", "smap", "sm", "bilinear", "previous", 3, missing="nan")),
    derived=fields.RECIPE.derived,
    masks=fields.RECIPE.masks,
)
COLLECTIONS = ("glass-lst", "glass-lai", "era5-land", "cop-dem", "smap", "soilgrids")
KINDS = ("folder", "web", "parquet", "parquet-web", "rustac", "pgstac", "s3", "parquet-s3")


@dataclass(frozen=True)
class World:
    """The catalogue, and how its kinds are named."""

    root: Path
    """Folder of the catalogue."""

    web: str
    """The same by http."""

    def items(self, address: str) -> list[dict]:
        """All items, their assets below an address."""
        catalog = open_catalog(self.root)
        documents = []
        for collection in COLLECTIONS:
            for item in catalog.items(collection):
                document = item.to_dict(include_self_link=False, transform_hrefs=False)
                document["links"] = []
                for key, asset in item.assets.items():
                    document["assets"][key]["href"] = asset.get_absolute_href().replace(str(self.root), address)
                documents.append(document)
        return documents

    def collections(self) -> list[dict]:
        """All collections, without links."""
        catalog = open_catalog(self.root)
        return [catalog.collection(id) | {"links": []} for id in COLLECTIONS]


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Iterator[World]:
    """Daily, 8-day, static and gappy collections on sinusoidal, EPSG:4326 and EASE-2 grids."""
    root = tmp_path_factory.mktemp("kinds") / "catalog"
    catalog = fields.new_catalog(root)
    fields.fill(catalog)
    ease = fields.around(GEOBOX, "EPSG:6933", 1000.0)
    for i, day in enumerate((date(2018, 6, 28), date(2018, 7, 1))):
        values = fields.image(ease, 0.05, 0.45, 0.4 + i)
        fields.put(catalog, "smap", f"SMAP.{day:%Y%m%d}", ease, {"sm": values}, day)
    north = MODIS_SINUSOIDAL_1KM.geobox("h23v02").zoom_out(50)
    fields.put(
        catalog, "soilgrids", "corners", north, {"sand": fields.image(north)}, date(2018, 7, 1), items=four_corners
    )
    with FaultyServer(root) as server:
        yield World(root, server.address)


def four_corners(item):
    """An item whose footprint has the corners of its raster only, as those of CMR-STAC."""
    ring = item["geometry"]["coordinates"][0]
    south, north = min(lat for _, lat in ring), max(lat for _, lat in ring)
    low, high = sorted(x for x, lat in ring if lat == south), sorted(x for x, lat in ring if lat == north)
    corners = [[low[0], south], [low[-1], south], [high[-1], north], [high[0], north], [low[0], south]]
    return item | {"geometry": {"type": "Polygon", "coordinates": [corners]}}


@pytest.fixture(scope="module")
def kinds(world, tmp_path_factory):
    """Kind -> what `open_catalog` takes; each is made when it is first asked for."""
    with contextlib.ExitStack() as stack:
        yield _Kinds(world, tmp_path_factory.mktemp("others"), stack)


class _Kinds:
    def __init__(self, world, folder, stack):
        self.world, self.folder, self._stack, self._known = world, folder, stack, {}

    def __getitem__(self, kind):
        if kind not in self._known:
            self._known[kind] = getattr(self, "_" + kind.replace("-", "_"))()
        return self._known[kind]

    def _folder(self):
        return str(self.world.root)

    def _web(self):
        return f"{self.world.web}/catalog.json"

    def _parquet(self, address=None, name="items.parquet"):
        rustac.write_sync(str(self.world.root / name), self.world.items(address or str(self.world.root)))
        return str(self.world.root / name)

    def _parquet_web(self):
        self._parquet(self.world.web, "web.parquet")
        return f"{self.world.web}/web.parquet"

    def _rustac(self):
        items = self.world.items(self.world.web)
        return self._stack.enter_context(rustac_serving(self.folder, self.world.collections(), items))

    def _pgstac(self):
        need("PostgreSQL with pgstac", why_no_pgstac())
        server = self._stack.enter_context(pgstac_server())
        server.load(self.world.collections(), self.world.items(self.world.web))
        return server.address

    def _s3(self):
        import boto3

        store = moto_server()
        new_bucket(store, "kinds")
        self._stack.enter_context(environment_of(store))
        client = boto3.session.Session().client("s3")
        for file in self.world.root.rglob("*"):
            if file.is_file() and file.suffix != ".parquet":
                client.upload_file(str(file), "kinds", f"project/{file.relative_to(self.world.root)}")
        return "s3://kinds/project"

    def _parquet_s3(self):
        import boto3

        root = self["s3"]
        file = self._parquet(root, "s3.parquet")
        boto3.session.Session().client("s3").upload_file(file, "kinds", "project/items.parquet")
        return f"{root}/items.parquet"


@pytest.fixture(scope="module")
def wanted(world):
    """Cube and fingerprints of the folder."""
    catalog = open_catalog(world.root)
    cube = feature_cube(catalog, RECIPE, GEOBOX, DAYS).compute(scheduler="synchronous")
    for name, variable in cube.data_vars.items():
        assert np.isfinite(variable.values).mean() > 0.8, name
    return cube, resolve_inputs(catalog, RECIPE, GEOBOX, DAYS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_cube_is_the_same(kinds, wanted, kind):
    items = open_catalog(kinds[kind])
    cube = feature_cube(items, RECIPE, GEOBOX, DAYS).compute(scheduler="threads")
    for name, variable in wanted[0].data_vars.items():
        assert np.array_equal(cube[name].values, variable.values, equal_nan=variable.dtype.kind == "f"), name
        assert cube[name].attrs == variable.attrs
    found = resolve_inputs(items, RECIPE, GEOBOX, DAYS)
    for day in DAYS.days:
        assert found.inputs(day) == wanted[1].inputs(day)


@pytest.mark.parametrize("kind", KINDS)
def test_a_recipe_names_it(kinds, wanted, tmp_path, kind):
    """The project's own catalogue is empty; the feature says where its collection is."""
    feature = Feature("smap", "smap", "sm", "bilinear", "previous", 3, catalog=kinds[kind])
    cube = feature_cube(fields.new_catalog(tmp_path / "own"), Recipe((feature,)), GEOBOX, DAYS)
    assert np.array_equal(cube.smap.compute(scheduler="threads").values, wanted[0].smap.values, equal_nan=True)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_finds_the_same_items(kinds, world, kind):
    items, folder = open_catalog(kinds[kind]), open_catalog(world.root)
    assert items.root == open_catalog(kinds[kind]).root
    bbox = GEOBOX.geographic_extent.boundingbox
    inside = (bbox.left + 0.2, bbox.bottom + 0.1, bbox.left + 0.21, bbox.bottom + 0.11)
    first = date(2018, 6, 19)
    for collection in COLLECTIONS:
        assert [one.id for one in items.items(collection)] == [one.id for one in folder.items(collection)]
        for day in (
            first,
            first + 7 * ONE_DAY,
            first + 8 * ONE_DAY,
            date(2018, 6, 30),
            date(2018, 7, 3),
            date(2018, 7, 4),
        ):
            ids = [one.id for one in items.items(collection, period=Period.of_day(day), bbox=inside)]
            assert ids == [one.id for one in folder.items(collection, period=Period.of_day(day), bbox=inside)], day
        assert items.items(collection, bbox=(-60, -30, -59, -29)) == []


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_outside_of_a_coarse_footprint_are_found(kinds, kind):
    """At 65 degrees north, the chord of a sinusoidal tile is 5 degrees off its edge."""
    (item,) = open_catalog(kinds[kind]).items("soilgrids", bbox=(119.0, 64.9, 119.1, 65.1))
    assert not shape(item.geometry).intersects(box(119.0, 64.9, 119.1, 65.1))
    assert raster_source(item, "sand").geobox.extent.to_crs("EPSG:4326").boundingbox.left < 119


def test_pgstac_drops_what_is_null(kinds, world):
    assert open_catalog(world.root).item("glass-lst", "LST.2018182").properties["proj:code"] is None
    assert "proj:code" not in open_catalog(kinds["pgstac"]).item("glass-lst", "LST.2018182").properties


@pytest.mark.parametrize("kind", KINDS)
def test_one_item_and_what_is_missing(kinds, kind):
    catalog = open_catalog(kinds[kind])
    found = catalog.item("era5-land", "ERA5.2018182")
    assert found.id == "ERA5.2018182"
    assert set(found.assets) == {"swvl1", "stl1"}
    with pytest.raises(CatalogError, match="item 'none' is not in collection 'era5-land' of"):
        catalog.item("era5-land", "none")
    with pytest.raises(CatalogError, match="collection 'none' is (not in|unknown)"):
        catalog.items("none")
    assert set(COLLECTIONS) <= set(catalog.collections)
