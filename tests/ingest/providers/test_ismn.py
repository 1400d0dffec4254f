"""ISMN: every reading of real archives in every layout, as the ismn package reads it, and what it says of the ground;
stations in two archives; archives not to be trusted."""

from __future__ import annotations

import json
import re
import shutil
import time
import warnings
import zipfile
from collections import Counter

import jsonschema
import numpy as np
import pandas as pd
import pytest

from stac_sm.core.errors import GranuleError
from stac_sm.ingest.formats.stm import SensorFile, parse_stm
from stac_sm.ingest.pipeline import ingest
from stac_sm.ingest.provider_interface import TableLayer
from stac_sm.ingest.providers.ismn import Ismn, station_id
from stac_sm.ingest.providers.ismn_static import static_properties
from stac_sm.stac.items import check_id
from stac_sm.stac.links import skeleton_folder
from tests.support.source_files import (
    CONUS,
    FLAT,
    FORMATS,
    HAWAII,
    asset_href,
    content,
    ingested,
    new_catalog,
    real_data,
    write_stm,
)

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


@pytest.mark.alone
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
    found = parse_stm(end.join(lines).encode() + end.encode(), "x.stm")
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
        (lambda text: text.replace("46.00000", "north"), "expected one of header_values or ceop_sep"),
        (lambda text: text.replace("46.00000", "146.00000"), "expected degrees"),
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


def test_sensors_below_the_layer_of_the_product_are_counted_in_the_result(tmp_path):
    """They are ingested, since a project may count them; 2 inches are 5 cm."""
    files = [write_stm(tmp_path / "files", "Hill", depth=depth) for depth in (0.05, 0.0508, 0.2)]
    shallow = write_stm(tmp_path / "shallow", "Dale", depth=0.05)
    archive = archive_of(tmp_path / "Data.zip", {f"NET/{file.name}": file.read_text() for file in files})
    for number, path in enumerate((archive, files[0])):
        (result,) = ingest(new_catalog(tmp_path / str(number)), "ismn", [path])
        assert result.notes == (
            "1 of 3 sensors end deeper than 0.05 m: they are kept, and match-ups leave them out unless max_depth of "
            "[stations] in the project file says so",
        )
    (result,) = ingest(new_catalog(tmp_path / "c"), "ismn", [shallow])
    assert result.notes == ()


def archive_of(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)  # of no time
    return path


def test_a_series_with_a_day_that_does_not_exist_costs_no_other_and_is_no_other_variable(tmp_path):
    stm = write_stm(tmp_path / "source")
    members = {f"NET/{name}": stm.read_text() for name in (stm.name, stm.name.replace("20180101", "20181399"))}
    members["NET/NET_NET_Hill-1_ts_0.05_0.05_P_20180101_20190101.stm"] = "x"
    catalog = new_catalog(tmp_path / "catalog")
    (result,) = ingest(catalog, "ismn", [archive_of(tmp_path / "Data.zip", members)])
    assert [item.id for item in ingested(catalog, "ismn-stations")] == ["NET.Hill-1"]
    assert "_20181399_20190101.stm: its name has day 20181399, which does not exist" in result.error
    assert result.notes == ("1 files of other variables than soil moisture left out",)


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


STATIC_ARCHIVES = [ARCHIVES[0], HAWAII / "ismn_header_2005_2025.zip", ARCHIVES[1], ARCHIVES[2], CONUS / "folder"]
SOIL = ("clay_fraction", "sand_fraction", "silt_fraction", "organic_carbon", "saturation")


def judged_ground(path, folder):
    """Static variables of every station by the ismn package, from all of its csv."""
    copy = folder / path.name
    shutil.copytree(path, copy) if path.is_dir() else shutil.copy(path, copy)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ismn.filehandlers import StaticMetaFile
        from ismn.interface import ISMN_Interface

        archive = ISMN_Interface(copy, parallel=False)
        root, found = archive.root, {}
        for network, station, sensor in archive.collection.iter_sensors(variable="soil_moisture"):
            (csv,) = root.find_files(sensor.filehandler.file_path.parent, "*.csv")
            found[station_id(network.name, station.name)] = StaticMetaFile(root, csv).metadata
        archive.close_files()
    return found


