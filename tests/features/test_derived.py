"""Derived features and masks: functions of a cube alone."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from odc.geo.xr import xr_coords

from stac_sm.core.projections import SINUSOIDAL
from stac_sm.features.derived import add_derived, apply_masks, weighted_sum
from stac_sm.features.recipe import Feature, Mask
from tests.support.fields import PIXEL, box

DAYS = np.array(["2019-01-01", "2019-04-02", "2020-12-31"], "datetime64[ns]")


def cube(values, geobox):
    coords = {str(name): value for name, value in xr_coords(geobox, dims=("y", "x")).items()}
    data = da.from_array(values.astype(np.float32), chunks=(1, *geobox.shape))
    return xr.Dataset({"f": (("time", "y", "x"), data, {"units": "K"})}, coords={"time": DAYS, **coords})


@pytest.fixture
def small():
    geobox = box(SINUSOIDAL, 0, 5_000_000, 100 * PIXEL, (3, 4))
    return cube(np.arange(36).reshape(3, 3, 4), geobox)


def test_the_day_of_the_year_goes_round(small):
    found = add_derived(small, ["doy_sin", "doy_cos"]).compute()
    assert found.doy_sin.dtype == np.float32
    np.testing.assert_allclose(
        found.doy_sin[:, 1, 2], [0, np.sin(2 * np.pi * 91 / 365.25), np.sin(2 * np.pi * 365 / 365.25)], atol=1e-7
    )
    np.testing.assert_allclose(
        found.doy_cos[:, 1, 2], [1, np.cos(2 * np.pi * 91 / 365.25), np.cos(2 * np.pi * 365 / 365.25)], atol=1e-7
    )
    np.testing.assert_allclose(found.doy_sin**2 + found.doy_cos**2, 1, rtol=1e-6)
    assert (found.doy_sin == found.doy_sin[:, :1, :1]).all()


def test_latitude_follows_the_rows_and_is_nan_off_the_earth():
    geobox = box(SINUSOIDAL, 0, 10_000_000, 1_000_000, (5, 8))
    found = add_derived(cube(np.zeros((3, 5, 8)), geobox), ["latitude"])
    assert found.latitude.dims == ("time", "y", "x")
    values = found.latitude.values[0]
    lat = np.degrees((10_000_000 - 1_000_000 * (np.arange(5) + 0.5)) / 6371007.181)
    x = 1_000_000 * (np.arange(8) + 0.5)
    on_earth = x[None] <= np.pi * 6371007.181 * np.cos(np.radians(lat))[:, None]
    np.testing.assert_array_equal(~np.isnan(values), on_earth)
    np.testing.assert_allclose(values[:, 0], lat, rtol=1e-6)


def test_derived_features_are_lazy_and_chunked_as_the_cube(small):
    found = add_derived(small, ["latitude", "doy_sin"])
    assert list(found.data_vars) == ["f", "latitude", "doy_sin"]
    for name in ("latitude", "doy_sin"):
        assert found[name].chunks == small.f.chunks
    assert found.latitude.attrs["units"] == "degree"
    assert list(small.data_vars) == ["f"]


@pytest.mark.parametrize(("limit", "wanted"), [({"below": 5}, lambda f: f < 5), ({"above": 30}, lambda f: f > 30)])
def test_a_mask_is_where_a_variable_passes_its_limit(small, limit, wanted):
    small["f"] = small.f.where(small.f != 2)
    masked = apply_masks(small.rename(f="frozen"), [Mask("frozen", Feature("frozen", "c", "a"), **limit)])
    assert masked.frozen.dtype == bool
    np.testing.assert_array_equal(masked.frozen.values, wanted(small.f.values))
    assert masked.frozen.attrs["units"] == "1"
    assert not masked.frozen.values[0, 0, 2]  # an unknown value masks nothing


@pytest.mark.parametrize("shape", [(0,), (5,), (70_000,), (1, 200_000), (300, 500)])
def test_a_weighted_sum_has_the_bits_of_adding_up_whole_fields(shape):
    rng = np.random.default_rng(3)
    fields = [rng.choice(np.array([0.0, -0.0, np.nan, 1e-40, 0.3, 7], np.float32), shape) for _ in range(3)]
    weights = (0.1, -0.7, 1.0)
    expected = sum(np.float32(weight) * field for weight, field in zip(weights, fields, strict=True))
    found = weighted_sum(*fields, weights=weights)
    assert (found.dtype, found.shape) == (np.float32, shape)
    np.testing.assert_array_equal(found.view(np.uint32), expected.view(np.uint32))
