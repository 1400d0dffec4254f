"""Every block of every README runs, in its order, in one folder beside the demo; or another test is named that runs it.

What a block says is typed as it stands: only `~` is a folder of the test, and the archive of stations has the name
of the one that the demo has ingested.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import replace
from functools import cache
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest

from stac_sm.features.cube import feature_cube
from stac_sm.features.recipe import Recipe
from stac_sm.stac.catalogs.catalog import open_catalog
from tests.support.demo_project import demo_project
from tests.support.missing import need
from tests.support.readme_blocks import PAGES, ROOT, Block, all_blocks
from tests.support.served import running
from tests.support.warm_start import warm_programs, warm_python

pytestmark = pytest.mark.xdist_group("demo")

POINT = (7.12, 44.12)  # of the examples

ELSEWHERE = {
    ("README.md", "Install"): {
        "git clone": ".ci/run",
        "pip install uv && uv run stac-sm demo": "tests/support/demo_project.py",
        "source .venv/bin/activate": ".ci/run",
        "uv run pytest": ".ci/run",
    },
    ("catalog/README.md", "Fetch the inputs"): {"": "tests/workflows/test_fetch.py"},
    ("catalog/README.md", "From an empty folder, with the public recipe"): {
        "": "tests/integration/test_public_flow.py"
    },
    ("catalog/README.md", "A raster series of your own"): {"": "tests/workflows/test_own_series.py"},
    ("catalog/README.md", "The published GLASS SM"): {"": "tests/workflows/test_own_series.py"},
    ("catalog/README.md", "Real data: Hawaii"): {"": "tests/integration/test_hawaii.py"},
    ("stac_sm/README.md", "Global days, means, pictures"): {
        "stac-sm mosaic": "tests/product/aggregates/test_aggregate.py",
        "stac-sm annual": "tests/product/aggregates/test_aggregate.py",
    },
    ("tests/README.md", "Tests"): {"": ".ci/run"},
    ("infra/README.md", "Is this machine ready, and this project?"): {
        "stac-sm doctor --project s3://": "tests/doctor/test_examine.py"
    },
    ("infra/README.md", "Upgrade"): {
        "stac-sm doctor": "tests/doctor/test_examine.py",
        "stac-sm audit": "tests/workflows/test_audit.py",
    },
    ("infra/README.md", "Keep it up to date"): {"": "tests/workflows/test_update.py"},
    ("infra/README.md", "Run it on more machines"): {
        "--scheduler tcp://": "tests/integration/test_run_workers.py",
        "--scheduler slurm": "tests/integration/test_slurm.py",
        "stac-sm submit": "tests/integration/test_aws.py",
    },
    ("infra/README.md", "In the cloud, with no more rights than are needed"): {
        "terraform": "tests/integration/test_aws.py",
        "--to aws-batch": "tests/integration/test_aws.py",
        "--to kubernetes": "tests/workflows/submit/test_job.py",
    },
    ("infra/README.md", "Serve it"): {"stac-sm serve": "tests/serve/test_app.py"},
    ("infra/README.md", "Serve it to many"): {"": "tests/integration/test_titiler_pgstac.py"},
    ("infra/README.md", "Security"): {
        "uv export": "tests/tools/test_infra.py",
        "pip-audit": "tests/integration/install_infra.sh",  # installs it; PyPI's advisories cannot be reached here
    },
    ("infra/aws/README.md", "AWS"): {"": "tests/integration/test_aws.py"},
    ("infra/container/README.md", "Container"): {"": "tests/integration/test_container.py"},
    ("infra/kubernetes/README.md", "Make a product"): {"": "tests/workflows/submit/test_job.py"},
    ("infra/kubernetes/README.md", "Serve the catalogue"): {"": "tests/serve/test_operations.py"},
    ("infra/slurm/README.md", "Slurm"): {"": "tests/integration/test_slurm.py"},
}
"""Lines of blocks that require a server, another machine, files of their own or minutes, by page, heading and part of
the line (an empty part is all of them), and the test that types them."""


def typed_lines(block: Block) -> list[str]:
    """The lines of a block that are typed here; what runs elsewhere is left out."""
    parts = ELSEWHERE.get((block.page, block.heading), {})
    return [line for line in block.text.splitlines() if not any(part in line for part in parts)]


ALL = all_blocks()
BLOCKS = [block for block in ALL if block.language not in {"text", "output"}]
API = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the demo, a project that holds the same, downloads, and tables to train on."""
    place = tmp_path_factory.mktemp("readme")
    demo, _ = demo_project()
    for name in ("sm-demo", "my-project"):  # a file is replaced in one, never written to: links are enough
        shutil.copytree(demo, place / name, copy_function=os.link)
    granules = place / "sm-demo" / "earth" / "granules"
    homes = {"era5-land": "era5-land", "dem": "cop-dem", "soilgrids": "soilgrids"}
    homes |= {f"glass/{name}": f"glass-{name}" for name in ("lst", "lai", "albedo")}
    for home, name in homes.items():
        (place / "home" / home).parent.mkdir(parents=True, exist_ok=True)
        (place / "home" / home).symlink_to(granules / name)
    (place / "home" / "Downloads").symlink_to(granules / "ismn")
    (place / "home" / "cci").mkdir()
    for day in granules.glob("esa-cci-sm/*/*-201906*.nc"):  # a month of two years: all are in the catalogue already
        (place / "home" / "cci" / day.name).symlink_to(day)
    for name, seed in (("matchups", 1), ("others", 2)):
        _table(seed).to_csv(place / "my-project" / f"{name}.csv", index=False)
    (place / "my-project" / "plans").mkdir(exist_ok=True)
    plan = next((demo / "plans").glob("*.parquet"))
    shutil.copy(plan, place / "my-project" / "plans" / "3fa9c1d2e4b5.parquet")
    return place


