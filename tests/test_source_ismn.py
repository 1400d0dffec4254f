"""ISMN: every reading of real archives in every layout, as the ismn package reads it; archives not to be trusted."""

from __future__ import annotations

import re
import shutil
import time
import warnings
import zipfile
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from source_files import CONUS, FLAT, FORMATS, HAWAII, asset_href, content, ingested, new_catalog, real_data, write_stm

from stac_sm.errors import GranuleError
from stac_sm.ingest import ingest
from stac_sm.items import check_id
from stac_sm.sources.ismn import Ismn, station_id
from stac_sm.sources.stm import SensorFile, parse

ARCHIVES = [
    HAWAII / "ismn_ceop_2017_2018.zip",
    FORMATS / "zip_archives/header/Data_seperate_files_header_20170810_20180809.zip",
    FORMATS / "zip_archives/ceop/Data_seperate_files_20170810_20180809.zip",
    FORMATS / "zip_archives/multinetwork/header_values/Data_header_values.zip",
]


def granules(path):
    return {granule.item["id"]: granule for granule in Ismn().scan(path).granules}


def table(granule):
    return granule.layers["series"].frame()


def judged(path, folder):
    """Soil moisture of an archive by the ismn package, which writes beside it: a copy is read."""
    copy = folder / path.name
    shutil.copytree(path, copy) if path.is_dir() else shutil.copy(path, copy)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ismn and its tqdm, not ours
        from ismn.interface import ISMN_Interface

        archive = ISMN_Interface(copy, parallel=False)
        found = {}
        for network, station, sensor in archive.collection.iter_sensors(variable="soil_moisture"):
            data = sensor.read_data().dropna(subset="soil_moisture")
            key = (network.name, station.name, sensor.instrument, sensor.depth.start, sensor.depth.end)
            found[key] = data[data["soil_moisture"] != -9999], station.lon, station.lat
    return found


