"""A plan on real Slurm: an array of slices makes the product of a plain run, and is sent once."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from stac_sm.product.item import PRODUCT_COLLECTION
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.workflows.audit import audit
from stac_sm.workflows.plan.plan import make_plan
from stac_sm.workflows.plan.plan_file import write_plan
from stac_sm.workflows.run.run import run_plan
from tests.support.fields import DAYS, TILE, copied_project, read_model
from tests.support.missing import need
from tests.support.slurm import slurm_cluster, wait_for_end, why_no_slurm
from tests.support.warm_start import warm_python

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("slurm")]


@pytest.fixture
def cluster(monkeypatch):
    need("Slurm", why_no_slurm())
    for name, value in slurm_cluster().items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def planned(tmp_path):
    project, model_id, _ = copied_project(tmp_path / "p")
    catalog = open_catalog(project.folder)
    model = read_model(catalog, model_id)
    plan = make_plan(catalog, model, [TILE], DAYS, grid=project.grid, version="001")
    return project, plan, Path(write_plan(plan, tmp_path / "plan.parquet", project.grid))


def submit(file, project, *arguments):
    command = [*warm_python(), "-m", "stac_sm", "submit", file, "--to", "slurm", "--project", project.folder, "--json"]
    done = subprocess.run(
        [*map(str, command), *arguments], cwd=Path(file).parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def files(project):
    folder = Path(project.folder, PRODUCT_COLLECTION)
    found = (file for file in folder.rglob("*") if file.is_file() and file.parent.name != "proof")  # times and inodes
    return {str(file.relative_to(folder)): file.read_bytes() for file in found}


def test_slices_make_what_a_plain_run_makes(cluster, planned, tmp_path):
    project, plan, file = planned
    told, said = submit(file, project, "--parallel", "1")
    assert (told["new"], told["slices"], told["tasks"]) == (True, 2, 2)
    assert f"squeue --job={told['job']}" in said
    wait_for_end(told["job"])
    logs = sorted(tmp_path.glob("stac-sm-*.log"))
    assert len(logs) == 2, list(tmp_path.iterdir())
    here, _, _ = copied_project(tmp_path / "here")
    run_plan(here, plan, workers=1)
    assert files(project) == files(here), "\n".join(log.read_text() for log in logs)
    assert audit(open_catalog(project.folder), collections=[PRODUCT_COLLECTION], workers=1) == []


def test_a_job_in_the_queue_is_named_and_not_sent_twice(cluster, planned):
    project, _, file = planned
    first, _ = submit(file, project, "--", "--hold")
    again, said = submit(file, project)
    subprocess.run(["scancel", first["job"]], check=True)
    assert first["new"]
    assert (again["new"], again["job"]) == (False, first["job"])
    assert "nothing was sent" in said


def test_what_slurm_refuses_is_said(cluster, planned):
    project, _, file = planned
    command = [*warm_python(), "-m", "stac_sm", "submit", file, "--to", "slurm", "--project", project.folder]
    done = subprocess.run([*map(str, command), "--", "--partition=none"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "sbatch refuses: sbatch: error: invalid partition specified: none" in done.stderr
    assert "Traceback" not in done.stderr
