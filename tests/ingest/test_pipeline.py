"""Ingest: nothing is done twice, a changed file replaces its item, a bad file stops only itself."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import warnings
from pathlib import Path

import h5py
import netCDF4
import numpy as np
import pandas as pd
import pystac
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stac_sm.core.errors import InputError
from stac_sm.ingest import pipeline
from stac_sm.ingest.formats.ease_grid import EASE2_36KM
from stac_sm.ingest.pipeline import ingest
from stac_sm.ingest.provider_interface import Provider, content_hash
from stac_sm.ingest.registry import create_provider, provider_classes
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.workflows.audit import audit
from tests.support.examples import examples
from tests.support.smap_files import retrievals, times, write_group
from tests.support.source_files import (
    ERA5_LAND,
    asset_href,
    content,
    ingested,
    new_catalog,
    positions,
    real_data,
    write_cci,
    write_dem,
    write_lai,
    write_lst,
    write_stm,
)

CUT = {"lat": np.arange(46.875, 42, -0.25), "lon": np.arange(3.125, 9, 0.25)}


@pytest.fixture
def granules(tmp_path):
    """A folder with one granule of every source that has small ones."""
    folder = tmp_path / "granules"
    folder.mkdir()
    write_lst(folder)
    write_lai(folder)
    write_dem(folder)
    write_cci(folder, **CUT)
    write_stm(folder / "NET")
    return folder


SOURCES = {
    "cop-dem": "cop-dem",
    "esa-cci-sm": "esa-cci-sm",
    "glass-lai": "glass-lai",
    "glass-lst": "glass-lst",
    "ismn": "ismn-stations",
}


def ingest_all(catalog, folder, **kw):
    return {name: ingest(catalog, name, [folder], **kw) for name in SOURCES}


def test_every_source_has_a_collection_in_the_skeleton(tmp_path):
    catalog = new_catalog(tmp_path)
    table = provider_classes()
    assert {*SOURCES, "era5-land"} <= set(table)
    for name in table:
        made: Provider = create_provider(name)
        for id in getattr(made, "collections", None) or [made.collection]:
            assert set(catalog.collection(id)["item_assets"])
        assert made.patterns


def test_the_same_files_twice_change_nothing(tmp_path, granules):
    catalog = new_catalog(tmp_path / "catalog")
    first = ingest_all(catalog, granules)
    before = content(tmp_path / "catalog")
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "catalog").rglob("*")}
    again = ingest_all(open_catalog(tmp_path / "catalog"), granules)
    assert {result.status for results in first.values() for result in results} == {"new"}
    assert {result.status for results in again.values() for result in results} == {"done"}
    assert content(tmp_path / "catalog") == before
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "catalog").rglob("*")} == stamps


def test_another_catalogue_and_another_folder_get_the_same_bytes(tmp_path, granules):
    ingest_all(new_catalog(tmp_path / "one"), granules)
    granules = granules.rename(tmp_path / "elsewhere")
    ingest_all(new_catalog(tmp_path / "two"), granules)
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_two_workers_make_what_one_makes(tmp_path):
    folder = tmp_path / "granules"
    folder.mkdir()
    for day in ("20180601", "20180602", "20180603", "20180604"):
        write_cci(folder, day, **CUT)
    bad = folder / "ESACCI-SOILMOISTURE-L3S-SSMV-COMBINED-20180605000000-fv08.1.nc"
    bad.write_text("no NetCDF")
    results = {n: ingest(new_catalog(tmp_path / str(n)), "esa-cci-sm", [folder], workers=n) for n in (1, 2)}
    assert results[1] == results[2]
    assert [result.status for result in results[2]] == ["new"] * 4 + ["failed"]
    assert content(tmp_path / "1") == content(tmp_path / "2")


def test_a_changed_file_replaces_its_item_when_asked_to(tmp_path):
    catalog = new_catalog(tmp_path / "catalog")
    path = write_lst(tmp_path)
    ingest(catalog, "glass-lst", [path])
    (before,) = ingested(catalog, "glass-lst")
    write_lst(tmp_path, seed=17)
    (result,) = ingest(catalog, "glass-lst", [path])
    assert result.status == "failed"
    assert re.search(
        rf"in the catalogue it is from {path.name} \(SHA-256 .{{8}}…\), here from {path.name} \(SHA-256 .{{8}}…\): "
        "they differ in lst, and nothing states which is newer; leave the wrong one out, or let the new one take its "
        "place with --replace",
        result.error,
    )
    assert [item.to_dict() for item in ingested(catalog, "glass-lst")] == [before.to_dict()]
    (result,) = ingest(catalog, "glass-lst", [path], replace=True)
    (after,) = ingested(catalog, "glass-lst")
    assert result.status == "replaced"
    assert after.id == before.id
    assert asset_href(after, "lst") != asset_href(before, "lst")
    with rasterio.open(asset_href(before, "lst")) as old, rasterio.open(asset_href(after, "lst")) as new:
        assert np.array_equal(new.read(1)[0, :3], [28018, 28021, 28024])
        assert np.array_equal(old.read(1)[0, :3], [28004, 28007, 28010])


def test_other_settings_replace_the_item(tmp_path):
    values = np.full((1, 24, 3, 2), 0.2)[0]
    path = tmp_path / "era.nc"
    with netCDF4.Dataset(path, "w") as file:
        axes = {"valid_time": np.arange(24), "latitude": [46.0, 45.9, 45.8], "longitude": [11.0, 11.1]}
        for name, axis in axes.items():
            file.createDimension(name, len(axis))
            file.createVariable(name, "f8", (name,))[:] = axis
        file["valid_time"].units = "hours since 2018-01-01"
        file.createVariable("swvl1", "f4", tuple(axes))[:] = values
    catalog = new_catalog(tmp_path / "catalog")
    statuses = [
        ingest(catalog, "era5-land", [path], settings=settings)[0].status
        for settings in (None, {"min_hours": 12}, {"min_hours": 12})
    ]
    assert statuses == ["new", "replaced", "done"]


def test_a_bad_file_is_named_and_the_others_are_done(tmp_path):
    folder = tmp_path / "granules"
    folder.mkdir()
    good = [write_dem(folder, f"Copernicus_DSM_COG_30_N{lat}_00_E011_00_DEM.tif", (lat, 11))[0] for lat in (45, 46)]
    bad = folder / "Copernicus_DSM_COG_30_N47_00_E011_00_DEM.tif"
    bad.write_bytes(good[0].read_bytes()[:500])
    seen = []
    catalog = new_catalog(tmp_path / "catalog")
    results = ingest(catalog, "cop-dem", [folder], progress=lambda result, total: seen.append((result.file, total)))
    assert [result.status for result in results] == ["new", "new", "failed"]
    assert str(bad) in results[2].error
    assert sorted(seen) == [(str(path), 3) for path in [*good, bad]]
    assert len(ingested(catalog, "cop-dem")) == 2


def test_what_a_half_bad_file_gave_is_linked(tmp_path):
    write_stm(tmp_path / "files", "Bad").write_text("nothing\n")
    write_stm(tmp_path / "files", "Good")
    import zipfile

    with zipfile.ZipFile(tmp_path / "Data.zip", "w") as archive:
        for path in (tmp_path / "files").iterdir():
            archive.write(path, path.name)
    catalog = new_catalog(tmp_path / "catalog")
    (result,) = ingest(catalog, "ismn", [tmp_path / "Data.zip"])
    assert (result.status, result.items) == ("failed", {"new": 1})
    assert [item.id for item in ingested(catalog, "ismn-stations")] == ["NET.Good"]


def test_what_does_not_exist_or_fit_is_refused(tmp_path):
    catalog = new_catalog(tmp_path / "catalog")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="does not exist: name files or folders that hold GLASS06A01"):
        ingest(catalog, "glass-lst", [tmp_path / "none"])
    with pytest.raises(InputError, match="holds no file like"):
        ingest(catalog, "glass-lst", [tmp_path / "empty"])
    with pytest.raises(InputError, match="source 'glass' is unknown: known are cop-dem, "):
        ingest(catalog, "glass", [tmp_path])
    with pytest.raises(InputError, match=r"\[sources.glass-lst\].*unexpected keyword argument 'band'"):
        ingest(catalog, "glass-lst", [tmp_path], settings={"band": 1})


def test_siblings_of_a_granule_are_passed_over(tmp_path):
    path = write_lst(tmp_path)
    for end in (".xml", ".jpg"):
        Path(f"{path}{end}").write_text("x")
    (result,) = ingest(new_catalog(tmp_path / "catalog"), "glass-lst", [tmp_path])
    assert result.file == str(path)


def test_the_hash_of_a_station_changes_with_any_of_its_files(tmp_path):
    top, deep = write_stm(tmp_path), write_stm(tmp_path, depth=0.2)
    hashes = [content_hash(create_provider("ismn"), top)]
    assert content_hash(create_provider("ismn"), deep) == hashes[0]
    deep.write_text(deep.read_text() + "2018/02/01 00:00 0.3 G M\n")
    assert content_hash(create_provider("ismn"), top) not in hashes


def test_items_are_stac_that_others_can_read(tmp_path, granules):
    catalog = new_catalog(tmp_path / "catalog")
    ingest_all(catalog, granules)
    outside = pystac.Catalog.from_file(str(tmp_path / "catalog" / "catalog.json"))
    items = {item.collection_id: item for item in outside.get_items(recursive=True)}
    assert set(items) == set(SOURCES.values())
    for item in items.values():
        assert item.to_dict()["stac_version"] == "1.1.0"
        assert item.properties["stac_sm:source"]
        assert item.get_parent() is not None
        for asset in item.assets.values():
            file = Path(asset.get_absolute_href())
            assert asset.extra_fields["file:size"] == file.stat().st_size
    series = pd.read_parquet(items["ismn-stations"].assets["series"].get_absolute_href())
    assert series.dtypes.astype(str).to_dict() == {
        "time": "datetime64[ns]", "sensor": "object", "depth_from": "float64", "depth_to": "float64", "sm": "float64",
        "flag": "object",
    }  # fmt: skip
    assert json.dumps(items["ismn-stations"].geometry) == '{"type": "Point", "coordinates": [11.0, 46.0]}'
    for item in items.values():
        for key, asset in item.assets.items():
            if asset.media_type.startswith("image/tiff"):
                check_raster(item, key, asset)


def check_raster(item, key, asset):
    """GDAL and the item agree."""
    (band,) = asset.extra_fields["bands"]
    with rasterio.open(asset.get_absolute_href()) as cog:
        assert cog.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert list(cog.shape) == item.properties["proj:shape"]
        assert list(cog.transform)[:6] == item.properties["proj:transform"]
        assert (cog.nodata, cog.dtypes[0]) == (band["nodata"], band["data_type"])
        assert (cog.scales[0], cog.offsets[0]) == (band.get("raster:scale", 1.0), band.get("raster:offset", 0.0))
        assert band["name"] == key


@real_data
def test_a_real_file_of_several_days_is_resumed_where_it_stopped(tmp_path):
    catalog = new_catalog(tmp_path / "catalog")
    ingest(catalog, "era5-land", [ERA5_LAND])
    before = content(tmp_path / "catalog")
    lost = next((tmp_path / "catalog").rglob("ERA5L.A2020156*/ERA5L*.json"))
    lost.unlink()
    (result,) = ingest(open_catalog(tmp_path / "catalog"), "era5-land", [ERA5_LAND])
    assert result.items == {"new": 1, "done": 6}
    assert content(tmp_path / "catalog") == before


@real_data
def test_rioxarray_reads_what_netcdf4_reads(tmp_path):
    import rioxarray

    catalog = new_catalog(tmp_path / "catalog")
    ingest(catalog, "era5-land", [ERA5_LAND])
    item = ingested(catalog, "era5-land")[0]
    with rioxarray.open_rasterio(asset_href(item, "swvl1"), masked=True) as cog, netCDF4.Dataset(ERA5_LAND) as raw:
        rows, columns = positions(cog.shape[1:])
        for row, column in zip(rows, columns, strict=True):
            i = np.abs(raw["latitude"][:] - float(cog.y[row])).argmin()
            j = np.abs(raw["longitude"][:] - float(cog.x[column])).argmin()
            wanted = np.ma.filled(raw["swvl1"][:24, i, j].astype(np.float64), np.nan).mean()
            np.testing.assert_allclose(float(cog[0, row, column]), wanted, rtol=1e-6)
        limits = item.assets["swvl1"].extra_fields["bands"][0]["statistics"]  # by which maps choose their colours
        assert (limits["minimum"], limits["maximum"]) == pytest.approx((float(cog.min()), float(cog.max())), abs=1e-4)


SMAP_GROUP = "Soil_Moisture_Retrieval_Data"
JUNK = ["junk", "", [1.0, 2.0], float("nan"), float("inf"), b"\xff\xfe"]
ATTRIBUTES = (
    "units",
    "scale_factor",
    "add_offset",
    "_FillValue",
    "missing_value",
    "standard_name",
    "long_name",
    "date_created",
    "grid_mapping",
)  # fmt: skip
OPTIONAL = {
    "esa-cci-sm": {"sm_uncertainty": "cci_sm_uncertainty"},
    "era5-land": {"stl1": "stl1", "sd": "sd"},
    "smap": {},
}
"""Variables by source that an item is complete without, and the assets that they become."""


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A small granule of each source, the variables in it, and the pixels that it gives by item and asset."""
    folder = tmp_path_factory.mktemp("sound")
    cci, *_ = write_cci(folder, **CUT)
    with netCDF4.Dataset(cci, "a") as file:
        file.createVariable("sm_uncertainty", "f4", ("time", "lat", "lon"), fill_value=-9999.0)[:] = 0.05
        file["sm_uncertainty"].units = file["sm"].units = "m3 m-3"
    era5 = write_era5_day(folder / "era5.nc")
    smap = write_smap_orbit(folder)
    files = {"esa-cci-sm": (cci, ("sm", "sm_uncertainty", "flag")), "era5-land": (era5, ("swvl1", "stl1", "sd")),
             "smap": (smap, (f"{SMAP_GROUP}/soil_moisture", f"{SMAP_GROUP}/retrieval_qual_flag"))}  # fmt: skip
    return {source: (*of, pixels_of(folder / source, source, of[0])[1]) for source, of in files.items()}


