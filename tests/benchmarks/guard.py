"""Ratios of a benchmark run beside those of the last committed one: which have fallen by more than a fifth.

A ratio is a gain: the larger, the better. Seconds are not compared, since they belong to a machine.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results.json")
MOST_FALL = 0.2
_LIBRARIES = ("numpy", "numba", "xgboost-cpu", "rasterio", "dask", "odc-stac", "stackstac", "rioxarray", "tl2cgen")


def compared(name: str, ratios: Mapping[str, float], file: Path = RESULTS) -> list[str]:
    """Lines, one for each ratio: now, and in the last committed run of this name; FELL where it fell too far."""
    before = known(file).get(name, {}).get("ratios", {})
    return [_line(key, before.get(key), ratios.get(key)) for key in dict.fromkeys([*ratios, *before])]


def fallen(name: str, ratios: Mapping[str, float], file: Path = RESULTS) -> list[str]:
    """Ratios that are less than four fifths of those of the last committed run."""
    before = known(file).get(name, {}).get("ratios", {})
    return [key for key, value in ratios.items() if _fell(value, before.get(key, 0.0))]


def save(name: str, ratios: Mapping[str, float], settings: Mapping[str, Any], file: Path = RESULTS) -> None:
    """Write a run over the last one of its name, with the machine that it ran on."""
    found = known(file)
    found[name] = {"ratios": dict(ratios), "settings": dict(settings), "context": context()}
    file.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


def beside(
    name: str, ratios: Mapping[str, float], settings: Mapping[str, Any], *, keep: bool, file: Path = RESULTS
) -> list[str]:
    """The run beside the last one of its name, whose place it takes if it is to be kept."""
    lines = compared(name, ratios, file)
    if keep:
        save(name, ratios, settings, file)
    return lines


def known(file: Path = RESULTS) -> dict[str, Any]:
    """Committed runs by name; empty if there are none."""
    return dict(json.loads(file.read_text())) if file.exists() else {}


def context() -> dict[str, Any]:
    """The machine, the libraries, the day and the commit."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "versions": {name: found for name in _LIBRARIES if (found := _version(name))},
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": _commit(),
    }


def _line(key: str, before: float | None, now: float | None) -> str:
    told = "not run" if now is None else f"{now:8.2f}"
    last = "no run before" if before is None else f"last {before:8.2f}"
    fell = f"  FELL by {1 - now / before:.0%}" if now is not None and before and _fell(now, before) else ""
    return f"{key:44} {told}  {last}{fell}"


def _fell(now: float, before: float) -> bool:
    return now < (1 - MOST_FALL) * before


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
