"""SMAP soil moisture: half-orbits and days of the radiometer, and scenes of SMAP with Sentinel-1, from HDF5 files.

`Smap` takes the products of level 2 and 3 on EASE-Grid 2.0 of 36 km and, enhanced, 9 km. `SmapS1` takes SPL2SMAP_S,
with 1 km and 3 km. Both read fields, quality flags, times and releases by the same functions; `formats.ease_grid`
places the cells.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from stac_sm.core.errors import GranuleError, InputError
from stac_sm.core.projections import projection_properties
from stac_sm.core.variables import VARIABLES
from stac_sm.ingest.file_content import HDF5, NETCDF, FileContent
from stac_sm.ingest.formats.ease_grid import EASE2_1KM, EASE2_3KM, EASE2_9KM, EASE2_36KM, Cells, EaseGrid
from stac_sm.ingest.formats.name_dates import named_day
from stac_sm.ingest.formats.netcdf import open_netcdf
from stac_sm.ingest.provider_interface import Download, Granule, RasterLayer, Recognition, ScannedFile
from stac_sm.ingest.rank import Rank
from stac_sm.raster.cog import CogProfile
from stac_sm.stac.items import raster_item

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

_FILL = -9999.0
_NOT_RECOMMENDED, _FLAG_FILL = 1, 65534  # bit 0; the fill value has bit 0 unset
_UNITS = ("cm**3/cm**3", "cm^3/cm^3", "m**3/m**3", "cm3/cm3")
_RELEASE = re.compile(r".+_R(\d{5})_(\d{3})\.h5")
_SECOND = timedelta(seconds=1)
_LOGIN = "Earthdata Login"


def read_smap_field(file: Path, data: Any, path: str) -> np.ndarray:
    """Read the stored values of a variable by its path, without masks and scales.

    Raises
    ------
    GranuleError
        If it is not there.
    """
    return np.asarray(_variable(file, data, path)[...])


def soil_moisture(
    file: Path, data: Any, group: str, suffix: str, recommended_only: bool
) -> tuple[np.ndarray, dict[str, str]]:
    """Read the soil moisture of a group.

    Parameters
    ----------
    file
        The file, for messages.
    data
        The open file.
    group
        Path of the group.
    suffix
        End of the names of its variables.
    recommended_only
        Whether retrievals that the provider does not recommend become NaN.

    Returns
    -------
    numpy.ndarray
        m3 m-3, float32, in the shape of the file; NaN where nothing was retrieved.
    dict of str
        Attributes that cannot be right and were left out, and why.

    Raises
    ------
    GranuleError
        If fields are missing, or values are not possible.
    """
    path = f"{group}/soil_moisture{suffix}"
    values, flag = (
        read_smap_field(file, data, path),
        read_smap_field(file, data, f"{group}/retrieval_qual_flag{suffix}").astype(np.int64),
    )
    variable = _variable(file, data, path)
    (fill, left_out), unit = _fill_value(variable), str(getattr(variable, "units", _UNITS[0]))
    if values.shape != flag.shape or unit not in _UNITS or values.dtype.kind not in "fiu":
        raise GranuleError(
            f"{file}: {path} of {values.shape} in {unit!r} found, {flag.shape} in {_UNITS[0]!r} expected"
        )
    good = (values != fill) & (flag != _FLAG_FILL)
    if recommended_only:
        good &= (flag & _NOT_RECOMMENDED) == 0
    kept = np.where(good, values, np.nan).astype(np.float32)
    if good.any() and not (np.nanmin(kept) >= 0 and np.nanmax(kept) <= 1):
        found = f"{np.nanmin(kept):g} to {np.nanmax(kept):g}"
        raise GranuleError(f"{file}: {path} from {found} found, 0 to 1 m3 m-3 expected: fetch it again")
    return kept, left_out


def _fill_value(variable: Any) -> tuple[float, dict[str, str]]:
    """Return the stored value without a retrieval; that of all SMAP products where the attribute cannot be right.

    It is no guess: a file that has another one fails the check of the physical range.
    """
    found = getattr(variable, "_FillValue", _FILL)
    number = np.asarray(found)
    if number.size == 1 and number.dtype.kind in "fiu" and not 0 <= float(number.item()) <= 1 and np.isfinite(number):
        return float(number.item()), {}
    return _FILL, {
        f"{variable.name}:_FillValue": f"found {number.tolist()!s:.40}, expected a number outside 0 to 1; "
        f"{_FILL:g} is taken, as in all SMAP products"
    }


def sensing_interval(file: Path, data: Any) -> tuple[datetime, datetime]:
    """Return the half-open interval, in whole seconds, in which a file was measured.

    Raises
    ------
    GranuleError
        If the file does not say so.
    """
    begin, end = (_instant(file, data, f"range{end}DateTime") for end in ("Beginning", "Ending"))
    if end < begin:
        raise GranuleError(f"{file}: it ends at {end:%FT%TZ}, before it begins at {begin:%FT%TZ}: fetch it again")
    return begin.replace(microsecond=0), end.replace(microsecond=0) + _SECOND


def release_rank(name: str) -> Rank:
    """Return the rank that a file's name states: its release, then the number of its production; or the empty one."""
    match = _RELEASE.fullmatch(name)
    return Rank(version=(int(match[1]),), produced=match[2]) if match else Rank()


