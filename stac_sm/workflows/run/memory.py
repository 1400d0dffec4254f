"""Estimate the memory that making some days of a tile takes, and how many days and threads fit into a budget.

`task` sizes its graphs by it, and `workflows.submit.job` the memory of a slice. The estimate is on the safe side:
`tests/benchmarks/cube.py` measures it (0.4 to 0.8 of it was used).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from stac_sm.core.errors import InputError
from stac_sm.features.daily_fields import on_one_grid
from stac_sm.features.inputs import ResolvedInputs
from stac_sm.features.recipe import Feature
from stac_sm.features.time_rules import DayFields
from stac_sm.raster.resample import TargetPixels, source_window
from stac_sm.raster.source import RasterSource, Window

_PROCESS = 300 << 20  # the interpreter, its libraries and a model
_WORK = 200 << 20  # a thread's temporaries of a band of pixels (`resample._BAND`)
_WINDOW_PIXEL = 12  # bytes of a source pixel: stored, physical, place in the target
_LOOKUP_PIXEL = {"nearest": 4, "bilinear": 16, "average": 0}  # bytes of a target pixel
_DAY_PIXEL = 3 * 4  # bytes of a pixel, day and variable: field, cube, columns of the model
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_MEMINFO = "/proc/meminfo"


@dataclass(frozen=True)
class WorkShare:
    """Amount of work at a time."""

    threads: int
    """Threads of a worker."""

    days: int
    """Days in a graph."""

    peak: int
    """Bytes that this takes at most, by estimate."""

    kept: int = 0
    """Those of them that serve the next task of the tile, too: lookups, fields that do not change, pixels of
    exponential means."""

    def keeps(self, budget: int) -> int:
        """Return how many bytes of arrays may be kept between tasks.

        Parameters
        ----------
        budget
            Bytes of the worker.

        Returns
        -------
        int
            Bytes, those of this task among them: what its tile and another one need, and no more than the budget has
            beyond the peak; 0 where the peak is beyond the budget.
        """
        return min(2 * self.kept, budget - self.peak + self.kept) if self.peak <= budget else 0


def parse_bytes(text: str) -> int:
    """Parse an amount of memory.

    Parameters
    ----------
    text
        ``4G``, ``4GiB``, ``500M`` or a number; units are powers of 1024.

    Returns
    -------
    int
        Bytes.

    Raises
    ------
    InputError
        If it is none of these.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", text, re.IGNORECASE)
    if match is None or not float(match[1]):
        raise InputError(f"memory {text!r}: write e.g. 4G or 500M")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def machine_memory() -> int:
    """Return the memory that this machine or its container grants.

    Returns
    -------
    int
        Bytes: the least of what cgroup v2, cgroup v1 and the kernel say.
    """
    limits = [int(text) for file in _CGROUPS if (text := _content(file)).isdecimal()]
    total = re.search(r"MemTotal:\s+(\d+) kB", _content(_MEMINFO))
    return min([*limits, int(total[1]) << 10] if total else limits or [4 << 30])


def largest_share(resolved: ResolvedInputs, target: TargetPixels, budget: int, *, threads: int) -> WorkShare:
    """Return the largest share that fits into a budget; the least if none does.

    First fewer days are made at a time, then in one thread. Fewer days at a time
    cost reads: static files are read once for each graph.

    Parameters
    ----------
    resolved
        Inputs of the days.
    target
        Pixels of the tile.
    budget
        Bytes.
    threads
        Most threads of a worker.

    Returns
    -------
    WorkShare
        Threads, days in a graph, and bytes that they take at most.
    """
    number = len(resolved.days)
    choices = [(n, days) for n in dict.fromkeys((threads, 1)) for days in dict.fromkeys((number, min(8, number), 1))]
    for n, days in choices:
        peak = estimate_peak_memory(resolved, target, threads=n, days=days)
        if peak <= budget or (n, days) == choices[-1]:
            break
    return WorkShare(n, days, peak, _kept(resolved, target, days))


def _kept(resolved: ResolvedInputs, target: TargetPixels, days: int) -> int:
    """Return the bytes of the estimate that serve other tasks, too; less where they are hard to tell apart."""
    chosen, pixels = resolved.days[:days], target.shape[0] * (target.shape[1] if len(target.shape) > 1 else 1)
    windows = {source.geobox: source_window(source.geobox, target) for source in _sources(resolved, chosen)}
    largest = max((_pixels(window) for window in windows.values()), default=0)
    averaged = sum(4 * _pixels(windows[source.geobox]) for source in _averaged_files(resolved, chosen))
    lasting = 4 * pixels * len(_lasting_fields(resolved, chosen) & set(_shared_fields(resolved, chosen)))
    return averaged + lasting + _lookups(resolved, chosen, pixels, largest)


