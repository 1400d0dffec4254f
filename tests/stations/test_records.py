"""Stations: which readings count, what a day is, and who shares a pixel."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stac_sm.core.errors import CatalogError, ReadError
from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM as GRID
from stac_sm.core.grid import TileGrid
from stac_sm.core.period import Period
from stac_sm.ingest.pipeline import ingest
from stac_sm.stations.records import (
    StationRules,
    read_stations,
    site_daily_means,
    sites_of_stations,
    station_daily_means,
)
from tests.support.source_files import HAWAII, new_catalog, real_data, write_stm


def stations_of(tmp_path, *paths):
    catalog = new_catalog(tmp_path / "catalog")
    ingest(catalog, "ismn", list(paths) or [tmp_path])
    return read_stations(catalog)


def moved(path, lon, lat):
    path.write_text(path.read_text().replace("46.00000 11.00000", f"{lat:.5f} {lon:.5f}"))
    return path


def test_a_station_is_what_its_item_says(tmp_path):
    write_stm(tmp_path)
    write_stm(tmp_path, depth=0.2, sensor="Probe-B")
    (station,) = stations_of(tmp_path)
    assert (station.id, station.network, station.name) == ("NET.Hill-1", "NET", "Hill-1")
    assert (station.lon, station.lat) == (11.0, 46.0)
    assert station.depths == ((0.05, 0.05), (0.2, 0.2))
    assert station.period == Period(date(2018, 1, 1), date(2018, 1, 3))
    assert station.checksum.startswith("1220")
    assert station.series.endswith(".parquet")
    assert station.href.endswith("NET.Hill-1.json")


@pytest.mark.parametrize(
    ("depth", "counts"),
    [(0.05, True), (0.0508, True), (0.0, True), (0.0549, True), (0.06, False), (0.1, False), (-0.05, False)],
)
def test_depths_count_to_the_centimetre(tmp_path, depth, counts):
    write_stm(tmp_path, depth=depth)
    (station,) = stations_of(tmp_path)
    assert len(station_daily_means(station, rules=StationRules())) == (2 if counts else 0)
    assert len(sites_of_stations([station], GRID)) == counts


def test_a_deeper_rule_takes_deeper_sensors(tmp_path):
    write_stm(tmp_path, depth=0.1)
    (station,) = stations_of(tmp_path)
    assert len(station_daily_means(station, rules=StationRules(max_depth=0.1))) == 2
    assert len(sites_of_stations([station], GRID, rules=StationRules(max_depth=0.1))) == 1


def test_only_good_possible_readings_of_full_days_count(tmp_path):
    values, flags = np.full(72, 0.2), ["G"] * 72
    values[0], flags[1], flags[2] = 0.4, "D01,D03", "G,C01"  # day 1: 22 count, one of them 0.4
    values[24:27] = 0.0, 0.6, 0.7  # day 2: 21 count, none at the limits
    flags[48:61] = ["M"] * 13  # day 3: 11 count, too few
    write_stm(tmp_path, days=3, values=values, flags=flags)
    stations = stations_of(tmp_path)
    daily = station_daily_means(stations[0], rules=StationRules())
    assert daily["date"].tolist() == list(pd.to_datetime(["2018-01-01", "2018-01-02"]))
    assert daily["sm"].tolist() == pytest.approx([(21 * 0.2 + 0.4) / 22, 0.2])
    assert daily["n"].tolist() == [22, 21]
    _, dropped = site_daily_means(sites_of_stations(stations, GRID), stations, StationRules())
    assert dropped == {"depth": 0, "flag": 15, "range": 3, "hours": 11}
    assert len(station_daily_means(stations[0], rules=StationRules(min_hours=11))) == 3


def test_several_sensors_weigh_the_same_whatever_their_readings(tmp_path):
    write_stm(tmp_path, values=np.full(48, 0.1))
    half = np.where(np.arange(48) % 2 == 0, 0.3, -9999)
    write_stm(tmp_path, sensor="Probe-B", values=half, flags=np.where(half > 0, "G", "M"))
    few = np.where(np.arange(48) % 4 == 0, 0.5, -9999)
    write_stm(tmp_path, depth=0.02, values=few, flags=np.where(few > 0, "G", "M"))
    write_stm(tmp_path, depth=0.2, values=np.full(48, 0.5))
    (station,) = stations_of(tmp_path)
    daily = station_daily_means(station, rules=StationRules())
    assert daily["sm"].tolist() == pytest.approx([0.2, 0.2])
    assert daily["n"].tolist() == [36, 36]


def test_stations_in_one_pixel_are_one_site(tmp_path):
    x, y = GRID.geobox("h18v04").affine * (700.5, 300.5)
    from stac_sm.core.projections import transformer_to_lonlat

    lon, lat = transformer_to_lonlat(GRID.crs).transform(x, y)
    for name, network, shift, value in (("B", "NET", 0, 0.1), ("A", "OTHER", 1e-3, 0.3), ("C", "NET", 0.05, 0.2)):
        moved(write_stm(tmp_path, name, network=network, values=np.full(48, value)), lon + shift, lat)
    moved(write_stm(tmp_path, "Deep", depth=0.2, network="AAA"), lon, lat)
    stations = stations_of(tmp_path)
    table = sites_of_stations(stations[::-1], GRID)
    assert table["site"].tolist() == ["NET.B", "NET.C"]
    assert table["stations"].tolist() == [["NET.B", "OTHER.A"], ["NET.C"]]
    assert table["network"].tolist() == ["NET", "NET"]
    assert tuple(table.loc[0, ["tile", "row", "col"]]) == ("h18v04", 300, 700)
    series, _ = site_daily_means(table, stations, StationRules())
    assert series["site"].tolist() == ["NET.B", "NET.B", "NET.C", "NET.C"]
    assert series["sm"].tolist() == pytest.approx([0.2] * 4)
    assert series["n"].tolist() == [48, 48, 24, 24]


def test_stations_outside_a_grid_belong_to_no_site(tmp_path):
    write_stm(tmp_path, "In")
    moved(write_stm(tmp_path, "Out"), 100, -20)
    regional = TileGrid("alps", "EPSG:4326", (10.0, 47.0), (0.01, 0.01), (100, 100), (2, 2), "ALPS")
    table = sites_of_stations(stations_of(tmp_path), regional)
    assert table["site"].tolist() == ["NET.In"]
    assert GRID.tile_at(100, -20)


def test_readings_outside_a_period_are_neither_used_nor_counted(tmp_path):
    flags = ["G"] * 72
    flags[0], flags[30], flags[31] = "M", "M", "D01"  # one on the first day, two on the second
    write_stm(tmp_path, days=3, values=np.full(72, 0.2), flags=flags)
    stations = stations_of(tmp_path)
    where = sites_of_stations(stations, GRID)
    day = Period.of_day(date(2018, 1, 2))
    series, dropped = site_daily_means(where, stations, StationRules(), period=day)
    assert series["date"].tolist() == [pd.Timestamp("2018-01-02")]
    assert series["n"].tolist() == [22]
    assert dropped == {"depth": 0, "flag": 2, "range": 0, "hours": 0}
    series, dropped = site_daily_means(where, stations, StationRules(), period=Period.of_day(date(2017, 1, 2)))
    assert (len(series), sum(dropped.values())) == (0, 0)


def test_nothing_is_something(tmp_path):
    table = sites_of_stations([], GRID)
    assert list(table.columns) == ["site", "stations", "network", "lon", "lat", "tile", "row", "col"]
    series, dropped = site_daily_means(table, [], StationRules())
    assert list(series.columns) == ["site", "date", "sm", "n"]
    assert len(series) == 0
    assert sum(dropped.values()) == 0
    write_stm(tmp_path, flags=["M"] * 48)
    stations = stations_of(tmp_path)
    series, dropped = site_daily_means(sites_of_stations(stations, GRID), stations, StationRules())
    assert len(series) == 0
    assert dropped["flag"] == 48
    assert series["date"].dtype == "datetime64[ns]"


def test_a_lost_series_and_a_wrong_item_are_named(tmp_path):
    import json

    write_stm(tmp_path)
    (station,) = stations_of(tmp_path)
    Path(station.series).unlink()
    with pytest.raises(ReadError, match=r"station NET\.Hill-1: its series .* cannot be read"):
        station_daily_means(station, rules=StationRules())
    item = json.loads(Path(station.href).read_text())
    Path(station.href).write_text(json.dumps(item | {"assets": {}}))
    with pytest.raises(CatalogError, match="a Point and the asset series are required"):
        read_stations(new_catalog(tmp_path / "catalog"))


BAD_STATIONS = {
    "sensors": (lambda p: p.update({"stac_sm:sensors": "two"}), "NET.Bad/sensors", "a list is required", ()),
    "a sensor": (lambda p: p["stac_sm:sensors"].insert(0, None), "NET.Bad/0", "sensor None found", ((0.05, 0.05),)),
    "a depth": (
        lambda p: p["stac_sm:sensors"].append({"depth_from": "deep", "depth_to": 1.0, "n": 3}), "NET.Bad/1",
        "numbers depth_from, depth_to and n are required", ((0.05, 0.05),),
    ),
    "a count": (
        lambda p: p["stac_sm:sensors"].append({"depth_from": 0.0, "depth_to": 0.1}), "NET.Bad/1", "are required",
        ((0.05, 0.05),),
    ),
    "a time": (lambda p: p.update({"start_datetime": "long ago"}), "NET.Bad", "'long ago' is no time", None),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_STATIONS)
def test_a_bad_property_costs_one_sensor_or_one_station(tmp_path, kind):
    import json

    change, name, message, depths = BAD_STATIONS[kind]
    for station in ("Bad", "Good"):
        write_stm(tmp_path, station)
    before = {one.id: one for one in stations_of(tmp_path)}
    file = Path(before["NET.Bad"].href)
    item = json.loads(file.read_text())
    change(item["properties"])
    file.write_text(json.dumps(item))
    left_out: dict[str, str] = {}
    found = {one.id: one for one in read_stations(new_catalog(tmp_path / "catalog"), left_out)}
    assert found["NET.Good"] == before["NET.Good"]
    assert list(left_out) == [name]
    assert message in left_out[name]
    assert ("NET.Bad" in found) is (depths is not None)
    if depths is not None:
        assert found["NET.Bad"].depths == depths


@real_data
def test_real_stations_agree_with_daily_means_made_elsewhere(tmp_path):
    """The CSVs beside the archive were made by another program: date, mean of the hours flagged G."""
    stations = {station.id: station for station in stations_of(tmp_path, HAWAII / "ismn_ceop_2017_2018.zip")}
    table = sites_of_stations(stations.values(), GRID)
    assert set(table["network"]) == {"SCAN"}  # COSMOS reaches 0.17 m
    for name in ("SilverSword", "ManaHouse", "IslandDairy"):
        (file,) = (HAWAII / "derived_collocated_daily_2017_2018").glob(f"SCAN_{name}_*.csv")
        wanted = pd.read_csv(file, parse_dates=[0], index_col=0).iloc[:, 0].dropna()
        found = station_daily_means(stations[f"SCAN.{name}"], rules=StationRules(min_hours=1)).set_index("date")["sm"]
        both = wanted.index.intersection(found.index)
        assert len(both) > 0.9 * len(wanted) > 100
        assert (found[both] - wanted[both]).abs().max() < 5.1e-6  # the CSV has five decimals
