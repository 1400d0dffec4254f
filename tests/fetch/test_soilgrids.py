"""SoilGrids by its Web Coverage Service: windows on the pixels of the mosaic, whole or not at all."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio

from stac_sm.core.homolosine import NORTH, PIXEL, WEST
from stac_sm.fetch.soilgrids import BLOCK, blocks
from tests.support.fetched_files import soil_window
from tests.support.fetching import fetched, listed, project_with, taken_in
from tests.support.services import CoverageService

SAND = ("soilgrids", "sand", "static")


@pytest.fixture
def service(monkeypatch):
    monkeypatch.setenv("STAC_SM_RETRY_FIRST_WAIT", "0.001")
    monkeypatch.setenv("STAC_SM_RETRY_LONGEST_WAIT", "0.002")
    monkeypatch.setattr("stac_sm.fetch.soilgrids.BLOCK", 64)
    with CoverageService(make=soil_window) as server:
        monkeypatch.setenv("STAC_SM_SOILGRIDS_URL", f"{server.address}/mapserv")
        yield server


BOX = (11.0, 46.0, 11.05, 46.05)


def test_texture_comes_whole_and_becomes_items_and_is_not_fetched_again(service, tmp_path):
    project = project_with(tmp_path / "p", SAND)
    results = fetched(project, "soilgrids", bbox=BOX)
    assert {one.status for one in results} == {"fetched"}
    names = {one.request.file.name.partition("_r")[0] for one in results}
    assert names == {"sand_0-5cm_mean", "silt_0-5cm_mean", "clay_0-5cm_mean"}, "gaps need all three"
    with rasterio.open(results[0].request.file) as data:
        row, column = (int(part) for part in results[0].request.file.stem.partition("_r")[2].split("c"))
        assert data.transform.c == WEST + column * PIXEL
        assert data.transform.f == NORTH - row * PIXEL
        assert data.shape == (64, 64)
    taken_in(project, results)
    assert {item.id.split("-")[1] for item in project.catalog.items("soilgrids")} == {"sand", "silt", "clay"}
    again = listed(project, "soilgrids", bbox=BOX)
    assert (again.listing.held, again.listing.requests) == (len(results), [])


@pytest.mark.parametrize("chunked", [False, True])
def test_busy_cut_and_exceptions(service, tmp_path, chunked):
    service.chunked = chunked
    project = project_with(tmp_path / "p", SAND)
    service.faults = ["429", "503", "cut 100", "cut 3"]
    results = fetched(project, "soilgrids", bbox=BOX)
    assert {one.status for one in results} == {"fetched"}
    assert all(np.ptp(rasterio.open(one.request.file).read(1)) == 0 for one in results)


def test_an_exception_of_the_service_is_shown(service, tmp_path):
    service.faults = ["exception"] * 20
    results = fetched(project_with(tmp_path / "p", SAND), "soilgrids", bbox=BOX)
    assert {one.status for one in results} == {"failed"}
    assert "msWCSGetCoverage20(): busy" in results[0].reason
    assert list((tmp_path / "p" / "granules" / "soilgrids").iterdir()) == []


def test_the_sea_is_empty_and_no_failure(service, tmp_path):
    def sea(coverage, box):
        with rasterio.MemoryFile(soil_window(coverage, box)) as memory, memory.open() as data:
            profile, shape = data.profile, data.shape
        with rasterio.MemoryFile() as memory:
            with memory.open(**profile) as file:
                file.write(np.zeros(shape, np.int16), 1)
            return bytes(memory.read())

    service.make = sea
    results = fetched(project_with(tmp_path / "p", SAND), "soilgrids", bbox=BOX)
    assert {one.status for one in results} == {"empty"}


def test_the_same_place_is_the_same_block_whatever_box_asks():
    one, two = blocks([(11.0, 46.0, 11.1, 46.1)]), blocks([(10.0, 45.0, 12.0, 47.0)])
    assert set(one) <= set(two)
    assert all(row % BLOCK == column % BLOCK == 0 for row, column in two)
    assert len(blocks([(-41.0, 10.0, -39.0, 11.0)])) >= 2, "on both sides of the seam"