@real_data
@pytest.mark.parametrize("path", STATIC_ARCHIVES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_ground_of_real_stations_as_the_ismn_package_reads_it(tmp_path, path):
    catalog = new_catalog(tmp_path / "catalog")
    ingest(catalog, "ismn", [path])
    items = {item.id: item.properties for item in ingested(catalog, "ismn-stations")}
    expected = judged_ground(path, tmp_path)
    assert set(items) == set(expected)
    own = jsonschema.Draft7Validator(json.loads((skeleton_folder() / "schema.json").read_text()))
    for id, metadata in expected.items():
        properties, judge = items[id], metadata.to_dict()
        assert properties["stac_sm:land_cover"] == judge["lc_2010"][0][0]
        if judge["climate_KG"][0][0] != "masked":
            assert properties["stac_sm:climate"] == judge["climate_KG"][0][0]
        assert "stac_sm:climate_insitu" not in properties
        found = {
            (name, layer[name], layer.get("depth_from", -99.9), layer.get("depth_to", -99.9))
            for layer in properties["stac_sm:soil"]
            for name in SOIL
            if name in layer
        }
        assert found == {(name, *quantity) for name in SOIL for quantity in judge[name]}
        own.validate({"properties": properties})


CSV_HEADER = "quantity_name;unit;depth_from[m];depth_to[m];value;description;quantity_source_name;"
CSV = (
    f"{CSV_HEADER}\n"
    "clay fraction;% weight;0.00;0.30;24.00;;HWSD;\n"
    "sand fraction;% weight;0.00;0.30;47.00;;HWSD;\n"
    "clay fraction;% weight;0.30;1.00;34.00;;HWSD;\n"
    "organic carbon;% weight;-99.90;-99.90;0.59;;insitu;\n"
    "saturation;m^3*m^-3;0.00;0.30;-99.90;;HWSD;\n"
    "land cover classification;;;;130;Grassland;CCI_landcover_2005;\n"
    "land cover classification;;;;10;Cropland, rainfed;CCI_landcover_2010;\n"
    "land cover classification;;;;Pasture;;insitu;\n"
    "climate classification;;;;masked;No record;koeppen_geiger_2007;\n"
    "climate classification;;;;BWk;Arid;koeppen_geiger_2017;\n"
    "climate classification;;;;Alpine;;insitu;\n"
    "altitude of the owner;m;;;3;;insitu;\n"
)
GROUND = {
    "stac_sm:climate": "BWk",
    "stac_sm:climate_insitu": "Alpine",
    "stac_sm:land_cover": 10,
    "stac_sm:land_cover_name": "Cropland, rainfed",
    "stac_sm:land_cover_insitu": "Pasture",
    "stac_sm:soil": [
        {"depth_from": 0.0, "depth_to": 0.3, "clay_fraction": 24.0, "sand_fraction": 47.0, "source": "HWSD"},
        {"depth_from": 0.3, "depth_to": 1.0, "clay_fraction": 34.0, "source": "HWSD"},
        {"organic_carbon": 0.59, "source": "insitu"},
    ],
}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_static_variables_in_any_text(end, encoding):
    content = f"{CSV}land cover classification;;;;0;No data é;CCI_landcover_2000;\n".replace("\n", end).encode(encoding)
    assert static_properties(content, "x.csv") == (GROUND, {})


def test_static_variables_without_a_header_or_without_a_value():
    assert static_properties(CSV[CSV.index("\n") + 1 :].encode(), "x.csv") == (GROUND, {})
    assert static_properties(f"{CSV_HEADER}\n".encode(), "x.csv") == ({}, {})
    nothing = f"{CSV_HEADER}\nland cover classification;;;;0;No data;CCI_landcover_2010;\n"
    assert static_properties(nothing.encode(), "x.csv") == ({}, {})


def without(key, index=None, name=None):
    """The ground without a property, a layer of the soil, or a value of such a layer."""
    ground = {name: value for name, value in GROUND.items() if name != key or index is not None}
    if index is None:
        return ground
    soil = [dict(layer) for layer in GROUND["stac_sm:soil"]]
    if name is None:
        del soil[index]
    else:
        del soil[index][name]
    return ground | {"stac_sm:soil": soil}


SOIL_OF_HWSD = without("stac_sm:soil", 0, "clay_fraction")


@pytest.mark.parametrize(
    ("old", "new", "message", "left"),
    [
        ("24.00;;HWSD;", "24.00;HWSD;", "found 7 fields in line 2, expected 8", SOIL_OF_HWSD),
        ("24.00", "clay", "found clay fraction 'clay', expected a number", SOIL_OF_HWSD),
        ("24.00", "240", "found clay fraction of '240 % weight', expected 0 to 100 % weight", SOIL_OF_HWSD),
        ("% weight;0.00;0.30;24.00", "kg;0.00;0.30;24.00", "found clay fraction of '24.00 kg'", SOIL_OF_HWSD),
        ("0.00;0.30;24.00", "top;0.30;24.00", "found depth 'top'", SOIL_OF_HWSD),
        ("0.30;-99.90;;HWSD", "0.30;1.31;;HWSD", "found saturation of '1.31 m^3*m^-3', expected 0 to 1", GROUND),
        ("0.59", "1e9", "found organic carbon of '1e9 % weight'", without("stac_sm:soil", 2)),
        (
            ";10;", ";1000;", "found the land cover '1000'",
            GROUND | {"stac_sm:land_cover": 130, "stac_sm:land_cover_name": "Grassland"},
        ),
        ("BWk", "dry", "found the climate 'dry'", without("stac_sm:climate")),
    ],
)  # fmt: skip
def test_one_bad_static_variable_costs_one_value(tmp_path, old, new, message, left):
    text = CSV.replace(old, new, 1)
    assert text != CSV
    found, left_out = static_properties(text.encode(), "x.csv")
    assert found == left
    ((name, why),) = left_out.items()
    assert why.startswith(message)
    write_stm(tmp_path / "files")
    (tmp_path / "files" / "NET_NET_Hill-1_static_variables.csv").write_text(text)
    catalog = new_catalog(tmp_path / "catalog")
    (result,) = ingest(catalog, "ismn", [tmp_path / "files"])
    assert result.status == "new"
    assert result.notes == (f"NET.Hill-1: {name}: {why}: left out",)
    assert result.left_out == {"NET.Hill-1": left_out}
    (item,) = ingested(catalog, "ismn-stations")
    assert {key: item.properties[key] for key in GROUND if key in item.properties} == left
    assert item.properties["stac_sm:left_out"] == left_out


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (CSV, "", "x.csv: found an empty file"),
        (";value;", ";values;", "no column 'value', expected quantity_name;unit"),
        (CSV, CSV * 1000, "found more than 262144 bytes"),
    ],
)
def test_a_station_keeps_its_readings_when_its_static_variables_cannot_be_read(tmp_path, old, new, message):
    text = CSV.replace(old, new, 1)
    with pytest.raises(GranuleError, match=re.escape(message)):
        static_properties(text.encode(), "x.csv")
    source = tmp_path / "files"
    for name, csv in (("Bad", text), ("Good", CSV)):
        write_stm(source, name)
        (source / f"NET_NET_{name}_static_variables.csv").write_text(csv)
    write_stm(source, "None")
    archive = archive_of(tmp_path / "Data.zip", {f"NET/{path.name}": path.read_text() for path in source.iterdir()})
    for name, path in (("zip", archive), ("folder", source)):
        catalog = new_catalog(tmp_path / name)
        results = ingest(catalog, "ismn", [path])
        assert {result.status for result in results} == {"new"}
        (note,) = (note for result in results for note in result.notes)
        assert note.startswith("NET.Bad: static variables: found ")
        assert str(tmp_path) not in note
        bad, good, none = (item.properties for item in ingested(catalog, "ismn-stations"))
        assert {key: good.get(key) for key in GROUND} == GROUND
        assert not set(GROUND) & (set(bad) | set(none))
        assert [list(one.get("stac_sm:left_out", {})) for one in (bad, good, none)] == [["static variables"], [], []]


