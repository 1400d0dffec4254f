"""Climatology, anomaly, lags, trailing means and filled gaps, against loops over days in the open."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from stac_sm.core.errors import CatalogError, InputError, ReadError
from stac_sm.core.period import ONE_DAY, Period
from stac_sm.core.variables import QualityFlag
from stac_sm.features import climatology
from stac_sm.features.climatology import features_needing_climatology, make_climatology
from stac_sm.features.cube import feature_cube
from stac_sm.features.derived import trailing_mean
from stac_sm.features.inputs import CLIMATOLOGY_COLLECTION, resolve_inputs
from stac_sm.features.recipe import Climatology, Feature, Mask, Recipe
from stac_sm.features.time_rules import Timeline, choose_day_fields, climatology_fields
from stac_sm.model.fit import fit
from stac_sm.model.predict import predict
from stac_sm.model.train_settings import TrainSettings
from stac_sm.raster.source import RasterSource
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.stac.links import refresh
from tests.support.fields import SMALL, TILE, around, box, image, new_catalog, put, whole

YEARS = Period.parse("2001/2002")
GEOBOX = SMALL.geobox(TILE)
COARSE = around(GEOBOX, "EPSG:4326", 0.1)
LATE = Period.parse("2003-07-10/2003-07-16")


def month_field(geobox, month, year):
    return (image(geobox, 280, 300, angle=0.1 * month) + month + 3 * (year - 2001)).astype(np.float32)


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """Five days in the middle of each month of two years, and a late week with a gap, of LST, ERA5 and LAI."""
    catalog = new_catalog(tmp_path_factory.mktemp("climatology"))
    days = [date(y, m, d) for y in (2001, 2002) for m in range(1, 13) for d in range(13, 18)]
    lst, era5 = {}, {}
    for day in days + LATE.days:
        lst[day] = month_field(GEOBOX, day.month, day.year) + 0.1 * day.day
        lst[day][:, :7] = np.nan  # never a value
        if day.year == 2001:
            lst[day][10:12] = np.nan
        if day in LATE:
            lst[day][:, 20:30] = np.nan  # a gap to be filled
        era5[day] = (image(COARSE, 0.1, 0.4, 0.05 * day.day) * (1 + 0.1 * (day.month % 5))).astype(np.float32)
        if day != LATE.days[3]:
            put(catalog, "glass-lst", f"LST.{day:%Y%j}", GEOBOX, {"lst": lst[day]}, day, linked=False)
            put(catalog, "era5-land", f"ERA5.{day:%Y%j}", COARSE, {"swvl1": era5[day]}, day, linked=False)
    lai = {}
    for i in range(46):  # 8-day composites of one year; the fourth of each month crosses into the next
        day = date(2001, 1, 1) + i * 8 * ONE_DAY
        lai[day] = np.round(60 * image(GEOBOX, angle=0.03 * i)).astype(np.uint8)
        lai[day][3, 3] = 254  # water: a code, no value
        put(
            catalog,
            "glass-lai",
            f"LAI.{i:02}",
            GEOBOX,
            {"lai": lai[day]},
            day,
            8,
            linked=False,
            **{"raster:scale": 0.1},
        )
    for collection in ("glass-lst", "era5-land", "glass-lai"):
        refresh(catalog.store, collection)
    return open_catalog(catalog.root), lst, era5, lai


BY_MONTH, BY_YEAR = Climatology("2001/2002", "month", 5), Climatology("2001/2002", "year", 60)
LST = Feature("lst_filled", "glass-lst", "lst", missing="climatology", climatology=BY_MONTH)
ERA5 = Feature("swvl1_anomaly", "era5-land", "swvl1", "bilinear", statistic="anomaly", climatology=BY_YEAR)
MEAN = Feature("swvl1_mean", "era5-land", "swvl1", "bilinear", statistic="climatology", climatology=BY_YEAR)
LAI = Feature(
    "lai", "glass-lai", "lai", time="composite", valid=(0, 100), statistic="climatology",
    climatology=Climatology("2001-01/2001-04", "month", 1),
)  # fmt: skip


@pytest.fixture(scope="module")
def made(known):
    """Number of items by outcome and feature."""
    return {feature.name: make_climatology(known[0], feature, workers=1) for feature in (LST, ERA5, LAI)}


def mean_of(catalog, prefix, asset="mean"):
    (item,) = [one for one in catalog.items(CLIMATOLOGY_COLLECTION) if one.id.startswith(prefix)]
    with rasterio.open(item.assets[asset].get_absolute_href()) as file:
        return file.read(1) if file.nodata is None else file.read(1, masked=True).filled(np.nan)


def test_it_is_the_mean_of_the_days_that_have_a_value(known, made):
    catalog, (lst, era5) = open_catalog(known[0].root), known[1:3]
    assert made["lst_filled"] == {"new": 12, "replaced": 0, "done": 0}
    assert made["swvl1_anomaly"]["new"] == 1
    july = np.array([field for day, field in lst.items() if day.month == 7 and day in YEARS], dtype=np.float64)
    with np.errstate(invalid="ignore"):
        wanted = np.nansum(july, axis=0) / np.count_nonzero(~np.isnan(july), axis=0)
    prefix = "glass-lst.lst_filled.SMAL-0101.20010101-20021231.m07"
    np.testing.assert_allclose(mean_of(catalog, prefix), wanted, rtol=1e-6)
    np.testing.assert_array_equal(mean_of(catalog, prefix, "count"), np.count_nonzero(~np.isnan(july), axis=0))
    year = np.mean([field for day, field in era5.items() if day in YEARS], axis=0, dtype=np.float64)
    np.testing.assert_allclose(mean_of(catalog, "era5-land.swvl1"), year, rtol=1e-6)


def test_a_composite_counts_for_each_of_its_days(known, made):
    catalog, lai = open_catalog(known[0].root), known[3]
    assert made["lai"]["new"] == 4
    for month in (1, 2, 3, 4):
        total = count = 0
        for start, stored in lai.items():
            for i in range(8):
                day = start + i * ONE_DAY
                if day.month == month and day.year == 2001:
                    total, count = total + np.where(stored > 100, 0, stored * 0.1), count + (stored <= 100)
        with np.errstate(invalid="ignore"):
            wanted = total / count
        prefix = f"glass-lai.lai.SMAL-0101.20010101-20010430.m{month:02}"
        np.testing.assert_allclose(mean_of(catalog, prefix), wanted, rtol=1e-5)
        assert np.isnan(mean_of(catalog, prefix)[3, 3])
        assert mean_of(catalog, prefix, "count")[0, 0] == [31, 28, 31, 30][month - 1]


def test_too_few_days_are_no_climatology(known, made, tmp_path):
    prefix = "glass-lst.lst_filled.SMAL-0101.20010101-20021231.m07"
    catalog = open_catalog(known[0].root)
    count, mean = mean_of(catalog, prefix, "count"), mean_of(catalog, prefix)
    assert set(np.unique(count)) == {0, 5, 10}
    np.testing.assert_array_equal(np.isnan(mean), count < 5)


def test_it_is_made_once_and_again_when_an_input_changes(known, made, tmp_path):
    catalog = open_catalog(known[0].root)
    assert make_climatology(catalog, LST) == {"new": 0, "replaced": 0, "done": 12}
    small = new_catalog(tmp_path / "small")
    days = [date(2001, 7, d) for d in (1, 2)]
    for day in days:
        put(small, "glass-lst", f"LST.{day:%Y%j}", GEOBOX, {"lst": image(GEOBOX)}, day)
    feature = Feature("a", "glass-lst", "lst", statistic="anomaly", climatology=Climatology("2001", "year", 1))
    assert make_climatology(small, feature)["new"] == 1
    put(small, "glass-lst", "LST.2001183", GEOBOX, {"lst": 2 * image(GEOBOX)}, days[1])
    assert make_climatology(open_catalog(small.root), feature) == {"new": 0, "replaced": 1, "done": 0}


def test_the_items_are_valid_stac(known, made, validate):
    for item in open_catalog(known[0].root).items(CLIMATOLOGY_COLLECTION):
        validate(item)


def test_what_was_made_before_one_failed_is_found(known, tmp_path, monkeypatch):
    """The mean that fails ends it; those that are published are linked."""
    catalog, made, make = new_catalog(tmp_path), [], climatology._make
    for month in (1, 2, 3):
        day = date(2001, month, 13)
        put(catalog, "glass-lst", f"LST.{day:%Y%j}", GEOBOX, {"lst": month_field(GEOBOX, month, 2001)}, day)

    def third_fails(root, planned):
        if len(made) == 2:
            raise ReadError("no file")
        made.append(planned.month)
        return make(root, planned)

    monkeypatch.setattr(climatology, "_make", third_fails)
    lst = Feature("lst", "glass-lst", "lst", missing="climatology", climatology=Climatology("2001", "month", 1))
    with pytest.raises(ReadError, match="no file"):
        make_climatology(catalog, lst)
    found = open_catalog(catalog.root).items(CLIMATOLOGY_COLLECTION)
    assert [item.properties["stac_sm:month"] for item in found] == made == [1, 2]


def test_without_items_it_says_which(known):
    feature = Feature("a", "glass-lst", "lst", statistic="anomaly", climatology=Climatology("1990/1995"))
    with pytest.raises(CatalogError, match="climatology of 'a': no item of collection glass-lst.*1990"):
        make_climatology(known[0], feature)


def cube_of(catalog, *features, period=LATE, masks=()):
    return feature_cube(open_catalog(catalog.root), Recipe(features, masks=masks), TILE, period, grid=SMALL).compute()


def test_an_anomaly_is_the_value_less_the_mean(known, made):
    catalog, _, era5, _ = known
    cube = cube_of(catalog, ERA5, MEAN)
    year = np.mean([field for day, field in era5.items() if day in YEARS], axis=0, dtype=np.float64).astype(np.float32)
    normal = whole(COARSE, year, GEOBOX, "bilinear")
    for i, day in enumerate(LATE.days):
        np.testing.assert_allclose(cube.swvl1_mean[i], normal, rtol=1e-6)
        wanted = whole(COARSE, era5[day], GEOBOX, "bilinear") - normal
        np.testing.assert_allclose(cube.swvl1_anomaly[i], np.nan if i == 3 else wanted, atol=1e-6)
    assert cube.swvl1_anomaly.attrs["units"] == "m3 m-3"
    plain = "Volumetric soil water of layer 1, 0-7 cm, daily mean"
    titles = [cube[name].attrs["long_name"] for name in ("swvl1_mean", "swvl1_anomaly")]
    assert titles == [f"{plain}, mean of 2001 to 2002", f"{plain}, anomaly from the mean of 2001 to 2002"]


def test_gaps_are_filled_by_the_season_and_flagged(known, made):
    """Between the middles of two months the mean is interpolated; where no year has a value, there is none."""
    catalog, lst = known[:2]
    cube, plain = cube_of(catalog, LST), cube_of(catalog, Feature("lst", "glass-lst", "lst"))
    june, july, august = (
        mean_of(open_catalog(catalog.root), f"glass-lst.lst_filled.SMAL-0101.20010101-20021231.m{m:02}")
        for m in (6, 7, 8)
    )
    for i, day in enumerate(LATE.days):
        first, second, start = (june, july, date(2003, 6, 15)) if day.day < 15 else (july, august, date(2003, 7, 15))
        late = (day - start).days / (30 if day.day < 15 else 31)
        normal, value = (1 - late) * first + late * second, plain.lst.values[i]
        wanted = np.where(np.isnan(value), normal, value)
        np.testing.assert_allclose(cube.lst_filled[i], wanted, rtol=1e-6)
        np.testing.assert_array_equal(cube.gap_filled[i], np.isnan(value) & ~np.isnan(normal))
    assert np.isnan(cube.lst_filled[:, :, :7]).all()
    assert cube.gap_filled[3, :, 7:].all()  # the day without a granule
    assert cube.gap_filled.dtype == bool


def test_filled_pixels_are_predicted_and_flagged(known, made):
    cube = cube_of(known[0], LST)
    model = a_model(Recipe((LST,)))
    product = predict(model, cube)
    filled, missing = cube.gap_filled.values, np.isnan(cube.lst_filled.values)
    np.testing.assert_array_equal((product.qa.values & QualityFlag.GAP_FILLED) != 0, filled)
    np.testing.assert_array_equal((product.qa.values & QualityFlag.INPUT_MISSING) != 0, missing)
    assert (~np.isnan(product.sm.values) == ~missing).all()


def a_model(recipe):
    rng = np.random.default_rng(1)
    lst = rng.uniform(280, 320, 300).astype(np.float32)
    table = pd.DataFrame({"sm": lst / 1000, "lst_filled": lst})
    return replace(fit(table, ("lst_filled",), settings=TrainSettings(tune=False, n_estimators=5)), recipe=recipe)


def test_a_day_is_blocked_only_without_value_and_climatology(known, made):
    catalog = open_catalog(known[0].root)
    days = Period.parse("2003-07-12/2003-07-14")
    filled, plain, anomaly = (
        resolve_inputs(catalog, Recipe((feature,)), GEOBOX, days)
        for feature in (LST, Feature("l", "glass-lst", "lst"), ERA5)
    )
    assert [bool(filled.blocked_by(day)) for day in days.days] == [False, False, False]
    assert [bool(plain.blocked_by(day)) for day in days.days] == [False, True, False]
    assert [bool(anomaly.blocked_by(day)) for day in days.days] == [False, True, False]
    other = Feature("l", "glass-lst", "lst", missing="climatology", climatology=Climatology("2001"))
    absent = resolve_inputs(catalog, Recipe((other,)), GEOBOX, days)
    assert absent.blocked_by(days.days[1]) == ["l"]


def test_lag_and_trailing_mean(known):
    catalog, lst = known[:2]
    lagged = Feature("lagged", "glass-lst", "lst", lag=2)
    trailing = Feature("trailing", "glass-lst", "lst", lag=1, trailing=3)
    cube = cube_of(catalog, lagged, trailing, period=Period.parse("2003-07-13/2003-07-16"))
    there = {day: field for day, field in lst.items() if day != LATE.days[3]}
    for i, day in enumerate(Period.parse("2003-07-13/2003-07-16").days):
        np.testing.assert_array_equal(cube.lagged[i], there.get(day - 2 * ONE_DAY, np.full(GEOBOX.shape, np.nan)))
        stack = np.array([there[day - n * ONE_DAY] for n in (1, 2, 3) if day - n * ONE_DAY in there])
        wanted = stack.mean(axis=0, dtype=np.float64) if 2 * len(stack) >= 3 else np.full(GEOBOX.shape, np.nan)
        np.testing.assert_allclose(cube.trailing[i], wanted, rtol=1e-6)


@given(values=st.lists(st.one_of(st.none(), st.floats(-5, 5)), min_size=1, max_size=6), total=st.integers(1, 6))
def test_a_trailing_mean_needs_half_of_its_days(values, total):
    days = [np.array([np.nan if value is None else value], dtype=np.float32) for value in values]
    there = [np.float32(value) for value in values if value is not None]
    found = trailing_mean(*days, total=total)[0]
    if 2 * len(there) >= total and there:
        assert found == pytest.approx(sum(map(float, there)) / len(there), rel=1e-6, abs=1e-6)
    else:
        assert np.isnan(found)


def test_a_mask_where_the_variable_has_no_value(tmp_path):
    catalog, day = new_catalog(tmp_path), date(2018, 7, 1)
    soil = image(GEOBOX, 5, 60)
    soil[:9, :9] = np.nan
    put(catalog, "soilgrids", "SOIL", GEOBOX, {"clay": soil}, day)
    land = Mask("water", Feature("water", "soilgrids", "clay", time="static"), unknown=True)
    both = Mask("water", Feature("water", "soilgrids", "clay", time="static"), above=50, unknown=True)
    snow = Mask("snow", Feature("snow", "soilgrids", "clay", time="static"), above=50)
    feature = Feature("clay", "soilgrids", "clay", time="static", missing="nan")
    for mask, wanted in [(land, np.isnan(soil)), (both, np.isnan(soil) | (soil > 50)), (snow, soil > 50)]:
        cube = cube_of(catalog, feature, period=Period.of_day(day), masks=(mask,))
        np.testing.assert_array_equal(cube[mask.name][0], wanted)
        assert 0 < wanted.mean() < 1
    assert Recipe.from_dict(Recipe((feature,), masks=(both,)).to_dict()) == Recipe((feature,), masks=(both,))


def source(id):
    return RasterSource(id, "a", f"/{id}.tif", box("EPSG:4326", 0, 50, 1, (3, 3)), "float32", None, None, None, "")


@given(day=st.dates(date(1999, 1, 1), date(2030, 12, 31)))
def test_a_season_is_linear_between_the_middles_of_months(day):
    normals = {month: (source(f"{month}"),) for month in range(1, 13)}
    layers = climatology_fields(normals, day)
    assert sum(layer.weight for layer in layers) == pytest.approx(1)
    first, second = (int(layer.sources[0].item_id) for layer in layers)
    assert second == first % 12 + 1
    assert day.month in (first, second)
    if day.day == 15:
        assert layers[0].weight == 1
        assert first == day.month
    alone = climatology_fields({day.month: normals[day.month]}, day)
    assert [layer.weight for layer in alone] == [1.0]
    assert climatology_fields({}, day) == ()


@given(day=st.dates(date(2001, 1, 1), date(2001, 2, 1)), lag=st.integers(0, 9), trailing=st.integers(1, 9))
def test_the_days_of_a_trailing_mean(day, lag, trailing):
    start = date(2001, 1, 8)
    timeline = Timeline([(Period.of_day(start + i * ONE_DAY), (source(f"{i}"),)) for i in range(14) if i % 3])
    feature = Feature("f", "c", "a", lag=lag, trailing=trailing)
    found = [
        layers[0].sources[0].item_id if layers else None
        for layers in choose_day_fields(feature, timeline, {}, day).fields_by_day
    ]
    numbers = [(day - (lag + back) * ONE_DAY - start).days for back in range(trailing)]
    wanted = [str(n) if 0 <= n < 14 and n % 3 else None for n in numbers]
    assert found == (wanted if 2 * sum(one is not None for one in wanted) >= trailing else [])


def test_the_windows_of_exponential_means_share_the_fields_of_their_days():
    """A project of some years has windows of 90 days, each day: a field each would be millions."""
    start, feature = date(2001, 1, 1), Feature("f", "c", "a", lag=1, exponential=10)
    timeline = Timeline([(Period.of_day(start + i * ONE_DAY), (source(f"{i}"),)) for i in range(80)])
    first, second = (choose_day_fields(feature, timeline, {}, start + i * ONE_DAY) for i in (60, 61))
    assert all(one is two for one, two in zip(first.fields_by_day, second.fields_by_day[1:], strict=False))
    ages = {source.item_id: age for _, source, _, age in second.layers}
    assert ages == {f"{60 - age}": age for age in range(len(second.fields_by_day))}
    assert len(ages) > 10
    trailing = choose_day_fields(Feature("f", "c", "a", trailing=10), timeline, {}, start + 60 * ONE_DAY)
    assert {age for *_, age in trailing.layers} == {0}


WRONG = {
    "no climatology": ({"statistic": "anomaly"}, "'f': climatology missing: write"),
    "no climatology to fill with": ({"missing": "climatology"}, "climatology missing"),
    "without use": ({"climatology": BY_YEAR}, "climatology found without use"),
    "a climatology that lags": ({"statistic": "climatology", "climatology": BY_YEAR, "lag": 1}, "no lag"),
    "static": ({"time": "static", "trailing": 3}, "time = \"static\" has no lag"),
    "lag": ({"lag": -1}, "lag -1, trailing 1 found"),
    "statistic": ({"statistic": "anomally"}, "did you mean 'anomaly'"),
}  # fmt: skip


@pytest.mark.parametrize(("fields", "told"), WRONG.values(), ids=WRONG)
def test_what_contradicts_itself_is_refused(fields, told):
    with pytest.raises(InputError, match=told):
        Feature("f", "c", "a", **fields)


def test_what_a_climatology_must_be():
    for fields, told in [({"season": "week"}, "season 'week'"), ({"least_days": 0}, "least_days 0")]:
        with pytest.raises(InputError, match=told):
            Climatology("2001", **fields)
    with pytest.raises(InputError, match="period '2001/x'"):
        Climatology("2001/x")


def test_a_recipe_names_each_mean_once():
    twice = Feature("other", "era5-land", "swvl1", "nearest", statistic="climatology", climatology=BY_YEAR)
    assert features_needing_climatology(Recipe((ERA5, twice, Feature("lst", "glass-lst", "lst"), LST))) == [ERA5, LST]
    content = Recipe((ERA5, LST)).to_dict()
    assert content["features"][1]["climatology"] == {"period": str(YEARS), "least_days": 5}
    assert Recipe.from_dict(content) == Recipe((ERA5, LST))


def test_the_spread_comes_with_the_mean_where_a_recipe_asks_for_it(known, tmp_path):
    """An item without it is made again, under its id and with the same mean; one that has it serves both."""
    catalog = new_catalog(tmp_path)
    fields = {date(2001, 7, d): month_field(GEOBOX, 7, 2001) + np.float32(d * d) for d in range(1, 5)}
    for day, field in fields.items():
        put(catalog, "glass-lst", f"LST.{day:%Y%j}", GEOBOX, {"lst": field}, day)
    years = Climatology("2001", "year", 1)
    mean = Feature("lst_mean", "glass-lst", "lst", statistic="climatology", climatology=years)
    anomaly = replace(mean, name="lst_anomaly", statistic="anomaly", missing="nan", lag=1)
    spread = Feature("lst_spread", "glass-lst", "lst", statistic="spread", climatology=years)
    (plain,) = features_needing_climatology(Recipe((mean, anomaly)))
    assert make_climatology(catalog, plain)["new"] == 1
    (before,) = open_catalog(catalog.root).items(CLIMATOLOGY_COLLECTION)
    assert set(before.assets) == {"mean", "count"}
    assert resolve_inputs(open_catalog(catalog.root), Recipe((spread,)), GEOBOX, LATE).blocked_by(LATE.start)
    (both,) = features_needing_climatology(Recipe((spread, mean, anomaly)))
    assert make_climatology(open_catalog(catalog.root), both) == {"new": 0, "replaced": 1, "done": 0}
    (item,) = open_catalog(catalog.root).items(CLIMATOLOGY_COLLECTION)
    assert (item.id, set(item.assets)) == (before.id, {"mean", "std", "count"})
    assert item.assets["mean"].extra_fields["file:checksum"] == before.assets["mean"].extra_fields["file:checksum"]
    for feature in (both, plain, spread):
        assert make_climatology(open_catalog(catalog.root), feature) == {"new": 0, "replaced": 0, "done": 1}
    cube = cube_of(catalog, spread, mean, period=Period.of_day(date(2003, 1, 1)))
    stack = np.array(list(fields.values()), dtype=np.float64)
    np.testing.assert_allclose(cube.lst_spread[0], stack.std(axis=0), rtol=1e-4)
    np.testing.assert_allclose(cube.lst_mean[0], stack.mean(axis=0), rtol=1e-6)
