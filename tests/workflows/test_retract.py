"""Retraction from Python: the index follows without a command, and a wrong id changes nothing."""

from __future__ import annotations

import pytest

from stac_sm.core.errors import InputError
from stac_sm.stac.index.manifest import is_item, read_manifest
from stac_sm.stac.index.update import update_index
from stac_sm.workflows.retract import retract_products
from tests.support.product_days import new_project, put_days

ID = "SM1KM.A2018182.h00v00.v001"


@pytest.fixture
def catalog(tmp_path):
    catalog = new_project(tmp_path / "p").catalog
    put_days(catalog, tiles=("h00v00",), days=range(2))
    update_index(catalog.store, "sm-1km-daily", layout="year/month/day")
    return catalog


def test_the_index_follows(catalog):
    assert [(one.id, one.outcome) for one in retract_products(catalog, [ID], "wet sensor")] == [(ID, "retracted")]
    assert catalog.item("sm-1km-daily", ID).properties["stac_sm:retracted"] == "wet sensor"
    listed = {one.path: one.version for one in catalog.store.list_objects("sm-1km-daily/2018/07") if is_item(one.path)}
    rows = read_manifest(catalog.store, "sm-1km-daily", "2018-07")
    assert dict(zip(rows["path"].to_pylist(), rows["version"].to_pylist(), strict=True)) == listed
    assert [one.outcome for one in retract_products(catalog, [ID], "wet sensor")] == ["done"]


@pytest.mark.parametrize(
    ("ids", "told"), [([ID, "SM1KM.Y2018.h00v00.v001"], "the id of a day is required"), ([ID, "foo"], "an id such as")]
)
def test_a_wrong_id_changes_nothing(catalog, ids, told):
    with pytest.raises(InputError, match=told):
        retract_products(catalog, ids, "wet sensor")
    assert "stac_sm:retracted" not in catalog.item("sm-1km-daily", ID).properties
