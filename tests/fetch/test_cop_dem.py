"""Copernicus DEM from a bucket that anybody may read: which tiles, and items of them."""

from __future__ import annotations

import boto3
import pytest

from stac_sm.core.errors import InputError
from stac_sm.fetch.cop_dem import BUCKET, tile_names
from tests.support.fetching import fetched, listed, project_with, taken_in
from tests.support.object_stores import environment_of, moto_server
from tests.support.source_files import write_dem

NAME = "Copernicus_DSM_COG_30_N46_00_E011_00_DEM"
ELEVATION = ("cop-dem", "elevation", "static")


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    """The bucket with one tile, at moto's server; its policy lets anybody read."""
    path, _ = write_dem(tmp_path_factory.mktemp("dem"))
    store = moto_server()
    with environment_of(store):
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        client.upload_file(str(path), BUCKET, f"{NAME}/{NAME}.tif", ExtraArgs={"ACL": "public-read"})
    return store.endpoint


@pytest.fixture
def endpoint(bucket, monkeypatch):
    monkeypatch.setenv("STAC_SM_COP_DEM_ENDPOINT", bucket)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")  # the user's own store is not asked
    monkeypatch.setenv("STAC_SM_RETRY_FIRST_WAIT", "0.01")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def test_tiles_of_land_become_items_and_are_not_fetched_again(endpoint, tmp_path):
    project = project_with(tmp_path / "p", ELEVATION)
    made = listed(project, "cop-dem", bbox=(11.1, 46.1, 12.5, 46.9))
    assert [one.what for one in made.listing.requests] == [NAME]
    assert made.listing.requests[0].size > 1000
    assert made.listing.notes == ("1 tiles of one degree have no land",)
    results = fetched(project, "cop-dem", bbox=(11.1, 46.1, 12.5, 46.9))
    assert [one.status for one in results] == ["fetched"]
    assert [one.status for one in fetched(project, "cop-dem", bbox=(11.1, 46.1, 11.5, 46.9))] == ["there"]
    taken_in(project, results)
    again = listed(project, "cop-dem", bbox=(11.1, 46.1, 11.5, 46.9))
    assert (again.listing.held, again.listing.requests) == (1, [])


def test_a_bucket_that_cannot_be_asked_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("STAC_SM_COP_DEM_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("stac_sm.storage.s3.session.ATTEMPTS", 1)
    with pytest.raises(InputError, match=f"bucket {BUCKET}: cannot be asked"):
        listed(project_with(tmp_path / "p", ELEVATION), "cop-dem", bbox=(11.1, 46.1, 11.5, 46.9))


def test_names_of_tiles():
    assert tile_names([(-0.5, -0.5, 0.5, 0.5)]) == [
        "Copernicus_DSM_COG_30_S01_00_W001_00_DEM",
        "Copernicus_DSM_COG_30_S01_00_E000_00_DEM",
        "Copernicus_DSM_COG_30_N00_00_W001_00_DEM",
        "Copernicus_DSM_COG_30_N00_00_E000_00_DEM",
    ]
    assert len(tile_names([(11.5, 46.5, 11.6, 46.6), (11.5, 46.5, 11.7, 46.7)])) == 1
    assert len(tile_names([(11.0, 46.5, 11.6, 46.6)])) == 2, "the neighbour that averages look at"
