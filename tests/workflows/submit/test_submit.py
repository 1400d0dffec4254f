"""Submission of a plan from Python: each target is sent what ``stac-sm submit`` would send."""

from __future__ import annotations

import json
import shlex

import pytest

from stac_sm.core.errors import InputError
from stac_sm.workflows.plan.plan import make_plan
from stac_sm.workflows.plan.plan_file import write_plan
from stac_sm.workflows.submit.kubernetes import Cluster
from stac_sm.workflows.submit.submit import AwsBatchTarget, DaskTarget, KubernetesTarget, SlurmTarget, submit_plan
from tests.support.fields import DAYS, TILE, read_model, shared_project


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    project, model_id, _ = shared_project()
    plan = make_plan(
        project.catalog, read_model(project.catalog, model_id), [TILE], DAYS, grid=project.grid, version="001"
    )
    file = tmp_path_factory.mktemp("plans") / "plan.parquet"
    write_plan(plan, file, project.grid)
    return project, plan, str(file)


def test_slurm_gets_an_array_and_what_only_it_knows(planned):
    project, _, file = planned
    target = SlurmTarget(parallel=3, options=("--qos=low",))
    sent = submit_plan(project, file, target, slices=2, cpus=5, memory=2 << 30, dry_run=True)
    command = shlex.split(sent.request["command"])
    assert {"--array=0-1%3", "--qos=low", "--cpus-per-task=5", "--mem=2048M"} <= set(command)
    assert (sent.new, sent.id, sent.job.plan) == (False, "", file)


def test_dask_gets_a_task_for_each_month_of_a_tile(planned):
    project, plan, file = planned
    sent = submit_plan(project, file, DaskTarget("tcp://127.0.0.1:1"), memory=1 << 30, dry_run=True)
    assert sent.request["scheduler"] == "tcp://127.0.0.1:1"
    assert sent.request["tasks"] == [f"{sent.job.name} {task.name}" for task in plan.tasks()]


def test_pods_and_aws_do_not_see_a_folder_of_this_machine(planned, tmp_path):
    project, _, file = planned
    outputs = tmp_path / "aws.json"
    names = ("region", "job_queue", "job_definition", "products", "log_group")
    outputs.write_text(json.dumps({name: {"value": "s3://bucket/p"} for name in names}))
    for target, message in (
        (KubernetesTarget(Cluster("stac-sm:0.1.0")), "which pods do not see"),
        (AwsBatchTarget(outputs), "no worker of AWS Batch may write"),
    ):
        with pytest.raises(InputError, match=message):
            submit_plan(project, file, target, memory=1 << 30, dry_run=True)


def test_a_dask_cluster_for_pods_has_a_manifest(planned):
    project, _, file = planned
    target = KubernetesTarget(Cluster("registry/image:1", "hydro", 4), dask_cluster=True)
    sent = submit_plan(project, file, target, memory=1 << 30, dry_run=True)
    assert (sent.request["kind"], sent.request["metadata"]["namespace"]) == ("DaskCluster", "hydro")