def _variable(file: Path, data: Any, path: str) -> Any:
    group, _, name = path.rpartition("/")
    if group not in data.groups or name not in data[group].variables:
        held = ", ".join(sorted(data[group].variables) if group in data.groups else sorted(data.groups))
        raise GranuleError(f"{file}: found {held or 'nothing'}, expected {path}: is it another product, or cut off?")
    variable = data[path]
    variable.set_auto_maskandscale(False)
    return variable


def _instant(file: Path, data: Any, name: str) -> datetime:
    """Return a time of the file: an attribute of ``Metadata/Extent``, or with Sentinel-1 a text in group ``a``."""
    extent = data["Metadata"].groups.get("Extent") if "Metadata" in data.groups else None
    text = getattr(extent, name, None)
    if text is None and "a" in data.groups and name in data["a"].variables:
        text = data["a"][name][...]
    text = np.asarray(text).ravel()[0] if text is not None else ""
    text = text.decode() if isinstance(text, bytes) else str(text)
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError as error:
        raise GranuleError(f"{file}: {name} {text!r} found, a time like 2015-08-11T01:30:02Z expected") from error


def _published(file: Path, pattern: re.Pattern[str]) -> re.Match[str] | None:
    """Return the match of the published name of a file: its own, or else the one that its metadata state."""
    match = pattern.fullmatch(file.name)
    if match is not None:
        return match
    with suppress(GranuleError), open_netcdf(file, "HDF5") as data:
        return pattern.fullmatch(_stated_name(data))
    return None


def _stated_name(data: Any) -> str:
    """Return the name that the metadata of a file state; empty where they state none."""
    group = data["Metadata"].groups.get("DatasetIdentification") if "Metadata" in data.groups else None
    return str(getattr(group, "fileName", ""))


def _check_stated_name(file: Path, data: Any, stem: str, pattern: re.Pattern[str]) -> None:
    """Compare the granule that a file is taken for with the one that its metadata state, if they state one."""
    stated = pattern.fullmatch(_stated_name(data))
    if stated is not None and stated[1] != stem:
        raise GranuleError(
            f"{file}: its metadata say that it is {stated[0]}, its name says another granule: one of the two is wrong, "
            "rename it"
        )


def _check_days(file: Path, stem: str) -> None:
    """Refuse a granule whose name has a day that does not exist: its id would hold it."""
    for digits in re.findall(r"_(\d{8})(?=T|_|$)", stem):
        named_day(file, digits)


def _misnamed(file: Path, example: str) -> GranuleError:
    return GranuleError(
        f"{file}: found the name {file.name}, expected one like {example}: is it another product? If it was renamed: "
        f"its metadata ({_FILE_NAME}) do not say what it was called"
    )


