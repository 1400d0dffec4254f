"""The commit rule: an item that exists is complete, whoever was killed, and whoever came first."""

from __future__ import annotations

import ast
import dataclasses
import json
import random
import shutil
from itertools import count
from pathlib import Path

import numpy as np
import odc.stac
import pystac
import pytest
import rasterio
import rioxarray
from affine import Affine
from odc.geo.geobox import GeoBox
from rio_cogeo import cog_validate
from stackstac.prepare import ASSET_TABLE_DT
from stackstac.raster_spec import RasterSpec
from stackstac.to_dask import items_to_dask

from stac_sm.core.errors import ConflictError, ReadError
from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM
from stac_sm.core.projections import crs_wkt
from stac_sm.stac import publish as publish_module
from stac_sm.stac.catalogs.catalog import create_skeleton, open_catalog
from stac_sm.stac.links import refresh
from stac_sm.stac.publish import FINGERPRINT_PROPERTY, PublishOutcome, is_published, make_and_publish, make_once
from stac_sm.stac.retract import retract
from stac_sm.storage import local_store as store_module
from stac_sm.storage.object_meta import TEMPORARY
from stac_sm.storage.store import open_store, sha256
from tests.support.bare_items import contents
from tests.support.racing import killed_after, killed_at, race
from tests.support.rasters import known_raster


def publish_and_refresh(root, raster):
    outcome = raster.publish(open_catalog(root))
    refresh(open_store(root), "sm-1km-daily")
    return outcome


def publish_only(root, raster):
    return raster.publish(open_catalog(root))


def assert_whole(root):
    """No item without complete assets that decode; returns the number of items."""
    store = open_store(root)
    paths = [entry.path for entry in store.list_objects("sm-1km-daily")]
    for path in paths:
        if path.endswith(".json"):
            json.loads(store.read(path))
        else:  # an asset that has its final name is whole, with or without an item
            with rasterio.open(store.href(path)) as file:
                file.read()
    items = [path for path in paths if Path(path).stem == Path(path).parent.name]
    for path in items:
        item = pystac.Item.from_file(store.href(path))
        assert item.assets
        for asset in item.assets.values():
            file = Path(asset.get_absolute_href())
            assert asset.extra_fields["file:checksum"] == "1220" + sha256(file)
            assert asset.extra_fields["file:size"] == file.stat().st_size
    return len(items)


@pytest.fixture
def raster(tmp_path):
    return known_raster(tmp_path)


@pytest.fixture
def undisturbed(tmp_path, raster):
    """What a catalogue holds after a run that nobody disturbed."""
    root = tmp_path / "undisturbed"
    create_skeleton(open_store(root), title="Test")
    assert publish_and_refresh(root, raster) == PublishOutcome.NEW
    assert assert_whole(root) == 1
    return contents(root)


def test_killed_at_every_step(tmp_path, project_root, raster, undisturbed, monkeypatch):
    monkeypatch.setattr(store_module, "LOCK_SECONDS", 0.02)
    items = set()
    for step in count(1):
        root = tmp_path / f"killed-{step}"
        shutil.copytree(project_root, root)
        died = killed_at(step, root, publish_and_refresh, root, raster)
        items.add(assert_whole(root))
        if not died:
            break
        assert publish_and_refresh(root, raster) in (PublishOutcome.NEW, PublishOutcome.DONE)
        assert contents(root) == undisturbed
        shutil.rmtree(root)
    assert items == {0, 1}
    assert step > 25
    assert contents(root) == undisturbed


def test_killed_at_every_step_of_a_replacement(tmp_path, project_root, raster, undisturbed, monkeypatch):
    monkeypatch.setattr(store_module, "LOCK_SECONDS", 0.02)
    publish_and_refresh(project_root, known_raster(tmp_path, version="old", angle=0.1))
    old = contents(project_root)[raster.path]
    seen = set()
    for step in count(1):
        root = tmp_path / f"killed-{step}"
        shutil.copytree(project_root, root)
        died = killed_at(step, root, publish_only, root, raster)
        assert assert_whole(root) == 1
        seen.add(contents(root)[raster.path])
        if not died:
            break
        assert publish_and_refresh(root, raster) in (PublishOutcome.REPLACED, PublishOutcome.DONE)
        now = contents(root)
        assert {path: now[path] for path in undisturbed} == undisturbed
        shutil.rmtree(root)
    assert seen == {old, undisturbed[raster.path]}


