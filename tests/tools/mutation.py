"""Mutation testing of metrics, screening, fingerprint and commit: would a test notice if a line were another?

    uv run --with cosmic-ray python tests/tools/mutation.py [MODULE ...] [--sample 40] [--seed 1] [--json]

The mutants are cosmic-ray's; each is tried in a process of its own, forked from one that has imported what is heavy, so
that it costs the tests and no start. Slow tests that start processes are left out: no mutant would reach them. Prints
the share that is killed, and every survivor with its line; exit code 1 if one is not explained in EXPLAINED. The last
result is kept in tests/tools/mutation.json, with its date. A command, not CI: 2,000 mutants take hours.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import importlib.machinery
import importlib.util
import io
import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULT = Path(__file__).with_name("mutation.json")
SECONDS = 300  # for the tests of one mutant; one that takes longer runs for ever, which a test notices, too

TESTS: dict[str, Sequence[str]] = {
    "stac_sm.core.metrics": [
        "tests/core/test_metrics.py",
        "tests/stations/test_screening_qa4sm.py",
        "-k",
        "not pytesmo",
    ],
    "stac_sm.stations.screening": ["tests/stations/test_screening.py"],
    "stac_sm.core.fingerprint": ["tests/core/test_fingerprint.py"],
    "stac_sm.stac.publish": ["tests/stac/test_publish.py", "-k", "not killed and not eight and not odc_stac"],
    "stac_sm.storage.store": ["tests/storage/test_store.py", "-k", "not bucket and not eight and not swap"],
}
"""Modules, and the arguments of pytest for them."""

EXPLAINED: dict[str, str] = {
    "if not sound.size or sound.size < _LEAST_SOUND * draws.size: -> "
    "if not sound.size or sound.size <= _LEAST_SOUND * draws.size:": (
        "exactly half of the resamples sound: an interval of that many is as good as none, either is right"
    ),
    'grave = lock.with_name(f"{lock.name}-{secrets.token_hex(6)}") -> '
    'grave = lock.with_name(f"{lock.name}-{secrets.token_hex( 7)}")': "a longer random name is as good",
    'grave = lock.with_name(f"{lock.name}-{secrets.token_hex(6)}") -> '
    'grave = lock.with_name(f"{lock.name}-{secrets.token_hex( 5)}")': "40 random bits are as good as 48",
    "shutil.copyfileobj(source, file, 1 << 20) -> shutil.copyfileobj(source, file, 2 << 20)": (
        "the size of a buffer: the same bytes are copied"
    ),
    'temporary = target.with_name(f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(6)}") -> '
    'temporary = target.with_name(f"{TEMPORARY}{os.getpid()}-{secrets.token_hex( 5)}")': (
        "40 random bits are as good as 48"
    ),
}
"""Survivors that change nothing, or nothing that a test should hold: the changed line, and why."""


@dataclass(frozen=True)
class Mutant:
    """One change of one module."""

    module: str
    """Its name."""

    operator: str
    """Of cosmic-ray."""

    code: str
    """The whole module, changed."""

    line: str
    """What was changed: old -> new."""


class _Changed(importlib.machinery.SourceFileLoader):
    """Loads other code than that of its file."""

    def __init__(self, name: str, path: str, code: str) -> None:
        super().__init__(name, path)
        self._code = code

    def get_code(self, fullname: str) -> Any:
        return compile(self._code, self.path, "exec")


class _Finder:
    """Finds one module with other code, before all others are asked."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != self._mutant.module:
            return None
        file = str(_file(name))
        return importlib.util.spec_from_file_location(name, file, loader=_Changed(name, file, self._mutant.code))


def _file(module: str) -> Path:
    return ROOT.joinpath(*module.split(".")).with_suffix(".py")


def mutants(module: str) -> Iterator[Mutant]:
    """All mutants of a module, without those that only change what a message or a type annotation says."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator, operator_names

    code = _file(module).read_text()
    for name in operator_names():
        if "Variable" in name or name.endswith("RemoveDecorator"):
            continue
        occurrence = 0
        while (changed := mutate_code(code, get_operator(name)(), occurrence)) is not None:
            occurrence += 1
            line = _line(code, changed)
            if "->" in line and not any(mark in line for mark in ("| None", "def ", "raise ", ': "')):
                yield Mutant(module, name, changed, line)


def _line(old: str, new: str) -> str:
    changed = [line for line in difflib.ndiff(old.splitlines(), new.splitlines()) if line[:2] in {"- ", "+ "}]
    return " -> ".join(line[2:].strip() for line in changed)


def survives(mutant: Mutant) -> bool:
    """Whether the tests pass all the same: in a child, which takes nothing along of the last one."""
    child = os.fork()
    if child == 0:
        os._exit(_tried(mutant))
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def _tried(mutant: Mutant) -> int:
    import pytest

    sys.meta_path.insert(0, _Finder(mutant))  # type: ignore[arg-type]
    arguments = [str(ROOT / one) if one.startswith("tests/") else one for one in TESTS[mutant.module]]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return int(
            pytest.main(
                [
                    "-x",
                    "-q",
                    "-p",
                    "no:cacheprovider",
                    "-o",
                    "filterwarnings=default",
                    "--rootdir",
                    str(ROOT),
                    *arguments,
                ]
            )
        )


def _warm_up() -> None:
    """Import what is heavy and none of ours, before the forks."""
    for name in ("numpy", "pandas", "xarray", "rasterio", "pystac", "odc.geo.geobox", "pyarrow", "scipy",
                 "pyproj", "boto3", "moto"):  # fmt: skip
        with contextlib.suppress(ImportError):
            __import__(name)


def examined(module: str, sample: int, seed: int) -> dict[str, Any]:
    """Try a sample of the mutants of a module."""
    nothing = Mutant(module, "none", _file(module).read_text(), "")
    if not survives(nothing):
        raise SystemExit(f"{module}: its tests fail without a mutant: fix them first")
    every = list(mutants(module))
    drawn = random.Random(seed).sample(every, min(sample, len(every)))
    survivors = [mutant for mutant in drawn if survives(mutant)]
    return {
        "module": module,
        "mutants": len(every),
        "tried": len(drawn),
        "killed": len(drawn) - len(survivors),
        "survivors": [{"line": one.line, "why": EXPLAINED.get(one.line, "")} for one in survivors],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("modules", nargs="*", default=list(TESTS), help="of " + ", ".join(TESTS))
    parser.add_argument("--sample", type=int, default=40, help="mutants a module, at most")
    parser.add_argument("--seed", type=int, default=1, help="of the draw")
    parser.add_argument("--json", action="store_true", help="keep the result in tests/tools/mutation.json")
    given = parser.parse_args()
    _warm_up()
    found = []
    for module in given.modules or list(TESTS):
        found.append(examined(module, given.sample, given.seed))
        print(json.dumps(found[-1], indent=1), flush=True)
    if given.json:
        about = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "sample": given.sample, "seed": given.seed}
        RESULT.write_text(json.dumps({**about, "modules": found}, indent=1) + "\n")
    sys.exit(any(not one["why"] for each in found for one in each["survivors"]))


if __name__ == "__main__":
    main()