@pytest.mark.parametrize(
    ("text", "elevation", "wrong"),
    [
        ("512.0", 512.0, None), ("-9999", None, None), ("NaN", None, None),
        ("high", None, "found the elevation 'high', expected metres"),
        ("51200", None, "found an elevation of 51200 m, expected at most 9000"),
    ],
)  # fmt: skip
def test_an_elevation_that_cannot_be_right_costs_the_elevation(tmp_path, text, elevation, wrong):
    path = write_stm(tmp_path / "files")
    path.write_text(path.read_text().replace(" 512.0 ", f" {text} "))
    catalog = new_catalog(tmp_path / "catalog")
    (result,) = ingest(catalog, "ismn", [path])
    assert (result.status, result.error) == ("new", None)
    (item,) = ingested(catalog, "ismn-stations")
    assert item.properties["stac_sm:elevation"] == elevation
    assert item.properties.get("stac_sm:left_out") == (wrong and {"stac_sm:elevation": wrong})
    assert result.left_out == ({"NET.Hill-1": {"stac_sm:elevation": wrong}} if wrong else {})


def test_changed_static_variables_replace_the_item_when_asked_to(tmp_path):
    write_stm(tmp_path / "files")
    csv = tmp_path / "files" / "NET_NET_Hill-1_static_variables.csv"
    catalog = new_catalog(tmp_path / "catalog")
    statuses = []
    for text, replace in ((CSV, False), (CSV, False), (CSV.replace("BWk", "Cfa"), False), (None, True), (None, False)):
        if text:
            csv.write_text(text)
        (result,) = ingest(catalog, "ismn", [tmp_path / "files"], replace=replace)
        statuses.append(result.status)
        if result.error:
            assert "they have the same readings, but differ in stac_sm:climate; leave the wrong one out" in result.error
    assert statuses == ["new", "done", "failed", "replaced", "done"]
    (item,) = ingested(catalog, "ismn-stations")
    assert item.properties["stac_sm:climate"] == "Cfa"


