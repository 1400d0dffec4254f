"""ISMN: the archive of stations, zipped or unpacked, to one item a station with the series of all its sensors."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from stac_sm.errors import GranuleError
from stac_sm.items import ItemDict, build_item
from stac_sm.period import Period, utc
from stac_sm.sources import Granule, Scan, TableLayer
from stac_sm.sources.stm import Readings, SensorFile, parse

if TYPE_CHECKING:
    import pandas as pd

GOOD = "G"
"""Quality flag of a reading that passed every check."""

MAX_MEMBER = 4 << 30
"""Largest unpacked member of an archive, bytes; a century of one sensor is 40 MB."""

MAX_RATIO = 200
"""Largest ratio of unpacked to packed bytes; real archives reach 27."""

_FAR = 0.001  # degrees, some 100 m: how far apart files may place one station
_NAMED_ERRORS = 5


@dataclass(frozen=True)
class Ismn:
    """Soil moisture (``sm``) of stations; other variables are left out.

    Names of networks and stations are those of the file names, as the ``ismn`` package gives them.
    """

    collection: str = "ismn-stations"
    """Id of the STAC collection."""

    patterns: tuple[str, ...] = ("*.zip", "*_sm_*.stm")
    """Names of its files."""

    def scan(self, file: Path) -> Scan:
        """One item a station of an archive, or the one station that an unpacked file belongs to.

        Stations that cannot be read do not keep the others from being ingested: one error at the end names them.
        """
        if file.suffix == ".zip":
            members = _members(file)
            sensors, others = _sensors(file, members)
            return Scan(self._from_zip(file, sensors), _notes(others))
        files = {str(part): part for part in self.parts(file)}
        sensors, _ = _sensors(file, list(files))
        return Scan(self._granules(file, sensors, lambda path: files[path].read_bytes()))

    def parts(self, file: Path) -> list[Path]:
        """All files in the folder that belong to the same station: an item holds all its sensors."""
        own = SensorFile.of(file.name)
        if own is None:
            return [file]
        prefix = file.name[: file.name.rindex("_sm_")]
        beside = (other for other in file.parent.iterdir() if other.name.startswith(f"{prefix}_sm_"))
        sensors = {sensor: other for other in beside if (sensor := SensorFile.of(other.name))}
        return [sensors[sensor] for sensor in sorted(sensors) if _key(sensor) == _key(own)]

    def _from_zip(self, file: Path, sensors: Sequence[SensorFile]) -> Iterator[Granule]:
        with _opened(file) as archive:
            yield from self._granules(file, sensors, archive.read)

    def _granules(self, file: Path, sensors: Sequence[SensorFile], read: Callable[[str], bytes]) -> Iterator[Granule]:
        errors = []
        for _, group in groupby(sensors, key=_key):
            station = list(group)
            try:
                granule = self._granule(file, station, [parse(_content(read, s), s.path) for s in station])
            except GranuleError as error:
                errors.append(str(error))
                continue
            yield granule
        if errors:
            more = f"; and {len(errors) - _NAMED_ERRORS} more" if len(errors) > _NAMED_ERRORS else ""
            named = "; ".join(errors[:_NAMED_ERRORS])
            raise GranuleError(f"{file}: {len(errors)} station(s) could not be read, all others were: {named}{more}")

    def _granule(self, file: Path, sensors: Sequence[SensorFile], readings: Sequence[Readings]) -> Granule:
        _check_place(file, sensors, readings)
        table = _table(sensors, readings)
        item = _item(self.collection, sensors, readings, table)
        return Granule(item, {"series": TableLayer(lambda: table, "Hourly values of all soil moisture sensors")})


def station_id(network: str, station: str) -> str:
    """Id of a station's item: ``{network}.{station}``, other characters than letters, digits, ``_.-`` as one ``-``."""
    return f"{_safe(network)}.{_safe(station)}"


def _safe(name: str) -> str:
    return re.sub(r"\.{2,}", ".", re.sub(r"[^A-Za-z0-9_.-]+", "-", name)).strip("-.") or "unnamed"


def _key(sensor: SensorFile) -> tuple[str, str]:
    return sensor.network, sensor.station


def _item(
    collection: str, sensors: Sequence[SensorFile], readings: Sequence[Readings], table: pd.DataFrame
) -> ItemDict:
    """Item of a station; its period spans the days with values, or the download if there are none."""
    place, (network, station) = readings[0], _key(sensors[0])
    period = _period(sensors, table)
    flags: Counter[str] = Counter()
    for reading in readings:
        flags.update(reading.frame["flag"].tolist())
    return build_item(
        id=station_id(network, station),
        collection=collection,
        geometry={"type": "Point", "coordinates": [place.lon, place.lat]},
        bbox=[place.lon, place.lat, place.lon, place.lat],
        start=utc(period.start),
        end=utc(period.end),
        properties={
            "stac_sm:network": _safe(network),
            "stac_sm:station": station,
            "stac_sm:elevation": place.elevation,
            "stac_sm:sensors": [_summary(s, r.frame) for s, r in zip(sensors, readings, strict=True)],
            "stac_sm:flags": {flag: int(count) for flag, count in sorted(flags.items())},
        },
        extensions=[],
    )


