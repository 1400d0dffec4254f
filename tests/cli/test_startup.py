"""What each command imports: a heavy library only where it is used.

One process imports what every command needs and forks for each, so that a command takes what it imports itself.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stac_sm.cli.main import main

HEAVY = {
    "boto3", "dask", "distributed", "fastapi", "matplotlib", "netCDF4", "numba", "pandas", "pyarrow", "rasterio",
    "scipy", "titiler", "xarray", "xgboost",
}  # fmt: skip

PROBE = """
import contextlib, io, json, os, sys
import stac_sm.workflows.project  # which every command loads
from stac_sm.cli.main import main
for words in json.load(sys.stdin):
    here, there = os.pipe()
    if os.fork() == 0:
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
            try:
                main(words)
                code = 0
            except SystemExit as end:
                code = end.code
            except BaseException as error:
                code = repr(error)
        loaded = [name for name in sys.modules if name in json.loads(sys.argv[1])]
        os.write(there, json.dumps([code, out.getvalue()[-300:], loaded]).encode())
        os._exit(0)
    os.close(there)
    with open(here) as answer:
        print(answer.read())
    os.wait()
"""

NEW, NOWHERE = "--project=new", "--project=nowhere"
DAY = "--period=2019-06-08"
OF_TABLE = ["--target=sm", "--site=station", "--time=date", "--out=model"]
COMMANDS: list[tuple[list[str], int, set[str]]] = [
    # a project is made and looked at
    (["init", "another"], 0, set()),
    (["status", NEW], 1, set()),
    (["tiles", "--at=7.12,44.12", NEW], 0, set()),
    (["tiles", "--bbox=6,43,9,46", NEW], 0, set()),
    (["audit", NEW], 0, set()),
    (["index", NEW], 0, set()),
    (["fetch", "era5-land", "--bbox=6,43,9,46", DAY, "--dry-run", NEW], 0, set()),
    (["serve", "--help"], 0, set()),
    # what a stage lacks is said before its libraries are loaded
    (["ingest", "era5-land", "nothing", NEW], 1, set()),
    (["climatology", NEW], 1, set()),
    (["features", "h18v04", "2019-06-08", NEW], 1, {"dask"}),  # by odc-geo, for the GeoBox of the tile
    (["matchup", NEW], 1, set()),
    (["screen", NEW], 1, set()),
    (["train", NEW], 1, set()),
    (["evaluate", "ID", "nothing.csv", NEW], 1, set()),
    (["predict-table", "ID", "nothing.csv", "--out=p.csv", NEW], 1, set()),
    (["model", "export", "ID", "--out=m.zip", NEW], 1, set()),
    (["plan", "--tiles=h18v04", DAY, NEW], 1, set()),
    (["update", DAY, NEW], 1, set()),
    (["run", "nothing.parquet", NEW], 1, {"pyarrow"}),
    (["submit", "nothing.parquet", "--to=slurm", NEW], 1, {"pyarrow"}),
    (["retract", "SM1KM.A2019159.h18v04.v001", "--reason=x", NEW], 1, set()),
    (["plot", "2019-06-09", "--tile=h18v04", NEW], 1, {"dask"}),
    (["export", "--at=7,44", DAY, "--to=p.nc", NEW], 1, {"pyarrow"}),
    (["mosaic", DAY, "--dry-run", NEW], 1, {"pyarrow", "pandas"}),  # pyarrow loads pandas when it makes a table
    (["annual", "2019", NEW], 1, {"pyarrow", "pandas"}),
    # no project: nothing but the project's own modules
    *[
        ([*words, NOWHERE], 1, set())
        for words in (
            ["status"], ["tiles", "--at=7,44"], ["audit"], ["index"], ["fetch", "era5-land", "--bbox=6,43,9,46"],
            ["ingest", "."], ["climatology"], ["features", "h18v04", "2019-06-08"], ["matchup"], ["screen"], ["train"],
            ["evaluate", "ID", "nothing.csv"], ["model", "export", "ID", "--out=m.zip"], ["plan"], ["update", DAY],
            ["submit", "p.parquet", "--to=slurm"], ["mosaic", DAY], ["annual", "2019"], ["validate", DAY],
            ["retract", "SM1KM.A2019159.h18v04.v001", "--reason=x"], ["plot", "2019-06-09"], ["run", "nothing.parquet"],
            ["export", "--at=7,44", DAY, "--to=p.nc"], ["serve"],
        )
    ],
]  # fmt: skip
"""Words, exit code, and heavy libraries that may be loaded."""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[object, str, list[str]]]:
    """Exit code, last words and heavy libraries of each command."""
    folder = tmp_path_factory.mktemp("startup")
    words = [["init", "new"], *[words for words, _, _ in COMMANDS]]
    done = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps(sorted(HEAVY))],
        cwd=folder, input=json.dumps(words), capture_output=True, text=True, check=True,
        env=os.environ | {"HOME": str(folder), "AWS_EC2_METADATA_DISABLED": "true"},
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()][1:]


def test_a_command_loads_no_heavy_library_that_it_does_not_use(answers):
    found = {
        " ".join(words): sorted(set(loaded) - allowed)
        for (words, _, allowed), (_, _, loaded) in zip(COMMANDS, answers, strict=True)
    }
    assert {words: loaded for words, loaded in found.items() if loaded} == {}


def test_the_commands_end_as_they_are_expected_to(answers):
    """So that none loads little only because it stopped at a misspelt option."""
    wrong = {
        " ".join(words): (code, said)
        for (words, expected, _), (code, said, _) in zip(COMMANDS, answers, strict=True)
        if code != expected
    }
    assert wrong == {}


def test_no_command_is_missing():
    assert {words[0] for words, _, _ in COMMANDS} == set(main.commands) - {"demo", "simulate", "doctor"}


def test_help_loads_nothing():
    code = f"import sys, stac_sm.cli.main; sys.exit(sum(name in sys.modules for name in {sorted(HEAVY)!r}))"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path.cwd(), check=False).returncode == 0