def test_killed_at_any_moment(tmp_path, project_root, raster, undisturbed, monkeypatch):
    monkeypatch.setattr(store_module, "LOCK_SECONDS", 0.02)
    rng, died = random.Random(1), 0
    for i in range(20):
        root = tmp_path / f"killed-{i}"
        shutil.copytree(project_root, root)
        died += killed_after(rng.uniform(0, 0.03), publish_and_refresh, root, raster)
        assert_whole(root)
        publish_and_refresh(root, raster)
        assert contents(root) == undisturbed
    assert died


def test_killed_in_the_middle_of_a_copy(project_root, raster, undisturbed, monkeypatch):
    def half(source, target, length):
        target.write(source.read()[:200])
        target.flush()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store_module.shutil, "copyfileobj", half)
        with pytest.raises(KeyboardInterrupt):
            raster.publish(open_catalog(project_root))
    assert assert_whole(project_root) == 0
    assert not list(project_root.rglob(f"{TEMPORARY}*"))
    assert publish_and_refresh(project_root, raster) == PublishOutcome.NEW
    assert contents(project_root) == undisturbed


def test_publishing_twice_is_publishing_once(project_root, raster, undisturbed):
    catalog = open_catalog(project_root)
    assert not is_published(catalog, raster.item)
    assert [publish_and_refresh(project_root, raster) for _ in range(3)] == [
        PublishOutcome.NEW,
        PublishOutcome.DONE,
        PublishOutcome.DONE,
    ]
    assert is_published(catalog, raster.item)
    assert contents(project_root) == undisturbed


def test_done_needs_no_assets(project_root, raster):
    raster.publish(open_catalog(project_root))
    raster.assets["sm"].file.unlink()
    assert raster.publish(open_catalog(project_root)) == PublishOutcome.DONE


def test_a_stale_item_is_swapped_and_its_assets_stay(project_root, tmp_path, raster):
    old = known_raster(tmp_path, version="old", angle=0.1)
    assert publish_only(project_root, old) == PublishOutcome.NEW
    assert not is_published(open_catalog(project_root), raster.item)
    assert publish_and_refresh(project_root, raster) == PublishOutcome.REPLACED
    item = open_catalog(project_root).item("sm-1km-daily", raster.item["id"])
    assert item.properties[FINGERPRINT_PROPERTY] == raster.item["properties"][FINGERPRINT_PROPERTY]
    with rasterio.open(item.assets["sm"].get_absolute_href()) as file:
        np.testing.assert_array_equal(file.read(1, masked=True).filled(np.nan), raster.values)
    assert len(list((project_root / raster.folder).glob("*.tif"))) == 2  # the orphan is for `audit --repair`
    assert publish_only(project_root, old) == PublishOutcome.REPLACED  # back: its assets are reused


def test_eight_writers_of_one_item(project_root, raster, undisturbed):
    outcomes = race(publish_and_refresh, [(project_root, raster)] * 8)
    assert sorted(outcomes) == ["done"] * 7 + ["new"]
    assert contents(project_root) == undisturbed


def test_eight_writers_of_eight_versions(project_root, tmp_path):
    rasters = [known_raster(tmp_path, version=str(i)) for i in range(8)]
    outcomes = race(publish_only, [(project_root, raster) for raster in rasters])
    assert assert_whole(project_root) == 1
    written = [outcome for outcome in outcomes if outcome in ("new", "replaced")]
    assert outcomes.count("new") == 1
    assert written
    for outcome in set(outcomes) - {"new", "replaced"}:
        assert outcome.startswith(f"ConflictError: item {rasters[0].path} was published by another writer")


@pytest.mark.parametrize("first", [None, "old"])
@pytest.mark.parametrize(("rival", "lost"), [("a", False), ("b", True)])
def test_the_loser_reads_again(project_root, tmp_path, raster, monkeypatch, first, rival, lost):
    """A rival commits between our look and our commit: the same fingerprint is done, another is a conflict."""
    if first:
        publish_only(project_root, known_raster(tmp_path, version=first, angle=0.1))
    winner, place = known_raster(tmp_path, version=rival), publish_module._place

    def late(*arguments):
        monkeypatch.setattr(publish_module, "_place", place)
        publish_only(project_root, winner)
        return place(*arguments)

    monkeypatch.setattr(publish_module, "_place", late)
    if lost:
        with pytest.raises(
            ConflictError, match=rf"item {raster.path} was published by another writer.*product version"
        ):
            publish_only(project_root, raster)
    else:
        assert publish_only(project_root, raster) == PublishOutcome.DONE
    item = json.loads((project_root / raster.path).read_text())
    assert item["properties"][FINGERPRINT_PROPERTY] == winner.item["properties"][FINGERPRINT_PROPERTY]
    assert assert_whole(project_root) == 1


