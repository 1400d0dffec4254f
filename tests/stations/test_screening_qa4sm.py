"""Triple collocation beside a published result of the QA4SM service: COSMOS SilverSword, 2007-2020, n = 2360.

QA4SM took ERA5-Land and ESA CCI PASSIVE v6.1. Of these the shared data have ERA5-Land in 2017-2018 only, and no CCI
PASSIVE; SMAP, one of its sensors, stands in for it. So the figures of the station are compared with the service's own
bootstrap interval, and its definitions (dB, units, scales) with the moments that its file holds.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stac_sm.core.metrics import triple_collocation
from stac_sm.stations.screening import KEPT, screen_sites
from stac_sm.stations.screening_thresholds import ScreeningThresholds
from tests.support.source_files import HAWAII, real_data

pytestmark = real_data
NAMES = ("00-ISMN", "01-ERA5_LAND", "02-ESA_CCI_SM_passive")
ALL = "_between_00-ISMN_and_01-ERA5_LAND_and_02-ESA_CCI_SM_passive"
COLLOCATED = Path("derived_collocated_daily_2017_2018", "COSMOS_SilverSword_CosmicrayProbe.csv")


@pytest.fixture(scope="module")
def published():
    import netCDF4

    with netCDF4.Dataset(HAWAII / "qa4sm_tcol_SilverSword_2007_2020.nc") as file:
        numbers = [name for name, one in file.variables.items() if np.dtype(one.dtype).kind == "f"]
        return {name: float(np.ma.filled(file[name][0], np.nan)) for name in numbers}


def triplets(third):
    table = pd.read_csv(HAWAII / COLLOCATED, parse_dates=["date"]).rename(columns={third: "third"})
    return table.assign(site="COSMOS.SilverSword")[["site", "date", "insitu", "era5land", "third"]]


def test_the_station_is_as_good_as_qa4sm_found_within_its_own_interval(published):
    screening = screen_sites(triplets("smap"), ScreeningThresholds())
    row = screening.sites.iloc[0]
    assert row["status"] == KEPT
    for ours, theirs in (("snr_db", "snr"), ("error_std", "err_std")):
        low, high = (published[f"{theirs}_ci_{end}_{NAMES[0]}{ALL}"] for end in ("lower", "upper"))
        assert low < published[f"{theirs}_{NAMES[0]}{ALL}"] < high
        assert low < row[ours] < high
    theirs = np.sqrt(1 / (1 + 10 ** (-published[f"snr_{NAMES[0]}{ALL}"] / 10)))
    assert row["correlation_low"] < theirs < row["correlation_high"] + 0.02
    assert row["correlation"] == pytest.approx(theirs, abs=0.05)


def test_its_figures_are_those_of_the_moments_that_it_published(published):
    """Series of exactly its moments; the one that it left out, R of the other two, is taken from one of its figures."""
    spread, r = [], {}
    for i in (1, 2):
        pair = f"_between_{NAMES[0]}_and_{NAMES[i]}"
        r[i] = published[f"R{pair}"]
        product = published[f"mse_corr{pair}"] / (2 * (1 - r[i]))
        gap = np.sqrt(published[f"mse_var{pair}"])
        roots = sorted(abs(np.roots([1, gap, -product])))  # the smaller and the larger standard deviation
        spread.append(roots)
    station = min(spread[0], key=lambda one: min(abs(one - other) for other in spread[1]))
    sigma = [station, *(product_of(published, i) / station for i in (1, 2))]
    noise = 1 + 10 ** (-published[f"snr_{NAMES[0]}{ALL}"] / 10)
    correlation = np.array([[1, r[1], r[2]], [r[1], 1, r[1] * r[2] * noise], [r[2], r[1] * r[2] * noise, 1]])
    found = triple_collocation(*series_of(correlation, np.array(sigma)))
    assert found.ok
    for i, name in enumerate(NAMES):
        assert found.snr_db[i] == pytest.approx(published[f"snr_{name}{ALL}"], abs=0.01)
        assert found.error_std[i] == pytest.approx(published[f"err_std_{name}{ALL}"], rel=2e-3)
        assert found.beta[i] == pytest.approx(published[f"beta_{name}{ALL}"], rel=2e-3)


def product_of(published, i):
    """Product of the standard deviations of the station and another series."""
    pair = f"_between_{NAMES[0]}_and_{NAMES[i]}"
    return published[f"mse_corr{pair}"] / (2 * (1 - published[f"R{pair}"]))


def series_of(correlation, sigma, n=2360):
    """Three series with exactly these sample moments."""
    rng = np.random.default_rng(1)
    white = rng.standard_normal((3, n))
    white -= white.mean(axis=1, keepdims=True)
    white = np.linalg.solve(np.linalg.cholesky(np.cov(white)), white)
    return sigma[:, None] * (np.linalg.cholesky(correlation) @ white)
