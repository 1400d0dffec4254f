"""A plan on real Slurm: an array of slices makes the product of a plain run, and is sent once."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from stac_sm.core.errors import InputError
from stac_sm.product.item import PRODUCT_COLLECTION
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.storage.store import open_store
from stac_sm.workflows.audit import audit
from stac_sm.workflows.plan.plan import make_plan
from stac_sm.workflows.plan.plan_file import write_plan
from stac_sm.workflows.run.run import PlanSlice, run_plan
from stac_sm.workflows.submit.job import infra_file
from tests.support.faults import contents
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
    """Files of the product that are the same in any place."""
    found = contents(open_store(str(project.folder)))
    return {path: content for path, content in found.items() if path.startswith(f"{PRODUCT_COLLECTION}/")}


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


ARRAYS = {
    "0-3": ("4", {0: 0, 1: 1, 2: 2, 3: 3}),
    "1-3%2": ("3", {1: 0, 2: 1, 3: 2}),
    "1-5:2": ("3", {1: 0, 3: 1, 5: 2}),
    "3,7": ("0-7", {3: 3, 7: 7}),
    "4,8": ("1-8", {4: 3, 8: 7}),
    "6": ("0-14:2", {6: 3}),
}
"""What is given to sbatch and to --slice, and which slice each job makes."""


def test_jobs_of_whole_arrays_and_of_parts_know_their_slices(cluster, tmp_path):
    """By the variables that Slurm itself sets, in the batch script that is sent by hand."""
    script, jobs = infra_file("slurm/stac-sm.sbatch"), {}
    for array in ARRAYS:
        command = ["sbatch", "--parsable", "--mem=100M", "--cpus-per-task=1", f"--array={array}", script, "env"]
        jobs[array] = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.strip()
    for array, (text, wanted) in ARRAYS.items():
        wait_for_end(jobs[array])
        for id, index in wanted.items():
            said = (tmp_path / f"stac-sm-{jobs[array]}_{id}.log").read_text()
            told = dict(line.split("=", 1) for line in said.splitlines() if line.startswith("SLURM_ARRAY_TASK"))
            made = PlanSlice.parse(text, told)
            assert made.index == index, (array, told)
            if len(wanted) < made.count:
                with pytest.raises(InputError, match="no whole array"):
                    PlanSlice.parse(str(made.count), told)


def test_what_slurm_refuses_is_said(cluster, planned):
    project, _, file = planned
    command = [*warm_python(), "-m", "stac_sm", "submit", file, "--to", "slurm", "--project", project.folder]
    done = subprocess.run([*map(str, command), "--", "--partition=none"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "sbatch refuses: sbatch: error: invalid partition specified: none" in done.stderr
    assert "Traceback" not in done.stderr
