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


@pytest.fixture
def outputs(tmp_path):
    names = ("region", "job_queue", "job_definition", "products", "log_group")
    (tmp_path / "aws.json").write_text(json.dumps({name: {"value": "s3://bucket/p"} for name in names}))
    return tmp_path / "aws.json"


def test_pods_and_aws_do_not_see_a_folder_of_this_machine(planned, outputs):
    project, _, file = planned
    for target, message in (
        (KubernetesTarget(Cluster("stac-sm:0.1.0")), "which pods do not see"),
        (AwsBatchTarget(outputs), "no worker of AWS Batch may write"),
    ):
        with pytest.raises(InputError, match=message):
            submit_plan(project, file, target, memory=1 << 30)


def test_a_dry_run_shows_the_job_as_it_would_be_on_s3_without_a_store(planned, outputs, monkeypatch):
    """No address of S3 answers here; what is to be done first is in the result."""
    project, plan, file = planned
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    pods = submit_plan(project, file, KubernetesTarget(Cluster("stac-sm:0.1.0")), dry_run=True)
    command = pods.request["spec"]["template"]["spec"]["containers"][0]["command"]
    assert command[2:] == list(pods.job.command)[2:]
    assert f"s3://BUCKET/PREFIX/plans/{plan.id}.parquet" in command
    assert command[command.index("--project") + 1] == "s3://BUCKET/PREFIX"
    assert pods.request["metadata"]["annotations"]["stac-sm/note"] == pods.note
    aws = submit_plan(project, file, AwsBatchTarget(outputs), dry_run=True)
    assert "s3://bucket/p" in aws.request["containerOverrides"]["command"]
    for sent in (pods, aws):
        assert f"the project lies in {project.catalog.root}, which workers do not see: put it on S3" in sent.note


def test_a_dask_cluster_for_pods_has_a_manifest(planned):
    project, _, file = planned
    target = KubernetesTarget(Cluster("registry/image:1", "hydro", 4), dask_cluster=True)
    sent = submit_plan(project, file, target, memory=1 << 30, dry_run=True)
    assert (sent.request["kind"], sent.request["metadata"]["namespace"]) == ("DaskCluster", "hydro")
