"""CPU seconds of commands that compute little, beside ``python -c pass``; and of ``doctor``, with caches and without.

Run: ``python tests/benchmarks/startup.py [--rounds 5] [--only status init] [--rival CHECKOUT] [--doctor PROJECT]
[--json]``.

A project without items is made in a temporary folder. In each round every command runs once, and with ``--rival`` that
of another checkout of this repository next to it; the least of the rounds counts, since other work only adds.
``--doctor`` examines a project that exists as well: once with what Numba has compiled before, once with an empty cache.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMANDS = {
    "--help": ["--help"],
    "init": ["init", "other"],
    "status": ["status"],
    "tiles": ["tiles", "--at", "7.12,44.12"],
    "plan without a model": ["plan", "--tiles", "h18v04", "--period", "2019-06-08"],
    "run without a plan": ["run", "nothing.parquet"],
    "matchup without stations": ["matchup"],
    "train without stations": ["train"],
    "ingest of nothing": ["ingest", "era5-land", "nothing"],
    "export without products": ["export", "--at", "7,44", "--period", "2019-06-08", "--to", "p.nc"],
    "validate without products": ["validate", "--period", "2019-06-08"],
    "no project": ["plan", "--project", "/nowhere"],
}


def main() -> None:
    given = arguments()
    checkouts = {"here": ROOT} | ({"rival": Path(given.rival)} if given.rival else {})
    chosen = {name: words for name, words in COMMANDS.items() if not given.only or name in given.only}
    best: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="stac-sm-startup-") as scratch:
        folder = Path(scratch, "p")
        used(ROOT, ["init", str(folder)], Path(scratch))
        for _ in range(given.rounds):
            keep(best, "python -c pass", "here", used(ROOT, None, folder))
            for name, words in chosen.items():
                for who, checkout in checkouts.items():
                    shutil.rmtree(folder / "other", ignore_errors=True)
                    keep(best, name, who, used(checkout, words, folder))
        for name in ("doctor", "doctor, nothing compiled") if given.doctor else ():
            for who, checkout in checkouts.items():
                cache = tempfile.mkdtemp(dir=scratch) if "," in name else None
                keep(best, name, who, used(checkout, ["doctor", "--project", given.doctor], folder, cache))
    result = {name: {who: round(value, 3) for who, value in found.items()} for name, found in best.items()}
    if given.json:
        print(json.dumps({"rounds": given.rounds, "load": round(os.getloadavg()[0], 1), "CPU s": result}))
        return
    for name, found in result.items():
        print(f"{name:26}", *(f"{who} {value:.2f} s" for who, value in found.items()))


def keep(best: dict[str, dict[str, float]], name: str, who: str, seconds: float) -> None:
    found = best.setdefault(name, {})
    found[who] = min(seconds, found.get(who, seconds))


def used(checkout: Path, words: list[str] | None, folder: Path, cache: str | None = None) -> float:
    """CPU seconds of a command and of all processes that it has waited for."""
    program = ["-c", "pass"] if words is None else ["-m", "stac_sm", *words]
    environment = os.environ | {"PYTHONPATH": str(checkout)} | ({"NUMBA_CACHE_DIR": cache} if cache else {})
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([sys.executable, *program], cwd=folder, env=environment, capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if words and words[0] == "doctor":
        print(f"{checkout}: {' '.join(words[:1])} {time.monotonic() - began:.1f} s of wall", file=sys.stderr)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=list(COMMANDS))
    parser.add_argument("--rival", help="another checkout, whose commands take turns")
    parser.add_argument("--doctor", metavar="PROJECT", help="folder of a project to examine, too")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