def test_a_station_twice_in_one_archive_is_an_error_that_names_both(tmp_path):
    text = write_stm(tmp_path, "Hill").read_text()
    name = "NET_NET_Hill_sm_0.050000_0.050000_Probe-A_20180101_20190101.stm"
    other = name.replace("Hill", "Good")
    path = archive_of(tmp_path / "Data.zip", {f"a/{name}": text, f"b/{name}": text, f"a/{other}": text})
    found = iter(Ismn().scan(path).granules)
    assert next(found).item["id"] == "NET.Good"
    with pytest.raises(GranuleError, match=f"a/{re.escape(name)} and b/{re.escape(name)} are one station in two fold"):
        next(found)
    with zipfile.ZipFile(path, "w") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Python on the double name
        file.writestr(name, text)
        file.writestr(name, text.replace("0.2", "0.3"))
    with pytest.raises(GranuleError, match=f"holds {re.escape(name)} twice"):
        granules(path)


def part(folder, hours, *, version="", station="Hill", depth=0.05, values=None, sensor="P", days="20180101_20190101"):
    """A download of some hours of 2018 (numbered), in a folder; the value tells the hour."""
    times = np.datetime64("2018-01-01T00:00", "m") + np.array(hours) * np.timedelta64(60, "m")
    values = [0.1 + hour / 1000 for hour in hours] if values is None else values
    text = [str(time).replace("-", "/").replace("T", " ") for time in times]
    lines = [f"{t} {v:.4f} G M" for t, v in zip(text, values, strict=True)]
    head = f"NET NET {station} 46.00000 11.00000 512.0 {depth:.4f} {depth:.4f} {sensor}"
    path = folder / f"NET_NET_{station}_sm_{depth:.6f}_{depth:.6f}_{sensor}{version}_{days}.stm"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([head, *lines]) + "\n")
    return path


def download(path, hours, **kw):
    """The same, zipped."""
    stm = part(path.parent / path.stem, hours, **kw)
    return archive_of(path, {stm.name: stm.read_text()})