def _summary(sensor: SensorFile, frame: pd.DataFrame) -> dict[str, Any]:
    """A sensor and its counts: readings with a value, good ones, and missing ones, which the table leaves out."""
    seen = frame["sm"].notna()
    return {
        "sensor": sensor.sensor,
        "depth_from": sensor.depth_from,
        "depth_to": sensor.depth_to,
        "n": int(seen.sum()),
        "n_good": int((seen & (frame["flag"] == GOOD)).sum()),
        "n_missing": int((~seen).sum()),
    }


def _table(sensors: Sequence[SensorFile], readings: Sequence[Readings]) -> pd.DataFrame:
    """Readings with a value: time (UTC), sensor, depth_from, depth_to (m), sm (m3 m-3), flag."""
    import pandas as pd

    columns = ["time", "sensor", "depth_from", "depth_to", "sm", "flag"]
    frames = [
        reading.frame.dropna(subset="sm").assign(
            sensor=sensor.sensor, depth_from=sensor.depth_from, depth_to=sensor.depth_to
        )[columns]
        for sensor, reading in zip(sensors, readings, strict=True)
    ]
    return pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)


def _period(sensors: Sequence[SensorFile], table: pd.DataFrame) -> Period:
    if table.empty:
        return Period(min(s.first for s in sensors), Period.of_day(max(s.last for s in sensors)).end)
    first, last = table["time"].min(), table["time"].max()
    return Period(first.date(), Period.of_day(last.date()).end)


def _check_place(file: Path, sensors: Sequence[SensorFile], readings: Sequence[Readings]) -> None:
    first = readings[0]
    for sensor, other in zip(sensors, readings, strict=True):
        if max(abs(other.lon - first.lon), abs(other.lat - first.lat)) > _FAR:
            raise GranuleError(
                f"{file}: {sensors[0].path} places its station at {first.lon}, {first.lat}, "
                f"{sensor.path} at {other.lon}, {other.lat}: take both from one download"
            )


def _members(file: Path) -> list[str]:
    """Names in an archive, checked; nothing is ever unpacked to disk."""
    with _opened(file) as archive:
        infos = [info for info in archive.infolist() if not info.is_dir()]
    for info in infos:
        path = PurePosixPath(info.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:", info.filename):
            raise GranuleError(f"{file}: member {info.filename!r} leaves the archive: it is not from the ISMN")
        if info.file_size > MAX_MEMBER or info.file_size > MAX_RATIO * max(info.compress_size, 1 << 10):
            raise GranuleError(
                f"{file}: member {info.filename!r} unpacks from {info.compress_size} to {info.file_size} bytes, "
                f"wanted at most {MAX_MEMBER} and a ratio of {MAX_RATIO}: it is not from the ISMN"
            )
    return [info.filename for info in infos if not PurePosixPath(info.filename).name.startswith(".")]


def _sensors(file: Path, names: Sequence[str]) -> tuple[list[SensorFile], int]:
    """Files of soil moisture, in order, each station at one id; and how many files of other variables there are."""
    sensors = sorted(sensor for name in names if (sensor := SensorFile.of(name)))
    if not sensors:
        raise GranuleError(
            f"{file}: found {len(names)} file(s), none of soil moisture (NETWORK_NETWORK_STATION_sm_FROM_TO_SENSOR_"
            "FIRST_LAST.stm): download it in the layout 'Header + values' or 'CEOP in separate files'"
        )
    stations: dict[str, tuple[str, str]] = {}
    for sensor in sensors:
        if stations.setdefault(station_id(*_key(sensor)), _key(sensor)) != _key(sensor):
            raise GranuleError(f"{file}: stations {stations[station_id(*_key(sensor))]} and {_key(sensor)} have one id")
    return sensors, sum(name.endswith(".stm") for name in names) - len(sensors)


def _notes(others: int) -> tuple[str, ...]:
    return (f"{others} files of other variables than soil moisture left out",) if others else ()


def _opened(file: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError) as error:
        size = file.stat().st_size if file.exists() else 0
        raise GranuleError(f"{file}: {size} bytes found that are no readable zip ({error}): fetch it again") from error


def _content(read: Callable[[str], bytes], sensor: SensorFile) -> bytes:
    """Bytes of a file or member."""
    try:
        return read(sensor.path)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, OSError) as error:
        raise GranuleError(f"{sensor.path}: cannot be unpacked ({error}): fetch the archive again") from error