def _lasting_fields(resolved: ResolvedInputs, days: tuple[date, ...]) -> set[tuple[RasterSource, ...]]:
    """Return the fields that are the same on other days: static ones, and means of many years."""
    return {
        layer.sources
        for feature in resolved.recipe.sources
        for _, made_of in _of_days(resolved, feature, days)
        for layer in (made_of.fields if feature.time == "static" else made_of.climatology)
    }


def estimate_peak_memory(resolved: ResolvedInputs, target: TargetPixels, *, threads: int, days: int) -> int:
    """Estimate what a process takes at most for so many days.

    Parameters
    ----------
    resolved
        Inputs of the days.
    target
        Pixels of the tile.
    threads
        Threads of the process.
    days
        Days in a graph.

    Returns
    -------
    int
        Bytes.
    """
    pixels = target.shape[0] * (target.shape[1] if len(target.shape) > 1 else 1)
    chosen = resolved.days[:days]
    windows = {source.geobox: source_window(source.geobox, target) for source in _sources(resolved, chosen)}
    largest = max((_pixels(window) for window in windows.values()), default=0)
    variables = len(resolved.recipe.sources) + len(resolved.recipe.derived)
    kept = 4 * pixels * sum(1 for _ in _shared_fields(resolved, chosen)) + _lookups(resolved, chosen, pixels, largest)
    kept += sum(4 * _pixels(windows[source.geobox]) for source in _averaged_files(resolved, chosen))
    return _PROCESS + threads * (_WORK + _WINDOW_PIXEL * largest + _DAY_PIXEL * variables * pixels) + kept


def _lookups(resolved: ResolvedInputs, days: tuple[date, ...], pixels: int, largest: int) -> int:
    grids = {
        (source.geobox, feature.resampling)
        for feature in resolved.recipe.sources
        for day in days
        if day in resolved.by_feature[feature.name]
        for layer in resolved.by_feature[feature.name][day].fields
        for source in layer.sources
    }
    averaged = 4 * largest if any(resampling == "average" for _, resampling in grids) else 0
    return averaged + sum(_LOOKUP_PIXEL[resampling] * pixels for _, resampling in grids)


def _shared_fields(resolved: ResolvedInputs, days: tuple[date, ...]) -> Iterator[tuple[RasterSource, ...]]:
    """Yield the fields that more than one day needs: they stay until the last of them is done."""
    seen: dict[tuple[RasterSource, ...], set[date]] = {}
    for feature in resolved.recipe.sources:
        for day, made_of in _of_days(resolved, feature, days):
            layers = made_of.climatology if _on_own_grid(feature, made_of) else made_of.fields
            for layer in layers:
                seen.setdefault(layer.sources, set()).add(day)
    return (sources for sources, needed in seen.items() if len(needed) > 1)


def _averaged_files(resolved: ResolvedInputs, days: tuple[date, ...]) -> set[RasterSource]:
    """Return the files of exponential means that are made on the grid of the files: their pixels stay in memory."""
    return {
        source
        for feature in resolved.recipe.sources
        for _, made_of in _of_days(resolved, feature, days)
        if _on_own_grid(feature, made_of)
        for layers in made_of.fields_by_day
        for layer in layers
        for source in layer.sources
    }


def _on_own_grid(feature: Feature, made_of: DayFields) -> bool:
    return bool(feature.exponential) and on_one_grid([layer for day in made_of.fields_by_day for layer in day])


def _of_days(resolved: ResolvedInputs, feature: Feature, days: tuple[date, ...]) -> Iterator[tuple[date, DayFields]]:
    made_of = resolved.by_feature[feature.name]
    return ((day, made_of[day]) for day in days if day in made_of)


def _sources(resolved: ResolvedInputs, days: tuple[date, ...]) -> Iterable[RasterSource]:
    made = (made_of[day] for made_of in resolved.by_feature.values() for day in days if day in made_of)
    return {source for one in made for layer in one.fields for source in layer.sources}


def _pixels(window: Window | None) -> int:
    return 0 if window is None else (window[0].stop - window[0].start) * (window[1].stop - window[1].start)


def _content(file: str) -> str:
    try:
        return Path(file).read_text().strip()
    except OSError:
        return ""
