"""Write the stations of the simulated Earth as an archive of the ISMN (header+values, one file a sensor).

Good stations follow their pixel, bad ones do not; `write_station_truth` records which is which, so that tests can judge
the screening.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stac_sm.simulate.earth import AnyFloatArray, Earth, named_rng
from stac_sm.simulate.truth import (
    FREEZING,
    LAPSE,
    SM_MAX,
    SM_MIN,
    StaticFields,
    daily_at,
    daily_storms,
    season_temperature,
    shore,
    static_fields,
)

NETWORKS = ("SIM-HILLS", "SIM-PLAINS", "SIM-COAST", "SIM-VALLEY")
_INLAND = 0.25  # of `shore`: some 30 km from the sea, where the coarse products have land
_SPIKES, _MISSING = 0.003, 0.02  # shares of readings; the real archive of CONUS has up to 0.29 missing
_ZIP_TIME = (2020, 1, 1, 0, 0, 0)  # fixed: the same Earth gives the same bytes


@dataclass(frozen=True)
class SimulatedStation:
    """A station, and the errors that it was given."""

    network: str
    """ISMN network; an invented one."""

    name: str
    """Name inside the network."""

    lon: float
    """Degrees east, as written in the files."""

    lat: float
    """Degrees north, as written in the files."""

    row: int
    """Row of its pixel in the tile."""

    column: int
    """Column of its pixel in the tile."""

    representative: bool
    """Whether it follows its pixel."""

    snr_db: float
    """Signal-to-noise ratio of its daily values against its pixel, dB."""

    offset: float
    """Mean difference from its pixel, m3 m-3."""


@dataclass(frozen=True)
class SimulatedSensor:
    """A probe of a station."""

    instrument: str
    """Name of the probe."""

    depth_from: float
    """Upper end, m."""

    depth_to: float
    """Lower end, m."""


@lru_cache(maxsize=2)
def simulated_stations(earth: Earth) -> list[SimulatedStation]:
    """Return the stations of an Earth; the first two stand in one pixel, every other one in its own."""
    rng = named_rng(earth, "stations")
    static = static_fields(earth)
    inland = np.argwhere((shore(earth, static.lat, static.lon) > _INLAND) & static.land)
    sites = inland[rng.choice(len(inland), earth.stations, replace=False)]
    sites[1:2] = sites[0]
    bad = np.zeros(earth.stations, bool)
    bad[rng.choice(earth.stations, round(earth.bad_share * earth.stations), replace=False)] = True
    return [_station(earth, static, i, site, bool(bad[i])) for i, site in enumerate(sites)]


def _station(earth: Earth, static: StaticFields, index: int, site: npt.NDArray[np.intp], bad: bool) -> SimulatedStation:
    rng = named_rng(earth, "station", index)
    y, x = (int(n) for n in site)
    lat, lon = float(static.lat[y]), float(static.lon[y, x])
    mean, spread = earth.bad_snr_db if bad else earth.good_snr_db
    # beyond -2.5 dB, the ratio of a TC correlation of 0.6, a station would belong to the other class
    snr = min(rng.normal(mean, spread), -3.0) if bad else max(rng.normal(mean, spread), 0.5)
    offset = rng.normal(0, earth.bad_offset_std if bad else earth.good_offset_std)
    return SimulatedStation(
        network=NETWORKS[_district(float(static.elevation[y, x]), lat, static)],
        name=f"Site-{index + 1:02d}",
        lon=round(lon + rng.uniform(-0.003, 0.003), 5),
        lat=round(lat + rng.uniform(-0.003, 0.003), 5),
        row=y + static.rows.start,
        column=x + static.columns.start,
        representative=not bad,
        snr_db=round(float(snr), 2),
        offset=round(float(offset), 4),
    )


def _district(height: float, lat: float, static: StaticFields) -> int:
    """Return the index of the network that works at a height and in a half of the island."""
    north = lat > float(static.lat.mean())
    if height > 450:
        return 0 if north else 3
    return 1 if north else 2


@lru_cache(maxsize=2)
def station_truth(earth: Earth) -> AnyFloatArray:
    """Return true soil moisture of the stations' pixels each day of the period, m3 m-3, (day, station)."""
    static, y, x = _at_stations(earth)
    lat, lon = static.lat[y], static.lon[y, x]
    wetness = daily_at(earth, "wetness", lat, lon)
    value = static.base[y, x] + static.amplitude[y, x] * wetness + daily_storms(earth) @ static.storms[:, y, x]
    return np.asarray(np.clip(value, SM_MIN, SM_MAX))


