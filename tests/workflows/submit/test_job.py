"""Submit: an array job that follows from the plan, the same one however often it is asked for."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from stac_sm.cli.main import main
from stac_sm.core.errors import InputError
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.workflows.plan.plan import make_plan
from stac_sm.workflows.plan.plan_file import write_plan
from stac_sm.workflows.plan.planned_days import Task
from stac_sm.workflows.project import SlurmSettings
from stac_sm.workflows.run.run import PlanSlice
from stac_sm.workflows.run.task import estimate_work_share
from stac_sm.workflows.submit.aws_batch import Infrastructure, submit_to_aws_batch
from stac_sm.workflows.submit.job import ArrayJob, array_job, infra_file, job_name
from stac_sm.workflows.submit.kubernetes import Cluster, dask_cluster_manifest, job_manifest
from stac_sm.workflows.submit.slurm import sbatch_command
from tests.support.fields import DAYS, TILE, read_model, shared_project

IMAGE = "registry.example:5000/hydro/stac-sm@sha256:" + "0" * 64
ON_S3 = ArrayJob("stac-sm-0123456789ab", "s3://products/sm/plans/p.parquet", "p", "s3://products/sm", 7, 5, 3, 3 << 30)
OUTPUTS = {
    "region": "eu-central-1", "job_queue": "q", "job_definition": "d:3", "products": "s3://products/sm",
    "log_group": "/stac-sm/slices",
}  # fmt: skip


@pytest.fixture(scope="module")
def planned():
    project, model_id, _ = shared_project()
    catalog = open_catalog(project.folder)
    model = read_model(catalog, model_id)
    return project, make_plan(catalog, model, [TILE], DAYS, grid=project.grid, version="001")


@pytest.fixture
def outputs(tmp_path):
    file = tmp_path / "aws.json"
    file.write_text(json.dumps({name: {"value": value} for name, value in OUTPUTS.items()}))
    return file


def invoke(*arguments):
    return CliRunner().invoke(main, ["submit", *(str(one) for one in arguments)])


def test_the_array_has_a_slice_for_each_task_and_the_memory_of_the_largest(planned):
    project, plan = planned
    job = array_job(project, plan, "/plan.parquet", limit=10_000)
    tasks = list(plan.tasks())
    assert (job.tasks, job.slices, len(tasks)) == (2, 2, 2)
    assert job.worker_memory >= max(estimate_work_share(str(project.folder), task, 1 << 40).peak for task in tasks)
    assert job.worker_memory < 2 * max(
        estimate_work_share(str(project.folder), task, 1 << 40).peak for task in tasks
    ) + (1 << 29)
    assert job.command[job.command.index("--slice") + 1] == "0-1"


def test_no_array_is_larger_than_the_batch_system_takes_or_than_the_plan(planned):
    project, plan = planned
    assert array_job(project, plan, "/p", limit=1, memory=1 << 30).slices == 1
    with pytest.raises(InputError, match=r"--slices 3: 1 to 2 are possible \(2 tasks"):
        array_job(project, plan, "/p", limit=10_000, slices=3, memory=1 << 30)


def test_one_slice_is_no_array_and_says_so_itself(planned):
    project, plan = planned
    job = array_job(project, plan, "/p", limit=10, slices=1, memory=1 << 30)
    assert job.command[job.command.index("--slice") + 1] == "0/1"


def test_a_plan_with_nothing_to_do_is_refused(planned):
    project, plan = planned
    done = replace(plan, days=tuple(replace(day, state="done") for day in plan.days))
    with pytest.raises(InputError, match=r"nothing to do \(.* (done|blocked)"):
        array_job(project, done, "/p", limit=10)


def test_the_name_follows_from_the_plan_and_its_place(planned):
    project, plan = planned
    root = project.catalog.root
    part = replace(plan, days=plan.days[1:])
    assert job_name(root, plan) == job_name(root, plan)
    assert len({job_name(root, plan), job_name(root, part), job_name("s3://other", plan)}) == 3


@given(st.integers(1, 40), st.integers(1, 60))
def test_slices_share_all_tasks_out_and_none_twice(tasks, slices):
    of_plan = [Task("m", f"h{number // 7:02d}v00", ()) for number in range(tasks)]
    shared = [task for index in range(slices) for task in PlanSlice(index, slices).of(of_plan)]
    assert sorted(map(id, shared)) == sorted(map(id, of_plan))


def test_outputs_of_terraform_are_read(outputs):
    assert Infrastructure.read(outputs) == Infrastructure(**OUTPUTS)


@pytest.mark.parametrize("content", ["{}", "no json", '{"region": 3}'])
def test_other_files_are_no_outputs(tmp_path, content):
    file = tmp_path / "aws.json"
    file.write_text(content)
    with pytest.raises(InputError, match="terraform -chdir=infra/aws output -json"):
        Infrastructure.read(file)


def test_aws_is_not_asked_for_a_project_where_no_worker_may_write(planned):
    project, _ = planned
    for root in ("/home/me/project", "s3://products/smaller", "s3://products", "s3://other/sm"):
        with pytest.raises(InputError, match="no worker of AWS Batch may write: only below s3://products/sm"):
            submit_to_aws_batch(project, replace(ON_S3, project=root), Infrastructure(**OUTPUTS))


def test_what_aws_batch_is_asked_for(planned):
    project, _ = planned
    sent = submit_to_aws_batch(project, ON_S3, Infrastructure(**OUTPUTS), dry_run=True)
    assert sent.request["arrayProperties"] == {"size": 5}
    needs = sent.request["containerOverrides"]["resourceRequirements"]
    assert needs == [{"type": "VCPU", "value": "3"}, {"type": "MEMORY", "value": "3072"}]
    one = submit_to_aws_batch(project, replace(ON_S3, slices=1), Infrastructure(**OUTPUTS), dry_run=True)
    assert "arrayProperties" not in one.request


def test_what_sbatch_is_asked_for():
    settings = SlurmSettings(queue="short", account="hydro", walltime="01:00:00", directives=("--constraint=rome",))
    command = sbatch_command(ON_S3, settings, parallel=2, options=["--qos=low"])
    script = command.index(str(infra_file("slurm/stac-sm.sbatch")))
    wanted = {"--array=0-4%2", "--mem=3072M", "--cpus-per-task=3", "--partition=short", "--account=hydro"}
    assert wanted | {"--time=01:00:00", "--constraint=rome", "--qos=low"} <= set(command[:script])
    assert command[script + 2 : script + 6] == ["-m", "stac_sm", "run", ON_S3.plan]


def containers(manifest):
    found = []
    if isinstance(manifest, dict):
        found += manifest.get("containers", [])
        manifest = list(manifest.values())
    for one in manifest if isinstance(manifest, list) else []:
        found += containers(one)
    return found


@pytest.mark.parametrize("make", [job_manifest, dask_cluster_manifest])
def test_pods_are_small_locked_and_told_secrets_by_name(make):
    manifest = make(ON_S3, Cluster(IMAGE, "hydro", parallel=4))
    assert (manifest["metadata"]["name"], manifest["metadata"]["namespace"]) == (ON_S3.name, "hydro")
    text = yaml.safe_dump(manifest)
    for one in containers(manifest):
        assert one["image"] == IMAGE
        locked = one["securityContext"]
        assert locked["readOnlyRootFilesystem"]
        assert not locked["allowPrivilegeEscalation"]
        assert locked["capabilities"] == {"drop": ["ALL"]}
        assert one["resources"]["limits"]["memory"] == one["resources"]["requests"]["memory"]
        assert "env" not in one
        assert {"secretRef": {"name": "stac-sm", "optional": True}} in one["envFrom"]
    assert text.count("runAsNonRoot: true") == text.count("runAsUser: 10001") == (1 if make is job_manifest else 2)
    assert "AWS_SECRET" not in text


def test_an_indexed_job_has_the_size_of_the_plan():
    manifest = job_manifest(ON_S3, Cluster(IMAGE, parallel=4))
    spec = manifest["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 5, 4)
    [container] = spec["template"]["spec"]["containers"]
    assert container["command"] == list(ON_S3.command)
    assert container["resources"]["limits"] == {"cpu": "3", "memory": "3072Mi"}


def test_a_dask_cluster_has_workers_of_the_size_of_a_task():
    manifest = dask_cluster_manifest(ON_S3, Cluster(IMAGE, parallel=4))
    worker = manifest["spec"]["worker"]
    assert worker["replicas"] == 4
    assert worker["spec"]["containers"][0]["resources"]["limits"]["memory"] == "3072Mi"
    assert "3072MiB" in worker["spec"]["containers"][0]["args"]
    assert manifest["spec"]["scheduler"]["service"]["selector"]["dask.org/cluster-name"] == ON_S3.name


def test_pods_see_no_folder_of_this_machine():
    with pytest.raises(InputError, match="the project lies in /home/p, which pods do not see"):
        job_manifest(replace(ON_S3, project="/home/p"), Cluster(IMAGE))


@pytest.mark.parametrize(
    "image", ["stac-sm:0.1.0", "r.example:5000/a/stac-sm:v1", IMAGE, IMAGE.replace("@", ":latest@")]
)
def test_an_image_with_a_version_or_a_digest_is_taken(image):
    assert Cluster(image).image == image


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("stac-sm", "found no tag"),
        ("registry.example:5000/stac-sm", "found no tag"),
        ("stac-sm:", "found no tag"),
        ("stac-sm:latest", "found the tag latest"),
        (f"@{IMAGE.partition('@')[2]}", "found no name of an image"),
        ("stac-sm@sha256:12", "a digest is sha256: and 64 hexadecimal digits"),
    ],
)
def test_an_image_that_may_be_another_one_tomorrow_is_refused(image, message):
    with pytest.raises(InputError, match=message):
        Cluster(image)


@pytest.mark.parametrize("make", [job_manifest, dask_cluster_manifest])
def test_pods_get_nodes_secrets_of_the_registry_and_the_store_of_this_machine(make):
    asked = Cluster(
        IMAGE,
        pull_secrets=("registry",),
        node_selectors=("kubernetes.io/arch=amd64", "pool=spot"),
        tolerations=("spot=true:NoSchedule", "gone:NoExecute"),
    ).for_store({"AWS_ENDPOINT_URL_S3": "https://s3.example.org", "AWS_REGION": "eu-1"})
    text = yaml.safe_dump(make(ON_S3, asked))
    pods = 1 if make is job_manifest else 2
    assert text.count("imagePullSecrets:") == text.count("nodeSelector:") == text.count("tolerations:") == pods
    assert text.count("kubernetes.io/arch: amd64") == text.count("operator: Exists") == pods
    for one in containers(make(ON_S3, asked)):
        assert {"name": "AWS_ENDPOINT_URL_S3", "value": "https://s3.example.org"} in one["env"]
        assert {"name": "AWS_REGION", "value": "eu-1"} in one["env"]


def test_what_the_user_says_of_the_store_goes_before_what_this_machine_has():
    said = Cluster(IMAGE, endpoint="http://objects:9000")
    assert said.for_store({"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9000"}).endpoint == "http://objects:9000"


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9000", "http://localhost", "http://[::1]:1"])
def test_a_store_on_this_machine_is_refused_since_pods_do_not_see_it(endpoint):
    with pytest.raises(InputError, match="is this machine, which pods do not see: give --endpoint"):
        Cluster(IMAGE).for_store({"AWS_ENDPOINT_URL_S3": endpoint})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"endpoint": "minio:9000"}, "--endpoint minio:9000: a URL is required"),
        ({"namespace": "Bad_NS"}, "--namespace Bad_NS: small letters"),
        ({"node_selectors": ("spot",)}, "--node-selector spot: KEY=VALUE is required"),
        ({"tolerations": ("spot=true",)}, "--toleration spot=true: KEY=VALUE:EFFECT or KEY:EFFECT"),
        ({"tolerations": ("spot=true:Never",)}, "EFFECT is one of NoSchedule, PreferNoSchedule, NoExecute"),
    ],
)
def test_nodes_are_named_as_kubernetes_reads_them(given, message):
    with pytest.raises(InputError, match=message):
        job_manifest(ON_S3, Cluster(IMAGE, **given))


def test_a_job_that_hangs_is_ended():
    assert job_manifest(ON_S3, Cluster(IMAGE))["spec"]["activeDeadlineSeconds"] == 7 * 86400
    assert job_manifest(ON_S3, Cluster(IMAGE, deadline_hours=2))["spec"]["activeDeadlineSeconds"] == 7200


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "slurm", "--", "nonsense"], "options of sbatch begin with -"),
        (["--to", "slurm", "--node-selector", "a=b"], "--node-selector does not go with --to slurm"),
        (["--to", "dask", "--scheduler", "x", "--deadline", "2"], "--deadline does not go with --to dask"),
        (["--to", "aws-batch"], "--to aws-batch requires --infra"),
        (["--to", "kubernetes"], "--to kubernetes requires --image"),
        (["--to", "dask"], "--to dask requires --scheduler"),
        (["--to", "slurm", "--image", "x"], "--image does not go with --to slurm"),
        (["--to", "kubernetes", "--image", "x", "--", "--qos=low"], "--qos=low does not go with --to kubernetes"),
        (["--to", "dask", "--scheduler", "x", "--dask-cluster"], "--dask-cluster does not go with --to dask"),
    ],
)
def test_options_go_with_their_target(arguments, message):
    done = invoke("p.parquet", *arguments)
    assert done.exit_code == 1
    assert message in done.output


def test_a_dry_run_shows_and_sends_nothing(planned, tmp_path):
    project, plan = planned
    file = tmp_path / "plan.parquet"
    write_plan(plan, file, project.grid)
    done = invoke(file, "--to", "slurm", "--project", project.folder, "--dry-run")
    assert done.exit_code == 0, done.output
    assert "sbatch --parsable --job-name=stac-sm-" in done.output
    done = invoke(file, "--to", "dask", "--scheduler", "tcp://x:1", "--project", project.folder, "--dry-run", "--json")
    assert [task.partition(" ")[2] for task in json.loads(done.output)["tasks"]] == ["h01v01 2018-06", "h01v01 2018-07"]