def _table(seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    days = pd.date_range("2018-01-01", periods=40)
    table = pd.DataFrame({"station": np.repeat([f"s{seed}{i}" for i in range(6)], 40), "date": np.tile(days, 6)})
    table["rain"], table["clay"] = rng.gamma(1, 3, 240), np.repeat(rng.uniform(5, 50, 6), 40)
    table["sm"] = 0.1 + 0.01 * table.rain + 0.003 * table.clay + rng.normal(0, 0.01, 240)
    return table


def needed(program: str) -> str:
    """A program, or the end of the test: CI has them all."""
    need("GDAL and R", None if shutil.which(program) else f"no {program} here")
    return program


def said(command: list[str], folder: Path) -> str:
    """What a command prints, which must end well."""
    path = os.pathsep.join([str(_programs()), str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        command, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@cache
def _programs() -> Path:
    """Folder with ``stac-sm``, which starts at once: the README has some forty commands."""
    return warm_programs(Path(tempfile.mkdtemp(prefix="stac-sm-programs-")))


def in_shell(block: Block, place: Path) -> str:
    if any("gdal" in line for line in typed_lines(block)):
        needed("gdalwarp")
    inside = not any(
        part in block.text for part in ("sm-demo", "stac-sm init", "http:")
    )  # of the project made at first
    (archive,) = (place / "home" / "Downloads").glob("*.zip")
    script = "\n".join(["set -euo pipefail", *typed_lines(block)]).replace("~", str(place / "home"))
    script = script.replace("Data_separate_files.zip", archive.name)
    return said(["bash", "-c", script], place / "my-project" if inside else place)


def in_toml(block: Block, place: Path) -> str:
    tables = tomllib.loads(block.text)
    for name in tables:
        assert name in {"recipe", "grid"}
    return str(Recipe.from_dict(tables["recipe"]).features) if "recipe" in tables else str(tables)


def in_sql(block: Block, place: Path) -> str:
    here = block.text.replace("'sm-demo", f"'{place}/sm-demo")
    return "\n".join(str(duckdb.sql(one)) for one in here.split(";") if one.strip())


RUNNERS = {
    "sh": in_shell,
    "toml": in_toml,
    "sql": in_sql,
    "python": lambda block, place: said([*warm_python(), "-c", block.text], place),
    "r": lambda block, place: said([needed("Rscript"), "-e", block.text], place),
}
WANTED = {
    ("Read the data with other tools", "sh"): "0.1",
    ("Read the data with other tools", "r"): "0.1",
    ("Read the data with other tools", "sql"): "SM1KM.A2019161.h18v04.v001",
    ("Read the data through the API", "sh"): "0.1",
    ("Another target than soil moisture", "python"): "filled",
    ("Read the product in Python", "python"): "uncertainty",
    ("How far is it, and what went wrong?", "sh"): "SM1KM.A2019159.h18v04.v001",
}
"""What must stand in what some blocks print."""


@pytest.fixture(scope="module")
def api(place):
    """Address of a server of the demo."""
    with running(place / "sm-demo") as address:
        yield address


def without_numbers(text: str) -> str:
    """A text of which numbers and spaces do not count: times and scores differ between machines."""
    return re.sub(r"\s+", " ", re.sub(r"\d+", "0", text)).strip()


IDS = [f"{i} {one.page} {one.heading} {one.language}" for i, one in enumerate(BLOCKS)]


@pytest.mark.parametrize("block", BLOCKS, ids=IDS)
def test_every_block_of_every_readme_runs(block, place, request):
    shown = next((one for one in ALL[ALL.index(block) + 1 :][:1] if one.language == "output"), None)
    if API in block.text:
        block = replace(block, text=block.text.replace(API, request.getfixturevalue("api")))
    printed = RUNNERS[block.language](block, place)
    assert WANTED.get((block.heading, block.language), "") in printed
    for line in shown.text.splitlines() if shown else ():
        assert without_numbers(line) in without_numbers(printed)


def test_the_pages_are_all_readmes_of_the_repository():
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*README.md"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(listed.split()) == set(PAGES)
    assert {block.language for block in BLOCKS} <= set(RUNNERS), "name the language behind the fence, or text"


def test_what_runs_elsewhere_is_in_the_readme_and_the_test_that_is_named_is_there():
    for (page, heading), parts in ELSEWHERE.items():
        text = "".join(block.text for block in BLOCKS if (block.page, block.heading) == (page, heading))
        assert text.strip(), heading
        for part, file in parts.items():
            assert part in text, (heading, part)
            assert (ROOT / file).is_file()


def test_gdal_and_r_read_what_python_reads(place):
    """The same pixel, by three programs."""
    from stac_sm import point_series

    needed("gdallocationinfo")
    wanted = point_series(open_catalog(place / "sm-demo"), *POINT, "2019-06-08/2019-06-10").sm.to_numpy()
    by_name = {block.language: block for block in BLOCKS if block.heading == "Read the data with other tools"}
    assert float(in_shell(by_name["sh"], place).split()[0]) == pytest.approx(wanted[0], abs=1e-6)
    by_r = re.findall(r"\b0\.\d{3,}", RUNNERS["r"](by_name["r"], place))
    assert [float(value) for value in by_r] == pytest.approx(wanted, abs=1e-6)


def test_the_input_that_is_added_is_a_feature(place, monkeypatch):
    """The feature of the README from the catalogue that its Python has made."""
    monkeypatch.chdir(place)
    python, toml = (block for block in BLOCKS if block.heading == "Add an input")
    said([*warm_python(), "-c", python.text], place)
    recipe = tomllib.loads(toml.text)["recipe"]
    height = feature_cube(open_catalog(place / "sm-demo"), recipe, "h18v04", "2019-06-08").height.compute()
    assert 3_000 < np.count_nonzero(np.isfinite(height)) < 15_000  # one degree by one of the tile
    assert height.attrs["units"] == "m"