def station_daily(earth: Earth) -> AnyFloatArray:
    """Return the daily means that the stations' surface probes would read, m3 m-3, (day, station).

    A good station has the truth of its pixel, a constant offset and an error that lasts some days. A bad one
    has dynamics of its own, with the spread of its pixel's but only a small part of them.
    """
    truth, series = station_truth(earth), []
    for i, station in enumerate(simulated_stations(earth)):
        anomaly = truth[:, i] - truth[:, i].mean()
        spread, noise_to_signal = anomaly.std(), 10 ** (-station.snr_db / 20)
        own = _own_dynamics(earth, i, len(truth), 8 if station.representative else 12)
        value = anomaly + noise_to_signal * spread * own
        if not station.representative:
            value /= math.hypot(1, noise_to_signal)
        series.append(truth[:, i].mean() + station.offset + value)
    return np.asarray(np.clip(np.stack(series, axis=1), SM_MIN, 0.59))


def soil_temperature(earth: Earth) -> AnyFloatArray:
    """Return daily soil temperature at the stations, K, (day, station)."""
    static, y, x = _at_stations(earth)
    season = np.array([season_temperature(day) for day in earth.period.days])[:, np.newaxis]
    warmth = daily_at(earth, "warmth", static.lat[y], static.lon[y, x])
    return np.asarray(season - LAPSE * static.elevation[y, x] + warmth)


def write_ismn(earth: Earth, path: Path) -> None:
    """Write the archive of all stations, in the ISMN's header+values format."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=4) as archive:
        for name, text in _members(earth):
            archive.writestr(zipfile.ZipInfo(name, _ZIP_TIME), text, zipfile.ZIP_DEFLATED, 4)


def write_station_truth(earth: Earth, path: Path) -> None:
    """Write a table of the stations: their errors, and how far their daily values lie from their pixels."""
    truth, daily, static = station_truth(earth), station_daily(earth), static_fields(earth)
    lines = ["network,station,lon,lat,row,column,elevation,representative,snr_db,offset,r,error_std"]
    for i, s in enumerate(simulated_stations(earth)):
        r = float(np.corrcoef(truth[:, i], daily[:, i])[0, 1])
        height = float(static.elevation[s.row - static.rows.start, s.column - static.columns.start])
        error = float(daily[:, i].std()) * math.sqrt(1 - r**2)  # as triple collocation defines it
        lines.append(
            f"{s.network},{s.name},{s.lon:.5f},{s.lat:.5f},{s.row},{s.column},{height:.1f},"
            f"{str(s.representative).lower()},{s.snr_db:.2f},{s.offset:.4f},{r:.4f},{error:.4f}"
        )
    path.write_text("\n".join(lines) + "\n")


def _at_stations(earth: Earth) -> tuple[StaticFields, npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the static fields, and row and column of every station in their window."""
    static = static_fields(earth)
    sites = np.array(
        [(s.row - static.rows.start, s.column - static.columns.start) for s in simulated_stations(earth)], np.intp
    )
    return static, sites[:, 0], sites[:, 1]


def _own_dynamics(earth: Earth, index: int, days: int, memory: int) -> AnyFloatArray:
    """Return a series of mean 0 and standard deviation 1, independent of all others; ``memory`` in days."""
    noise = named_rng(earth, "own", index).standard_normal(days)
    keep, series = math.exp(-1 / memory), np.empty(days)
    series[0] = noise[0]
    for i in range(1, days):
        series[i] = keep * series[i - 1] + math.sqrt(1 - keep**2) * noise[i]
    return np.asarray((series - series.mean()) / max(series.std(), 1e-9))


def simulated_sensors(index: int) -> list[SimulatedSensor]:
    """Return the probes of a station: one at 0.05 m, and others such as real archives have."""
    surface = SimulatedSensor("SIM-Probe", 0.05, 0.05)
    if index == 2:
        return [SimulatedSensor("SIM-Probe-A", 0.05, 0.05), SimulatedSensor("SIM-Probe-B", 0.05, 0.05)]
    extra = {3: SimulatedSensor("SIM-Probe", 0.10, 0.10), 4: SimulatedSensor("SIM-Neutrons", 0.0, 0.20)}
    if index == 5:
        return [SimulatedSensor("SIM-Probe", 0.0, 0.05)]
    return [surface, extra[index]] if index in extra else [surface]


def _members(earth: Earth) -> Iterator[tuple[str, str]]:
    """Yield names and texts of the files of the archive."""
    static, daily, warmth = static_fields(earth), station_daily(earth), soil_temperature(earth)
    yield "Metadata.xml", _METADATA
    yield "Readme.txt", _README
    for i, station in enumerate(simulated_stations(earth)):
        height = float(static.elevation[station.row - static.rows.start, station.column - static.columns.start])
        folder = f"{station.network}/{station.name}/{station.network}_{station.network}_{station.name}"
        yield f"{folder}_static_variables.csv", _STATIC_VARIABLES
        for k, sensor in enumerate(simulated_sensors(i)):
            span = "_".join(day.strftime("%Y%m%d") for day in (earth.period.start, earth.period.end))
            name = f"{folder}_sm_{sensor.depth_from:.6f}_{sensor.depth_to:.6f}_{sensor.instrument}_{span}.stm"
            value, flag = _readings(earth, daily[:, i], warmth[:, i], sensor, (i, k))
            yield name, _header(station, sensor, height) + _lines(earth, value, flag)


def _header(station: SimulatedStation, sensor: SimulatedSensor, height: float) -> str:
    """Return the first line of a file; names have ``_`` here and ``-`` in folders, as in real archives."""
    name, instrument = station.name.replace("-", "_"), sensor.instrument.replace("-", "_")
    return (
        f"{station.network:<10} {station.network:<10} {name:<15} {station.lat:9.5f} {station.lon:9.5f} "
        f"{height:8.1f} {sensor.depth_from:.4f} {sensor.depth_to:.4f} {instrument}\n"
    )


def _readings(
    earth: Earth, daily: AnyFloatArray, warmth: AnyFloatArray, sensor: SimulatedSensor, key: tuple[int, int]
) -> tuple[AnyFloatArray, npt.NDArray[np.str_]]:
    """Return values (m3 m-3, -9999 where missing) and ISMN flags of a probe, (reading,)."""
    rng = named_rng(earth, "probe", *key)
    hours = np.arange(0, 24 * len(daily), earth.sample_hours)
    day = hours / 24 - 0.5  # the daily value belongs to noon
    value = np.interp(day, np.arange(len(daily)), _damped(daily, sensor))
    value += rng.normal(0, earth.sensor_noise, len(hours)) + (rng.normal(0, 0.01) if key[1] else 0)
    value = np.clip(value, 0.005, 0.595)
    flag = np.full(len(hours), "G", "<U7")
    spike = rng.random(len(hours)) < _SPIKES
    value[spike] += rng.uniform(0.1, 0.3, int(spike.sum()))
    flag[spike] = "D06"
    kelvin = np.interp(day, np.arange(len(warmth)), warmth)
    flag[kelvin < FREEZING] = np.where(spike[kelvin < FREEZING], "D01,D06", "D01")
    flag[value > 0.6] = "C02"
    missing = rng.random(len(hours)) < _MISSING
    value[missing], flag[missing] = -9999, "M"
    return value, flag


def _damped(daily: AnyFloatArray, sensor: SimulatedSensor) -> AnyFloatArray:
    """Return daily values at the depth of a probe: below 0.05 m they follow the surface slowly."""
    if sensor.depth_to <= 0.05:
        return daily
    deep = daily.copy()
    for i in range(1, len(deep)):
        deep[i] = 0.9 * deep[i - 1] + 0.1 * daily[i]
    return deep + 0.03


def _lines(earth: Earth, value: AnyFloatArray, flag: npt.NDArray[np.str_]) -> str:
    """Return lines ``date time value flag provider's flag``."""
    stamps = _stamps(earth.period.start, len(value), earth.sample_hours)
    text = ["-9999" if v == -9999 else f"{v:.4g}" for v in value.tolist()]
    return "\n".join(map(" ".join, zip(stamps, text, flag.tolist(), ["M"] * len(value), strict=True))) + "\n"


@lru_cache(maxsize=2)
def _stamps(start: date, count: int, hours: int) -> list[str]:
    """Return dates and times of readings, as in ``2018/01/01 06:00``."""
    times = np.datetime64(start, "h") + hours * np.arange(count)
    return [text.replace("-", "/").replace("T", " ") + ":00" for text in np.datetime_as_string(times, "h").tolist()]


_README = """Variables stored in separate files (Header+values)

SIMULATED DATA, made by stac_sm in the format of the International Soil Moisture Network (ISMN).
No station, network or instrument named here exists.
"""

_METADATA = """<?xml version="1.0" encoding="UTF-8"?>
<gmd:MD_Metadata xmlns:gco="http://www.isotc211.org/2005/gco" xmlns:gmd="http://www.isotc211.org/2005/gmd">
    <gmd:fileIdentifier>
        <gco:CharacterString>Simulated stations in the format of the ISMN</gco:CharacterString>
    </gmd:fileIdentifier>
</gmd:MD_Metadata>
"""

_STATIC_VARIABLES = """quantity_name;unit;depth_from[m];depth_to[m];value;description;quantity_source_name;\
quantity_source_description;quantity_source_provider;quantity_source_version;quantity_source_resolution;\
quantity_source_timerange;quantity_source_url;
saturation;m^3*m^-3;0.00;0.30;0.46;;SIM;Simulated;stac_sm;v1;None;None;None;
clay fraction;% weight;0.00;0.30;23.00;;SIM;Simulated;stac_sm;v1;None;None;None;
sand fraction;% weight;0.00;0.30;36.00;;SIM;Simulated;stac_sm;v1;None;None;None;
silt fraction;% weight;0.00;0.30;41.00;;SIM;Simulated;stac_sm;v1;None;None;None;
organic carbon;% weight;0.00;0.30;1.27;;SIM;Simulated;stac_sm;v1;None;None;None;
land cover classification;;;;10;Cropland, rainfed;CCI_landcover_2010;Simulated;stac_sm;v1;None;None;None;
climate classification;;;;Cfa;Temperate - Without dry season - Hot Summer;koeppen_geiger_2007;Simulated;\
stac_sm;v1;None;None;None;
"""
