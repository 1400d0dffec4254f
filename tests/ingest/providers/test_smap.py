"""SMAP: recommended retrievals land on their cells of EASE-Grid 2.0, as h5py and pyproj see them."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import rasterio

from stac_sm.core.errors import InputError
from stac_sm.ingest.formats.ease_grid import EASE2_1KM, EASE2_3KM, EASE2_9KM, EASE2_36KM
from stac_sm.ingest.pipeline import ingest
from stac_sm.ingest.providers.smap import Smap
from tests.support.smap_files import L3, S1, TO_GRID, retrievals, times, write_day, write_group, write_scene
from tests.support.source_files import DATA, asset_href, content, ingested, new_catalog, real_data

REAL = DATA / "smap_l2" / "SMAP_L2_SM_P_02801_A_20150811T013002_R18290_001.h5"
L2 = "SMAP_L2_SM_P_02801_A_20150811T013002_R18290_001.h5"
SIZES = {
    EASE2_36KM: 36032.220840584,
    EASE2_9KM: 9008.055210146,
    EASE2_3KM: 3002.6850700487,
    EASE2_1KM: 1000.89502334956,
}


def test_the_grids_are_those_of_nsidc():
    for grid, cell in SIZES.items():
        assert grid.cell == pytest.approx(cell, rel=1e-12)
        box = grid.geobox().boundingbox
        assert box.bbox == pytest.approx((-17367530.44516138, -7314540.83063855, 17367530.44516138, 7314540.83063855))


@real_data
@pytest.mark.parametrize("recommended", [True, False])
def test_a_real_half_orbit(tmp_path, validate, recommended):
    catalog = new_catalog(tmp_path / "catalog")
    (result,) = ingest(catalog, "smap", [REAL], settings={"recommended_only": recommended})
    assert (result.error, result.items) == (None, {"new": 1})
    (item,) = ingested(catalog, "smap")
    validate(item)
    with h5py.File(REAL) as raw, rasterio.open(asset_href(item, "smap_sm")) as cog:
        group = raw["Soil_Moisture_Retrieval_Data"]
        sm, flag = group["soil_moisture"][:], group["retrieval_qual_flag"][:]
        kept = (sm != -9999) & ((flag % 2 == 0) | (not recommended))
        values = cog.read(1)
        assert kept.sum() == (values != -9999).sum() == (592 if recommended else 1333)
        x, y = TO_GRID.transform(group["longitude"][:][kept].astype(float), group["latitude"][:][kept].astype(float))
        assert np.array_equal(np.ravel(list(cog.sample(zip(x, y, strict=True)))), sm[kept])
        begin = raw["Metadata/Extent"].attrs["rangeBeginningDateTime"]
        assert (str(begin), item.properties["start_datetime"]) == ("2015-08-11T01:30:02.239Z", "2015-08-11T01:30:02Z")
        lon, lat = group["longitude"][:][kept], group["latitude"][:][kept]
        west, south, east, north = item.bbox
        assert west < lon.min() < lon.max() < east
        assert south < lat.min() < lat.max() < north
        assert (cog.crs.to_epsg(), cog.res[0]) == (6933, pytest.approx(36032.220840584))
        assert not (values == -9999).all(axis=0).any() or values.shape[1] > 1
        for edge in (values[0], values[-1], values[:, 0], values[:, -1]):
            assert (edge != -9999).any()  # cropped to what was retrieved
    assert item.id == "SMAP_L2_SM_P_02801_A_20150811T013002"
    assert item.properties["end_datetime"] == "2015-08-11T02:23:23Z"


def recommended(sm, flag):
    return np.where((flag == 0) | (flag == 8), sm, np.float32(-9999))


@pytest.mark.parametrize(("name", "grid"), [(L3, EASE2_36KM), (L3.replace("_P_", "_P_E_"), EASE2_9KM)])
def test_a_day_has_a_morning_and_an_evening(tmp_path, validate, name, grid):
    made = write_day(tmp_path / name, grid)
    catalog = new_catalog(tmp_path / "catalog")
    (result,) = ingest(catalog, "smap", [tmp_path])
    assert (result.error, result.items) == (None, {"new": 2})
    stem = name.partition("_R19240")[0]
    for item, overpass in zip(ingested(catalog, "smap"), ("AM", "PM"), strict=True):
        validate(item)
        assert item.id == f"{stem}.{overpass}"
        assert item.properties["datetime"] == "2015-04-10T12:00:00Z"
        assert (item.properties["start_datetime"][:10], item.properties["end_datetime"]) == (
            "2015-04-10", "2015-04-10T23:59:59Z",
        )  # fmt: skip
        with rasterio.open(asset_href(item, "smap_sm")) as cog:
            assert np.array_equal(cog.read(1), recommended(*made[overpass]))
            assert cog.transform.a == pytest.approx(SIZES[grid])
    (result,) = ingest(new_catalog(tmp_path / "am"), "smap", [tmp_path / name], settings={"passes": ["AM"]})
    assert result.items == {"new": 1}
    with pytest.raises(InputError, match="AM, PM or both expected"):
        Smap(passes=("NOON",))


def test_a_scene_has_1_km_and_3_km(tmp_path, validate):
    made = write_scene(tmp_path / S1)
    catalog = new_catalog(tmp_path / "catalog")
    (result,) = ingest(catalog, "smap-s1", [tmp_path])
    assert (result.error, result.items) == (None, {"new": 1})
    (item,) = ingested(catalog, "smap-s1")
    validate(item)
    assert item.id == S1.partition("_R18290")[0]
    assert item.properties["start_datetime"] == "2015-03-31T17:06:40Z"
    assert item.properties["end_datetime"] == "2015-04-01T05:46:50Z"
    for key, suffix, grid in (("smap_s1_sm", "1km", EASE2_1KM), ("smap_s1_sm_3km", "3km", EASE2_3KM)):
        with rasterio.open(asset_href(item, key)) as cog, h5py.File(tmp_path / S1) as raw:
            assert np.array_equal(cog.read(1), recommended(*made[suffix]))
            assert item.assets[key].extra_fields["proj:shape"] == list(cog.shape)
            assert item.assets[key].extra_fields["proj:transform"] == list(cog.transform)[:6]
            assert cog.transform.a == pytest.approx(SIZES[grid])
            group = raw[f"Soil_Moisture_Retrieval_Data_{suffix}"]
            x, y = TO_GRID.transform(*(group[f"{n}_{suffix}"][10, 20].astype(float) for n in ("longitude", "latitude")))
            assert ~cog.transform * (x, y) == pytest.approx((18.5, 10.5), abs=0.1)


def test_the_latest_release_is_taken(tmp_path):
    write_day(tmp_path / L3)
    newer = tmp_path / L3.replace("R19240_001", "R19240_002")
    made = write_day(newer)
    made["AM"][0][:] += 0  # same layout, later number
    for names in ((L3, newer.name), (newer.name, L3)):
        catalog = new_catalog(tmp_path / "catalogs" / names[0])
        for name in names:
            ingest(catalog, "smap", [tmp_path / name])
        assert {item.properties["stac_sm:source"] for item in ingested(catalog, "smap")} == {newer.name}


def test_what_has_no_recommended_retrieval_is_left_out_and_said(tmp_path):
    write_scene(tmp_path / S1)
    with h5py.File(tmp_path / S1, "a") as file:
        for suffix in ("1km", "3km"):
            file[f"Soil_Moisture_Retrieval_Data_{suffix}/retrieval_qual_flag_{suffix}"][:] = 1
    catalog = new_catalog(tmp_path / "catalog")
    before = content(tmp_path / "catalog")
    (result,) = ingest(catalog, "smap-s1", [tmp_path / S1])
    assert (result.error, result.items) == (None, {})
    assert result.notes == (f"left out {S1.partition('_R18290')[0]}: no recommended retrieval in it",)
    assert content(tmp_path / "catalog") == before


def write_orbit(path, **kw):
    """SPL2SMP: cells in a list."""
    rng = np.random.default_rng(7)
    cells = rng.choice(EASE2_36KM.rows * EASE2_36KM.columns, 300, replace=False)
    rows, columns = np.divmod(cells, EASE2_36KM.columns)
    with h5py.File(path, "w") as file:
        times(file, "2015-08-11T01:30:02.239Z", "2015-08-11T02:23:23.652Z")
        write_group(file, "Soil_Moisture_Retrieval_Data", "", *retrievals(300), EASE2_36KM, rows, columns, **kw)
    return path


SPOILS = {
    "degrees": (lambda f: f["Soil_Moisture_Retrieval_Data/longitude"].__setitem__(0, 50.0), "cells from its rows"),
    "index outside": (lambda f: f["Soil_Moisture_Retrieval_Data/EASE_row_index"].__setitem__(0, 406), "rows to 406"),
    "no flag": (lambda f: f["Soil_Moisture_Retrieval_Data"].pop("retrieval_qual_flag"), "expected Soil_Moisture_Retr"),
    "no group": (lambda f: f.move("Soil_Moisture_Retrieval_Data", "Radar_Data"), "found Metadata, Radar_Data"),
    "no time": (lambda f: f["Metadata/Extent"].attrs.pop("rangeEndingDateTime"), "rangeEndingDateTime '' found"),
    "no true time": (
        lambda f: f["Metadata/Extent"].attrs.update({"rangeBeginningDateTime": "N/A"}), "'N/A' found, a time like",
    ),
    "turned time": (
        lambda f: f["Metadata/Extent"].attrs.update({"rangeBeginningDateTime": "2015-09-01T00:00:00Z"}),
        "before it begins",
    ),
    "percent": (lambda f: f["Soil_Moisture_Retrieval_Data/soil_moisture"].__setitem__(np.s_[:], 25.0), "from 25 to 25"),
    "unit": (
        lambda f: f["Soil_Moisture_Retrieval_Data/soil_moisture"].attrs.update({"units": "percent"}),
        "in 'percent' found",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", SPOILS)
def test_a_bad_file_is_named_and_leaves_no_trace(tmp_path, kind):
    spoil, message = SPOILS[kind]
    path = write_orbit(tmp_path / L2)
    catalog = new_catalog(tmp_path / "catalog")
    before = content(tmp_path / "catalog")
    with h5py.File(path, "a") as file:
        spoil(file)
    (result,) = ingest(catalog, "smap", [path])
    assert str(path) in str(result.error)
    assert message in result.error
    assert content(tmp_path / "catalog") == before


@pytest.mark.parametrize("share", [0, 0.3, 0.95])
def test_a_file_cut_off_is_named(tmp_path, share):
    path = write_orbit(tmp_path / L2)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    (result,) = ingest(new_catalog(tmp_path / "catalog"), "smap", [path])
    assert "no readable HDF5" in result.error


@pytest.mark.parametrize(("source", "name"), [("smap", S1), ("smap", "SMAP_L4_SM_gph_20150811.h5"), ("smap-s1", L2)])
def test_another_product_is_named(tmp_path, source, name):
    path = write_orbit(tmp_path / name)
    (result,) = ingest(new_catalog(tmp_path / "catalog"), source, [path])
    assert f"found the name {name}, expected one like SMAP_L2_SM_" in result.error


def test_a_day_on_another_grid_is_named(tmp_path):
    write_day(tmp_path / L3, EASE2_9KM)
    (result,) = ingest(new_catalog(tmp_path / "catalog"), "smap", [tmp_path / L3])
    assert "(1624, 3856) cells found, (406, 964) expected" in result.error


FILLS = ["none", np.array([-9999.0, -1.0]), np.nan, np.float32(0.25)]


@pytest.mark.parametrize("fill", FILLS, ids=str)
def test_a_fill_that_cannot_be_right_costs_the_attribute(tmp_path, fill):
    for name in ("good", "bad"):
        (tmp_path / name).mkdir()
    good, bad = write_orbit(tmp_path / "good" / L2), write_orbit(tmp_path / "bad" / L2)
    with h5py.File(bad, "a") as file:
        file["Soil_Moisture_Retrieval_Data/soil_moisture"].attrs["_FillValue"] = fill
    read = {}
    for path in (good, bad):
        catalog = new_catalog(path.parent / "catalog")
        (result,) = ingest(catalog, "smap", [path])
        assert (result.error, result.items) == (None, {"new": 1})
        (item,) = ingested(catalog, "smap")
        with rasterio.open(asset_href(item, "smap_sm")) as cog:
            read[path] = cog.read(1)
    assert np.array_equal(read[good], read[bad])
    why = item.properties["stac_sm:left_out"]["soil_moisture:_FillValue"]
    assert "expected a number outside 0 to 1; -9999 is taken" in why
    assert result.left_out == {item.id: {"soil_moisture:_FillValue": why}}


def test_a_bad_overpass_costs_no_other(tmp_path):
    made = write_day(tmp_path / L3)
    with h5py.File(tmp_path / L3, "a") as file:
        file["Soil_Moisture_Retrieval_Data_AM/soil_moisture"].attrs["units"] = "percent"
    catalog = new_catalog(tmp_path / "catalog")
    (result,) = ingest(catalog, "smap", [tmp_path / L3])
    assert "Soil_Moisture_Retrieval_Data_AM/soil_moisture of (406, 964) in 'percent' found" in result.error
    assert result.items == {"new": 1}
    (item,) = ingested(catalog, "smap")
    assert item.id.endswith(".PM")
    with rasterio.open(asset_href(item, "smap_sm")) as cog:
        assert np.array_equal(cog.read(1), recommended(*made["PM"]))


def test_a_bad_resolution_of_a_scene_costs_no_other(tmp_path, validate):
    made = write_scene(tmp_path / S1)
    with h5py.File(tmp_path / S1, "a") as file:
        file["Soil_Moisture_Retrieval_Data_3km/soil_moisture_3km"].attrs["units"] = "percent"
    catalog = new_catalog(tmp_path / "catalog")
    (result,) = ingest(catalog, "smap-s1", [tmp_path / S1])
    (item,) = ingested(catalog, "smap-s1")
    validate(item)
    assert list(item.assets) == ["smap_s1_sm"]
    assert "'percent' found" in item.properties["stac_sm:left_out"]["smap_s1_sm_3km"]
    assert "without its asset smap_s1_sm_3km" in result.error
    with rasterio.open(asset_href(item, "smap_s1_sm")) as cog:
        assert np.array_equal(cog.read(1), recommended(*made["1km"]))
