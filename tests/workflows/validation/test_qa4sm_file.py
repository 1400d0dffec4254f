"""The NetCDF file beside a real result of QA4SM, and CSV."""

from __future__ import annotations

import csv
import io

import netCDF4
import numpy as np
import pandas as pd
import pytest

from stac_sm.core.period import Period
from stac_sm.core.scores.groups import score_groups
from stac_sm.core.scores.triplets import collocate_triplets
from stac_sm.stations.records import Station
from stac_sm.workflows.validation.qa4sm_file import (
    ComparedDataSet,
    Location,
    qa4sm_attributes,
    scores_csv,
    write_qa4sm_file,
)
from tests.support.source_files import HAWAII, real_data

REAL = HAWAII / "qa4sm_tcol_SilverSword_2007_2020.nc"
DATA_SETS = (
    ComparedDataSet("ISMN", "ISMN", "v202202", "sm"),
    ComparedDataSet("ERA5_LAND", "ERA5-Land", "v202012", "swvl1"),
    ComparedDataSet("ESA_CCI_SM_passive", "CCI", "v6.1", "sm"),
)
ATTRIBUTES = dict(qa4sm_attributes("v.nc", "2007-01-01", "2020-12-31", "none", 0.05))


def station(name):
    return Station(
        f"COSMOS.{name}", "COSMOS", name, -155.4, 19.8, ((0.0, 0.05),), Period.parse("2018"), "", "", "", "Am", 2868.0,
        120, ("Cosmic-ray-Probe",), {"sand_fraction": 31.0},
    )  # fmt: skip


def tables(sites=2):
    rng = np.random.default_rng(2)
    days = pd.date_range("2017-01-01", periods=400)
    truth = 0.25 + 0.05 * rng.standard_normal((sites, 400))
    noisy = {one.name: truth + 0.02 * rng.standard_normal(truth.shape) for one in DATA_SETS}
    parts = [
        pd.DataFrame({"site": f"COSMOS.s{i}", "network": "COSMOS", "date": days, **{k: v[i] for k, v in noisy.items()}})
        for i in range(sites)
    ]
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    rows = tables()
    scores = {
        name: score_groups(rows.rename(columns={"ISMN": "observed", name: "predicted"}), resamples=40)
        for name in ("ERA5_LAND", "ESA_CCI_SM_passive")
    }
    locations = []
    for i, (_, part) in enumerate(rows.groupby("site")):
        pairs = {name: found.stations[i] for name, found in scores.items()}
        triplets = collocate_triplets({one.name: part[one.name].to_numpy() for one in DATA_SETS}, resamples=40)
        locations.append(Location(station(f"s{i}"), pairs, {one.names: one for one in triplets}, (0.0, 0.05)))
    path = tmp_path_factory.mktemp("qa4sm") / "scores.nc"
    write_qa4sm_file(path, DATA_SETS, locations, ATTRIBUTES)
    return path, scores, locations


def layout(path):
    """Dimensions, and type, dimensions, filters and attributes of every variable."""
    with netCDF4.Dataset(path) as file:
        variables = {
            name: (
                str(one.dtype),
                one.dimensions,
                one.filters()["zlib"],
                {key: str(one.getncattr(key)) for key in one.ncattrs()},
            )
            for name, one in file.variables.items()
        }
        unlimited = {name: one.isunlimited() for name, one in file.dimensions.items()}
        return file.data_model, unlimited, variables, {name: type(file.getncattr(name)) for name in file.ncattrs()}