def _recognised(
    content: FileContent, groups: Sequence[str], pattern: re.Pattern[str], product: str
) -> Recognition | None:
    """Return whether a file has one of some groups and a published name, or only the name where it cannot be read."""
    held = {name.partition("/")[0] for name in content.variables}
    if content.kind not in (HDF5, NETCDF) or content.problem:
        return Recognition(product, by_name=True) if pattern.fullmatch(content.name) else None
    if held.isdisjoint(groups):
        return None
    stated = str(content.attributes.get(_FILE_NAME, ""))
    if pattern.fullmatch(content.name) or pattern.fullmatch(stated):
        return Recognition(product)
    why = (
        "it has the groups of this product, but neither its name nor its metadata "
        f"({_FILE_NAME}) state day and release: give it back its published name"
    )
    return Recognition(product, refusal=why)


_FILE_NAME = "Metadata/DatasetIdentification/fileName"
_L2 = "Soil_Moisture_Retrieval_Data"
_NAME = re.compile(r"(SMAP_L([23])_SM_P(_E)?_(?:\d{5}_[AD]_)?\d{8}(?:T\d{6})?)_R\d{5}_\d{3}\.h5")


@dataclass(frozen=True)
class Smap:
    """Files ``SMAP_L2_SM_P_…h5``, ``SMAP_L2_SM_P_E_…h5`` (half-orbits), ``SMAP_L3_SM_P_…h5`` and ``_E`` (days)."""

    recommended_only: bool = True
    """Whether only retrievals are kept that the provider recommends (bit 0 of ``retrieval_qual_flag`` is 0)."""

    passes: Sequence[str] = ("AM", "PM")
    """Overpasses that are taken of a day: 6 in the morning (descending), 6 in the evening (ascending)."""

    collection: str = "smap"
    """Id of the STAC collection."""

    patterns: tuple[str, ...] = ("SMAP_L2_SM_P_*.h5", "SMAP_L3_SM_P_*.h5")
    """Names of its files."""

    downloads: ClassVar[tuple[Download, ...]] = (
        Download(
            "SPL3SMP, daily, 36 km (SPL3SMP_E, SPL2SMP and SPL2SMP_E are read, too)", "smap",
            ("soil_moisture", "retrieval_qual_flag"), _LOGIN, pixels=406 * 964, bytes_a_pixel=12, whole_earth=True,
        ),
    )  # fmt: skip
    """What to download."""

    def __post_init__(self) -> None:
        if not set(self.passes) <= {"AM", "PM"} or not self.passes:
            raise InputError(f"[sources.smap] passes: {list(self.passes)} found, AM, PM or both expected")

    def scan(self, file: Path) -> ScannedFile:
        """Return one item a half-orbit, or one an overpass of a day; one without any value is left out and named."""
        match = _published(file, _NAME)
        if match is None:
            raise _misnamed(file, "SMAP_L2_SM_P_02801_A_20150811T013002_R18290_001.h5")
        _check_days(file, match[1])
        grid = EASE2_9KM if match[3] else EASE2_36KM
        with open_netcdf(file, "HDF5") as data:
            _check_stated_name(file, data, match[1], _NAME)
            read = self._day if match[2] == "3" else self._orbit
            made = list(read(file, data, match[1], grid))
        rank = release_rank(match[0])
        granules = [replace(granule, rank=rank) for granule in made if isinstance(granule, Granule)]
        errors = [str(error) for error in made if isinstance(error, GranuleError)]
        if errors and len(errors) == len(made):
            raise GranuleError("; ".join(errors))
        return ScannedFile(granules, tuple(note for note in made if isinstance(note, str)), tuple(errors))

    def claims(self, file: Path) -> list[str]:
        """Return the ids of the items of a file, by its published name: a half-orbit, or the overpasses of a day."""
        match = _published(file, _NAME)
        if match is None:
            return []
        return [f"{match[1]}.{overpass}" for overpass in self.passes] if match[2] == "3" else [match[1]]

    def recognises(self, content: FileContent) -> Recognition | None:
        """Return whether a file has the groups of a half-orbit or of a day."""
        groups = (_L2, f"{_L2}_AM", f"{_L2}_PM")
        return _recognised(content, groups, _NAME, "SMAP soil moisture of the radiometer")

    def rank_of(self, name: str) -> Rank:
        """Return the rank of a file: the latest release stays."""
        return release_rank(name)

    def _orbit(self, file: Path, data: Any, stem: str, grid: EaseGrid) -> Iterator[Granule | str]:
        """Yield a half-orbit: cells in a list, cropped to those with a value."""
        indices = [read_smap_field(file, data, f"{_L2}/EASE_{axis}_index") for axis in ("row", "column")]
        cells = Cells.of(grid, file, *indices)
        cells.check_place(file, *(read_smap_field(file, data, f"{_L2}/{axis}") for axis in ("longitude", "latitude")))
        values, left_out = soil_moisture(file, data, _L2, "", self.recommended_only)
        if values.size != cells.rows.size:
            raise GranuleError(f"{file}: {values.size} values for {cells.rows.size} cells found: fetch it again")
        has = ~np.isnan(values) & (cells.rows >= 0)
        if not has.any():
            yield self._empty(stem)
            return
        window = cells.window(has)
        made = self._granule(stem, sensing_interval(file, data), grid, window, cells.image(values, window))
        yield replace(made, left_out=left_out)

    def _day(self, file: Path, data: Any, stem: str, grid: EaseGrid) -> Iterator[Granule | str | GranuleError]:
        """Yield the overpasses of a day, each on the whole grid; the error of one that cannot be read."""
        window = (slice(0, grid.rows), slice(0, grid.columns))
        time = sensing_interval(file, data)
        for overpass in self.passes:
            suffix = "_pm" if overpass == "PM" else ""
            try:
                values, left_out = soil_moisture(file, data, f"{_L2}_{overpass}", suffix, self.recommended_only)
                if values.shape != (grid.rows, grid.columns):
                    raise GranuleError(f"{file}: {values.shape} cells found, {(grid.rows, grid.columns)} expected")
            except GranuleError as error:
                yield error
                continue
            if np.isnan(values).all():
                yield self._empty(f"{stem}.{overpass}")
            else:
                made = self._granule(f"{stem}.{overpass}", time, grid, window, values)
                yield replace(made, left_out=left_out)

    def _empty(self, id: str) -> str:
        which = "recommended retrieval" if self.recommended_only else "retrieval"
        return f"left out {id}: no {which} in it"

    def _granule(
        self, id: str, time: tuple[datetime, datetime], grid: EaseGrid, window: tuple[slice, slice], values: np.ndarray
    ) -> Granule:
        geobox = grid.geobox(window)
        item = raster_item(id=id, collection=self.collection, geobox=geobox, start=time[0], end=time[1])
        layer = RasterLayer(VARIABLES["smap_sm"], partial(np.asarray, values), geobox, CogProfile())
        return Granule(item, {"smap_sm": layer})


