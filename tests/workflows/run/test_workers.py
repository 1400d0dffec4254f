"""Where only one process may write to a store, what would write with several is refused before anything is written.

And tasks of one tile follow one another on one worker.
"""

from __future__ import annotations

import re
import secrets
import time
from datetime import date
from itertools import pairwise

import pytest
from click.testing import CliRunner
from distributed import Client, LocalCluster, get_worker

from stac_sm.cli.main import main
from stac_sm.core.errors import InputError
from stac_sm.core.period import Period
from stac_sm.features.climatology import make_climatology
from stac_sm.features.recipe import Climatology, Feature
from stac_sm.product.aggregates.means import make_means
from stac_sm.product.item import ProductDay
from stac_sm.storage.s3 import objects
from stac_sm.workflows.plan.planned_days import PlannedDay, Task
from stac_sm.workflows.project import read_project
from stac_sm.workflows.run import workers
from stac_sm.workflows.run.run import PlanSlice, run_plan
from stac_sm.workflows.run.run_log import TaskRecord
from stac_sm.workflows.run.workers import LocalWorkers, SchedulerWorkers, SlurmWorkers
from stac_sm.workflows.submit.kubernetes import Cluster
from stac_sm.workflows.submit.submit import DaskTarget, KubernetesTarget, SlurmTarget, submit_plan
from stac_sm.workflows.training.steps import match_up_step, train_step
from tests.support.object_stores import FaultyProxy, environment_of, moto_server, new_bucket
from tests.support.source_files import write_dem

BUCKET = "one-process"
LST = Feature("lst", "glass-lst", "lst", missing="climatology", climatology=Climatology("2001", "month", 1))


@pytest.fixture(scope="module")
def root():
    """A project on a server that ignores conditions, as rclone and s3rver do."""
    new_bucket(moto_server(), BUCKET)
    careless = FaultyProxy(moto_server(), without=("if-none-match", "if-match"))
    with careless as server, environment_of(server):
        place = f"s3://{BUCKET}/{secrets.token_hex(4)}"
        CliRunner().invoke(main, ["init", place], catch_exceptions=False)
        yield place


def written():
    """All that is in the bucket, hidden files included."""
    return [(one["Key"], one["ETag"]) for page in objects.pages(BUCKET, "") for one in page]


SEVERAL = {
    "run": lambda project: run_plan(project, None, workers=2),
    "run, 3 workers": lambda project: run_plan(project, None, workers=LocalWorkers(3, 1 << 30)),
    "run --slice": lambda project: run_plan(project, None, workers=1, part=PlanSlice(0, 2)),
    "run --scheduler": lambda project: run_plan(project, None, workers=SchedulerWorkers("tcp://127.0.0.1:1")),
    "run --scheduler slurm": lambda project: run_plan(project, None, workers=SlurmWorkers(1, project.slurm)),
    "climatology": lambda project: make_climatology(project.catalog, LST, workers=2),
    "matchup": lambda project: match_up_step(project, workers=2),
    "train": lambda project: train_step(project, workers=2),
    "annual": lambda project: make_means(
        project.catalog, project.grid, [Period.parse("2019")], project.about.version, workers=2
    ),
    "submit slurm": lambda project: submit_plan(project, "none.parquet", SlurmTarget()),
    "submit kubernetes": lambda project: submit_plan(
        project, "none.parquet", KubernetesTarget(Cluster("stac-sm:0.1.0"))
    ),
    "submit dask": lambda project: submit_plan(project, "none.parquet", DaskTarget("tcp://127.0.0.1:1"), dry_run=True),
}
ADVICE = {
    "run --slice": "leave out --slice",
    "run --scheduler": "leave out --scheduler",
    "run --scheduler slurm": "leave out --scheduler",
}


@pytest.mark.parametrize("name", SEVERAL)
def test_what_would_write_with_several_processes_is_refused(root, name):
    project, before = read_project(root), written()
    with pytest.raises(InputError) as refused:
        SEVERAL[name](project)
    said = str(refused.value)
    assert said.startswith(f"{root}: the store lacks exclusive creation, ")
    assert "only one process may write there" in said
    assert ADVICE.get(name, "--workers 1") in said
    assert said.endswith("nothing was written")
    assert written() == before


@pytest.mark.parametrize("command", ["ingest", "index"])
def test_a_command_with_one_worker_writes_and_with_the_default_does_not(root, tmp_path, command):
    write_dem(tmp_path)
    words = {"ingest": ["ingest", "cop-dem", str(tmp_path)], "index": ["index"]}[command] + ["--project", root]
    before = written()
    for more in ([], ["--workers", "2"]):
        done = CliRunner().invoke(main, [*words, *more])
        assert done.exit_code == 1
        assert re.search("only one process may write there; 2 workers found: give --workers 1", done.output)
    assert written() == before
    assert CliRunner().invoke(main, [*words, "--workers", "1"]).exit_code == 0


@pytest.mark.parametrize("at_once", [2, None])
def test_tasks_of_a_tile_follow_one_another_on_one_worker(monkeypatch, at_once):
    """With as many tasks at once as workers, and with all of them where workers may come and go."""
    took: list[tuple[str, str]] = []

    def made(folder, task, *_):
        took.append((get_worker().address, task.tile))
        time.sleep(0.05)
        return TaskRecord(task.name)

    monkeypatch.setattr(workers, "run_task", made)
    days = [
        [PlannedDay(ProductDay(tile, date(2018, month, 1), "1", ""), "new") for month in range(1, 7)] for tile in "ab"
    ]
    tasks = [Task("m", day.made.tile, (day,)) for tile in days for day in tile]
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        records = list(workers._gathered(client, workers.Assignment("p", tasks), None, at_once))
    assert sorted(record.task for record in records) == [task.name for task in tasks]
    switches = 0
    for address in {address for address, _ in took}:
        tiles = [tile for at, tile in took if at == address]
        switches += sum(one != other for one, other in pairwise(tiles))
    assert switches <= 2, took
    assert len({address for address, _ in took}) == 2
