"""What a file holds is described by its header, and never by its name."""

from __future__ import annotations

import shutil
import tarfile
import zipfile

import pytest

from stac_sm.ingest.file_content import describe_file, files_below, metadata_value
from tests.support.source_files import DATA, ERA5_LAND, MOD11A1, real_data, write_cci, write_dem

REAL = {
    MOD11A1: ("HDF4", "LST_Day_1km"),
    ERA5_LAND: ("NetCDF", "swvl1"),
    DATA / "era5" / "ERA5_AN_20100101_0000.grb": ("GRIB", "SWVL1"),
    DATA / "smap_l2" / "SMAP_L2_SM_P_02801_A_20150811T013002_R18290_001.h5": (
        "HDF5",
        "Soil_Moisture_Retrieval_Data/soil_moisture",
    ),
}


@real_data
@pytest.mark.parametrize("file", REAL, ids=lambda file: file.suffix)
def test_real_files_are_described_whatever_they_are_called(tmp_path, file):
    kind, variable = REAL[file]
    copy = shutil.copy(file, tmp_path / "download")
    found = describe_file(copy)
    assert (found.kind, found.problem) == (kind, "")
    assert variable in found.variables


def test_grids_and_members(tmp_path):
    cci, *_ = write_cci(tmp_path)
    dem, _ = write_dem(tmp_path, shape=(1200, 800))
    found = describe_file(cci)
    assert found.step == 0.25
    assert found.is_field("sm")
    assert not found.is_field("time")
    raster = describe_file(dem).raster
    assert (raster.shape, raster.dtypes, raster.epsg) == ((1200, 800), ("float32",), 4326)
    with zipfile.ZipFile(tmp_path / "a", "w") as archive:
        archive.write(dem, "x/dem.tif")
        archive.writestr("__MACOSX/x/._dem.tif", "")
    with tarfile.open(tmp_path / "b", "w:gz") as archive:
        archive.add(dem, "dem.tif")
    assert [describe_file(tmp_path / name).members for name in "ab"] == [("x/dem.tif",), ("dem.tif",)]


def test_core_metadata_are_read_object_by_object():
    text = 'OBJECT = A\n NUM_VAL = 1\nEND_OBJECT = A\nOBJECT = AB\n VALUE = "2"\nEND_OBJECT = AB\n'
    assert [metadata_value(text, name) for name in ("A", "AB", "B")] == ["", "2", ""]


def test_hidden_folders_and_collections_are_left_alone_and_a_store_is_one_file(tmp_path):
    for name in ("a/x.nc", ".git/x.nc", "c/collection.json", "c/2019/x.tif", "s.zarr/swvl1/0.0", "t/zarr.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [str(file.relative_to(tmp_path)) for file in files_below(tmp_path)] == ["s.zarr", "t", "a/x.nc"]