@real_data
def test_the_layout_is_that_of_a_real_result(made):
    model, dimensions, variables, attributes = layout(made[0])
    their_model, their_dimensions, their_variables, their_attributes = layout(REAL)
    assert (model, dimensions) == (their_model, their_dimensions)
    assert variables.keys() == their_variables.keys()
    for name, (kind, along, packed, fields) in variables.items():
        theirs = their_variables[name]
        assert (kind, along, packed) == theirs[:3], name
        assert fields | {"coordinates": ""} == theirs[3] | {"coordinates": ""}, name
        assert set(fields.get("coordinates", "").split()) == set(theirs[3].get("coordinates", "").split()), name
    assert attributes.keys() == their_attributes.keys()
    texts = {name for name, kind in attributes.items() if kind is str}
    assert texts == {name for name, kind in their_attributes.items() if kind is str}


def test_values_are_those_of_the_scores(made):
    path, scores, locations = made
    with netCDF4.Dataset(path) as file:
        pair = "_between_00-ISMN_and_01-ERA5_LAND"
        for i, one in enumerate(scores["ERA5_LAND"].stations):
            assert file["R" + pair][i] == pytest.approx(one.scores.r, rel=1e-6)
            assert file["BIAS" + pair][i] == pytest.approx(-one.scores.bias, rel=1e-6)
            assert file["RSS" + pair][i] == pytest.approx(one.scores.mse * one.scores.n, rel=1e-6)
            assert file["urmsd_ci_lower" + pair][i] == pytest.approx(one.intervals["ubrmse"].low, rel=1e-6)
            assert file["BIAS_ci_lower" + pair][i] == pytest.approx(-one.intervals["bias"].high, rel=1e-6)
            assert file["n_obs"][i] == one.scores.n
        triple = "_between_00-ISMN_and_01-ERA5_LAND_and_02-ESA_CCI_SM_passive"
        for i, one in enumerate(locations):
            (found,) = one.triplets.values()
            for j, name in enumerate(("00-ISMN", "01-ERA5_LAND", "02-ESA_CCI_SM_passive")):
                assert file[f"snr_{name}{triple}"][i] == pytest.approx(found.data_sets[j].snr_db, rel=1e-5)
                assert file[f"err_std_ci_upper_{name}{triple}"][i] == pytest.approx(
                    found.data_sets[j].intervals["error_std"].high, rel=1e-5
                )
        assert list(file["station"][:]) == ["s0", "s1"]
        assert (file["elevation"][0], file["climate_KG"][0], file["lc_2010"][0]) == (2868, "Am", 120)


def test_the_same_scores_give_the_same_bytes(made, tmp_path):
    path, _, locations = made
    write_qa4sm_file(tmp_path / "again.nc", DATA_SETS, locations, ATTRIBUTES)
    assert (tmp_path / "again.nc").read_bytes() == path.read_bytes()


def test_what_is_missing_is_nan_and_no_site_makes_an_empty_file(tmp_path):
    write_qa4sm_file(tmp_path / "none.nc", DATA_SETS, [], ATTRIBUTES)
    write_qa4sm_file(tmp_path / "bare.nc", DATA_SETS, [Location(station("x"), {}, {}, (0.0, 0.05))], ATTRIBUTES)
    with netCDF4.Dataset(tmp_path / "none.nc") as file:
        assert len(file.dimensions["loc"]) == 0
    with netCDF4.Dataset(tmp_path / "bare.nc") as file:
        assert np.ma.filled(file["R_between_00-ISMN_and_01-ERA5_LAND"][:], np.nan) == pytest.approx(np.nan, nan_ok=True)
        assert file["n_obs"][0] == 0


def test_csv_has_a_line_a_group_and_empty_cells_for_no_value(made):
    _, scores, _ = made
    lines = list(csv.DictReader(io.StringIO(scores_csv([("product", "held out", scores["ERA5_LAND"])]).decode())))
    kinds = [line["kind"] for line in lines]
    assert kinds[0] == "all"
    assert kinds.count("station") == 2
    assert {"season", "network"} <= set(kinds)
    assert float(lines[0]["r"]) == scores["ERA5_LAND"].pooled.scores.r
    assert lines[0]["r_long"] == "" or np.isfinite(float(lines[0]["r_long"]))
    assert all(line["data_set"] == "product" for line in lines)
