"""ISMN text readers: what is written is read back; a damaged file is an error or plausible, nothing else."""

from __future__ import annotations

import io
import string
import time
import zipfile
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from stac_sm.core.errors import GranuleError
from stac_sm.ingest.formats.stm import SensorFile, parse_stm
from stac_sm.ingest.providers.ismn import Ismn
from stac_sm.ingest.providers.ismn_static import static_properties
from tests.support.examples import examples

WORD = st.text(string.ascii_letters + string.digits + "-_(),é", min_size=1, max_size=12).map(lambda text: f"s{text}")
NAME = st.lists(WORD, min_size=1, max_size=4).map(" ".join)  # blanks in station names occur
FLAG = st.sampled_from(["G", "M", "U", "C01", "C01,D03", "D05,C02,C03,D10"])
DEGREES = st.integers(-(10**7), 10**7)
LINE_END = st.sampled_from(["\n", "\r\n", "\n\r", "\r"])
VALUE = st.one_of(
    st.integers(-500, 10**6).map(lambda n: n / 10**6),
    st.floats(-1, 2).map(lambda x: float(repr(x))),
    st.just(np.nan),
)
HOURS = st.lists(st.integers(0, 600_000), min_size=0, max_size=30, unique=True)  # since 1952, beyond 2020
FUZZ = settings(max_examples=examples(300), suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@st.composite
def series(draw):
    """Times in any order, values and flags."""
    hours = draw(HOURS)
    times = np.datetime64("1952-01-01T00:00", "m") + np.array(hours, dtype="timedelta64[h]")
    values = draw(st.lists(VALUE, min_size=len(hours), max_size=len(hours)))
    flags = draw(st.lists(FLAG, min_size=len(hours), max_size=len(hours)))
    return times, values, flags


@st.composite
def places(draw):
    """Network, station, lat, lon, elevation as they are written."""
    lat, lon = draw(st.integers(-9_000_000, 9_000_000)), draw(st.integers(-18_000_000, 18_000_000))
    elevation = draw(st.sampled_from(["512.0", "-3.10", "0.00", "-9999.00", "NaN"]))
    return draw(WORD), draw(NAME), f"{lat / 1e5:.5f}", f"{lon / 1e5:.5f}", elevation


def stamp(instant):
    return str(instant).replace("-", "/").replace("T", " ")


def number(value, missing):
    return missing if np.isnan(value) else repr(value)


def header_values(place, rows, missing, end="\n"):
    network, station, lat, lon, elevation = place
    head = f"{network}  {network}  {station} {lat} {lon} {elevation} 0.0500 0.0500 Probe A"
    lines = [f"{stamp(t)}   {number(v, missing)} {flag} M" for t, v, flag in zip(*rows, strict=True)]
    return end.join([head, *lines, ""]).encode("latin-1")


def ceop_sep(place, rows, missing, end="\n"):
    network, station, lat, lon, elevation = place
    middle = f"{network} {network} {station} {lat} {lon} {elevation} 0.05 0.05"
    lines = [f"{stamp(t)} {stamp(t)} {middle} {number(v, missing)} {f} M" for t, v, f in zip(*rows, strict=True)]
    return end.join([*lines, ""]).encode("latin-1")


LAYOUTS = st.sampled_from([header_values, ceop_sep])


@given(LAYOUTS, places(), series(), LINE_END, st.sampled_from(["-9999.0", "-9999.000", "NaN", "-99999"]))
def test_what_is_written_is_read_back_exactly(layout, place, rows, end, missing):
    times, values, flags = rows
    if layout is ceop_sep and not len(times):
        return  # it has no line that could say where it is
    found = parse_stm(layout(place, rows, missing, end), "x.stm")
    order = np.argsort(times)
    assert (found.lat, found.lon) == (float(place[2]), float(place[3]))
    assert found.elevation == (None if place[4] in {"NaN", "-9999.00"} else float(place[4]))
    assert np.array_equal(found.frame["time"].to_numpy(), times[order].astype("datetime64[ns]"))
    assert np.array_equal(found.frame["sm"].to_numpy(), np.array(values, float)[order], equal_nan=True)
    assert found.frame["flag"].tolist() == [flags[i] for i in order]


def result_or_error(function, *args):
    """What a function gives, and the message of the error that a user sees."""
    try:
        return function(*args), ""
    except GranuleError as error:
        return None, str(error)


def plausible(frame):
    """What can be taken for a series of readings, whatever it was read from."""
    assert list(frame.columns) == ["time", "sm", "flag"]
    assert frame["time"].dtype == "datetime64[ns]"
    assert frame["time"].is_monotonic_increasing
    assert frame["time"].is_unique
    assert frame["time"].notna().all()
    assert frame["sm"].dtype == np.float64
    assert not np.isinf(frame["sm"]).any()
    assert all(len(flag) <= 80 and flag.isascii() and flag.isprintable() for flag in frame["flag"])


@st.composite
def damaged(draw, content):
    """A file with bytes flipped, cut off, doubled or put in."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        match draw(st.sampled_from(["flip", "cut", "insert", "drop", "double", "nul", "long"])):
            case "flip" if data:
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del data[at:]
            case "insert":
                data[at:at] = draw(st.binary(max_size=40))
            case "drop":
                del data[at : at + draw(st.integers(1, 200))]
            case "double":
                data += data[at:]
            case "nul":
                data[at:at] = b"\0" * draw(st.sampled_from([1, 512]))
            case "long":
                data[at:at] = draw(st.sampled_from([b" ", b"9", b"1.1 ", b"x", b"a b ", b"\t"])) * 20_000
    return bytes(data)


PLACE = ("NET", "Hill 1", "46.00000", "11.00000", "512.0")
HOURLY = np.datetime64("2018-01-01T00:00", "m") + np.arange(40) * np.timedelta64(60, "m")
READINGS = (HOURLY, [np.nan if i % 7 == 0 else 0.2 + i / 1000 for i in range(40)], ["G", "D03,D05"] * 20)
FILES = [layout(PLACE, READINGS, "-9999.0", end) for layout in (header_values, ceop_sep) for end in ("\n", "\r\n")]


@FUZZ
@given(st.sampled_from(FILES).flatmap(damaged))
@example(FILES[0].replace(b"0.201", b"inf"))
@example(FILES[0].replace(b"0.201", b"0.2\x001"))
@example(FILES[0].replace(b"0.201", b"1e999"))
@example(FILES[0].replace(b"2018/01/01 01:00", b"0001/01/01 01:00"))
@example(FILES[0].replace(b" G ", b" \x85 "))
@example(FILES[2].replace(b"Hill 1", b"Hill\xa01"))
@example(b"1.1 " * 200_000)
@example(b"NET NET " + b"9" * 500 + b".0 " + b"9" * 400 + b".0 1 0.05 0.05 P\n")
@example(b"")
def test_a_damaged_file_is_an_error_or_a_plausible_series(content):
    start = time.process_time()
    found, error = result_or_error(parse_stm, content, "x.stm")
    assert found is not None or error.startswith("x.stm: ")
    assert len(error) < 500
    if found is not None:
        plausible(found.frame)
        assert abs(found.lat) <= 90
        assert abs(found.lon) <= 180
    assert time.process_time() - start < 2


@FUZZ
@given(st.binary(max_size=400))
def test_any_bytes_are_an_error_or_a_plausible_series(content):
    found, error = result_or_error(parse_stm, content, "x.stm")
    assert found is None or not error
    if found is not None:
        plausible(found.frame)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b" G ", b" " + b"G" * 900 + b" ", "found the quality flag 'GGG"),
        (b"0.201", b"1" * 900, "not date, time, value, flag"),
        (b"0.201", b"1" * 10**7, "found a line of 100000.* bytes, expected at most 1000"),
        (b"0.201 D03,D05 M", b"1.1 " * 10**7, "found a line of 40000.* bytes, expected at most 1000"),
        (b"0.201", b"-inf", "value 2 is infinite"),
        (b"0.201", b"0.2\0001", "found a NUL at byte 116"),
        (b"Hill 1", b"Hill " * 10**6, "found the first line"),
    ],
)
def test_what_is_absurd_is_refused_at_once(old, new, message):
    start = time.process_time()
    with pytest.raises(GranuleError, match=message) as caught:
        parse_stm(FILES[0].replace(old, new, 1), "x.stm")
    assert time.process_time() - start < 2
    assert len(str(caught.value)) < 500


def test_readings_of_other_days_than_the_name_says_are_refused():
    sensor = SensorFile.of("NET_NET_Hill_sm_0.050000_0.050000_P_20180101_20180103.stm")
    assert len(sensor.readings(FILES[0]).frame) == 40
    with pytest.raises(GranuleError, match="found readings of 1918-01-01 to 2018-01-02, outside the days of its name"):
        sensor.readings(FILES[0].replace(b"2018/01/01 00:00", b"1918/01/01 00:00"))


PIECES = [
    "NET",
    "_",
    "_sm_",
    "0.050000",
    "-0.1",
    "9" * 400 + ".0",
    "20180101",
    "20181301",
    ".stm",
    "/",
    "..",
    "\\",
    "٣",
]
PIECE = st.sampled_from([*PIECES, "٣", "\0"])
TEXT = partial(st.text, st.characters(exclude_categories=["Cs"]))  # half characters have no UTF-8
PATH = st.one_of(TEXT(max_size=300), st.lists(st.one_of(PIECE, TEXT(max_size=5)), max_size=30).map("".join))
STM_NAME = st.builds(
    "{}/{}_{}_{}_sm_{:.6f}_{:.6f}_{}_20170101_20181231.stm".format,
    st.text(max_size=5), WORD, WORD, WORD, st.floats(-10, 99), st.floats(-10, 99), WORD,
)  # fmt: skip


@FUZZ
@given(st.one_of(PATH, STM_NAME))
@example("_" * 60_000)
@example("a_" * 30_000 + "sm_0.0_0.0_P_20180101_20180102.stm")
@example("a_a_x" + "_sm_0.0_0.0_20180101_20180101" * 7 + ".stx")
@example("N_N_S_sm_" + "9" * 180 + ".0_0.0_P_20180101_20180102.stm")
@example("N_N_S_sm_0.0_0.0_P_20180102_20180101.stm")
@example("N_N_S_sm_0.0_0.0_P_٢٠١٨٠١٠١_20180102.stm")
def test_any_path_is_a_sensor_file_with_sound_fields_or_none(path):
    start = time.process_time()
    found = SensorFile.of(path)
    assert time.process_time() - start < 1
    if found is None:
        return
    assert abs(found.depth_from) < 10_000
    assert abs(found.depth_to) < 10_000
    assert found.first <= found.last
    assert path.startswith(found.folder + found.prefix)
    assert found.network
    assert found.station
    assert not set("/\\") & set(found.network + found.station + found.sensor)


@given(WORD, NAME.map(lambda name: name.replace(" ", "-")), WORD, st.integers(0, 99), st.integers(0, 10**6))
def test_a_name_is_read_back(network, station, sensor, start, end):
    network, station = (text.replace("_", "-") for text in (network, station))
    name = f"{network}_{network}_{station}_sm_{start:.6f}_{end / 1e4:.6f}_{sensor}_20170101_20181231.stm"
    found = SensorFile.of(f"Data\\{network}\\{name}")
    assert (found.network, found.station, found.sensor) == (network, station, sensor)
    assert (found.depth_from, found.depth_to) == (start, end / 1e4)
    assert (found.folder, found.prefix) == (f"Data\\{network}\\", f"{network}_{network}_{station}")


HEADER = "quantity_name;unit;depth_from[m];depth_to[m];value;description;quantity_source_name;more;\n"
STATIC = (
    HEADER
    + """clay fraction;% weight;0.00;0.30;24.00;;HWSD;30";
saturation;m^3*m^-3;0.00;0.30;0.43;;HWSD;30";
organic carbon;% weight;-99.90;-99.90;0.59;;insitu;;
land cover classification;;;;130;Grassland;CCI_landcover_2005;0.1°;
climate classification;;;;Cfa;Temperate;koeppen_geiger_2007;;
"""
).encode()


@FUZZ
@given(st.one_of(st.binary(max_size=300), damaged(STATIC)))
@example(b"")
@example(STATIC.replace(b"0.43", b"nan;"))
@example(STATIC.replace(b"24.00", b"inf"))
@example(STATIC.replace(b"130", b"1e999"))
@example(STATIC.replace(b"0.30", b"9" * 400))
@example(STATIC * 2000)
def test_damaged_static_variables_are_an_error_or_plausible(content):
    found, error = result_or_error(static_properties, content, "x.csv")
    assert len(error) < 300
    if found is None:
        assert error.startswith("x.csv: found")
        return
    found, left_out = found
    assert all(why.startswith("found") and len(why) < 600 for why in left_out.values())
    assert 0 < found.get("stac_sm:land_cover", 1) <= 255
    assert len(found.get("stac_sm:climate", "Cfa")) <= 3
    for layer in found.get("stac_sm:soil", []):
        assert all(np.isfinite(value) for key, value in layer.items() if key != "source")
        assert 0 <= layer.get("saturation", 0) <= 1


def packed(members, compression=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in {name.split("\0")[0] or "x": content for name, content in members.items()}.items():
            archive.writestr(name, content)
    return file.getvalue()


def ids_or_error(path):
    """Ids of all stations of an archive; None if it is refused in part or as a whole."""
    found, error = result_or_error(lambda: [granule.item["id"] for granule in Ismn().scan(path).granules])
    assert len(error) < 5000
    return found


@settings(max_examples=examples(150))
@given(st.dictionaries(st.one_of(PATH, STM_NAME), st.sampled_from([FILES[0], STATIC, b""]), min_size=1, max_size=4))
def test_members_of_any_name_are_stations_or_an_error(members):
    with TemporaryDirectory() as folder:
        path = Path(folder, "Data.zip")
        path.write_bytes(packed(members))
        ids_or_error(path)
        assert [file.name for file in Path(folder).iterdir()] == ["Data.zip"]


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_archive_is_an_error_or_the_same_stations(tmp_path_factory, compression):
    name = "NET/NET_NET_{}_sm_0.050000_0.050000_P_20180101_20190101.stm".format
    whole = packed(
        {name("A"): FILES[0], name("B"): FILES[2], "NET/NET_NET_A_static_variables.csv": STATIC}, compression
    )
    path = tmp_path_factory.mktemp("archive") / "Data.zip"

    @settings(max_examples=examples(150))
    @given(damaged(whole))
    def check(content):
        path.write_bytes(content)
        found = ids_or_error(path)
        assert found is None or all(id.startswith(("NET.", "N", "n")) for id in found)

    check()


def test_a_damaged_name_of_a_member_is_not_told_whole(tmp_path):
    """Its length is in the header before it: zipfile shows all that it takes for a name."""
    name = "NET/NET_NET_{}_sm_0.050000_0.050000_P_20180101_20190101.stm".format
    whole = bytearray(packed({name("A"): FILES[0], name("B"): FILES[2]}, zipfile.ZIP_STORED))
    whole[26:28] = (3000).to_bytes(2, "little")
    (tmp_path / "Data.zip").write_bytes(whole)
    _, error = result_or_error(lambda: [granule.item["id"] for granule in Ismn().scan(tmp_path / "Data.zip").granules])
    assert "cannot be unpacked (File name in directory" in error
    assert len(error) < 1000


def test_a_name_too_long_for_an_item_stops_only_its_station(tmp_path):
    long = f"NET_NET_{'x' * 201}_sm_0.05_0.05_P_20180101_20190101.stm"
    good = "NET_NET_A_sm_0.05_0.05_P_20180101_20190101.stm"
    path = tmp_path / "Data.zip"
    path.write_bytes(packed({long: FILES[0], good: FILES[0]}))
    granules = iter(Ismn().scan(path).granules)
    assert next(granules).item["id"] == "NET.A"
    with pytest.raises(GranuleError, match="1 station.* could not be read.*cannot be part of a path"):
        next(granules)


def test_a_frame_is_that_of_pandas_without_a_line():
    found = parse_stm(b"NET NET Hill 46.0 11.0 512.0 0.05 0.05 P\n", "x.stm").frame
    plausible(found)
    pd.testing.assert_frame_equal(found, found.iloc[:0])
