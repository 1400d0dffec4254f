"""Several items on one pixel: the finer one and the newer version count, in the cube, in match-ups and in a mean."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest

from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM
from stac_sm.core.period import ONE_DAY, Period
from stac_sm.features.climatology import climatology_mean, find_climatology_items
from stac_sm.features.cube import build
from stac_sm.features.daily_fields import point_cubes
from stac_sm.features.inputs import resolve_inputs
from stac_sm.features.recipe import Climatology, Feature, Recipe
from stac_sm.ingest.pipeline import ingest
from stac_sm.raster.resample import TargetPixels
from stac_sm.stac.catalogs.catalog import open_catalog
from tests.support.fields import SMALL, TILE, around, new_catalog, put
from tests.support.rival_files import SEEDS, lst
from tests.support.source_files import ingested

DAY = date(2018, 7, 1)
GEOBOX = SMALL.geobox(TILE)


def values_by(catalog, resampling, collection, asset, *, time="daily"):
    """Values of the day, from the cube and at chosen pixels, which must be the same."""
    recipe = Recipe((Feature("f", collection, asset, resampling, time, missing="nan"),))
    resolved = resolve_inputs(open_catalog(catalog.root), recipe, GEOBOX, Period.of_day(DAY))
    cube = build(resolved, TargetPixels(GEOBOX)).f.values[0]
    rows, columns = np.indices(cube.shape)
    points = TargetPixels(GEOBOX, rows.ravel(), columns.ravel())
    at_points = point_cubes({"f": resolved}, points, reader="odc")["f"].f.values[0]
    np.testing.assert_array_equal(at_points.reshape(cube.shape), cube)
    return cube, resolved.inputs(DAY)


@pytest.mark.parametrize("time", ["daily", "static"])
@pytest.mark.parametrize("resampling", ["nearest", "bilinear", "average"])
@pytest.mark.parametrize("ids", [("A", "B"), ("B", "A")])
def test_where_two_grids_cover_a_pixel_the_finer_one_counts(tmp_path, ids, resampling, time):
    catalog = new_catalog(tmp_path)
    half, coarse = GEOBOX.zoom_out(0.5), around(GEOBOX, "EPSG:4326", 0.02)
    fine = np.full(half.shape, 0.2, np.float32)
    fine[:, :30] = np.nan
    put(catalog, "era5-land", ids[0], half, {"swvl1": fine}, DAY, linked=False)
    put(catalog, "era5-land", ids[1], coarse, {"swvl1": np.full(coarse.shape, 0.4, np.float32)}, DAY)
    found, inputs = values_by(catalog, resampling, "era5-land", "swvl1", time=time)
    np.testing.assert_allclose(found[:, 16:], 0.2, rtol=1e-6)
    filled = found[:, :14]
    np.testing.assert_allclose(filled[~np.isnan(filled)], 0.4, rtol=1e-6)
    assert (~np.isnan(filled)).any()
    assert len(inputs) == 2


@pytest.mark.parametrize("resampling", ["nearest", "average"])
@pytest.mark.parametrize("ids", [("A", "B"), ("B", "A")])
def test_of_two_versions_the_newer_one_counts(tmp_path, ids, resampling):
    catalog = new_catalog(tmp_path)
    new = np.full(GEOBOX.shape, 300, np.float32)
    new[5:9, 5:9] = np.nan
    for id, version, values in ((ids[0], "60", new), (ids[1], "50", np.full(GEOBOX.shape, 290, np.float32))):
        put(catalog, "glass-lst", id, GEOBOX, {"lst": values}, DAY, items=of_version(version))
    found, _ = values_by(catalog, resampling, "glass-lst", "lst")
    np.testing.assert_array_equal(found, np.where(np.isnan(new), 290, 300))


def of_version(version):
    """Give an item that is put a version."""

    def changed(item):
        item["properties"]["version"] = version
        return item

    return changed


def test_files_that_only_fill_gaps_are_other_inputs(tmp_path):
    """The order is part of a fingerprint, and only of such fields in which it decides."""
    sums = {}
    for name, grids in (("alone", 1), ("both", 2)):
        catalog = new_catalog(tmp_path / name)
        for id, geobox in list(zip("BA", (GEOBOX, around(GEOBOX, "EPSG:4326", 0.1)), strict=True))[:grids]:
            put(catalog, "era5-land", id, geobox, {"swvl1": np.full(geobox.shape, 0.2, np.float32)}, DAY)
        sums[name] = dict(values_by(catalog, "nearest", "era5-land", "swvl1")[1])
    assert sums["both"]["B/swvl1"] == sums["alone"]["B/swvl1"]
    recipe = Recipe((Feature("f", "era5-land", "swvl1", "nearest", missing="nan"),))
    catalog = new_catalog(tmp_path / "coarse")
    coarse = around(GEOBOX, "EPSG:4326", 0.1)
    put(catalog, "era5-land", "A", coarse, {"swvl1": np.full(coarse.shape, 0.2, np.float32)}, DAY)
    alone = dict(resolve_inputs(open_catalog(catalog.root), recipe, GEOBOX, Period.of_day(DAY)).inputs(DAY))
    assert alone["A/swvl1"] != sums["both"]["A/swvl1"]


def test_a_mean_of_years_takes_the_newer_version_and_counts_a_day_once(tmp_path):
    catalog = new_catalog(tmp_path)
    new = np.full(GEOBOX.shape, 300, np.float32)
    new[5:9, 5:9] = np.nan
    for number in range(3):
        for id, version, values in (("A", "50", np.full(GEOBOX.shape, 290, np.float32)), ("B", "60", new)):
            day = DAY + number * ONE_DAY
            put(catalog, "glass-lst", f"{id}{number}", GEOBOX, {"lst": values}, day, items=of_version(version))
    feature = Feature("lst", "glass-lst", "lst", climatology=Climatology("2018", "year", 3), missing="climatology")
    (planned,) = find_climatology_items(open_catalog(catalog.root), feature)
    mean, count, _ = climatology_mean(planned)
    np.testing.assert_array_equal(mean, np.where(np.isnan(new), 290, 300))
    assert (count == 3).all()


def test_two_versions_of_a_glass_granule_are_two_items_and_the_newer_one_counts(tmp_path):
    for which, version in (("new", "02"), ("old", "01")):
        path = lst(tmp_path, which)
        path.rename(path.with_name(path.name.replace(".V01.", f".V{version}.")))
    catalog = new_catalog(tmp_path / "catalog")
    assert [one.error for one in ingest(catalog, "glass-lst", sorted(Path(tmp_path).glob("*.hdf")))] == [None, None]
    items = ingested(catalog, "glass-lst")
    assert [item.id.split(".")[1] for item in items] == ["V01", "V02"]
    resolved = resolve_inputs(
        open_catalog(catalog.root),
        Recipe((Feature("f", "glass-lst", "lst", missing="nan"),)),
        MODIS_SINUSOIDAL_1KM.geobox("h18v04")[:8, :9],
        Period.parse("2018-01-01"),
    )
    cube = build(resolved, TargetPixels(MODIS_SINUSOIDAL_1KM.geobox("h18v04")[:8, :9])).f.values[0]
    rows, columns = np.indices(cube.shape)
    stored = (rows * 7 + columns * 3 + SEEDS["new"]) % 251 + 1 + 28000
    np.testing.assert_allclose(cube, stored * 0.01, rtol=1e-6)
