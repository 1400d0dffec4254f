"""Find the instants at which the fields of a file are valid, by CF's standard names, in NetCDF and Zarr alike.

A file may hold several times: when a forecast began, how far ahead it looks, and when it is valid. Only the last one
says which day a field belongs to. `find_time_axis` returns it. `check_time_steps` refuses what is no field of an hour
or a day: monthly means, accumulations and other statistics, which are named as what they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stac_sm.core.errors import GranuleError

_REFERENCE, _PERIOD, _VALID = "forecast_reference_time", "forecast_period", "time"
_ROLES = {
    "valid_time": _VALID, _REFERENCE: _REFERENCE, _PERIOD: _PERIOD, "step": _PERIOD, "leadtime": _PERIOD,
}  # fmt: skip
"""What a coordinate without a standard name is, by its name."""

_UNSAID = "time of no standard name"
_DURATIONS = {
    "s": 1, "sec": 1, "second": 1, "min": 60, "minute": 60, "h": 3600, "hr": 3600, "hour": 3600, "d": 86400,
    "day": 86400,
}  # fmt: skip
_DAY = np.timedelta64(1, "D")
_MONTH = (np.timedelta64(28, "D"), np.timedelta64(31, "D"))

_STEP_TYPES = {
    "accum": "accumulations", "avg": "means over a period", "diff": "differences", "max": "maxima", "min": "minima",
    "rms": "root mean squares", "sd": "standard deviations", "cov": "covariances", "ratio": "ratios",
}  # fmt: skip
_STREAMS = {
    1043: "mnth", 1071: "moda", 1075: "mdfa", 1080: "wamo", 1206: "mnfm", 1242: "edmm", 1243: "edmo",
}  # fmt: skip
"""Numbers of ECMWF's streams of monthly means in GRIB."""

_STATISTICS_1 = {
    2: "max", 3: "avg", 4: "accum", 5: "diff", 113: "avgfc", 115: "avgfc", 117: "avgfc", 118: "max", 119: "min",
    120: "rms", 121: "sd", 122: "cov", 123: "avgua", 124: "avgia", 128: "avgas",
}  # fmt: skip
"""Time range indicators of GRIB 1 that are no single instant, as ecCodes names them."""

_STATISTICS_2 = {0: "avg", 1: "accum", 2: "max", 3: "min", 4: "diff", 5: "rms", 6: "sd", 7: "cov", 9: "ratio"}
"""Statistical processes of GRIB 2."""

_METHODS = {
    "sum": "accumulations", "maximum": "maxima", "minimum": "minima", "standard_deviation": "standard deviations",
    "variance": "variances", "range": "ranges", "median": "medians", "mode": "modes",
}  # fmt: skip
_REQUIRED = "fields of single hours required: fetch `ERA5-Land hourly data from 1950 to present`"


@dataclass(frozen=True)
class TimeCoordinate:
    """A variable of a file that may say when fields are valid."""

    name: str
    """Its name."""

    dims: tuple[str, ...]
    """Its dimensions."""

    attributes: Mapping[str, Any]
    """Its attributes."""

    values: Callable[[], np.ndarray]
    """Return its values in its shape: ``datetime64[s]``, or ``timedelta64[s]`` of a forecast period."""

    @property
    def role(self) -> str:
        """Standard name that it has, or that its name stands for; empty if it is no time."""
        stated = str(self.attributes.get("standard_name", ""))
        if stated in (_VALID, _REFERENCE, _PERIOD):
            return stated
        if self.name in _ROLES:
            return _ROLES[self.name]
        is_time = self.name == "time" or self.attributes.get("axis") == "T" or " since " in self._units
        return _UNSAID if is_time else ""

    @property
    def _units(self) -> str:
        return str(self.attributes.get("units", ""))


@dataclass(frozen=True)
class TimeAxis:
    """When the fields of a variable are valid."""

    coordinate: TimeCoordinate
    """The coordinate that says so, or the forecast reference time to which a step is added."""

    dims: tuple[str, ...]
    """Dimensions of the variable along which time goes, in its order; none of a single field."""

    times: np.ndarray
    """Instants, UTC, ``datetime64[s]`` (n,), in C order of ``dims``."""


