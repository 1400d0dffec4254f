"""MODIS: granules of the project's tiles and days, the latest production of each, to the items."""

from __future__ import annotations

import pytest

from stac_sm.core.errors import InputError
from stac_sm.fetch.modis import PRODUCTS, VERSIONS
from stac_sm.ingest.providers.modis import Modis
from tests.support.checkout import need_shared
from tests.support.fetching import fetched, listed, project_with, taken_in
from tests.support.services import TOKEN, nasa
from tests.support.source_files import MOD11A1

LST = ("modis-11A1-061", "LST_Day_1km", "daily")


@pytest.fixture
def archive(monkeypatch, tmp_path):
    need_shared()
    monkeypatch.setenv("STAC_SM_RETRY_FIRST_WAIT", "0.001")
    monkeypatch.setenv("EARTHDATA_TOKEN", TOKEN)
    content = MOD11A1.read_bytes()
    older = MOD11A1.name.replace(MOD11A1.name.split(".")[4], "2000001000000")
    other = "MYD11A1.A2019001.h18v04.061.2021100000000.hdf"
    with nasa({MOD11A1.name: content, older: b"older", other: b""}) as (one, login):
        monkeypatch.setenv("STAC_SM_CMR_URL", one.address)
        monkeypatch.setenv("STAC_SM_EARTHDATA_LOGIN_URL", login.address)
        yield one


def test_a_real_granule_becomes_an_item_and_is_not_fetched_again(archive, tmp_path):
    day, tile = MOD11A1.name.split(".")[1:3]
    version = MOD11A1.name.split(".")[3]
    project = project_with(tmp_path / "p", (f"modis-11A1-{version}", "LST_Day_1km", "daily"))
    period = f"{day[1:5]}"
    made = listed(project, "modis", period, tiles=(tile,))
    assert [one.file.name for one in made.listing.requests] == [MOD11A1.name], "the latest production only"
    assert made.listing.requests[0].size == MOD11A1.stat().st_size
    days = f"{period}-01-01/{period}-12-31"
    assert made.listing.notes == (f"MYD11A1 {version}: the archive has no granule of these tiles in {days}",)
    results = fetched(project, "modis", period, tiles=(tile,))
    assert [one.status for one in results] == ["fetched"]
    taken_in(project, results)
    again = listed(project, "modis", period, tiles=(tile,))
    assert (again.listing.held, again.listing.requests) == (1, [])


def test_a_recipe_without_files_of_its_own_is_told(tmp_path):
    with pytest.raises(InputError, match="features with `catalog` are read in place"):
        listed(project_with(tmp_path / "p", ("era5-land", "swvl1", "daily")), "modis")


def test_products_are_those_that_ingest_reads():
    known = {one.collection: one.product for one in Modis.downloads}
    for collection, products in PRODUCTS.items():
        assert all(name in known[f"{collection}-061"] for name in products)
    assert {f"{id}-{version}" for id in PRODUCTS for version in VERSIONS} == set(Modis().collections)
