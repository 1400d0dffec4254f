"""Triplets at stations: which have dependent errors, and real ones that are too short to say anything."""

from __future__ import annotations

import io
import zipfile

import netCDF4
import numpy as np
import pandas as pd
import pytest

from stac_sm.core.scores.triplets import collocate_triplets, summarize_triplets
from stac_sm.ingest.formats.stm import SensorFile
from stac_sm.workflows.reporting.html import html_document, html_element
from stac_sm.workflows.reporting.page import page_style
from stac_sm.workflows.validation.products import OTHER_PRODUCTS, OtherProduct
from stac_sm.workflows.validation.qa4sm_file import triplets_csv
from stac_sm.workflows.validation.score_sections import triplet_content
from stac_sm.workflows.validation.stations import HELD_OUT, SEEN, UNKNOWN
from stac_sm.workflows.validation.triplets import (
    PRODUCT,
    STATION,
    StationTriplets,
    dependent_errors,
    dependent_products,
)
from tests.support.real_series import quietly
from tests.support.source_files import DATA, FLAT, real_data

OZNET = DATA / "oznet_era5_smap"


@pytest.mark.parametrize(
    ("role", "why"),
    [(HELD_OUT, None), (SEEN, "the product was trained on this network"), (UNKNOWN, "it is not known")],
)
def test_a_station_that_the_product_was_trained_on_has_dependent_errors(role, why):
    found = dependent_errors(role, ["modis-11A1-061"]).get(frozenset({STATION, PRODUCT}))
    assert found is None if why is None else found.startswith(why)


def test_a_product_and_its_input_have_dependent_errors_and_cci_with_smap():
    found = dependent_errors(HELD_OUT, ["era5-land", "glass", "smap"])
    assert set(found) == {
        frozenset({PRODUCT, "ERA5-Land"}), frozenset({PRODUCT, "SMAP"}), frozenset({"ESA CCI", "SMAP"})
    }  # fmt: skip
    assert found[frozenset({PRODUCT, "ERA5-Land"})] == "the product is made with ERA5-Land"


def test_on_cells_cci_depends_on_smap_and_smap_sentinel_1_and_the_product_on_its_inputs():
    cci, smap, sentinel, _ = OTHER_PRODUCTS
    ascat = OtherProduct("ascat", "sm", "12.5 km")
    assert dependent_products(["era5-land"], (cci, ascat)) == ""
    for other in (smap, sentinel):
        assert dependent_products(["era5-land"], (cci, other)) == "ESA CCI (combined) is made with SMAP from 2015 on"
    assert dependent_products(["esa-cci-sm"], (cci, ascat)) == "the product is made with ESA CCI"


def known_triplets(sites=2, days=300):
    """Triplets of sites whose errors are known: of four data sets, of which ESA CCI and SMAP depend on each other."""
    rng = np.random.default_rng(3)
    found = {}
    for i in range(sites):
        truth = 0.25 + 0.06 * rng.standard_normal(days)
        noise = {STATION: 0.02, PRODUCT: 0.03, "ESA CCI": 0.04, "SMAP": 0.05}
        series = {name: truth + error * rng.standard_normal(days) for name, error in noise.items()}
        found[f"NET.{i}"] = collocate_triplets(series, dependent_errors(HELD_OUT, []), place=str(i))
    return StationTriplets(pd.DataFrame(), found, 100)