def find_time_axis(coordinates: Iterable[TimeCoordinate], dims: Sequence[str], file: Any) -> TimeAxis | None:
    """Find when the fields of a variable are valid.

    Parameters
    ----------
    coordinates
        Variables of the file, with dimensions that the variable has.
    dims
        Dimensions of the variable without those of place.
    file
        The file, for messages.

    Returns
    -------
    TimeAxis or None
        None if no coordinate is a time. The one with the standard name ``time`` counts, ``valid_time`` before others;
        without such a one the forecast period is added to the forecast reference time.

    Raises
    ------
    GranuleError
        If the only time is a forecast reference time, and no forecast period says how far ahead the fields look.
    """
    by_role: dict[str, list[TimeCoordinate]] = {}
    for one in coordinates:
        if set(one.dims) <= set(dims):
            by_role.setdefault(one.role, []).append(one)
    for same in by_role.values():
        same.sort(key=lambda one: (one.name != "valid_time", one.name not in dims, one.name))
    steps = by_role.get(_PERIOD, [])
    starts = by_role.get(_REFERENCE, []) or (by_role.get(_UNSAID, []) if steps else [])
    if by_role.get(_VALID):
        return _axis(by_role[_VALID][0], dims)
    if starts and steps:
        return _axis(starts[0], dims, steps[0])
    if starts:
        raise GranuleError(
            f"{file}: {starts[0].name} is the time at which the forecast began ({_REFERENCE}), and no {_PERIOD} or "
            "valid_time says when the fields are valid: fetch the file with one of them"
        )
    return _axis(by_role[_UNSAID][0], dims) if by_role.get(_UNSAID) else None


def _axis(coordinate: TimeCoordinate, dims: Sequence[str], step: TimeCoordinate | None = None) -> TimeAxis:
    used = tuple(dim for dim in dims if dim in coordinate.dims or (step is not None and dim in step.dims))
    values = spread(coordinate.values(), coordinate.dims, used)
    if step is not None:
        values = values + spread(step.values(), step.dims, used)
    return TimeAxis(coordinate, used, values.astype("datetime64[s]").ravel())


def spread(values: np.ndarray, own: Sequence[str], dims: Sequence[str]) -> np.ndarray:
    """Return values with all of some dimensions, in their order.

    Parameters
    ----------
    values
        Values along ``own``.
    own
        Their dimensions, each one of ``dims``.
    dims
        The dimensions of the result.

    Returns
    -------
    numpy.ndarray
        The values, of length 1 along each dimension that they do not have.
    """
    order = [dim for dim in dims if dim in own]
    turned = np.asarray(values).transpose([own.index(dim) for dim in order])
    return turned.reshape([turned.shape[order.index(dim)] if dim in order else 1 for dim in dims])


def durations(values: np.ndarray, units: str) -> np.ndarray | None:
    """Return numbers with a unit of duration as ``timedelta64[s]``; None if the unit is none of those.

    Parameters
    ----------
    values
        Numbers, any shape.
    units
        E.g. ``hours``.
    """
    seconds = _DURATIONS.get(units.strip().lower(), _DURATIONS.get(units.strip().lower().removesuffix("s")))
    if seconds is None or not np.isfinite(values).all():
        return None
    return np.asarray(np.round(np.asarray(values, np.float64) * seconds).astype("timedelta64[s]"))


def start_of_intervals(bounds: np.ndarray, file: Any, name: str) -> np.ndarray:
    """Return the instants at which the intervals begin that a file states for its fields.

    A mean over a day may be labelled with the end of the day, which is another date.

    Parameters
    ----------
    bounds
        Both ends of each interval, ``datetime64[s]`` (n, 2).
    file, name
        The file and the variable, for messages.

    Returns
    -------
    numpy.ndarray
        ``datetime64[s]`` (n,).

    Raises
    ------
    GranuleError
        If an interval is longer than a day.
    """
    ends = np.sort(np.asarray(bounds).reshape(-1, 2), axis=1)
    longest = (ends[:, 1] - ends[:, 0]).max(initial=np.timedelta64(0, "s"))
    if longest > _DAY:
        raise refusal(file, name, _means_over(longest), "by the bounds of its times")
    return np.asarray(ends[:, 0])


