"""Files are known by what they hold: renamed, mixed with others, damaged; nothing is passed over."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import netCDF4
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from stac_sm.cli.main import main
from stac_sm.core.errors import InputError
from stac_sm.ingest.file_content import describe_file
from stac_sm.ingest.pipeline import ingest, ingest_sorted
from stac_sm.ingest.registry import create_provider, provider_classes
from stac_sm.ingest.sorting import sort_content, sort_files
from tests.support.examples import examples
from tests.support.hdf_files import albedo_fields, lst_fields, structure_of, write_fields
from tests.support.smap_files import write_day
from tests.support.source_files import (
    DATA,
    MOD11A1,
    content,
    ingested,
    new_catalog,
    real_data,
    write_cci,
    write_dem,
    write_lst,
    write_stm,
)

CUT = {"lat": np.arange(46.875, 42, -0.25), "lon": np.arange(3.125, 9, 0.25)}
SMAP = DATA / "smap_l2" / "SMAP_L2_SM_P_02801_A_20150811T013002_R18290_001.h5"


def core(name="", **values):
    """EOS core metadata as NASA writes them."""
    objects = {"LOCALGRANULEID": name, **values}
    return "GROUP = INVENTORYMETADATA\n" + "".join(
        f'  OBJECT = {key}\n    NUM_VAL = 1\n    VALUE = "{value}"\n  END_OBJECT = {key}\n'
        for key, value in objects.items()
        if value
    )


def with_core(path, text):
    from pyhdf.SD import SD, SDC

    file = SD(str(path), SDC.WRITE)
    file.attr("CoreMetadata.0").set(SDC.CHAR, text)
    file.end()
    return path


def one(path):
    (row,) = sort_files([path])
    return row


@pytest.fixture
def providers():
    return {name: create_provider(name) for name in provider_classes()}


@pytest.fixture
def mixed(tmp_path):
    """Inputs of several sources under names that say nothing, among other things."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    cci, *_ = write_cci(folder, **CUT)
    with netCDF4.Dataset(cci, "a") as data:
        data.title = "ESA CCI Surface Soil Moisture COMBINED active+passive Product"
    cci.rename(folder / "download")
    dem, _ = write_dem(folder, shape=(1200, 800))
    dem.rename(folder / "elevation (1).tif")
    stm = write_stm(folder / "NET")
    with zipfile.ZipFile(folder / "b3f2a9", "w") as archive:
        archive.write(stm, f"NET/Hill-1/{stm.name}")
    shutil.rmtree(folder / "NET")
    (folder / "notes.txt").write_text("fetched on Monday\n")
    (folder / "login.nc").write_text("<!DOCTYPE html><html>log in</html>")
    (folder / "empty.tif").write_bytes(b"")
    with netCDF4.Dataset(folder / "wind.nc", "w") as data:
        data.createDimension("time", 2)
        data.createVariable("u10", "f4", ("time",))[:] = 1
    return folder


def test_a_folder_of_anything_is_sorted_by_content_and_ingested(tmp_path, mixed):
    catalog = new_catalog(tmp_path / "catalog")
    seen = []
    results = ingest_sorted(catalog, [mixed], sorted_out=seen.extend)
    by_name = {Path(result.file).name: result for result in results}
    assert {name: (result.source, result.status) for name, result in by_name.items()} == {
        "download": ("esa-cci-sm", "new"),
        "elevation (1).tif": ("cop-dem", "new"),
        "b3f2a9": ("ismn", "new"),
        "notes.txt": ("", "unused"),
        "wind.nc": ("", "unused"),
        "login.nc": ("", "failed"),
        "empty.tif": ("", "failed"),
    }
    assert "web page found in place of data: log in" in by_name["login.nc"].error
    assert "0 bytes found" in by_name["empty.tif"].error
    assert "u10: no source takes it" in by_name["wind.nc"].taken_for
    assert {Path(row.file).name for row in seen} == set(by_name)
    assert {item.id for id in ("cop-dem", "ismn-stations") for item in ingested(catalog, id)} == {
        "Copernicus_DSM_COG_30_N46_00_E011_00",
        "NET.Hill-1",
    }
    before = content(tmp_path / "catalog")
    again = ingest_sorted(catalog, [mixed])
    assert {result.status for result in again} == {"done", "unused", "failed"}
    assert content(tmp_path / "catalog") == before


def test_the_command_says_file_by_file_what_it_took_each_for(tmp_path, mixed):
    run = CliRunner().invoke
    project = str(tmp_path / "p")
    assert run(main, ["init", project]).exit_code == 0
    done = run(main, ["ingest", str(mixed), "--project", project, "--workers", "1"])
    assert done.exit_code == 1  # two files pretend to be data
    for line in (
        f"{mixed}/download: esa-cci-sm: soil moisture of ESA CCI, combined product, by its content",
        f"{mixed}/notes.txt: not used: a text: no source takes it",
        f"{mixed}/login.nc: not used: a web page found in place of data",
        "new: 3 files, 3 items",
        "unused: 2 files",
        "2 of 7 files failed",
    ):
        assert line in done.output
    for bad in ("login.nc", "empty.tif"):
        (mixed / bad).unlink()
    done = run(main, ["ingest", "auto", str(mixed), "--project", project, "--workers", "1", "--json"])
    assert done.exit_code == 0
    rows = {Path(row["file"]).name: row for row in json.loads(done.stdout)}
    assert {name: row["status"] for name, row in rows.items()} == {
        "download": "done", "elevation (1).tif": "done", "b3f2a9": "done", "notes.txt": "unused", "wind.nc": "unused",
    }  # fmt: skip
    assert "no source takes it" in rows["wind.nc"]["taken_for"]


