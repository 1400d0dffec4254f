"""ERA5-Land: soil water, soil temperature and snow of NetCDF, GRIB and Zarr to daily UTC means.

`era5_netcdf`, `era5_grib` and `era5_zarr` open the files, `formats.joined_hours` joins their hours. An item is a day on
one grid; it lists the hours and the checksums of its files, so that hours that come later replace the day.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from stac_sm.core.errors import GranuleError, StacSmError
from stac_sm.core.fingerprint import digest
from stac_sm.core.period import Period, utc_instant
from stac_sm.core.variables import VARIABLES
from stac_sm.ingest.file_content import GRIB, TAR, ZARR, ZIP, FileContent, describe_file
from stac_sm.ingest.formats.archive import Member, is_archive, unpack_members
from stac_sm.ingest.formats.hourly import HourlyFields
from stac_sm.ingest.formats.joined_hours import JoinedDay, joined_days
from stac_sm.ingest.formats.latlon_grid import RegularGrid
from stac_sm.ingest.provider_interface import (
    Download,
    Granule,
    JointScan,
    RasterLayer,
    Recognition,
    ScannedFile,
    SourceFile,
)
from stac_sm.ingest.providers.era5_grib import grib_variable, open_era5_grib
from stac_sm.ingest.providers.era5_netcdf import open_era5_netcdf
from stac_sm.ingest.providers.era5_zarr import open_era5_zarr
from stac_sm.ingest.rank import Decision, ItemVersion, Preference
from stac_sm.raster.cog import CogProfile
from stac_sm.stac.items import raster_item
from stac_sm.storage.http.documents import FileMissingError, FileUrl, fetch_file

REQUIRED_VARIABLES = ("swvl1", "stl1", "sd")
DATASET_PROPERTY = "stac_sm:dataset"
"""Property of items that are not of ERA5-Land itself: what they are from."""

_PEEK = 12
"""Data files of an archive that are looked into to know whose it is."""

_STEP, _ERA5_STEP = 0.1, 0.25  # degrees
_PLACE = ("proj:shape", "proj:transform")
_GRIB = (".grb", ".grib", ".grb2", ".grib2")


@dataclass(frozen=True)
class Era5Land:
    """Files and stores of ERA5-Land with one or more hours of each day."""

    min_hours: int = 24
    """Least number of hours in a daily mean; days with fewer are left out and counted. 1 for daily means."""

    period: str | None = None
    """Days that are taken, e.g. ``2018-06-01/2018-08-31``; all by default."""

    bbox: Sequence[float] | None = None
    """West, south, east, north in degrees: part that is taken of a Zarr store; all by default."""

    collection: str = "era5-land"
    """Id of the STAC collection."""

    patterns: tuple[str, ...] = ("*.nc", "*.zarr", *(f"*{suffix}" for suffix in _GRIB))
    """Names of its files; a folder that ends with ``.zarr`` is one of them."""

    downloads: ClassVar[tuple[Download, ...]] = (
        Download(
            "ERA5-Land hourly data from 1950 to present",
            "era5-land",
            ("volumetric_soil_water_layer_1", "soil_temperature_level_1", "snow_depth_water_equivalent"),
            "account of the Climate Data Store",
            pixels=100**2,
            bytes_a_pixel=12,
            times=720,
        ),
    )
    """What to download."""

    selecting: ClassVar[tuple[str, ...]] = ("period", "bbox")
    """Settings that say which items are made, and change none of them."""

    def scan(self, file: Path) -> ScannedFile:
        """Return one item a day that has enough hours."""
        return self._scan_one(file)

    def scan_url(self, url: FileUrl) -> ScannedFile:
        """Return one item a day of a Zarr store at an address."""
        return self._scan_one(url)

    def scan_together(self, files: Sequence[Path | FileUrl]) -> JointScan:
        """Return one item a day that has enough hours in all files together."""
        opened, errors = dict[Path | FileUrl, _Opened](), {}
        for file in files:
            try:
                opened[file] = self._open(file)
            except (StacSmError, OSError) as error:
                errors[file] = str(error)
        joined = self._join(opened)
        return replace(joined, errors={**errors, **joined.errors})

    def claims(self, file: Path | FileUrl) -> list[str]:
        """Return the ids of the days of which a file has an hour."""
        fields = self._open(file).fields
        return [_item_id(day, hourly.grid) for hourly in fields for day in hourly.days() if self._takes(day)]

    def recognises(self, content: FileContent) -> Recognition | None:
        """Return whether a file has hourly fields of the reanalysis on latitudes and longitudes."""
        if content.kind in (ZIP, TAR):
            return _recognised_archive(self, content)
        if content.kind == GRIB:
            names = {grib_variable(tags) for tags in content.variables.values()}
        else:
            names = {name for name in content.variables if content.kind == ZARR or content.is_field(name)}
        found = [name for name in REQUIRED_VARIABLES if name in names]
        return Recognition(f"ERA5-Land ({', '.join(found)})") if found else None

    def compare_content(self, ours: ItemVersion, theirs: ItemVersion) -> Decision | None:
        """Return which of two versions of a day stays: the one that has all hours and variables of the other, and more.

        An hour that is final counts more than one that is preliminary.
        """
        if any(list(ours.item["properties"][key]) != theirs.item["properties"].get(key) for key in _PLACE):
            return Decision(Preference.UNDECIDED, "they lie on different grids")
        one, two = _coverage(ours), _coverage(theirs)
        if one is None or two is None:  # an item of an earlier release
            return None
        more = [_has_more(one, two), _has_more(two, one)]
        if not any(more):
            return None
        if any((one[key] is None) != (two[key] is None) for key in {*one} & {*two}):
            return Decision(Preference.UNDECIDED, "only one of them states which hours are final")
        if all(more):
            return Decision(Preference.UNDECIDED, "each has hours that the other lacks: pass both files together")
        return Decision(Preference.OURS if more[0] else Preference.THEIRS, "more hours or variables, or final ones")

    def parts(self, file: Path) -> Sequence[Path]:
        """Return the file; of a Zarr store the folder, then everything in it."""
        return [file, *sorted(file.rglob("*"))] if file.is_dir() else [file]

    def url_checksum(self, url: FileUrl) -> str:
        """Return the SHA-256 of what a store says about itself, but for its size: added days leave others as they are.

        Values that the provider revises are not noticed.
        """
        for name in (".zmetadata", "zarr.json"):
            try:
                return digest(_without_shapes(json.loads(fetch_file(FileUrl(f"{url}/{name}")))))
            except FileMissingError as error:
                missing = error
            except ValueError as error:
                raise GranuleError(f"{url}/{name}: no JSON found ({error}): is it a Zarr store?") from error
        raise GranuleError(
            f"{url}: no .zmetadata and no zarr.json found, a Zarr store expected ({missing})"
        ) from missing

    @property
    def _period(self) -> Period | None:
        return None if self.period is None else Period.parse(self.period)

    def _takes(self, day: date) -> bool:
        return self._period is None or day in self._period

    def _open(self, file: Path | FileUrl) -> _Opened:
        """Open the fields of a file or store, or of each file in an archive that has any."""
        if isinstance(file, FileUrl) or file.is_dir():
            return _Opened([open_era5_zarr(file, REQUIRED_VARIABLES, self._period, self.bbox)])
        return _open_archive(file) if is_archive(file) else _Opened([_open_file(file)])

    def _scan_one(self, file: Path | FileUrl) -> ScannedFile:
        joined = self._join({file: self._open(file)})
        error = joined.errors.get(file)
        if error is not None and not joined.useful:
            raise GranuleError(error)
        return ScannedFile(joined.granules, joined.notes[file], () if error is None else (error,))

    def _join(self, opened: Mapping[Path | FileUrl, _Opened]) -> _Joined:
        """Join the days of files, those of each grid together."""
        granules = []
        notes = {file: one.notes for file, one in opened.items()}
        errors: dict[Path | FileUrl, str] = {}
        useful = set[Path | FileUrl]()
        grids: dict[str, list[HourlyFields]] = {}
        for hourly in chain.from_iterable(one.fields for one in opened.values()):
            grids.setdefault(_grid_name(hourly.grid), []).append(hourly)
        for name, fields in grids.items():
            if len({hourly.grid.geobox for hourly in fields}) > 1:
                files = ", ".join(str(hourly.file) for hourly in fields)
                errors |= {hourly.file: f"{files}: they lie on several grids, all called {name}" for hourly in fields}
                continue
            dates = {id(hourly): set(hourly.days()) for hourly in fields}
            days = [day for day in joined_days(fields, REQUIRED_VARIABLES[0]) if self._takes(day.day)]
            enough = [day for day in days if day.hours >= self.min_hours]
            at_fault = [hourly for hourly in fields if hourly.left_out]
            for day in enough:
                granules.append(
                    partial(self._granule, day, fields[0].grid, [h for h in at_fault if day.day in dates[id(h)]])
                )
            for hourly in fields:
                own = [day for day in days if day.day in dates[id(hourly)]]
                if any(day.hours >= self.min_hours for day in own):
                    useful.add(hourly.file)
                else:
                    errors[hourly.file] = self._too_few(hourly, own)
                own_notes = (*self._notes(own), *_dataset_notes(fields[0].grid))
                notes[hourly.file] = tuple(dict.fromkeys((*notes.get(hourly.file, ()), *own_notes)))
        bad = {file: why for file, why in errors.items() if file not in useful}  # of an archive one file may be of use
        for file, one in opened.items():
            reasons = [*one.errors, *([bad[file]] if file in bad else [])]
            bad |= {file: "; ".join(reasons)} if reasons else {}
        return _Joined((make() for make in granules), notes, bad, bool(useful))

    def _too_few(self, hourly: HourlyFields, days: Sequence[JoinedDay]) -> str:
        most = max((day.hours for day in days), default=0)
        if days and not most:
            return (
                f"{hourly.file}: {' and '.join(hourly.units)} found without {REQUIRED_VARIABLES[0]} of the same days "
                "on the same grid: pass the files of all variables together, in one command, those of "
                f"{REQUIRED_VARIABLES[0]} among them"
            )
        found = f"{hourly.file}: at most {most} hours a day found, {self.min_hours} required: pass all files of a day "
        if most > 1:
            return f"{found}together; if that is all there is, set min_hours = {most} under [sources.era5-land]"
        return (
            f"{found}together; a single hour, an accumulation or a monthly mean is no daily mean, and min_hours under "
            "[sources.era5-land] is to be changed only for files that hold daily means or one representative hour"
        )

    def _notes(self, days: Sequence[JoinedDay]) -> tuple[str, ...]:
        short = sum(0 < day.hours < self.min_hours for day in days)
        notes = [f"{short} days left out: fewer than {self.min_hours} hours"] if short else []
        alone = sum(not day.hours for day in days)
        notes += [f"{alone} days left out: {REQUIRED_VARIABLES[0]} of them is missing"] if alone else []
        for name in REQUIRED_VARIABLES[1:]:
            lacking = [day for day in days if name in day.found and name not in day.complete]
            if lacking:
                notes.append(f"{name} of {len(lacking)} days left out: it lacks hours that {REQUIRED_VARIABLES[0]} has")
        return tuple(notes)

    def _granule(self, day: JoinedDay, grid: RegularGrid, at_fault: Sequence[HourlyFields]) -> Granule:
        item = raster_item(
            id=_item_id(day.day, grid),
            collection=self.collection,
            geobox=grid.geobox,
            start=utc_instant(day.day),
            end=utc_instant(Period.of_day(day.day).end),
            properties={"stac_sm:hours": day.hours, **_dataset_properties(grid)},
        )
        layers = {
            name: RasterLayer(VARIABLES[name], partial(day.mean, name), grid.geobox, CogProfile())
            for name in REQUIRED_VARIABLES
            if name in day.complete
        }
        lost = {
            name: f"{hourly.file.name}: {why}"
            for hourly in at_fault
            for name, why in hourly.left_out.items()
            if name not in day.complete
        }
        faulty = {hourly.file for hourly in at_fault}
        sources = tuple(SourceFile(file, facts, file in faulty) for file, facts in day.files().items())
        return Granule(item, dict(layers), sources=sources, lost=lost, check=day.check if day.twice else None)


def _open_file(file: Path) -> HourlyFields:
    """Open a GRIB or NetCDF file, by its first bytes; its name counts where they say neither."""
    with file.open("rb") as content:
        is_grib = content.read(4) == b"GRIB" or file.suffix in _GRIB
    return (open_era5_grib if is_grib else open_era5_netcdf)(file, REQUIRED_VARIABLES)


def _recognised_archive(provider: Era5Land, content: FileContent) -> Recognition | None:
    """Return whether one of the first data files in an archive is of the source."""
    try:
        for member in islice(unpack_members(content.file, _is_data), _PEEK):
            found = provider.recognises(describe_file(member.file))
            member.remove()
            if found is not None:
                return replace(found, product=f"{found.product} in an archive")
    except GranuleError:  # it is reported by whoever takes the archive
        return None
    return None


@dataclass(frozen=True)
class _Opened:
    """What a file gives; an archive may hold several files."""

    fields: Sequence[HourlyFields]
    """Fields of each file in it that has any."""

    notes: tuple[str, ...] = ()
    """Files in it that have none, and what they have."""

    errors: tuple[str, ...] = ()
    """Files in it that cannot be used, and why."""


@dataclass(frozen=True)
class _Joined(JointScan):
    """The days of several files."""

    useful: bool = False
    """Whether there are any."""


def _open_archive(file: Path) -> _Opened:
    """Open the files in an archive, as the Climate Data Store sends them; they are unpacked to temporary files."""
    fields, others, errors = list[HourlyFields](), list[str](), list[str]()
    for member in unpack_members(file, _is_data):
        try:
            with member.named():
                hourly = _open_file(member.file)
        except GranuleError as error:
            content = describe_file(member.file)
            if content.problem or Era5Land().recognises(content) is not None:
                errors.append(str(error))
            else:
                others.append(f"member {member.name} left out: {', '.join(REQUIRED_VARIABLES)} not found in it")
            member.remove()
            continue
        hourly = replace(hourly, file=file, read=partial(_read_member, member, hourly.read))
        member.keep_for(hourly)
        fields.append(hourly)
    if not fields:
        reasons = "; ".join([*errors, *others]) or "no member is NetCDF or GRIB"
        raise GranuleError(f"{file}: an archive without a file of ERA5-Land that can be used found: {reasons}")
    return _Opened(fields, tuple(others), tuple(errors))


def _read_member(
    member: Member, read: Callable[[str, int, int], np.ndarray], name: str, start: int, end: int
) -> np.ndarray:
    with member.named():
        return read(name, start, end)


def _is_data(first: bytes) -> bool:
    return first.startswith((b"CDF", b"\x89HDF", b"GRIB"))


def _item_id(day: date, grid: RegularGrid) -> str:
    return f"ERA5L.A{day:%Y%j}.{_grid_name(grid)}"


def _grid_name(grid: RegularGrid) -> str:
    """Name of a grid; that of global ERA5 has its size in it, since global ERA5-Land may lie beside it."""
    if grid.name != "global" or _dataset(grid) != "ERA5":
        return grid.name
    height, width = grid.geobox.shape
    return f"global-{width}x{height}"


def _dataset(grid: RegularGrid) -> str:
    """Return what fields of a grid are from, by its pixel size; empty for ERA5-Land."""
    step = round(abs(grid.geobox.affine.e), 4)
    if step == _STEP:
        return ""
    return "ERA5" if step == _ERA5_STEP else f"ERA5 or ERA5-Land, regridded to {step:g} degrees"


def _dataset_properties(grid: RegularGrid) -> dict[str, str]:
    return {DATASET_PROPERTY: _dataset(grid)} if _dataset(grid) else {}


def _dataset_notes(grid: RegularGrid) -> tuple[str, ...]:
    step = abs(grid.geobox.affine.e)
    if not _dataset(grid):
        return ()
    return (
        f"{_dataset(grid)} of {step:g} degrees found, not ERA5-Land of {_STEP:g} degrees: the items say so "
        f"({DATASET_PROPERTY}), and count only where there is no finer one",
    )


def _coverage(version: ItemVersion) -> dict[tuple[str, float], bool | None] | None:
    """Return whether hours are final, by variable and hour; None of an item that does not list its hours."""
    if any("hours" not in source for source in version.sources):
        return None
    covered: dict[tuple[str, float], bool | None] = {}
    for source in version.sources:
        # a file that gives all variables at the same hours says so once
        for name, facts in (source.get("variables") or dict.fromkeys(version.keys, source)).items():
            known = dict.fromkeys(facts.get("final", ()), True) | dict.fromkeys(facts.get("preliminary", ()), False)
            covered |= {(name, hour): known.get(hour) for hour in facts["hours"]}
    return covered


def _has_more(one: Mapping[Any, bool | None], two: Mapping[Any, bool | None]) -> bool:
    """Return whether one has something that two lacks, or has only preliminary."""
    return any(key not in two or (final is True and two[key] is False) for key, final in one.items())


def _without_shapes(document: Any) -> Any:
    if isinstance(document, dict):
        return {key: _without_shapes(value) for key, value in document.items() if key != "shape"}
    return [_without_shapes(value) for value in document] if isinstance(document, list) else document
