"""Pixels through a server that fails: the cube is exactly right, or an error. Never a hole.

``STAC_SM_FAULT_TRIALS=200 pytest tests/integration/test_faults.py`` tries as many random schedules of faults.
"""

from __future__ import annotations

import json
import os
import random
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from stac_sm.core.errors import StacSmError
from stac_sm.core.period import Period
from stac_sm.features.cube import feature_cube
from stac_sm.features.recipe import Feature, Recipe
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.stac.links import refresh
from stac_sm.storage.retry import REQUEST_COUNTS
from tests.support.faulty_server import FAULTS, UNSEEN_IN_PARTS, FaultyServer
from tests.support.fields import SMALL, TILE, around, image, new_catalog, put

TRIALS = int(os.environ.get("STAC_SM_FAULT_TRIALS", "24"))
PART = SMALL.geobox(TILE)[5:25, 10:40]
DAYS = Period.parse("2018-07-01/2018-07-02")
RECIPE = Recipe(
    (
        Feature("lst", "glass-lst", "lst", "nearest"),
        Feature("elevation", "cop-dem", "elevation", "bilinear", "static", missing="nan"),
    )
)
QUICK = {
    "ATTEMPTS": "4", "FIRST_WAIT": "0.002", "LONGEST_WAIT": "0.01", "LONGEST_RETRY_AFTER": "0.02", "TIMEOUT": "0.15",
    "SLOWEST": "200000",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    for name, value in QUICK.items():
        monkeypatch.setenv(f"STAC_SM_RETRY_{name}", value)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A small catalogue: two days of LST, whole numbers, and a finer DEM in degrees, noise that does not compress."""
    folder = tmp_path_factory.mktemp("inputs")
    catalog, geobox = new_catalog(folder), SMALL.geobox(TILE)
    for i, day in enumerate(DAYS.days):
        lst = np.round(28000 + 500 * image(geobox, angle=0.3 + 0.2 * i)).astype(np.uint16)
        scaled = (lst, {"nodata": 0, "raster:scale": 0.01})
        put(catalog, "glass-lst", f"LST.{day:%Y%j}", geobox, {"lst": scaled}, day, linked=False)
    fine = around(geobox, "EPSG:4326", 0.002)
    dem = np.random.default_rng(1).uniform(0, 2000, fine.shape).astype(np.float32)
    put(catalog, "cop-dem", "DEM", fine, {"elevation": dem}, date(2010, 1, 1), 365, linked=False)
    for collection in ("glass-lst", "cop-dem"):
        refresh(catalog.store, collection)
    return folder


def served(inputs: Path, copy: Path, address: str, *, checksums: bool) -> Path:
    """The catalogue's JSON in a folder of its own, its assets on a server."""
    for file in inputs.rglob("*.json"):
        document = json.loads(file.read_text())
        for asset in document.get("assets", {}).values():
            asset["href"] = f"{address}/{(file.parent / asset['href']).resolve().relative_to(inputs.resolve())}"
            if not checksums:
                asset.pop("file:checksum", None)
                asset.pop("file:size", None)
        target = copy / file.relative_to(inputs)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(document))
    return copy


def cube_of(folder, reader, where=PART):
    cube = feature_cube(open_catalog(folder), RECIPE, where, DAYS, reader=reader)
    return cube.compute(scheduler="synchronous")


@pytest.fixture(scope="module")
def truth(inputs):
    return cube_of(inputs, "stackstac")


def same(cube, truth) -> bool:
    return all(cube[name].values.tobytes() == truth[name].values.tobytes() for name in truth.data_vars)


def schedule(rng: random.Random, paths: list[str], known: tuple[str, ...]) -> dict[str, list[str]]:
    """Faults of the first requests of each path: mostly few, now and then many."""
    often = rng.choice([0.2, 0.5, 0.9])
    return {path: [rng.choice(known) if rng.random() < often else "" for _ in range(6)] for path in paths}


@pytest.mark.parametrize("way", ["whole", "in parts"])
@pytest.mark.parametrize("reader", ["stackstac", "odc"])
def test_random_faults_give_the_right_cube_or_an_error(inputs, truth, tmp_path, way, reader):
    assert not np.isnan(truth.lst.values).any()
    assert not np.isnan(truth.elevation.values).any()
    paths = [f"/{file.relative_to(inputs)}" for file in inputs.rglob("*.tif") if ".scratch" not in str(file)]
    known = FAULTS if way == "whole" else tuple(fault for fault in FAULTS if fault not in UNSEEN_IN_PARTS)
    came = {"right": 0, "error": 0}
    with FaultyServer(inputs, stall=0.4) as server:
        folder = served(inputs, tmp_path, server.address, checksums=way == "whole")
        for trial in range(-(-TRIALS // 4)):
            rng = random.Random(f"{way} {reader} {trial}")
            server.faults.clear()
            server.faults.update(schedule(rng, paths, known))
            told = dict(server.faults)
            try:
                cube = cube_of(folder, reader)
            except StacSmError as error:
                came["error"] += 1
                text = str(error)
            else:
                text = "'DEM'"
                came["right"] += 1
                assert same(cube, truth), (trial, told)
            assert "'LST." in text or "'DEM'" in text
    print(f"{way}, {reader}: {came}")  # for who runs the full count with -s
    if TRIALS >= 24:  # of very few, all may be the one or the other
        assert came["right"], came
        assert came["error"], came


MENDED = sorted(set(FAULTS) - {"404"})
WAYS = [("whole", fault) for fault in MENDED] + [
    ("in parts", fault) for fault in MENDED if fault not in UNSEEN_IN_PARTS
]


@pytest.mark.parametrize(("way", "fault"), WAYS)
def test_one_fault_of_each_kind_is_mended_or_an_error(inputs, truth, tmp_path, way, fault):
    with FaultyServer(inputs) as server:
        folder = served(inputs, tmp_path, server.address, checksums=way == "whole")
        path = next(f"/{file.relative_to(inputs)}" for file in (inputs / "cop-dem").rglob("*.tif"))
        for before in range(2):  # the first or the second request
            server.faults[path] = [""] * before + [fault]
            retries = sum(REQUEST_COUNTS.retries.values())
            assert same(cube_of(folder, "odc"), truth)
            harmless = {"200 for 206"} if way == "in parts" else {"200 for 206", "wrong range", "not a range"}
            if not before and fault not in harmless:
                assert sum(REQUEST_COUNTS.retries.values()) > retries