def asset_path(root, raster):
    name = f"{raster.item['id']}.{raster.item['properties'][FINGERPRINT_PROPERTY][:12]}.sm.tif"
    return root / raster.folder / name


def test_an_asset_of_an_interrupted_writer_is_used_again(project_root, raster, undisturbed):
    left = asset_path(project_root, raster)
    left.parent.mkdir(parents=True)
    shutil.copy(raster.assets["sm"].file, left)
    before = left.stat()
    assert publish_and_refresh(project_root, raster) == PublishOutcome.NEW
    assert (left.stat().st_ino, left.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert contents(project_root) == undisturbed


def test_an_orphan_with_other_content_is_a_conflict(project_root, tmp_path, raster):
    left = asset_path(project_root, raster)
    left.parent.mkdir(parents=True)
    shutil.copy(known_raster(tmp_path, angle=0.2).assets["sm"].file, left)
    content = left.read_bytes()
    with pytest.raises(ConflictError, match=rf"{left.name} exists with other content.*`stac-sm audit --repair`"):
        publish_only(project_root, raster)
    assert left.read_bytes() == content
    assert assert_whole(project_root) == 0


def test_an_orphan_with_the_same_values_in_other_bytes_is_used(project_root, tmp_path, raster):
    left = asset_path(project_root, raster)
    left.parent.mkdir(parents=True)
    shutil.copy(known_raster(tmp_path, angle=0.2).assets["sm"].file, left)
    asked = []
    same = dataclasses.replace(raster.assets["sm"], same=lambda file: asked.append(sha256(Path(file))) or True)
    assert dataclasses.replace(raster, assets={"sm": same}).publish(open_catalog(project_root)) == PublishOutcome.NEW
    assert asked == [sha256(left)]
    assert assert_whole(project_root) == 1


def test_an_asset_that_reads_back_differently_is_no_asset(project_root, raster, monkeypatch):
    plain = store_module.LocalStore.create

    def broken_disk(self, path, content):
        done = plain(self, path, content)
        if path.endswith(".tif"):
            (self.folder / path).write_bytes((self.folder / path).read_bytes()[1:])
        return done

    monkeypatch.setattr(store_module.LocalStore, "create", broken_disk)
    with pytest.raises(ReadError, match=r"\.tif was written but reads back differently: check the disk"):
        publish_only(project_root, raster)
    assert not (project_root / raster.path).exists()


def test_item_names_its_assets_by_fingerprint_and_by_relative_links(published, validate):
    document = json.loads((published.root / published.raster.path).read_text())
    validate(document)
    fingerprint = document["properties"][FINGERPRINT_PROPERTY]
    assert document["assets"]["sm"]["href"] == f"./{document['id']}.{fingerprint[:12]}.sm.tif"
    assert document["assets"]["sm"]["file:checksum"].startswith("1220")
    assert all(not link["href"].startswith("/") for link in document["links"])
    assert str(published.root) not in json.dumps(document)


# Judges from outside: each must find the values that were published, on the grid on which they were published.


def test_odc_stac_finds_the_pixels(published):
    geobox = published.raster.geobox
    for grid in ({}, {"geobox": geobox}):
        data = odc.stac.load([published.item], bands=["sm"], **grid)
        assert data.odc.geobox.shape == geobox.shape
        assert data.odc.geobox.affine == geobox.affine
        assert data.odc.geobox.crs == geobox.crs  # the file names its projection, the grid does not
        found = data.sm.squeeze().values
        assert data.sm.dtype == np.float32
        nodata = data.sm.attrs.get("nodata", np.nan)
        np.testing.assert_array_equal(np.where(found == nodata, np.nan, found), published.raster.values)


def test_odc_stac_finds_a_window(published):
    window = published.raster.geobox[10:33, 7:50]
    found = odc.stac.load([published.item], bands=["sm"], geobox=window, chunks={"x": 16, "y": 16}).sm.squeeze().values
    np.testing.assert_array_equal(np.where(found == -9999, np.nan, found), published.raster.values[10:33, 7:50])


def test_rioxarray_finds_the_pixels(published):
    with rioxarray.open_rasterio(published.item.assets["sm"].get_absolute_href(), masked=True) as data:
        np.testing.assert_array_equal(data.squeeze().values, published.raster.values)
        assert data.rio.transform() == published.raster.geobox.affine
        assert GeoBox(data.rio.shape, data.rio.transform(), data.rio.crs) == published.raster.geobox


@pytest.mark.parametrize("rows", [slice(None), slice(10, 33)])
def test_stackstac_finds_the_pixels(published, rows):
    geobox = published.raster.geobox[rows, :]
    properties, asset = published.item.properties, published.item.assets["sm"]
    height, width = properties["proj:shape"]
    transform = Affine(*properties["proj:transform"])
    whole = GeoBox((height, width), transform, properties["proj:wkt2"]).boundingbox
    table = np.array([[(asset.get_absolute_href(), tuple(whole), (1.0, 0.0))]], dtype=ASSET_TABLE_DT)
    spec = RasterSpec(crs_wkt(MODIS_SINUSOIDAL_1KM.crs), tuple(geobox.boundingbox), (transform.a, -transform.e))
    assert spec.shape == geobox.shape
    data = items_to_dask(table, spec, chunksize=32, dtype=np.dtype("float32"), fill_value=np.float32("nan"))
    np.testing.assert_array_equal(data.compute(scheduler="sync")[0, 0], published.raster.values[rows])


def test_rio_cogeo_finds_a_cog(published):
    assert cog_validate(published.item.assets["sm"].get_absolute_href(), strict=True, quiet=True) == (True, [], [])


def making(raster, made):
    def make(folder):
        assert list(folder.iterdir()) == []
        made.append(folder)
        (folder / "sm.tif").write_bytes(raster.assets["sm"].file.read_bytes())
        raster.item["properties"]["stac_sm:pixels"] = {"valid": 1}
        return {"sm": dataclasses.replace(raster.assets["sm"], file=folder / "sm.tif")}

    return make


def test_an_item_is_made_once(project_root, tmp_path, raster):
    catalog, made = open_catalog(project_root), []
    assert make_once(catalog, raster.item, None) == PublishOutcome.NEW
    assert not (project_root / raster.path).exists()
    assert make_once(catalog, raster.item, making(raster, made)) == PublishOutcome.NEW
    assert json.loads((project_root / raster.path).read_text())["properties"]["stac_sm:pixels"] == {"valid": 1}
    assert make_once(catalog, raster.item, making(raster, made)) == PublishOutcome.DONE
    assert make_once(catalog, raster.item, None) == PublishOutcome.DONE
    other = known_raster(tmp_path, version="b")
    assert make_once(catalog, other.item, None) == PublishOutcome.REPLACED
    assert make_once(catalog, other.item, making(other, made)) == PublishOutcome.REPLACED
    assert len(made) == 2
    assert not any(folder.exists() for folder in made)
    assert assert_whole(project_root) == 1


def test_what_was_withdrawn_is_made_again_only_where_that_is_asked_for(project_root, tmp_path, raster):
    catalog = open_catalog(project_root)
    raster.publish(catalog)
    retract(catalog, "sm-1km-daily", [raster.item["id"]], "clouds", path=lambda id: raster.path)
    other = known_raster(tmp_path, version="b")
    with pytest.raises(ConflictError, match=r"was retracted \(clouds\)"):
        make_and_publish(catalog, other.item, making(other, []))
    assert make_and_publish(catalog, other.item, making(other, []), redo=True) == PublishOutcome.REPLACED


def test_what_cannot_be_made_leaves_nothing(project_root, raster):
    def make(folder):
        made.append(folder)
        raise ReadError("no input")

    made, before = [], contents(project_root)
    with pytest.raises(ReadError, match="no input"):
        make_once(open_catalog(project_root), raster.item, make)
    assert contents(project_root) == before
    assert not made[0].exists()


def test_stages_make_items_by_the_same_function():
    """Whoever calls `publish` itself, or opens a scratch folder for assets, says why it differs."""
    package = Path(publish_module.__file__).parents[1]
    callers = {
        (file.relative_to(package).as_posix(), node.func.id)
        for file in package.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in {"make_once", "make_and_publish", "publish", "publish_if_unchanged"}
    }
    assert callers == {
        ("features/climatology.py", "make_once"),
        ("product/aggregates/aggregate.py", "make_once"),
        ("workflows/model_archive.py", "make_once"),
        ("workflows/training/steps.py", "make_once"),
        ("workflows/validation/validate.py", "make_once"),
        ("stac/publish.py", "make_and_publish"),
        ("workflows/run/task.py", "make_and_publish"),
        ("stac/publish.py", "publish"),
        ("stac/publish.py", "publish_if_unchanged"),
        ("ingest/file_group.py", "publish_if_unchanged"),
        ("stations/screening_item.py", "publish_if_unchanged"),
    }