def check_time_steps(name: str, attributes: Mapping[str, Any], times: np.ndarray, file: Any) -> None:
    """Refuse fields that are none of single hours or days.

    Parameters
    ----------
    name
        Name of the variable, for messages.
    attributes
        Its attributes.
    times
        All instants of the file, ``datetime64[s]`` (n,).
    file
        The file, for messages.

    Raises
    ------
    GranuleError
        If they are accumulations, extremes or another statistic, or means over a month or several days: by the
        attributes ``GRIB_stepType``, ``GRIB_stream`` and ``cell_methods``, or by the distance of their times.
    """
    for key in ("GRIB_stepType", "GRIB_stream"):
        if what := describe_statistic(str(attributes.get(key, ""))):
            raise refusal(file, name, what, f"{key} {attributes[key]}")
    methods = str(attributes.get("cell_methods", ""))
    for axes, method in re.findall(r"((?:\w+: )+)(\w+)", methods):
        what = _METHODS.get(method, "means over months" if re.search(r"interval: \d+ month", methods) else "")
        what = what or ("means over several days" if re.search(r"over (days|years)", methods) else "")
        if what and not {"time", "valid_time", "t"}.isdisjoint(axes.replace(":", "").split()):
            raise refusal(file, name, what, f"cell_methods {methods!r}")
    if what := _spacing(times, str(attributes.get("GRIB_stepType", ""))):
        raise refusal(file, name, what, "by the distance of its times")


def describe_statistic(code: str) -> str:
    """Return what a step type or a stream of ECMWF stands for, in words; empty of fields of single hours.

    Parameters
    ----------
    code
        E.g. ``instant``, ``accum``, ``avgua``, ``moda``.
    """
    if re.fullmatch(r"avg\w\w|moda|mnth|edmo|edmm|wamo|mnfm|mdfa", code):
        return "monthly means"
    return _STEP_TYPES.get(code, "")


def describe_grib_statistic(stream: int, time_range: int | None, process: int | None) -> str:
    """Return what a GRIB message holds instead of the field of an instant, in words; empty if it is one.

    Parameters
    ----------
    stream
        ECMWF's stream; 0 where the message states none.
    time_range
        Time range indicator of GRIB 1; None in other editions.
    process
        Statistical process of GRIB 2; None of a message without one.
    """
    if stream in _STREAMS:
        return describe_statistic(_STREAMS[stream])
    if process is not None:
        return describe_statistic(_STATISTICS_2.get(process, "")) or f"the statistic {process} of GRIB 2"
    return describe_statistic(_STATISTICS_1.get(time_range or 0, ""))


def _spacing(times: np.ndarray, step_type: str) -> str:
    """Return what the distance of times says about fields; empty where they may be of hours or days."""
    instants = np.unique(times)
    days = np.unique(instants.astype("datetime64[D]"))
    if days.size < 2:
        return ""
    gaps, single = np.diff(days), instants.size == days.size
    first_days = (days == days.astype("datetime64[M]").astype("datetime64[D]")).all()
    if single and (first_days or ((gaps >= _MONTH[0]) & (gaps <= _MONTH[1])).all()):
        return "monthly means"
    if first_days and step_type != "instant":
        return "either monthly means by hour of day or hours of the first days of months, which nothing tells apart,"
    if single and days.size > 2 and (gaps == gaps[0]).all() and gaps[0] > _DAY:
        return f"fields {gaps[0].astype(int)} days apart"
    return ""


def check_spacing(name: str, times: np.ndarray, file: Any) -> None:
    """Refuse instants, ``datetime64[s]`` (n,), that lie a month or several days apart, as those of means do."""
    if what := _spacing(times, "instant"):
        raise refusal(file, name, what, "by the distance of its times")


def _means_over(interval: np.timedelta64) -> str:
    if _MONTH[0] <= interval <= _MONTH[1]:
        return "monthly means"
    return f"means over {float(interval / _DAY):g} days"


def refusal(file: Any, name: str, what: str, why: str) -> GranuleError:
    """Return the error that names what a file holds instead of hourly fields, and by what that is known."""
    return GranuleError(f"{file}: {name} found with {what} ({why}), {_REQUIRED}")