_S1_NAME = re.compile(r"(SMAP_L2_SM_SP_\w{6}_\d{8}T\d{6}_\d{8}T\d{6}_\d{3}[EW]\d{2}[NS])_R\d{5}_\d{3}\.h5")
_GRIDS = {"smap_s1_sm": ("1km", EASE2_1KM), "smap_s1_sm_3km": ("3km", EASE2_3KM)}
"""Suffix of group and fields, and grid, by asset."""
_PLACE = ("proj:shape", "proj:transform")


@dataclass(frozen=True)
class SmapS1:
    """Files ``SMAP_L2_SM_SP_1AIWDV_20150331T170640_20150401T054620_003E34N_R18290_001.h5``."""

    recommended_only: bool = True
    """Whether only retrievals are kept that the provider recommends (bit 0 of ``retrieval_qual_flag`` is 0)."""

    collection: str = "smap-s1"
    """Id of the STAC collection."""

    patterns: tuple[str, ...] = ("SMAP_L2_SM_SP_*.h5",)
    """Names of its files."""

    downloads: ClassVar[tuple[Download, ...]] = (
        Download(
            "SPL2SMAP_S, granules, 3 km and 1 km", "smap-s1",
            ("soil_moisture_3km", "retrieval_qual_flag_3km", "soil_moisture_1km", "retrieval_qual_flag_1km"), _LOGIN,
        ),
    )  # fmt: skip
    """What to download."""

    def scan(self, file: Path) -> ScannedFile:
        """Return one item: a scene with 1 km and 3 km; one without any value is left out and named."""
        match = _published(file, _S1_NAME)
        if match is None:
            raise _misnamed(file, "SMAP_L2_SM_SP_1AIWDV_20150331T170640_20150401T054620_003E34N_R18290_001.h5")
        _check_days(file, match[1])
        images: dict[str, tuple[GeoBox, np.ndarray]] = {}
        left_out, lost = {}, dict[str, str]()
        with open_netcdf(file, "HDF5") as data:
            _check_stated_name(file, data, match[1], _S1_NAME)
            start, end = sensing_interval(file, data)
            for key, grid in _GRIDS.items():
                try:
                    geobox, values, reasons = self._image(file, data, *grid)
                except GranuleError as error:
                    lost[key] = str(error).removeprefix(f"{file}: ")
                    continue
                images[key] = geobox, values
                left_out.update(reasons)
        if not images:
            raise GranuleError(f"{file}: {'; '.join(lost.values())}")
        if all(np.isnan(values).all() for _, values in images.values()):
            which = "recommended retrieval" if self.recommended_only else "retrieval"
            errors = tuple(f"{file}: {why}" for why in lost.values())
            return ScannedFile([], (f"left out {match[1]}: no {which} in it",), errors)
        finest = next(iter(images.values()))[0]
        item = raster_item(id=match[1], collection=self.collection, geobox=finest, start=start, end=end)
        layers = {key: _layer(key, *image) for key, image in images.items()}
        return ScannedFile([Granule(item, layers, release_rank(match[0]), left_out=left_out, lost=lost)])

    def claims(self, file: Path) -> list[str]:
        """Return the id of the item of a file, by its published name."""
        match = _published(file, _S1_NAME)
        return [match[1]] if match else []

    def recognises(self, content: FileContent) -> Recognition | None:
        """Return whether a file has the groups of a scene."""
        groups = [f"{_L2}_{suffix}" for suffix, _ in _GRIDS.values()]
        return _recognised(content, groups, _S1_NAME, "SMAP soil moisture with Sentinel-1")

    def rank_of(self, name: str) -> Rank:
        """Return the rank of a file: the latest release stays."""
        return release_rank(name)

    def _image(self, file: Path, data: Any, suffix: str, grid: EaseGrid) -> tuple[GeoBox, np.ndarray, dict[str, str]]:
        """Return the part of a grid that a scene's cells cover, soil moisture (y, x) on it, and what was left out."""
        group = f"Soil_Moisture_Retrieval_Data_{suffix}"
        indices = [read_smap_field(file, data, f"{group}/EASE_{axis}_index_{suffix}") for axis in ("row", "column")]
        cells = Cells.of(grid, file, *indices)
        values, left_out = soil_moisture(file, data, group, f"_{suffix}", self.recommended_only)
        if values.size != cells.rows.size or not (cells.rows >= 0).any():
            raise GranuleError(f"{file}: {values.size} values for {(cells.rows >= 0).sum()} cells of {group} found")
        degrees = (read_smap_field(file, data, f"{group}/{axis}_{suffix}") for axis in ("longitude", "latitude"))
        cells.check_place(file, *degrees)
        window = cells.window(np.ones(cells.rows.size, bool))
        return grid.geobox(window), cells.image(values, window), left_out


def _layer(key: str, geobox: GeoBox, values: np.ndarray) -> RasterLayer:
    place = {name: value for name, value in projection_properties(geobox).items() if name in _PLACE}
    return RasterLayer(VARIABLES[key], partial(np.asarray, values), geobox, CogProfile(), asset=place)
