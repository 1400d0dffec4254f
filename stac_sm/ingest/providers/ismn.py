"""ISMN: the archive of stations, zipped or unpacked, to one item a station with the series of all its sensors.

Static variables beside the series are properties of the item; one that cannot be right is left out with a note. Several
downloads of a station become one item when they are unpacked into one folder. Of two archives that hold one station the
one that holds all readings of the other stays (`Ismn.compare_content`); else they are refused, and no reading is lost.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar

from stac_sm.core.errors import GranuleError, InputError
from stac_sm.core.fingerprint import canonical_json
from stac_sm.core.period import Period, utc_instant
from stac_sm.core.variables import SURFACE_DEPTH
from stac_sm.ingest.file_content import TEXT, ZIP, FileContent
from stac_sm.ingest.formats.archive import UNREADABLE, is_archive
from stac_sm.ingest.formats.stm import (
    Pairs,
    Readings,
    SensorFile,
    check_files,
    instruments,
    is_stm,
    misdated,
    missing_readings,
    same_readings,
)
from stac_sm.ingest.provider_interface import Download, Granule, Recognition, ScannedFile, TableLayer
from stac_sm.ingest.providers.ismn_static import STATIC_PROPERTIES, STATIC_VARIABLES, SUFFIX, static_properties
from stac_sm.ingest.rank import Decision, ItemVersion, Preference
from stac_sm.stac.items import ItemDict, build_item, check_id

if TYPE_CHECKING:
    import pandas as pd

GOOD = "G"
"""Quality flag of a reading that passed every check."""

MAX_MEMBER = 512 << 20
"""Largest file or unpacked member, bytes; a century of hourly values of one sensor is 40 MB, 100 MB as ceop_sep."""

MAX_RATIO = 200
"""Largest ratio of unpacked to packed bytes; real archives reach 27."""

_FAR = 0.001  # degrees, some 100 m: how far apart files may place one station
_NAMED_ERRORS = 5
_OTHER_VARIABLE = re.compile(r".+_.+_.+_([a-z][a-z_]*)_-?\d+\.\d+_-?\d+\.\d+_.+_\d{8}_\d{8}\.stm")

_Static = Mapping[tuple[str, str], tuple[Mapping[str, Any], Mapping[str, str]]]
"""Properties of each station, and what was left out of them, and why."""


@dataclass(frozen=True)
class Ismn:
    """Soil moisture (``sm``) of stations; other variables are left out.

    Names of networks and stations are those of the file names, as the ``ismn`` package gives them.
    """

    collection: str = "ismn-stations"
    """Id of the STAC collection."""

    patterns: tuple[str, ...] = ("*.zip", "*_sm_*.stm")
    """Names of its files."""

    downloads: ClassVar[tuple[Download, ...]] = (
        Download("ISMN archive, as header_values or ceop_sep", "ismn-stations", ("sm",), "free account"),
    )
    """What to download."""

    def scan(self, file: Path) -> ScannedFile:
        """Return one item a station of an archive, or the one station that an unpacked file belongs to.

        Stations that cannot be read do not keep the others from being ingested: one error at the end names them.
        """
        if _is_archive(file):
            names = _members(file)
            sensors, others, errors = _sensors(file, names)
            with _opened(file) as archive:
                static = _static(sensors, names, archive.read)
            notes = (*_notes(others), *_depth_notes(sensors))
            return ScannedFile(self._from_zip(file, sensors, static), notes, errors)
        files = {str(part): part for part in self.parts(file)}
        sensors, _, _ = _sensors(file, list(files))
        static = _static(sensors, list(files), _read_file)
        return ScannedFile(self._granules(file, sensors, static, _read_file), _depth_notes(sensors))

    def parts(self, file: Path) -> list[Path]:
        """Return all files in the folder that belong to the same station: an item holds all its sensors."""
        own = SensorFile.of(file.name)
        if own is None:
            return [file]
        beside = (other for other in file.parent.iterdir() if other.name.startswith(f"{own.prefix}_sm_"))
        sensors = {sensor: other for other in beside if (sensor := SensorFile.of(other.name))}
        static = file.with_name(own.prefix + SUFFIX)
        series = [sensors[sensor] for sensor in sorted(sensors) if _key(sensor) == _key(own)]
        return [*series, static] if static.is_file() else series

    def claims(self, file: Path) -> list[str]:
        """Return the ids of the stations of a file, by the names in it."""
        names = _members(file) if _is_archive(file) else [file.name]
        return [station_id(*_key(sensor)) for name in names if (sensor := SensorFile.of(name))]

    def recognises(self, content: FileContent) -> Recognition | None:
        """Return whether a file is an archive with stations, or a series of one.

        The names say which quantity a series holds, at which depth and by which instrument; the lines do not.
        """
        product = "ISMN soil moisture"
        if content.kind == ZIP:
            series = [name for name in content.members if name.endswith(".stm")]
            found = sum(SensorFile.of(name) is not None for name in series)
            if found:
                return Recognition(f"{product} ({found} series in an archive)")
            why = f"{len(series)} series found, none of soil moisture (NETWORK_NETWORK_STATION_sm_….stm)"
            return Recognition("ISMN", refusal=why) if series else None
        named = SensorFile.of(content.name) is not None
        if content.kind != TEXT or not is_stm(content.head.encode("latin-1")):
            return Recognition(product, by_name=True) if named else None
        if named:
            return Recognition(product)
        other = _OTHER_VARIABLE.fullmatch(content.name)
        if other is not None:
            why = f"the variable {other[1]} found by its name, sm is required"
            return Recognition("ISMN", refusal=why, left_out=True)
        why = (
            "its lines are those of the ISMN, but only its name could say which variable it holds, at which depth and "
            "by which instrument: give it back its published name, like NET_NET_STATION_sm_0.050000_0.050000_SENSOR_"
            "20180101_20190101.stm"
        )
        return Recognition("ISMN", refusal=why)

    def compare_content(self, ours: ItemVersion, theirs: ItemVersion) -> Decision:
        """Return which of two versions of a station stays: the one that has all readings of the other, and more.

        With the same readings in both, it is the one that has all static variables of the other, and more. Names of
        instruments do not count, since they change between downloads.
        """
        mine, other = _series(ours), _series(theirs)
        lost, gained = missing_readings(other, mine), missing_readings(mine, other)
        if len(lost) and len(gained):
            return Decision(Preference.UNDECIDED, _of_neither(ours, theirs, lost, gained))
        if len(lost) or len(gained):
            return Decision(Preference.OURS if len(gained) else Preference.THEIRS, "it holds all readings of the other")
        if not same_readings(mine, other):
            return Decision(Preference.UNDECIDED, "they have other values at the same times")
        ground = [{key: version.item["properties"].get(key) for key in STATIC_PROPERTIES} for version in (ours, theirs)]
        differing = [
            key for key in STATIC_PROPERTIES if canonical_json(ground[0][key]) != canonical_json(ground[1][key])
        ]
        for preference, one in zip((Preference.THEIRS, Preference.OURS), ground, strict=True):
            if differing and all(one[key] is None for key in differing):
                return Decision(preference, f"the other one lacks {', '.join(differing)}")
        if differing:
            return Decision(Preference.UNDECIDED, f"they have the same readings, but differ in {', '.join(differing)}")
        return Decision(Preference.SAME, "the same readings")

    def _from_zip(self, file: Path, sensors: Sequence[SensorFile], static: _Static) -> Iterator[Granule]:
        with _opened(file) as archive:
            yield from self._granules(file, sensors, static, archive.read)

    def _granules(
        self, file: Path, sensors: Sequence[SensorFile], static: _Static, read: Callable[[str], bytes]
    ) -> Iterator[Granule]:
        errors = []
        for key, group in groupby(sensors, key=_key):
            try:
                properties, left_out = static.get(key, ({}, {}))
                granule = self._granule(file, list(group), properties, read)
            except InputError as error:
                errors.append(str(error))
                continue
            yield replace(granule, left_out={**granule.left_out, **left_out})
        if errors:
            named = "; ".join(_first_of(errors))
            raise GranuleError(f"{file}: {len(errors)} station(s) could not be read, all others were: {named}")

    def _granule(
        self, file: Path, sensors: Sequence[SensorFile], static: Mapping[str, Any], read: Callable[[str], bytes]
    ) -> Granule:
        check_files(file, sensors)
        readings = [sensor.readings(_content(read, sensor.path)) for sensor in sensors]
        _check_place(file, sensors, readings)
        pairs = instruments(sensors, readings)
        table = _table(pairs)
        item = _item(self.collection, pairs, table, static)
        series = TableLayer(lambda: table, "Hourly values of all soil moisture sensors")
        wrong = pairs[0][1].bad_elevation  # the item has the elevation of the first sensor
        return Granule(item, {"series": series}, left_out={"stac_sm:elevation": wrong} if wrong else {})


def station_id(network: str, station: str) -> str:
    """Return the id of a station's item: ``{network}.{station}``; other characters than letters, digits, ``_.-`` are
    one ``-``.
    """
    return f"{_safe(network)}.{_safe(station)}"


def _safe(name: str) -> str:
    return re.sub(r"\.{2,}", ".", re.sub(r"[^A-Za-z0-9_.-]+", "-", name)).strip("-.") or "unnamed"


def _key(sensor: SensorFile) -> tuple[str, str]:
    return sensor.network, sensor.station


def _item(collection: str, pairs: Pairs, table: pd.DataFrame, static: Mapping[str, Any]) -> ItemDict:
    """Build the item of a station; its period spans the days with values, or the download if there are none."""
    (sensor, place), *_ = pairs
    period = _period([sensor for sensor, _ in pairs], table)
    flags: Counter[str] = Counter()
    for _, reading in pairs:
        flags.update(reading.frame["flag"].tolist())
    return build_item(
        id=station_id(*_key(sensor)),
        collection=collection,
        geometry={"type": "Point", "coordinates": [place.lon, place.lat]},
        bbox=[place.lon, place.lat, place.lon, place.lat],
        start=utc_instant(period.start),
        end=utc_instant(period.end),
        properties={
            "title": f"{sensor.network}, {sensor.station}",
            "stac_sm:network": check_id(_safe(sensor.network)),
            "stac_sm:station": sensor.station,
            "stac_sm:elevation": place.elevation,
            "stac_sm:sensors": [_summary(sensor, reading.frame) for sensor, reading in pairs],
            "stac_sm:flags": {flag: int(count) for flag, count in sorted(flags.items())},
            **static,
        },
        extensions=[],
    )


def _summary(sensor: SensorFile, frame: pd.DataFrame) -> dict[str, Any]:
    """Describe a sensor and its counts: readings with a value, good ones, and missing ones, which the table omits."""
    seen = frame["sm"].notna()
    return {
        "sensor": sensor.sensor,
        "depth_from": sensor.depth_from,
        "depth_to": sensor.depth_to,
        "n": int(seen.sum()),
        "n_good": int((seen & (frame["flag"] == GOOD)).sum()),
        "n_missing": int((~seen).sum()),
    }


def _table(pairs: Pairs) -> pd.DataFrame:
    """Return readings with a value: time (UTC), sensor, depth_from, depth_to (m), sm (m3 m-3), flag."""
    import pandas as pd

    columns = ["time", "sensor", "depth_from", "depth_to", "sm", "flag"]
    frames = [
        reading.frame.dropna(subset="sm").assign(
            sensor=sensor.sensor, depth_from=sensor.depth_from, depth_to=sensor.depth_to
        )[columns]
        for sensor, reading in pairs
    ]
    return pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)


def _period(sensors: Sequence[SensorFile], table: pd.DataFrame) -> Period:
    if table.empty:
        return Period(min(s.first for s in sensors), Period.of_day(max(s.last for s in sensors)).end)
    first, last = table["time"].min(), table["time"].max()
    return Period(first.date(), Period.of_day(last.date()).end)


def _series(version: ItemVersion) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_parquet(io.BytesIO(version.read("series")))
    except (ValueError, KeyError, OSError) as error:
        raise GranuleError(
            f"{version.item['id']}: the series of its item cannot be read ({error}): run `stac-sm audit`"
        ) from error


def _of_neither(ours: ItemVersion, theirs: ItemVersion, lost: pd.DataFrame, gained: pd.DataFrame) -> str:
    """Describe two versions of which neither holds the other."""
    times = lost["time"]
    return (
        f"{theirs.names} has {len(lost)} readings that {ours.names} lacks ({times.min():%Y-%m-%d} to "
        f"{times.max():%Y-%m-%d}), and lacks {len(gained)} of it: unpack both into one folder and ingest that"
    )


def _check_place(file: Path, sensors: Sequence[SensorFile], readings: Sequence[Readings]) -> None:
    first = readings[0]
    for sensor, other in zip(sensors, readings, strict=True):
        if max(abs(other.lon - first.lon), abs(other.lat - first.lat)) > _FAR:
            raise GranuleError(
                f"{file}: {sensors[0].path} places its station at {first.lon}, {first.lat}, "
                f"{sensor.path} at {other.lon}, {other.lat}: take both from one download"
            )


def _is_archive(file: Path) -> bool:
    """Return whether a file is an archive: by its name, or by its first bytes."""
    return file.suffix == ".zip" or is_archive(file)


def _members(file: Path) -> list[str]:
    """List the names in an archive, checked; nothing is ever unpacked to disk."""
    with _opened(file) as archive:
        infos = [info for info in archive.infolist() if not info.is_dir()]
    for info in infos:
        path = PurePosixPath(info.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:", info.filename):
            raise GranuleError(f"{file}: member {info.filename!r} leaves the archive: it is not from the ISMN")
        if info.file_size > MAX_MEMBER or info.file_size > MAX_RATIO * max(info.compress_size, 1 << 10):
            raise GranuleError(
                f"{file}: member {info.filename!r} unpacks from {info.compress_size} to {info.file_size} bytes, "
                f"expected at most {MAX_MEMBER} and a ratio of {MAX_RATIO}: it is not from the ISMN"
            )
    return [info.filename for info in infos if not PurePosixPath(info.filename).name.startswith(".")]


def _sensors(file: Path, names: Sequence[str]) -> tuple[list[SensorFile], int, tuple[str, ...]]:
    """Return files of soil moisture, in order, each station at one id; the number of files of other variables; errors.

    An error names a file of soil moisture that is left out, since the days in its name do not exist.
    """
    sensors = sorted(sensor for name in names if (sensor := SensorFile.of(name)))
    errors = tuple(f"{file}: {why}" if name != str(file) else why for name in names if (why := misdated(name)))
    if errors and not sensors:
        raise GranuleError("; ".join(errors))
    if not sensors:
        raise GranuleError(
            f"{file}: found {len(names)} file(s), none of soil moisture (NETWORK_NETWORK_STATION_sm_FROM_TO_SENSOR_"
            "FIRST_LAST.stm): download it in the layout 'Header + values' or 'CEOP in separate files'"
        )
    stations: dict[str, tuple[str, str]] = {}
    for sensor in sensors:
        if stations.setdefault(station_id(*_key(sensor)), _key(sensor)) != _key(sensor):
            raise GranuleError(f"{file}: stations {stations[station_id(*_key(sensor))]} and {_key(sensor)} have one id")
    return sensors, sum(name.endswith(".stm") for name in names) - len(sensors) - len(errors), errors


def _notes(others: int) -> tuple[str, ...]:
    return (f"{others} files of other variables than soil moisture left out",) if others else ()


def _depth_notes(sensors: Sequence[SensorFile]) -> tuple[str, ...]:
    """Return how many sensors end below the layer of the product: kept, since a project may count them."""
    deep = sum(round(100 * one.depth_to) > round(100 * SURFACE_DEPTH) for one in sensors)
    if not deep:
        return ()
    return (
        f"{deep} of {len(sensors)} sensors end deeper than {SURFACE_DEPTH:g} m: they are kept, and match-ups leave "
        "them out unless max_depth of [stations] in the project file says so",
    )


def _static(sensors: Sequence[SensorFile], names: Sequence[str], read: Callable[[str], bytes]) -> _Static:
    """Return the static variables of each station that has a file of them."""
    present, found = set(names), dict[tuple[str, str], tuple[Mapping[str, Any], Mapping[str, str]]]()
    for key, group in groupby(sensors, key=_key):
        sensor = next(group)
        path = f"{sensor.folder}{sensor.prefix}{SUFFIX}"
        try:
            if path in present:
                found[key] = static_properties(_content(read, path), path)
        except GranuleError as error:
            found[key] = {}, {STATIC_VARIABLES: str(error).removeprefix(f"{path}: ")}
    return found


def _first_of(texts: Sequence[str]) -> list[str]:
    more = [f"and {len(texts) - _NAMED_ERRORS} more"] if len(texts) > _NAMED_ERRORS else []
    return [*texts[:_NAMED_ERRORS], *more]


def _read_file(path: str) -> bytes:
    size = Path(path).stat().st_size
    if size > MAX_MEMBER:
        raise GranuleError(f"{path}: found {size} bytes, expected at most {MAX_MEMBER}: it is not from the ISMN")
    return Path(path).read_bytes()


def _opened(file: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except UNREADABLE as error:
        size = file.stat().st_size if file.exists() else 0
        raise GranuleError(f"{file}: {size} bytes found, no readable zip ({error!s:.200}): fetch it again") from error


def _content(read: Callable[[str], bytes], path: str) -> bytes:
    """Read the bytes of a file or member."""
    try:
        return read(path)
    except UNREADABLE as error:
        raise GranuleError(f"{path}: cannot be unpacked ({error!s:.200}): fetch the archive again") from error