def held_hours(catalog, id="NET.Hill"):
    """Hours of a station in the catalogue, and where they are from."""
    item = next(item for item in ingested(catalog, "ismn-stations") if item.id == id)
    times = pd.read_parquet(asset_href(item, "series"))["time"]
    return sorted((times - pd.Timestamp("2018-01-01")) // pd.Timedelta("1h")), item.properties["stac_sm:source"]


def test_a_larger_download_takes_the_place_of_a_smaller_one_in_any_order(tmp_path):
    small = download(tmp_path / "Small.zip", range(24))
    large = download(tmp_path / "Large.zip", range(48), sensor="Renamed")  # ISMN renames instruments
    contents = []
    for order in ([small, large], [large, small]):
        catalog = new_catalog(tmp_path / f"{order[0].stem}-first")
        notes = [note for path in order for (result,) in [ingest(catalog, "ismn", [path])] for note in result.notes]
        assert held_hours(catalog) == ([*range(48)], "Large.zip")
        assert notes == [
            "1 item(s) took the place of what was made from Small.zip: it holds all readings of the other: NET.Hill"
            if order[0] == small
            else "1 item(s) left as made from Large.zip: it holds all readings of the other: NET.Hill"
        ]
        assert {result.status for _ in range(2) for result in ingest(catalog, "ismn", order)} == {"done"}
        (item,) = ingested(catalog, "ismn-stations")
        contents.append(item.to_dict(transform_hrefs=False))
    assert contents[0]["properties"] == contents[1]["properties"]
    assert contents[0]["assets"] == contents[1]["assets"]


def test_the_same_readings_from_two_files_settle_to_one(tmp_path):
    files = [download(tmp_path / name, range(24)) for name in ("A.zip", "B.zip")]
    for order in (files, files[::-1]):
        catalog = new_catalog(tmp_path / f"{order[0].stem}-first")
        for path in order:
            ingest(catalog, "ismn", [path])
        assert held_hours(catalog) == ([*range(24)], "A.zip")
        assert {result.status for result in ingest(catalog, "ismn", order)} == {"done"}


def test_downloads_of_which_neither_holds_the_other_are_refused_and_lose_nothing(tmp_path):
    early = download(tmp_path / "Early.zip", range(30))
    late = tmp_path / "Late.zip"
    stms = [part(tmp_path / "late", range(20, 60)), part(tmp_path / "late", range(5), station="Other")]
    archive_of(late, {stm.name: stm.read_text() for stm in stms})
    deep = download(tmp_path / "Deep.zip", range(48), depth=0.5)
    catalog = new_catalog(tmp_path / "catalog")
    ingest(catalog, "ismn", [early])
    (result,) = ingest(catalog, "ismn", [late])
    assert (result.status, result.items) == ("failed", {"new": 1})
    assert result.error == (
        f"{late}: 1 item(s) refused: NET.Hill: in the catalogue it is from Early.zip, here from Late.zip: "
        "Early.zip has 20 readings that Late.zip lacks (2018-01-01 to 2018-01-01), and lacks 30 of it: unpack both "
        "into one folder and ingest that; leave the wrong one out, or let the new one take its place with --replace"
    )
    (result,) = ingest(catalog, "ismn", [deep])
    assert "has 30 readings that Deep.zip lacks" in result.error
    assert held_hours(catalog) == ([*range(30)], "Early.zip")
    assert held_hours(catalog, "NET.Other") == ([*range(5)], "Late.zip")
    assert {result.status for result in ingest(catalog, "ismn", [early])} == {"done"}


def test_two_downloads_in_one_folder_are_one_station(tmp_path):
    early = download(tmp_path / "Early.zip", range(30))
    late = download(tmp_path / "Late.zip", range(20, 60))
    catalog = new_catalog(tmp_path / "catalog")
    ingest(catalog, "ismn", [early])
    folder = tmp_path / "both"
    part(folder, range(30), days="20180101_20180103")
    part(folder, range(20, 60), days="20180101_20190101")
    (result,) = ingest(catalog, "ismn", [folder])
    assert (result.status, len(result.notes)) == ("replaced", 1)
    hours, source = held_hours(catalog)
    assert hours == [*range(60)]
    assert source.endswith("_20180101_20180103.stm")
    (item,) = ingested(catalog, "ismn-stations")
    assert [sensor["n"] for sensor in item.properties["stac_sm:sensors"]] == [60]
    assert {result.status for result in ingest(catalog, "ismn", [early, late, folder])} == {"done"}


def test_a_missing_reading_gives_way_and_another_value_is_an_error(tmp_path):
    one = part(tmp_path, [0, 1], values=[0.1, -9999], days="20180101_20180102")
    two = part(tmp_path, [1, 2], values=[0.2, 0.3])
    assert table(granules(one)["NET.Hill"])["sm"].tolist() == [0.1, 0.2, 0.3]
    two.write_text(two.read_text().replace("0.2000", "0.2500").replace("01:00", "00:00"))
    with pytest.raises(GranuleError, match=f"{one} and {two} have different readings at 2018-01-01 00:00:00"):
        granules(one)


def test_two_versions_of_one_download_are_refused(tmp_path):
    old = download(tmp_path / "Old.zip", range(24))
    new = download(tmp_path / "New.zip", range(24), values=[0.3] * 24)
    catalog = new_catalog(tmp_path / "catalog")
    ingest(catalog, "ismn", [old])
    (result,) = ingest(catalog, "ismn", [new])
    assert "it is from Old.zip, here from New.zip: they have other values at the same times" in result.error
    assert held_hours(catalog) == ([*range(24)], "Old.zip")
    (result,) = ingest(catalog, "ismn", [new], replace=True)
    assert (result.status, held_hours(catalog)) == ("replaced", ([*range(24)], "New.zip"))


def test_a_file_of_the_same_name_replaces_its_stations_if_it_holds_more(tmp_path):
    catalog = new_catalog(tmp_path / "catalog")
    for hours, status in ((range(12), "new"), (range(24), "replaced"), (range(12), "done"), (range(24), "done")):
        (result,) = ingest(catalog, "ismn", [download(tmp_path / "Data.zip", hours)])
        assert result.status == status
    assert held_hours(catalog) == ([*range(24)], "Data.zip")


@pytest.mark.parametrize("make", [part, lambda folder, hours: download(folder / "Data.zip", hours)])
def test_of_files_that_each_hold_something_of_a_station_none_is_ingested(tmp_path, make):
    one, two = make(tmp_path / "a", range(5)), make(tmp_path / "b", range(3, 9))
    third = part(tmp_path / "c", range(3), station="Other")
    catalog = new_catalog(tmp_path / "catalog")
    for _ in range(2):
        first, second, other = ingest(catalog, "ismn", [one, two, third])
        assert [f"{one} and {two}: " in result.error for result in (first, second)] == [True, True]
        assert (first.items, second.items, other.error) == ({}, {}, None)
    assert [item.id for item in ingested(catalog, "ismn-stations")] == ["NET.Other"]
    two.write_bytes(one.read_bytes())
    assert [result.status for result in ingest(catalog, "ismn", [one, two])] == ["new", "done"]


def test_an_item_whose_series_is_lost_is_not_replaced(tmp_path):
    catalog = new_catalog(tmp_path / "catalog")
    ingest(catalog, "ismn", [download(tmp_path / "A.zip", range(5))])
    (series,) = (tmp_path / "catalog").rglob("*.parquet")
    series.write_bytes(series.read_bytes()[:-20])
    (result,) = ingest(catalog, "ismn", [download(tmp_path / "B.zip", range(9))])
    assert "NET.Hill: the series of its item cannot be read" in result.error


def test_a_writer_who_comes_between_loses_no_reading(tmp_path, monkeypatch):
    files = {name: download(tmp_path / f"{name}.zip", range(hours)) for name, hours in (("A", 9), ("B", 20), ("C", 40))}
    catalog = new_catalog(tmp_path / "catalog")
    ingest(catalog, "ismn", [files["A"]])
    settle, calls = Ismn.compare_content, []

    def slow(*args):
        calls.append(args)
        if len(calls) == 1:
            ingest(catalog, "ismn", [files["C"]])  # while B settles with A
        return settle(*args)

    monkeypatch.setattr(Ismn, "compare_content", slow)
    (result,) = ingest(catalog, "ismn", [files["B"]])
    assert held_hours(catalog) == ([*range(40)], "C.zip")
    assert result.notes == ("1 item(s) left as made from C.zip: it holds all readings of the other: NET.Hill",)


def test_two_first_writers_settle(tmp_path, monkeypatch):
    small, large = download(tmp_path / "Small.zip", range(9)), download(tmp_path / "Large.zip", range(20))
    catalog = new_catalog(tmp_path / "catalog")
    write, calls = TableLayer.write, []

    def slow(*args):
        calls.append(args)
        if len(calls) == 1:
            ingest(catalog, "ismn", [large])
        return write(*args)

    monkeypatch.setattr(TableLayer, "write", slow)
    (result,) = ingest(catalog, "ismn", [small])
    assert (result.status, len(result.notes)) == ("done", 1)
    assert held_hours(catalog) == ([*range(20)], "Large.zip")


@real_data
def test_the_newer_of_two_real_downloads_takes_the_place_of_the_older(tmp_path):
    old, new = (HAWAII / name for name in ("ismn_ceop_2017_2018.zip", "ismn_header_2005_2025.zip"))
    catalog = new_catalog(tmp_path / "catalog")
    ingest(catalog, "ismn", [old])
    (result,) = ingest(catalog, "ismn", [new])
    assert result.items == {"replaced": 3}
    assert any("3 item(s) took the place of what was made from ismn_ceop_2017_2018.zip" in n for n in result.notes)
    # the newer one has fewer sensors there: a rule by period would lose half of the readings
    assert (
        f"SCAN.Kainaliu: in the catalogue it is from {old.name}, here from {new.name}: "
        f"{old.name} has 17509 readings that {new.name} lacks" in result.error
    )
    (result,) = ingest(catalog, "ismn", [old])
    assert (result.status, result.items) == ("done", {"done": 5})
    sources = {item.id: item.properties["stac_sm:source"] for item in ingested(catalog, "ismn-stations")}
    assert [id for id, source in sources.items() if source == old.name] == ["SCAN.IslandDairy", "SCAN.Kainaliu"]
