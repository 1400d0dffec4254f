"""Point fields: the features of some pixels are those of the cube, bit for bit, whatever the time rule."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
import xarray as xr

from stac_sm.core.period import ONE_DAY, Period
from stac_sm.features import daily_fields
from stac_sm.features.climatology import features_needing_climatology, make_climatology
from stac_sm.features.cube import build
from stac_sm.features.daily_fields import DailyFields, DaskBackend, NumpyBackend, point_cubes
from stac_sm.features.inputs import resolve_inputs
from stac_sm.features.recipe import Climatology, Feature, Mask, Recipe
from stac_sm.features.temporal import Moments, anomaly, exponential_mean_of_rows
from stac_sm.features.time_rules import DayFields
from stac_sm.raster import resample, source
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
    Feature("lst_exp", "glass-lst", "lst", exponential=2, window=5, missing="nan"),
    Feature("lst_exp_anomaly", "glass-lst", "lst", exponential=2, window=5, statistic="anomaly", climatology=NORMAL),
    Feature("lst_spread", "glass-lst", "lst", statistic="spread", climatology=NORMAL),
    Feature("smooth_exp", "era5-land", "swvl1", "bilinear", exponential=2.5, window=6),
    Feature("lai_exp", "glass-lai", "lai", "average", "composite", exponential=1.5),
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
    (both,) = features_needing_climatology(RECIPE)
    make_climatology(open_catalog(made.root), both, workers=1)
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
    lst = len(DAYS) + 4 - 1  # four days before, for the exponential mean, and a day without a file
    swvl1 = len(DAYS) + 5
    assert len(reads) == swvl1 + len(DAYS) + lst + 4 + 2  # swvl1, stl1, LST, LAI, mean and spread


def test_the_provenance_of_a_file_is_computed_once_for_all_days_and_features(resolved, monkeypatch):
    """Windows of exponential means name each file again every day."""
    computed, plain, one = [], source.digest_of_list, resolved["a"]
    days = [made_of for by_day in one.by_feature.values() for made_of in by_day.values()]
    files = {id(file): file for made_of in days for layer in made_of.fields for file in layer.sources}
    for file in files.values():
        vars(file).pop("provenance_digest", None)
    monkeypatch.setattr(source, "digest_of_list", lambda *given: computed.append(given) or plain(*given))
    named = sum(len(one.inputs(day)) for day in one.days)
    assert len(computed) <= len(files) < named


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


def rows_of(catalog, feature, period):
    """Daily values of a feature at the pixels as rows of a table: values, site and day."""
    daily = {"": resolve_inputs(catalog, Recipe((feature,)), PIXELS.geobox, period)}
    values = point_cubes(daily, PIXELS, reader="odc")[""][feature.name].values  # (day, pixel)
    site, day = np.tile(np.arange(values.shape[1]), len(period)), np.repeat(np.arange(len(period)), values.shape[1])
    return values.ravel(), site, day


@pytest.mark.parametrize(
    ("name", "source"),
    [("lst_exp", Feature("v", "glass-lst", "lst", missing="nan")), ("smooth_exp", RECIPE.feature("smooth")),
     ("lai_exp", Feature("v", "glass-lai", "lai", "average", "composite", missing="nan"))],
)  # fmt: skip
def test_an_exponential_mean_of_a_pixel_is_that_of_its_rows_in_a_table(catalog, resolved, name, source):
    longer = Period(DAYS.start - 5 * ONE_DAY, DAYS.end)
    values, site, day = rows_of(catalog, source, longer)
    mean = RECIPE.feature(name).exponential_mean
    wanted = exponential_mean_of_rows(values[:, None], site, day, mean)[:, 0].reshape(len(longer), -1)[5:]
    found = point_cubes(resolved, PIXELS, reader="odc")["a"][name].values
    np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
    np.testing.assert_allclose(found, wanted, rtol=2e-6)
    assert np.isfinite(found).all(axis=1).any()


def test_mean_spread_and_anomaly_of_a_pixel_are_those_of_its_rows_in_a_table(catalog, resolved):
    values, site, day = rows_of(catalog, Feature("v", "glass-lst", "lst", missing="nan"), DAYS)
    moments = Moments.of_rows(values, site, day, len(PIXELS.rows))
    found = point_cubes(resolved, PIXELS, reader="odc")["a"]
    daily = values.reshape(len(DAYS), -1)
    for name, wanted in (
        ("lst_mean", moments.mean(NORMAL.least_days)), ("lst_spread", moments.spread(NORMAL.least_days)),
        ("lst_anomaly", anomaly(daily, moments.mean(NORMAL.least_days))),
    ):  # fmt: skip
        wanted = np.broadcast_to(wanted, daily.shape)
        np.testing.assert_allclose(found[name].values, wanted, rtol=1e-5, atol=1e-4, err_msg=name)
    assert (found.lst_spread > 0.1).any()


def test_a_large_target_in_blocks_has_the_same_exponential_means(catalog, monkeypatch):
    """Of files on one grid, and where two files make a day."""
    some = Recipe(tuple(RECIPE.feature(name) for name in ("lst_exp", "smooth_exp", "lai_exp")))
    resolved = resolve_inputs(catalog, some, PIXELS.geobox, Period.parse("2018-07-02/2018-07-04"))
    made_of = resolved.by_feature["smooth_exp"]
    two = {
        day: replace(
            one, fields_by_day=tuple(tuple(replace(of, sources=of.sources * 2) for of in d) for d in one.fields_by_day)
        )
        for day, one in made_of.items()
    }
    for inputs in (resolved, replace(resolved, by_feature={**resolved.by_feature, "smooth_exp": two})):
        target = TargetPixels(PIXELS.geobox)
        whole = build(inputs, target, reader="odc").compute(scheduler="synchronous")
        with monkeypatch.context() as patched:
            patched.setattr(resample, "BLOCK", 12)
            lazy = build(inputs, target, reader="odc")
            assert lazy.lst_exp.chunks[1] == (12, 12, 12, 4)
            xr.testing.assert_identical(lazy.compute(scheduler="synchronous"), whole)


def test_too_little_history_blocks_a_day_and_is_named(catalog):
    recipe = Recipe(
        (Feature("f", "glass-lst", "lst", exponential=2, window=6), Feature("t", "glass-lst", "lst", trailing=6))
    )
    first = DAYS.start - 5 * ONE_DAY
    days = Period(first - ONE_DAY, first + 4 * ONE_DAY)
    resolved = resolve_inputs(catalog, recipe, PIXELS.geobox, days)
    assert [resolved.blocked_by(day) for day in days.days] == [["f", "t"], ["t"], ["t"], [], []]
    assert resolved.why_blocked(days.start) == [
        "f (0 of 6 days of history found; days with 25% of the weight are required, e.g. the newest 1)",
        "t (0 of 6 days of history found, 3 are required)",
    ]
    assert resolved.why_blocked(first + ONE_DAY) == ["t (2 of 6 days of history found, 3 are required)"]
    ids = [id for id, _ in resolved.inputs(first + 3 * ONE_DAY)]
    assert len(set(ids)) == 4  # every day of the window is an input
    assert len(ids) == 4 + 3  # under its age for the one mean, and with the same weight for the other