@real_data
@pytest.mark.parametrize("path", [*ARCHIVES, CONUS / "folder"], ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_reading_of_real_archives_as_the_ismn_package_reads_them(tmp_path, path):
    catalog = new_catalog(tmp_path / "catalog")
    (*results,) = ingest(catalog, "ismn", [path])
    assert {result.status for result in results} == {"new"}
    items = {item.id: item for item in ingested(catalog, "ismn-stations")}
    expected = judged(path, tmp_path)
    assert set(items) == {station_id(network, station) for network, station, *_ in expected}
    seen = 0
    for (network, station, instrument, start, end), (data, lon, lat) in expected.items():
        item = items[station_id(network, station)]
        series = pd.read_parquet(asset_href(item, "series"))
        # old headers round the depth that ismn takes from them; ours is that of the file name
        near = (series["depth_from"] - start).abs().lt(0.005) & (series["depth_to"] - end).abs().lt(0.005)
        own = series[(series["sensor"] == instrument) & near]
        assert np.array_equal(own["time"], data.index)
        assert np.array_equal(own["sm"], data["soil_moisture"])
        assert own["flag"].tolist() == data["soil_moisture_flag"].tolist()
        assert item.geometry["coordinates"] == [lon, lat]
        assert item.properties["stac_sm:network"] == network
        assert item.properties["stac_sm:station"] == station
        seen += len(own)
    assert seen == sum(sensor["n"] for item in items.values() for sensor in item.properties["stac_sm:sensors"])


@real_data
def test_both_layouts_of_one_download_hold_the_same():
    files = (FORMATS.glob(f"format_{layout}/SMOSMANIA/*.stm") for layout in ("header_values", "ceop_sep"))
    header, ceop = (granules(file) for (file,) in files)  # lines end with a carriage return alone
    (name,) = header
    assert name == "SMOSMANIA.Narbonne"
    assert header[name].item == ceop[name].item
    pd.testing.assert_frame_equal(table(header[name]), table(ceop[name]))
    assert len(table(header[name])) > 700


@real_data
def test_depths_are_those_of_the_file_name_and_counts_those_of_the_file(tmp_path):
    found = granules(HAWAII / "ismn_ceop_2017_2018.zip")
    kainaliu = found["SCAN.Kainaliu"]
    assert len(kainaliu.item["properties"]["stac_sm:sensors"]) == 2
    assert set(table(kainaliu)["depth_to"]) == {0.0508}  # 0.05 inside the file
    with zipfile.ZipFile(HAWAII / "ismn_ceop_2017_2018.zip") as archive:
        names = [n for n in archive.namelist() if "SCAN_Kainaliu_sm" in n]
        lines = [line.split() for n in names for line in archive.read(n).splitlines()]
    flags = Counter(line[13].decode() for line in lines)
    assert kainaliu.item["properties"]["stac_sm:flags"] == dict(flags)
    good = sum(s["n_good"] for s in kainaliu.item["properties"]["stac_sm:sensors"])
    assert good == sum(line[13] == b"G" and float(line[12]) != -9999 for line in lines)


@real_data
def test_missing_readings_are_left_out_and_counted():
    (path,) = (CONUS / "folder/TxSON").rglob("*_sm_*.stm")
    (granule,) = granules(path).values()
    values = [float(line.split()[2]) for line in path.read_text().splitlines()[1:]]
    (sensor,) = granule.item["properties"]["stac_sm:sensors"]
    assert sensor["n_missing"] == values.count(-9999)
    assert sensor["n"] == len(table(granule)) == len(values) - values.count(-9999)
    assert table(granule)["sm"].min() > -1


@real_data
def test_a_flat_archive_with_commas_and_brackets_in_names():
    found = granules(FLAT)
    assert len(found) == 39
    names = {"TAHMO.CRIG-SoilMoistureStation1", "TAHMO.St.PetersRCJHS-St.JohnsRCJHS-Tuna", "OZNET.Dry-Lake"}
    assert names <= set(found)
    assert all(check_id(name) for name in found)
    with zipfile.ZipFile(FLAT) as archive:
        rows = sum(len(re.split(rb"[\r\n]+", archive.read(n).strip())) - 1 for n in archive.namelist())
    assert rows == sum(sum(g.item["properties"]["stac_sm:flags"].values()) for g in found.values())


@real_data
def test_an_archive_of_28_mb_takes_seconds():
    start = time.perf_counter()
    granules(HAWAII / "ismn_ceop_2017_2018.zip")
    assert time.perf_counter() - start < 5


@real_data
def test_ingest_twice_gives_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        ingest(new_catalog(tmp_path / name), "ismn", [CONUS / "folder"])
    one, two = (content(tmp_path / name) for name in ("one", "two"))
    assert sum(name.endswith(".parquet") for name in one) == 2
    assert one == two


def test_a_station_in_several_unpacked_files_is_one_item(tmp_path):
    folder = tmp_path / "NET" / "Hill-1"
    deep, top = write_stm(folder, depth=0.2), write_stm(folder, depth=0.05)
    other = write_stm(folder, "Hill-10")
    catalog = new_catalog(tmp_path / "catalog")
    for paths in ([tmp_path / "NET"], [deep, other]):
        results = ingest(catalog, "ismn", paths)
        assert [result.file for result in results][-1] == str(top)
        items = ingested(catalog, "ismn-stations")
        assert [item.id for item in items] == ["NET.Hill-1", "NET.Hill-10"]
        assert [s["depth_to"] for s in items[0].properties["stac_sm:sensors"]] == [0.05, 0.2]
    assert {result.status for result in results} == {"done"}
    write_stm(folder, depth=0.2, days=3)  # not the file that stands for the station
    assert sorted(result.status for result in ingest(catalog, "ismn", [top.parent])) == ["done", "replaced"]


@pytest.mark.parametrize(
    ("name", "station", "sensor"),
    [
        ("A_B_A_B_St_1_2_sm_0.050000_0.100000_Probe_X_(2.5)_20070101_20131231.stm", ("A_B", "St_1_2"), "Probe_X_(2.5)"),
        ("CSE_NET_St-1_sm_0.000000_0.050000_EC5_20070101_20131231.stm", ("NET", "St-1"), "EC5"),
        ("N_N_sm_1_sm_0.000000_0.050000_EC5_20070101_20131231.stm", ("N", "sm_1"), "EC5"),
    ],
)
def test_names_with_underscores(name, station, sensor):
    found = SensorFile.of(f"x/y/{name}")
    assert (found.network, found.station) == station
    assert found.sensor == sensor


@pytest.mark.parametrize(
    "name", ["N_N_S_ts_0.05_0.05_P_20070101_20131231.stm", "readme.txt", "N_N_S_sm_0.05_0.05_P_20079901_20131231.stm"]
)
def test_other_names_are_no_soil_moisture(name):
    assert SensorFile.of(name) is None


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\r", "\r"])
def test_any_line_end_and_order(end):
    lines = [
        "NET NET St_1 46.0 11.0 NaN 0.05 0.05 A probe",
        "2018/01/01 02:00 0.3 G M",
        "2018/01/01 00:00 0.1 C01,D03 ",
        "2018/01/01 01:00 -9999.0 M M",
        "2018/01/01 02:00 0.4 G M more words",
        "2018/01/01 03:00 NaN M M",
    ]
    found = parse(end.join(lines).encode() + end.encode(), "x.stm")
    assert (found.lon, found.lat, found.elevation) == (11.0, 46.0, None)
    assert found.frame["sm"].tolist() == pytest.approx([0.1, np.nan, 0.4, np.nan], nan_ok=True)
    assert found.frame["flag"].tolist() == ["C01,D03", "M", "G", "M"]


def test_a_station_without_a_single_value_is_an_item_with_an_empty_table(tmp_path):
    write_stm(tmp_path, values=[-9999] * 48, flags=["M"] * 48)
    catalog = new_catalog(tmp_path / "catalog")
    ingest(catalog, "ismn", [tmp_path])
    (item,) = ingested(catalog, "ismn-stations")
    assert item.properties["stac_sm:sensors"][0]["n_missing"] == 48
    assert item.properties["end_datetime"] == "2019-01-01T23:59:59Z"
    series = pd.read_parquet(asset_href(item, "series"))
    assert list(series.columns) == ["time", "sensor", "depth_from", "depth_to", "sm", "flag"]
    assert len(series) == 0
    assert series["time"].dtype == "datetime64[ns]"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("01:00 0.2 G M", "01:00 0.2"), "value 2 has no time or no quality flag"),
        (lambda text: text[:-12], "is the file complete"),
        (lambda text: text.replace("2018/01/01 05:00", "2018/13/01 05:00"), "is the file complete"),
        (lambda text: text.replace("0.2", "wet", 3), "not date, time, value, flag"),
        (lambda text: text.replace("46.00000", "north"), "wanted one of header_values or ceop_sep"),
        (lambda text: text.replace("46.00000", "146.00000"), "wanted degrees"),
    ],
)
def test_a_broken_station_is_named_and_the_others_are_ingested(tmp_path, change, message):
    source = tmp_path / "files"
    bad = write_stm(source, "Bad")
    bad.write_text(change(bad.read_text()))
    write_stm(source, "Good")
    archive = tmp_path / "Data.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in source.iterdir():
            file.write(path, f"NET/{path.name}")
    for name, paths in (("zip", [archive]), ("folder", [source])):
        catalog = new_catalog(tmp_path / name)
        (failed,) = [result for result in ingest(catalog, "ismn", paths) if result.status == "failed"]
        assert message in failed.error
        assert "_Bad_sm_" in failed.error
        assert [item.id for item in ingested(catalog, "ismn-stations")] == ["NET.Good"]


