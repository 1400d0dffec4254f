"""Point fields: the features of some pixels are those of the cube, bit for bit, whatever the time rule."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from stac_sm.core.period import ONE_DAY, Period
from stac_sm.features import daily_fields
from stac_sm.features.climatology import make_climatology
from stac_sm.features.cube import build
from stac_sm.features.daily_fields import DailyFields, DaskBackend, NumpyBackend, point_cubes
from stac_sm.features.inputs import resolve_inputs
from stac_sm.features.recipe import Climatology, Feature, Mask, Recipe
from stac_sm.features.time_rules import DayFields
from stac_sm.raster.resample import TargetPixels
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.stac.links import refresh
from tests.support.fields import SMALL, TILE, around, image, new_catalog, put

DAYS = Period.parse("2018-06-28/2018-07-09")
GAP = DAYS.start + 5 * ONE_DAY
NORMAL = Climatology(str(DAYS), "year", 3)
LST = Feature("lst", "glass-lst", "lst", missing="climatology", climatology=NORMAL)
DAILY = (
    LST,
    Feature("lst_mean", "glass-lst", "lst", statistic="climatology", climatology=NORMAL),
    Feature("lst_anomaly", "glass-lst", "lst", statistic="anomaly", climatology=NORMAL, missing="nan"),
    Feature("lst_trailing", "glass-lst", "lst", trailing=3, missing="nan"),
    Feature("lst_trailing_filled", "glass-lst", "lst", trailing=4, missing="climatology", climatology=NORMAL),
    Feature("lagged", "glass-lst", "lst", lag=2, missing="nan"),
    Feature("smooth", "era5-land", "swvl1", "bilinear"),
    Feature("lai", "glass-lai", "lai", "average", "composite"),
)
RECIPE = Recipe(
    DAILY,
    derived=("doy_sin", "latitude"),
    masks=(Mask("frozen", Feature("frozen", "era5-land", "stl1", "bilinear"), below=273.15),),
)
OTHER = Recipe((Feature("cell", "era5-land", "swvl1", "nearest", missing="nan"),))
PIXELS = TargetPixels(SMALL.geobox(TILE), np.array([39, 20, 0, 30, 11]), np.array([49, 25, 0, 3, 21]))


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    """LST with a gap in each image and a day without a file, ERA5-Land with frost, LAI of 8 days."""
    made = new_catalog(tmp_path_factory.mktemp("points"))
    geobox = SMALL.geobox(TILE)
    coarse, half = around(geobox, "EPSG:4326", 0.1), geobox.zoom_out(0.5)
    for i, day in enumerate(Period(DAYS.start - 5 * ONE_DAY, DAYS.end).days):
        lst = image(geobox, 280, 300, 0.3 + 0.05 * i)
        lst[10:12, 15 + i : 25 + i] = np.nan
        era5 = {"swvl1": image(coarse, 0.1, 0.4, 0.2 + 0.1 * i), "stl1": image(coarse, 262, 290, 0.6)}
        if day != GAP:
            put(made, "glass-lst", f"LST.{day:%Y%j}", geobox, {"lst": lst}, day, linked=False)
        put(made, "era5-land", f"ERA5.{day:%Y%j}", coarse, era5, day, linked=False)
    for i in range(4):
        lai = image(half, 0, 6, 0.1 + 0.3 * i)
        put(made, "glass-lai", f"LAI.{i}", half, {"lai": lai}, date(2018, 6, 18) + 8 * i * ONE_DAY, 8, linked=False)
    for collection in ("glass-lst", "era5-land", "glass-lai"):
        refresh(made.store, collection)
    make_climatology(open_catalog(made.root), LST, workers=1)
    return open_catalog(made.root)


@pytest.fixture(scope="module")
def resolved(catalog):
    return {name: resolve_inputs(catalog, one, PIXELS.geobox, DAYS) for name, one in (("a", RECIPE), ("b", OTHER))}


@pytest.mark.parametrize("reader", ["stackstac", "odc"])
def test_they_are_the_pixels_of_the_cube(resolved, reader):
    found = point_cubes(resolved, PIXELS, reader=reader)
    for name, resolution in resolved.items():
        cube = build(resolution, PIXELS, reader=reader).compute()
        whole = build(resolution, TargetPixels(PIXELS.geobox), reader=reader).compute()
        for variable in (*resolution.recipe.names, *(mask.name for mask in resolution.recipe.masks)):
            values = found[name][variable]
            assert values.dims == ("time", "pixel")
            assert values.dtype == cube[variable].dtype
            np.testing.assert_array_equal(values, cube[variable], err_msg=variable)
            np.testing.assert_array_equal(values, whole[variable].values[:, PIXELS.rows, PIXELS.columns])
    assert found["a"].frozen.any()
    assert np.isnan(found["a"].lst_trailing).any()
    assert not found["a"].lst.isnull().any()  # filled


@pytest.mark.parametrize("feature", RECIPE.sources, ids=lambda feature: feature.name)
def test_both_backends_give_the_same_bits_and_fill_the_same_pixels(resolved, feature):
    """On some pixels, and on all of a tile."""
    for target in (PIXELS, TargetPixels(SMALL.geobox(TILE))):
        at_once, lazy = (DailyFields(target, "odc", backend) for backend in (NumpyBackend(), DaskBackend()))
        for day in (GAP, GAP + ONE_DAY):
            made_of = resolved["a"].by_feature[feature.name].get(day, DayFields())
            found, wanted = at_once.day(feature, made_of), lazy.day(feature, made_of)
            assert isinstance(found[0], np.ndarray)
            assert found[0].dtype == np.float32
            np.testing.assert_array_equal(found[0], wanted[0].compute(scheduler="synchronous"))
            assert (found[1] is None) == (wanted[1] is None)
            if found[1] is not None:
                np.testing.assert_array_equal(found[1], wanted[1].compute(scheduler="synchronous"))


def test_a_file_is_read_once_for_all_points_features_and_recipes(resolved, monkeypatch):
    reads: Counter[str] = Counter()
    plain = daily_fields.read_window

    def counted(source, window, reader):
        reads[source.href] += 1
        return plain(source, window, reader)

    monkeypatch.setattr(daily_fields, "read_window", counted)
    point_cubes(resolved, PIXELS, reader="stackstac")
    assert set(reads.values()) == {1}
    lst = len(DAYS) + 3 - 1  # three days before, for the trailing mean, and a day without a file
    assert len(reads) == 2 * len(DAYS) + lst + 4 + 1  # swvl1 and stl1, LST, LAI, the climatology


def test_recipes_may_have_other_days(resolved):
    days = DAYS.days
    fewer = {"a": resolved["a"].only(days[3:5]), "b": resolved["b"].only([*days[:2], days[4]])}
    found, whole = (point_cubes(one, PIXELS, reader="stackstac") for one in (fewer, resolved))
    assert found["a"].identical(whole["a"].isel(time=[3, 4]))
    assert found["b"].identical(whole["b"].isel(time=[0, 1, 4]))


def test_a_day_without_any_input_is_nan(resolved):
    nothing = replace(resolved["b"], by_feature={"cell": {}})
    found = point_cubes({"b": nothing}, PIXELS, reader="stackstac")["b"]
    assert found.cell.isnull().all()
