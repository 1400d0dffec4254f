"""What there is of a product: from a listing and an index, both ways to keep it."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from stac_sm.product.item import PRODUCT_COLLECTION, ProductDay
from stac_sm.product.product_id import product_ids
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.stac.index.update import update_index
from stac_sm.storage.object_meta import ObjectMeta
from stac_sm.workflows.plan.existing_items import ExistingItems, existing_item_rows
from stac_sm.workflows.plan.plan import make_plan
from stac_sm.workflows.run.task import run_task
from tests.support.fields import DAYS, SMALL, TILE, copied_project, read_model


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project with the products of one month."""
    project, model_id, _ = copied_project(tmp_path_factory.mktemp("standing") / "p")
    plan = make_plan(project.catalog, read_model(project.catalog, model_id), [TILE], DAYS, grid=SMALL, version="001")
    assert run_task(str(project.folder), next(plan.tasks())).succeeded
    update_index(project.catalog.store, PRODUCT_COLLECTION, layout=project.catalog.layout(PRODUCT_COLLECTION))
    return project, [day.made for day in plan.days]


def test_rows_say_the_same_as_the_catalogue(made):
    project, wanted = made
    catalog = open_catalog(project.folder)
    rows = pa.concat_tables([existing_item_rows(catalog.store, month) for month in DAYS.months()])
    assert set(rows["tile"].to_pylist()) == {TILE}
    ours, theirs = ExistingItems.of_rows(catalog.store, rows), ExistingItems.of(catalog, DAYS)
    assert ours.look_up(wanted) == theirs.look_up(wanted)
    assert ours.confirmed == theirs.confirmed
    assert [found is not None for found in ours.look_up(wanted)] == [True] * 3 + [False] * 3


def test_what_is_proven_is_not_read_and_what_differs_is(made, monkeypatch):
    project, wanted = made
    standing = ExistingItems.of(open_catalog(project.folder), DAYS)
    read = []
    monkeypatch.setattr(ExistingItems, "_item", lambda self, id: read.append(id))
    standing.look_up(wanted)
    assert read == []
    other = ProductDay(TILE, wanted[0].day, "001", "0" * 64)
    standing.look_up([other])
    assert read == [other.id]


def test_an_item_tells_what_it_was_made_from(made):
    project, wanted = made
    other = ProductDay(TILE, wanted[0].day, "001", "0" * 64)
    (found,) = ExistingItems.of(open_catalog(project.folder), DAYS).look_up([other])
    assert found.fingerprint == wanted[0].fingerprint
    assert {"DEM", "LST.2018179", "ERA5.2018179"} < found.made_from
    assert not any(id.startswith("xgb-") for id in found.made_from)


def test_ids_are_those_of_tile_days():
    assert product_ids(TILE, DAYS.days, "001") == [ProductDay(TILE, day, "001", "").id for day in DAYS.days]


def test_the_version_before():
    ids = [ProductDay(TILE, DAYS.start, version, "").id for version in ("001", "002", "003")]
    standing = ExistingItems(None, {id: ObjectMeta(id, 0) for id in ids}, {})  # type: ignore[arg-type]
    assert [standing.predecessor(id) for id in ids] == ["", ids[0], ids[1]]


def test_a_month_without_index_proves_nothing(made, tmp_path):
    import shutil

    shutil.copytree(made[0].folder, tmp_path / "p")
    shutil.rmtree(tmp_path / "p" / PRODUCT_COLLECTION / "index")
    rows = existing_item_rows(open_catalog(tmp_path / "p").store, next(DAYS.months()))
    assert len(rows) == 3
    assert rows["fingerprint"].null_count == 3
    assert json.loads(Path(tmp_path / "p", rows["path"][0].as_py()).read_text())["id"] == rows["id"][0].as_py()