def test_files_that_place_a_station_apart_are_named(tmp_path):
    path = write_stm(tmp_path, depth=0.2)
    path.write_text(path.read_text().replace("46.00000", "46.20000"))
    write_stm(tmp_path)
    with pytest.raises(GranuleError, match=r"places its station at 11.0, 46.0, .* at 11.0, 46.2"):
        granules(path)


def archive_of(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


GOOD_NAME = "NET_NET_Hill_sm_0.050000_0.050000_P_20180101_20190101.stm"


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({f"../{GOOD_NAME}": "x"}, "leaves the archive"),
        ({f"a/../../{GOOD_NAME}": "x"}, "leaves the archive"),
        ({f"/etc/{GOOD_NAME}": "x"}, "leaves the archive"),
        ({f"C:\\{GOOD_NAME}": "x"}, "leaves the archive"),
        ({GOOD_NAME: "0" * 30_000_000}, "a ratio of 200"),
        ({"a.txt": "x"}, "found 1 file.s., none of soil moisture"),
        ({f"NET/{GOOD_NAME}".replace("Hill", "H,1"): "x", GOOD_NAME.replace("Hill", "H(1"): "x"}, "have one id"),
    ],
)
def test_an_archive_that_is_not_from_the_ismn_is_refused(tmp_path, members, message):
    with pytest.raises(GranuleError, match=message):
        Ismn().scan(archive_of(tmp_path / "Data.zip", members))


def test_a_damaged_archive_is_an_error(tmp_path):
    stm = write_stm(tmp_path)
    path = archive_of(tmp_path / "Data.zip", {stm.name: stm.read_text(), "x.txt": "x"})
    content = bytearray(path.read_bytes())
    content[200] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(GranuleError, match="cannot be unpacked"):
        granules(path)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(GranuleError, match="no readable zip"):
        granules(path)