def test_members_of_an_archive_that_were_taken_for_the_same_are_one_line(tmp_path):
    files = [write_cci(tmp_path, f"2018070{day}", **CUT)[0] for day in (1, 2, 3)]
    archive = tmp_path / "days.zip"
    with zipfile.ZipFile(archive, "w") as whole:
        for file in files:
            whole.write(file, file.name)
        whole.writestr("cut.nc", files[0].read_bytes()[:3000])
    project = str(tmp_path / "p")
    assert CliRunner().invoke(main, ["init", project]).exit_code == 0
    done = CliRunner().invoke(main, ["ingest", str(archive), "--project", project, "--workers", "1"])
    lines = [line for line in done.stdout.splitlines() if line.startswith(str(archive))]
    assert len(lines) == 3, done.stdout
    assert f"{archive}, 3 files: esa-cci-sm: soil moisture of ESA CCI, combined product, by its content" in lines
    assert any(line.startswith(f"{archive}/cut.nc: ") for line in lines), "one that cannot be used by its name"


def test_a_source_finds_files_of_any_name_in_a_folder(tmp_path, mixed):
    catalog = new_catalog(tmp_path / "catalog")
    (result,) = ingest(catalog, "cop-dem", [mixed])
    assert (Path(result.file).name, result.status) == ("elevation (1).tif", "new")


@real_data
def test_a_granule_is_the_same_item_under_any_name(tmp_path, providers):
    for source, file in (("modis", MOD11A1), ("smap", SMAP)):
        renamed = tmp_path / "x.bin"
        shutil.copy(file, renamed)
        row = sort_content(describe_file(renamed), providers)
        assert (row.source, row.by_name, row.problem) == (source, False, "")
        found, expected = (list(providers[source].scan(path).granules) for path in (renamed, file))
        assert [granule.item for granule in found] == [granule.item for granule in expected]
        assert [granule.rank for granule in found] == [granule.rank for granule in expected]
        assert list(providers[source].claims(renamed)) == list(providers[source].claims(file))


@real_data
def test_a_name_that_contradicts_the_metadata_is_refused(tmp_path):
    wrong = tmp_path / MOD11A1.name.replace("2019305", "2019306")
    shutil.copy(MOD11A1, wrong)
    assert "its metadata say that it is MOD11A1.A2019305" in one(wrong).problem
    (result,) = ingest(new_catalog(tmp_path / "c"), "modis", [wrong])
    assert "one of the two is wrong" in result.error


@real_data
def test_another_product_of_modis_is_named_and_no_error(tmp_path):
    text = core("MOD13A1.A2019305.h14v09.061.2019306084028.hdf", SHORTNAME="MOD13A1")
    path = with_core(write_fields(tmp_path / "a.hdf", {"NDVI": (np.ones((1200, 1200), np.int16), {})}), text)
    row = one(path)
    assert row.source == "modis"
    assert "the product MOD13A1 found" in row.problem
    assert not row.is_input


def test_glass_is_known_by_its_fields_and_placed_by_its_metadata(tmp_path):
    path = write_lst(tmp_path)
    renamed = path.rename(tmp_path / "temperature.hdf")
    row = one(renamed)
    assert row.source == "glass-lst"
    assert "give it back its published name, like GLASS06A01.V01" in row.problem
    assert row.is_input
    with_core(renamed, core(SHORTNAME="GLASS06A01", VERSIONID="1", RANGEBEGINNINGDATE="2018-01-01",
                            PRODUCTIONDATETIME="2022-01-21T08:00:00.000Z"))  # fmt: skip
    row = one(renamed)
    assert (row.source, row.problem) == ("glass-lst", "")
    (granule,) = create_provider("glass-lst").scan(renamed).granules
    assert granule.item["id"] == "GLASS06A01.V01.A2018001.h18v04"


@real_data
def test_fields_count_more_than_names(tmp_path):
    albedo = write_fields(tmp_path / "GLASS06A01.V01.A2018001.h18v04.2022021.hdf", albedo_fields())
    assert one(albedo).source == "glass-albedo"
    lst = write_fields(
        tmp_path / "GLASS02A06.V40.A2018001.h18v04.2019021.hdf", lst_fields(), structure_of(lst_fields())
    )
    assert one(lst).source == "modis"


def test_a_damaged_file_goes_to_the_source_of_its_name_which_says_what_is_wrong(tmp_path):
    path = tmp_path / "GLASS06A01.V01.A2018001.h18v04.2022021.hdf"
    path.write_bytes(b"\x0e\x03\x13\x01" + bytes(100))
    row = one(path)
    assert (row.source, row.by_name, row.problem) == ("glass-lst", True, "")
    (result,) = ingest_sorted(new_catalog(tmp_path / "c"), [path])
    assert result.status == "failed"
    assert "no readable HDF4" in result.error


