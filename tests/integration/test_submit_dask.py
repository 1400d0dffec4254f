"""A plan that is left on a real Dask cluster of several processes: made without us, and sent once."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from stac_sm.product.item import PRODUCT_COLLECTION
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.workflows.audit import audit
from stac_sm.workflows.plan.plan import make_plan
from stac_sm.workflows.plan.plan_file import write_plan
from tests.support.fields import DAYS, TILE, copied_project, read_model
from tests.support.warm_start import warm_python

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def scheduler():
    """Address of a scheduler with one worker, each a process of its own."""
    dask = [sys.executable, "-m"]
    options = ["--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0"]
    begin = subprocess.Popen([*dask, "distributed.cli.dask_scheduler", *options], stderr=subprocess.PIPE, text=True)
    worker = None
    try:
        address = next(found[1] for line in begin.stderr if (found := re.search(r"Scheduler at:\s+(tcp://\S+)", line)))
        threading.Thread(target=begin.stderr.read, daemon=True).start()
        options = ["--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1"]
        worker = subprocess.Popen(
            [*dask, "distributed.cli.dask_worker", address, *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        yield address
    finally:
        for process in filter(None, (worker, begin)):
            process.terminate()
            process.wait(20)
        begin.stderr.close()


@pytest.fixture
def planned(tmp_path):
    project, model_id, _ = copied_project(tmp_path / "p")
    catalog = open_catalog(project.folder)
    plan = make_plan(catalog, read_model(catalog, model_id), [TILE], DAYS, grid=project.grid, version="001")
    return project, Path(write_plan(plan, tmp_path / "plan.parquet", project.grid))


def submit(file, project, scheduler):
    command = [*warm_python(), "-m", "stac_sm", "submit", file, "--to", "dask", "--scheduler", scheduler]
    done = subprocess.run(
        [*map(str, command), "--project", str(project.folder), "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


@pytest.fixture
def busy(scheduler, tmp_path):
    """File that frees the only worker, which has other work until then."""
    from distributed import Client

    def wait_for(file):  # within, so that the worker is sent its code
        import time

        while not file.exists():
            time.sleep(0.1)

    with Client(scheduler) as client:
        held = client.submit(wait_for, tmp_path / "free", pure=False)
        yield tmp_path / "free"
        (tmp_path / "free").touch()
        held.result(30)


def linked(project):
    return len(list(open_catalog(project.folder).items(PRODUCT_COLLECTION)))


def test_a_plan_is_made_after_we_have_gone_and_is_sent_once(scheduler, planned, busy):
    project, file = planned
    told, said = submit(file, project, scheduler)
    again, more = submit(file, project, scheduler)
    busy.touch()
    assert (told["new"], again["new"]) == (True, False)
    assert "nothing was sent" in more
    assert "stac-sm status" in said
    deadline = time.monotonic() + 120
    while linked(project) < 6:  # the last task derives the links
        assert time.monotonic() < deadline
        time.sleep(1)
    assert audit(open_catalog(project.folder), collections=[PRODUCT_COLLECTION], workers=1) == []


def test_a_scheduler_that_is_not_there_is_said(planned):
    project, file = planned
    command = [sys.executable, "-m", "stac_sm", "submit", file, "--to", "dask", "--project", project.folder]
    done = subprocess.run(
        [*map(str, command), "--scheduler", "tcp://127.0.0.1:1"], capture_output=True, text=True, check=False,
        env=os.environ | {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "3s"},  # of 30, which nobody needs to wait for
    )  # fmt: skip
    assert done.returncode == 1
    assert "tcp://127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr
