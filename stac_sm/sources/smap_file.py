"""What HDF5 files of SMAP have in common: fields, quality flags, times, releases."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from stac_sm.errors import GranuleError

_NOT_RECOMMENDED, _FLAG_FILL = 1, 65534  # bit 0; the fill value has bit 0 unset
_UNITS = ("cm**3/cm**3", "cm^3/cm^3", "m**3/m**3", "cm3/cm3")
_RELEASE = re.compile(r"(.+_)(R\d{5})_(\d{3})\.h5")
_SECOND = timedelta(seconds=1)


def field(file: Path, data: Any, path: str) -> np.ndarray:
    """Stored values of a variable by its path, without masks and scales.

    Raises
    ------
    GranuleError
        If it is not there.
    """
    return np.asarray(_variable(file, data, path)[...])


def soil_moisture(file: Path, data: Any, group: str, suffix: str, recommended_only: bool) -> np.ndarray:
    """Soil moisture of a group, m3 m-3, float32, in the shape of the file.

    NaN where nothing was retrieved and, if asked, where the retrieval is not recommended.

    Raises
    ------
    GranuleError
        If fields are missing, or values are not possible.
    """
    path = f"{group}/soil_moisture{suffix}"
    values, flag = field(file, data, path), field(file, data, f"{group}/retrieval_qual_flag{suffix}").astype(np.int64)
    variable = _variable(file, data, path)
    fill, unit = float(getattr(variable, "_FillValue", -9999.0)), str(getattr(variable, "units", _UNITS[0]))
    if values.shape != flag.shape or unit not in _UNITS:
        raise GranuleError(f"{file}: {path} of {values.shape} in {unit!r} found, {flag.shape} in {_UNITS[0]!r} wanted")
    good = (values != fill) & (flag != _FLAG_FILL)
    if recommended_only:
        good &= (flag & _NOT_RECOMMENDED) == 0
    kept = np.where(good, values, np.nan).astype(np.float32)
    if good.any() and not (np.nanmin(kept) >= 0 and np.nanmax(kept) <= 1):
        found = f"{np.nanmin(kept):g} to {np.nanmax(kept):g}"
        raise GranuleError(f"{file}: {path} from {found} found, 0 to 1 m3 m-3 wanted: fetch it again")
    return kept


def sensed(file: Path, data: Any) -> tuple[datetime, datetime]:
    """Half-open interval, in whole seconds, in which a file was measured.

    Raises
    ------
    GranuleError
        If the file does not say so.
    """
    begin, end = (_instant(file, data, f"range{end}DateTime") for end in ("Beginning", "Ending"))
    if end < begin:
        raise GranuleError(f"{file}: it ends at {end:%FT%TZ}, before it begins at {begin:%FT%TZ}: fetch it again")
    return begin.replace(microsecond=0), end.replace(microsecond=0) + _SECOND


def latest(file: Path) -> Path:
    """File of the latest release among those that differ in nothing else."""
    match = _RELEASE.fullmatch(file.name)
    if match is None:
        return file
    releases = [other for other in file.parent.glob("*.h5") if _release(other)[0] == match[1]]
    return max([file, *releases], key=_release)


def _release(file: Path) -> tuple[str, str, str]:
    match = _RELEASE.fullmatch(file.name)
    return (match[1], match[2], match[3]) if match else ("", "", "")


def _variable(file: Path, data: Any, path: str) -> Any:
    group, _, name = path.rpartition("/")
    if group not in data.groups or name not in data[group].variables:
        held = ", ".join(sorted(data[group].variables) if group in data.groups else sorted(data.groups))
        raise GranuleError(f"{file}: found {held or 'nothing'}, wanted {path}: is it another product, or cut off?")
    variable = data[path]
    variable.set_auto_maskandscale(False)
    return variable


def _instant(file: Path, data: Any, name: str) -> datetime:
    """A time of the file: an attribute of ``Metadata/Extent``, in files with Sentinel-1 a text in group ``a``."""
    extent = data["Metadata"].groups.get("Extent") if "Metadata" in data.groups else None
    text = getattr(extent, name, None)
    if text is None and "a" in data.groups and name in data["a"].variables:
        text = data["a"][name][...]
    text = np.asarray(text).ravel()[0] if text is not None else ""
    text = text.decode() if isinstance(text, bytes) else str(text)
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError as error:
        raise GranuleError(f"{file}: {name} {text!r} found, a time like 2015-08-11T01:30:02Z wanted") from error