def test_series_of_other_variables_are_named_and_no_error(tmp_path):
    sm = write_stm(tmp_path / "NET")
    ts = sm.with_name(sm.name.replace("_sm_", "_ts_"))
    shutil.copy(sm, ts)
    csv = sm.with_name("NET_NET_Hill-1_static_variables.csv")
    csv.write_text("quantity_name;unit\n")
    other = shutil.copy(sm, sm.with_name("a.txt"))
    rows = {Path(row.file).name: row for row in sort_files([tmp_path])}
    assert rows[sm.name].usable
    assert "the variable ts found by its name, sm is required" in rows[ts.name].problem
    assert not rows[ts.name].is_input
    assert rows[csv.name].first == sm  # read with the series
    assert "give it back its published name" in rows[Path(other).name].problem
    assert rows[Path(other).name].is_input


def test_smap_of_a_day_without_name_is_refused_with_what_is_missing(tmp_path):
    write_day(tmp_path / "day.h5")
    row = one(tmp_path / "day.h5")
    assert row.source == "smap"
    assert "Metadata/DatasetIdentification/fileName" in row.problem


def test_maps_on_the_grid_of_a_dem_are_told_apart_by_their_names(tmp_path):
    write_dem(tmp_path, name="N46E011_FABDEM_V1-2.tif", shape=(1200, 800))
    row = one(tmp_path / "N46E011_FABDEM_V1-2.tif")
    assert (row.source, row.is_input) == ("", False)


def test_a_catalogue_below_the_folder_is_left_alone(tmp_path):
    catalog = new_catalog(tmp_path / "catalog")
    write_dem(tmp_path, shape=(1200, 800))
    ingest(catalog, "cop-dem", [tmp_path])
    assert not [row.file for row in sort_files([tmp_path]) if row.source and tmp_path / "catalog" in row.file.parents]


def test_a_path_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(InputError, match="/nowhere does not exist"):
        sort_files([tmp_path / "nowhere"])


@settings(max_examples=examples(60), deadline=None)
@given(st.binary(max_size=300), st.sampled_from([b"", b"PK\x03\x04", b"GRIB", b"CDF\x01", b"II*\0", b"\x0e\x03\x13\x01",
                                                 b"\x89HDF\r\n\x1a\n", b"<VRTDataset>"]))  # fmt: skip
def test_no_bytes_stop_the_sorting(tmp_path_factory, body, start):
    path = tmp_path_factory.mktemp("b") / "download"
    path.write_bytes(start + body)
    row = one(path)
    assert row.words


def test_archives_that_no_source_reads_are_unpacked_and_their_files_sorted(tmp_path):
    """The Climate Data Store sends daily images of C3S in a zip."""
    folder = tmp_path / "d"
    folder.mkdir()
    names = [f"C3S-SOILMOISTURE-L3S-SSMV-COMBINED-DAILY-2018060{n}000000-TCDR-v202212.0.0.nc" for n in (1, 2)]
    with zipfile.ZipFile(folder / "dataset-satellite-soil-moisture", "w") as archive:
        for number, name in enumerate(names, 1):
            path, *_ = write_cci(tmp_path, f"2018060{number}", name=name, **CUT)
            archive.write(path, f"x/{name}")
        archive.writestr("readme.txt", "words")
    catalog = new_catalog(tmp_path / "catalog")
    seen = []
    whole, *members = ingest_sorted(catalog, [folder], sorted_out=seen.extend)
    assert (whole.status, whole.error) == ("unused", None)
    assert "unpacked: its files are sorted one by one" in whole.taken_for
    assert [(one.file, one.status) for one in members] == [
        (f"{folder}/dataset-satellite-soil-moisture/x/{name}", "new") for name in names
    ]
    assert [str(row.file) for row in seen[1:]] == [one.file for one in members]
    assert [item.properties["stac_sm:source"] for item in ingested(catalog, "c3s-sm")] == names
    assert {one.status for one in ingest_sorted(catalog, [folder])} == {"unused", "done"}


def test_an_archive_that_cannot_be_unpacked_is_an_error(tmp_path):
    path = tmp_path / "download"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data_0.nc", b"CDF\x01" + bytes(range(256)) * 20)
    content = bytearray(path.read_bytes())
    content[60:90] = b"\xff" * 30
    path.write_bytes(content)
    (result,) = ingest_sorted(new_catalog(tmp_path / "c"), [path])
    assert result.status == "failed"
    assert "cannot be unpacked" in result.error


@real_data
def test_a_name_of_smap_that_contradicts_the_metadata_is_refused(tmp_path):
    wrong = tmp_path / SMAP.name.replace("20150811", "20150812")
    shutil.copy(SMAP, wrong)
    (result,) = ingest_sorted(new_catalog(tmp_path / "c"), [wrong])
    assert "its metadata say that it is SMAP_L2_SM_P_02801_A_20150811" in result.error
