"""One plan on many kinds of workers, in slices, and twice at once: always the catalogue of one undisturbed run."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from stac_sm.core.period import Period
from stac_sm.core.projections import crs_wkt
from stac_sm.features.recipe import Recipe
from stac_sm.product.item import PRODUCT_COLLECTION
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.stac.index.update import update_index
from stac_sm.stac.links import refresh
from stac_sm.storage.store import open_store
from stac_sm.workflows.plan.plan import make_plan
from stac_sm.workflows.plan.plan_file import read_plan, write_plan
from stac_sm.workflows.project import create_project, read_project
from stac_sm.workflows.run.run import PlanSlice
from tests.support.faults import contents, dask_cluster, different
from tests.support.fields import RECIPE, SMALL, around, image, project_text, put, put_model, read_model
from tests.support.missing import need
from tests.support.object_stores import environment_of, moto_server, new_bucket
from tests.support.plan_runs import run_here
from tests.support.slurm import slurm_cluster, why_no_slurm
from tests.support.warm_start import warm_python

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("slurm")]
DAYS = Period.parse("2018-06-29/2018-07-01")
TILES = [f"h0{h}v0{v}" for h in range(3) for v in range(2)]
COARSE = Recipe(tuple(one for one in RECIPE.features if one.name in {"lai", "swvl1"}), derived=("latitude",))


def six_tiles(folder: Path):
    """A project whose inputs cover six tiles and more, and the plan of three days of them all."""
    from affine import Affine
    from odc.geo.geobox import GeoBox

    project = create_project(folder, project_text(SMALL, COARSE))
    catalog = project.catalog
    left, top = SMALL.origin
    shape = (SMALL.tile_shape[0] * 3, SMALL.tile_shape[1] * 3)
    whole = GeoBox(shape, Affine(SMALL.pixel[0], 0, left, 0, -SMALL.pixel[1], top), crs_wkt(SMALL.crs))
    coarse = around(whole, "EPSG:4326", 0.1)
    put(catalog, "glass-lai", "LAI", coarse, {"lai": image(coarse, 0, 6)}, DAYS.start, 8, linked=False)
    put(catalog, "glass-lai", "LAI0", coarse, {"lai": image(coarse, 0, 5)}, Period.parse("2018-06-21").start, 8)
    for i, day in enumerate(DAYS.days):
        values = {"swvl1": image(coarse, 0.1, 0.4, 1 + 0.1 * i)}
        put(catalog, "era5-land", f"ERA5.{day:%Y%j}", coarse, values, day, linked=False)
    refresh(catalog.store, "era5-land")
    model_id = put_model(catalog, folder / ".scratch" / "model", COARSE)
    catalog = open_catalog(folder)
    plan = make_plan(catalog, read_model(catalog, model_id), TILES, DAYS, grid=SMALL, version="001")
    assert plan.counts["new"] == 18
    write_plan(plan, folder / "plan.parquet", SMALL)
    return project


def run_slice(root: str, index: int, count: int) -> str:
    """One slice of the plan, with its tasks in this process."""
    report = run_here(read_project(root), read_plan(f"{root}/plan.parquet"), part=PlanSlice(index, count))
    return "; ".join(failure.message for failure in report.failures)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return six_tiles(tmp_path_factory.mktemp("six") / "p")


@pytest.fixture(scope="module")
def wanted(project, tmp_path_factory):
    """What an undisturbed run makes of it."""
    root = copy(project, str(tmp_path_factory.mktemp("wanted") / "p"))
    assert run_slice(root, 0, 1) == ""
    return contents(open_store(root))


@pytest.fixture(params=["folder", "s3"])
def root(request, project, tmp_path):
    """A copy of the project, in a folder or in a bucket."""
    if request.param == "folder":
        yield copy(project, str(tmp_path / "p"))
        return
    with environment_of(moto_server()):
        yield copy(project, f"s3://{new_bucket(moto_server(), f'runs-{secrets.token_hex(4)}')}/p")


def copy(project, root: str) -> str:
    store = open_store(root)
    for file in Path(project.folder).rglob("*"):
        if file.is_file() and ".scratch" not in file.parts:
            store.create(file.relative_to(project.folder).as_posix(), file)
    return root


def at_once(root: str, slices) -> None:
    """Slices in processes of their own, all at the same time: Dask's threads do not survive a fork."""
    program = f"import sys; sys.path[:0] = {sys.path!r}; from tests.integration.test_run_workers import run_slice; " + (
        "sys.exit(run_slice(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])) or 0)"
    )
    running = [subprocess.Popen([*warm_python(), "-c", program, root, str(i), str(n)]) for i, n in slices]
    assert [one.wait(300) for one in running] == [0] * len(running)