def write_era5_day(path):
    with netCDF4.Dataset(path, "w") as file:
        axes = {"valid_time": np.arange(24.0), "latitude": np.array([46.1, 46.0]), "longitude": np.array([11.0, 11.1])}
        for name, axis in axes.items():
            file.createDimension(name, len(axis))
            file.createVariable(name, "f8", (name,))[:] = axis
        file["valid_time"].units = "hours since 2018-01-01"
        for name, unit, value in (("swvl1", "m**3 m**-3", 0.25), ("stl1", "K", 280.0), ("sd", "m", 0.125)):
            file.createVariable(name, "f4", tuple(axes), fill_value=-1e30)[:] = value
            file[name].units = unit
    return path


def write_smap_orbit(folder):
    path = folder / "SMAP_L2_SM_P_02801_A_20150811T013002_R18290_001.h5"
    rows, columns = np.divmod(np.arange(300) + 150_000, EASE2_36KM.columns)
    with h5py.File(path, "w") as file:
        times(file, "2015-08-11T01:30:02.239Z", "2015-08-11T02:23:23.652Z")
        write_group(file, SMAP_GROUP, "", *retrievals(300), EASE2_36KM, rows, columns)
    return path


def pixels_of(folder, source, path):
    """Result of an ingest into a new catalogue, and the pixels by item and asset."""
    catalog = new_catalog(folder)
    (result,) = ingest(catalog, source, [path])
    found = {}
    for item in ingested(catalog, {"smap": "smap"}.get(source, source)):
        for key in item.assets:
            with rasterio.open(asset_href(item, key)) as cog:
                found[item.id, key] = cog.read(1)
        assert result.left_out.get(item.id, {}) == item.properties.get("stac_sm:left_out", {})
    return result, found


@settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), source=st.sampled_from(sorted(OPTIONAL)))
def test_one_bad_attribute_of_a_granule_costs_one_value_and_is_named(sound, data, source):
    path, variables, expected = sound[source]
    variable = data.draw(st.sampled_from(variables))
    attribute, value = data.draw(st.sampled_from(ATTRIBUTES)), data.draw(st.sampled_from(JUNK))
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library, on attributes that it ignores
        copy = Path(shutil.copy(path, scratch))
        with h5py.File(copy, "a") as file:
            file[variable].attrs[attribute] = value
        result, found = pixels_of(Path(scratch, "catalog"), source, copy)
    own = OPTIONAL[source].get(variable)
    for place, pixels in expected.items():
        if place in found:
            assert np.array_equal(found[place], pixels)
        elif own is not None:  # of an optional variable: it alone is lost
            assert place[1] == own
            assert own in result.left_out[place[0]]
            assert f"without its asset {own}" in result.error
        else:  # of the variable itself: the file is refused, and says why
            assert variable.rpartition("/")[2] in result.error
            assert not found


def test_what_was_published_before_an_error_is_found(tmp_path, granules):
    """Whatever ends it, such as Ctrl-C while a result is shown."""
    catalog = new_catalog(tmp_path / "p")

    def ended(result, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest(catalog, "cop-dem", [granules], progress=ended)
    assert len(ingested(catalog, "cop-dem")) == 1


def test_what_an_ingest_left_that_was_ended_before_it_linked_is_linked_by_the_next(tmp_path, granules, monkeypatch):
    """Nothing has to be made then: each file is done."""
    catalog = new_catalog(tmp_path / "p")

    def ended(store, collection):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "refresh", ended)
        with pytest.raises(KeyboardInterrupt):
            ingest(catalog, "cop-dem", [granules])
    assert ingested(catalog, "cop-dem") == []
    assert [result.status for result in ingest(catalog, "cop-dem", [granules])] == ["done"]
    assert len(ingested(catalog, "cop-dem")) == 1
    assert audit(open_catalog(catalog.root), collections=["cop-dem"]) == []