def test_every_triplet_of_a_site_stands_on_the_page_and_in_csv_with_its_intervals():
    triplets = known_triplets()
    content = list(triplet_content(triplets))
    page = html_document("Triplets", page_style(), html_element("main", html_element("section", *content)))
    table = page.partition('id="triplets-of-sites"')[2].partition("</table>")[0]
    assert table.count("<tr>") == 1 + 2 * 4 * 3  # names; sites, triplets, data sets
    lines = pd.read_csv(io.BytesIO(triplets_csv(triplets.sites)), float_precision="round_trip")
    assert len(lines) == 2 * 4 * 3
    assert lines.groupby("site")["dependent"].count().to_dict() == {"NET.0": 6, "NET.1": 6}  # two of four triplets
    assert page.count(">dependent<") == lines["dependent"].notna().sum()
    for site, found in triplets.sites.items():
        for one in found:
            for each in one.data_sets:
                interval = each.intervals["correlation"]
                assert f"({interval.low:.2f} to {interval.high:.2f})" in table
                (line,) = lines[
                    (lines["site"] == site)
                    & (lines["data_sets"] == ", ".join(one.names))
                    & (lines["data_set"] == each.name)
                ].to_dict("records")
                assert (line["snr_db"], line["error_std_high"]) == (each.snr_db, each.intervals["error_std"].high)
                assert (line["n"], line["determined"]) == (300, one.determined)


def oznet_windows():
    """Station of OZNET -> means of windows of three days of the station, and of the nearest cells of ERA5 and SMAP."""
    grids = {}
    for path in sorted((OZNET / "ERA5").iterdir()):
        start = path.name.split("_")[1]
        (beside,) = (OZNET / "SMAP").glob(f"SMAP_{start}_*")  # one name has a wrong end
        with netCDF4.Dataset(path) as file:
            era5 = np.ma.filled(file["swvl1"][:], np.nan).mean(axis=0)
            axes = [file[name][:] for name in ("latitude", "longitude")]
        with netCDF4.Dataset(beside) as file:
            names = [name for name in ("latitude", "longitude", "soil_moisture") if name in file.variables]
            points = [np.ma.filled(file[name][:], np.nan) for name in names] or [np.empty(0)] * 3  # some are empty
        grids[pd.Timestamp(start)] = era5, axes, np.stack(points)[:, np.isfinite(points[2])]
    found = {}
    with zipfile.ZipFile(FLAT) as archive:
        for name in sorted(one for one in archive.namelist() if "OZNET" in one):
            sensor = SensorFile.of(name)
            readings = sensor.readings(archive.read(name))
            good = readings.frame[readings.frame["flag"] == "G"].set_index("time")["sm"]
            rows = []
            for start, (era5, (lat, lon), (south, east, smap)) in grids.items():
                hours = good[(good.index >= start) & (good.index < start + pd.Timedelta(days=3))]
                cell = np.abs(lat - readings.lat).argmin(), np.abs(lon - readings.lon).argmin()
                far = np.hypot(east - readings.lon, south - readings.lat)
                near = smap[far.argmin()] if far.size and far.min() < 0.3 else np.nan
                rows.append((hours.mean() if len(hours) >= 36 else np.nan, era5[cell], near))
            found[sensor.station] = pd.DataFrame(rows, index=list(grids), columns=["station", "ERA5", "SMAP"])
    return found


@real_data
def test_short_real_series_give_the_arithmetic_of_pytesmo_and_are_refused_by_the_rule():
    """At most 53 windows a station: pytesmo computes from them, our rule of 100 days refuses them."""
    tcol_metrics = quietly("pytesmo.metrics", "tcol_metrics")
    places = []
    computed = 0
    for station, rows in oznet_windows().items():
        values = {name: rows[name].to_numpy() for name in ("station", "ERA5", "SMAP")}
        (refused,) = collocate_triplets(values, place=station)
        assert refused.n <= 53
        assert refused.status == f"{refused.n} common rows of station, ERA5 and SMAP, at least 100 required"
        assert not refused.determined
        places.append([refused])
        (short,) = collocate_triplets(values, place=station, least_days=20, resamples=0)
        if short.status == "ok":
            snr, err_std, beta = tcol_metrics(*rows.dropna().to_numpy().T, ref_ind=0)
            assert [one.snr_db for one in short.data_sets] == pytest.approx(snr, abs=1e-6)
            assert [one.error_std for one in short.data_sets] == pytest.approx(err_std, abs=1e-6)
            assert [one.beta for one in short.data_sets] == pytest.approx(beta, abs=1e-6)
            computed += 1
    assert computed >= 5
    assert {one.determined for one in summarize_triplets(places)} == {0}