def test_six_slices_at_once_leave_all_links_and_extents(root, wanted):
    at_once(root, [(i, 6) for i in range(6)])
    assert different(contents(open_store(root)), wanted) == []
    before = contents(open_store(root))
    refresh(open_store(root), PRODUCT_COLLECTION)
    found = update_index(open_store(root), PRODUCT_COLLECTION, layout="year/month/day")
    assert [(month.month, month.items, month.outcome) for month in found.months] == [
        ("2018-06", 12, "done"),
        ("2018-07", 6, "done"),
    ]
    assert contents(open_store(root)) == before


def test_two_runs_of_one_plan_publish_nothing_twice(root, wanted):
    at_once(root, [(0, 1), (0, 1)])
    assert different(contents(open_store(root)), wanted) == []


def test_a_scheduler_with_workers_of_its_own(project, wanted, tmp_path):
    root = copy(project, str(tmp_path / "p"))
    with dask_cluster(tmp_path) as (address, _):
        done = stac_sm("run", "plan.parquet", "--scheduler", address, "--project", root, cwd=root)
    assert done.returncode == 0, done.stderr
    assert different(contents(open_store(root)), wanted) == []


def test_no_scheduler_is_said_in_plain_words(project, tmp_path):
    root = copy(project, str(tmp_path / "p"))
    words = [sys.executable, "-m", "stac_sm", "run", "plan.parquet", "--scheduler", "tcp://127.0.0.1:9"]
    quick = os.environ | {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "3s"}  # of 30
    done = subprocess.run(words, cwd=root, env=quick, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 1
    assert "no Dask scheduler answers at 'tcp://127.0.0.1:9'" in done.stderr
    assert "Traceback" not in done.stderr


def test_processes_killed_while_they_start_are_said_in_plain_words(project, tmp_path):
    root = copy(project, str(tmp_path / "p"))
    words = [sys.executable, "-m", "stac_sm", "run", "plan.parquet", "--workers", "1"]
    with subprocess.Popen(words, cwd=root, stderr=subprocess.PIPE, text=True) as run:
        while run.poll() is None:
            for one in children(run.pid):
                one.kill()
            time.sleep(0.005)
        said = run.stderr.read()
    assert run.returncode == 1
    assert "worker processes could not be started" in said
    assert "Traceback" not in said


def children(pid):
    with contextlib.suppress(psutil.NoSuchProcess):
        return [one for one in psutil.Process(pid).children(recursive=True) if "forkserver" in " ".join(one.cmdline())]
    return []


def test_slurm_starts_workers(project, wanted, tmp_path):
    need("Slurm", why_no_slurm())
    root = copy(project, str(tmp_path / "p"))
    file = Path(root, "stac-sm.toml")
    file.write_text(file.read_text() + '\n[slurm]\nmemory = "1G"\ncores = 1\nwalltime = "00:10:00"\n')
    done = stac_sm("run", "plan.parquet", "--scheduler", "slurm", cwd=root, environment=slurm_cluster())
    assert done.returncode == 0, done.stderr
    found = contents(open_store(root)) | {"stac-sm.toml": wanted["stac-sm.toml"]}
    logs = {path for path in found if path.startswith("slurm-logs/")}
    assert len(logs) == 4
    assert different({path: found[path] for path in found.keys() - logs}, wanted) == []


def stac_sm(*words, cwd, environment=None):
    return subprocess.run(
        [*warm_python(), "-m", "stac_sm", *words], cwd=cwd, capture_output=True, text=True, check=False, timeout=300,
        env=os.environ | (environment or {}),
    )  # fmt: skip
