"""What the rival scripts compute themselves is what we compute."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from stac_sm.features.temporal import ExponentialMean, exponential_mean_of_fields
from tests.benchmarks.rivals import exponential_mean


@pytest.mark.parametrize("window", [5, 12])
def test_exponential_means_of_a_plain_script_are_ours(window):
    """With gaps in days and pixels; a pixel with little of the weight has no mean either way."""
    rng = np.random.default_rng(window)
    days = rng.normal(0.3, 0.1, (window, 6, 7)).astype(np.float32)
    days[rng.random(days.shape) < 0.6] = np.nan
    ages = np.flatnonzero(rng.random(window) < 0.8)
    there = xr.DataArray(days[ages], dims=("file", "y", "x"))
    theirs = exponential_mean(there, ages, 4.0, window).values
    ours = exponential_mean_of_fields(
        [days[age] if age in ages else None for age in range(window)], ExponentialMean(4.0, window)
    )
    assert 0 < np.isnan(ours).sum() < ours.size
    np.testing.assert_allclose(theirs, ours, rtol=1e-5)
