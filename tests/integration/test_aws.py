"""infra/aws, applied to moto: what Terraform makes, and that `stac-sm submit` sends a plan to it, once."""

from __future__ import annotations

import json
import os
import subprocess
import time
from urllib.parse import parse_qs, unquote, urlsplit

import boto3
import pytest
from click.testing import CliRunner

from stac_sm.cli.main import main
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.stac.visibility import wholly_public_collections
from stac_sm.storage.store import open_store
from stac_sm.workflows.plan.plan import make_plan
from stac_sm.workflows.plan.plan_file import write_plan
from stac_sm.workflows.project import read_project
from tests.support.fields import DAYS, TILE, read_model, shared_project
from tests.support.missing import need
from tests.support.object_stores import FaultyProxy, environment_of
from tests.support.policies import Request, outcomes, why_no_evaluator
from tests.support.terraform import aws_of_moto, terraform, why_no_terraform
from tests.support.warm_start import warm_python

pytestmark = pytest.mark.integration
MAIL = '-var=budget_mail=["a@example.org"]'
APPLY_AGAIN = ("apply", "-auto-approve", "-input=false", "-refresh=false", MAIL)
"""Nobody else has changed anything: no resource is looked up again."""


@pytest.fixture(scope="module")
def applied(tmp_path_factory):
    need("Terraform", why_no_terraform())
    folder = tmp_path_factory.mktemp("terraform")
    with aws_of_moto(folder / "hold") as server, terraform(folder, server) as made:
        made.run("apply", "-auto-approve", "-input=false", MAIL)  # which validates first
        yield made


@pytest.fixture
def aws(applied, monkeypatch):
    """The environment in which boto3 asks moto."""
    with environment_of(applied.server):
        monkeypatch.setenv("AWS_ENDPOINT_URL", applied.server.endpoint)
        yield lambda service: boto3.session.Session().client(service, region_name="us-west-2")


@pytest.fixture
def sent(applied, aws, tmp_path):
    """A project with a plan below the products' root; and how to submit the plan."""
    store = open_store(applied.outputs()["products"])
    policy = s3_policy(aws, store.bucket)
    aws("s3").delete_bucket_policy(Bucket=store.bucket)  # moto has no https, which the policy asks for
    local, model_id, _ = shared_project()
    for file in sorted(local.folder.rglob("*")):
        if file.is_file() and ".scratch" not in file.parts:
            store.create(file.relative_to(local.folder).as_posix(), file)
    project, catalog = read_project(store.root), open_catalog(store.root)
    plan = make_plan(catalog, read_model(catalog, model_id), [TILE], DAYS, grid=project.grid, version="001")
    write_plan(plan, tmp_path / "plan.parquet", project.grid)
    (tmp_path / "aws.json").write_text(json.dumps(applied.outputs_file()))

    def submit(*arguments):
        given = ["submit", str(tmp_path / "plan.parquet"), "--to", "aws-batch", "--infra", str(tmp_path / "aws.json")]
        return CliRunner().invoke(main, [*given, "--project", store.root, *arguments])

    yield submit, plan, store
    aws("s3").put_bucket_policy(Bucket=store.bucket, Policy=json.dumps(policy))


def s3_policy(aws, bucket):
    return json.loads(aws("s3").get_bucket_policy(Bucket=bucket)["Policy"])


def test_the_second_plan_is_clean(applied):
    code, said = applied.run("plan", "-detailed-exitcode", "-input=false", "-no-color", MAIL, codes=(0, 2))
    assert code == 0, said


def test_a_plan_becomes_an_array_job_that_succeeds_and_is_sent_once(sent, aws):
    submit, plan, store = sent
    done = submit("--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["new"], told["slices"], told["tasks"]) == (True, 2, 2)
    batch = aws("batch")
    [job] = batch.describe_jobs(jobs=[told["job"]])["jobs"]
    assert job["arrayProperties"]["size"] == 2
    command = job["container"]["command"]
    assert command[:3] == ["stac-sm", "run", f"{store.root}/plans/{plan.id}.parquet"]
    assert store.exists(f"plans/{plan.id}.parquet")
    status = {"jobs": [told["job"]]}
    deadline = time.monotonic() + 60
    while (found := batch.describe_jobs(**status)["jobs"][0]["status"]) not in {"SUCCEEDED", "FAILED"}:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert found == "SUCCEEDED"
    children = batch.list_jobs(arrayJobId=told["job"])["jobSummaryList"]
    assert {child["status"] for child in children} == {"SUCCEEDED"}
    assert len(children) == 2
    again = json.loads(submit("--json").stdout)  # it has ended: what failed of it may be tried again
    assert again["new"]
    assert again["job"] != told["job"]


def test_a_job_at_work_is_named_and_not_sent_twice(sent, applied):
    submit, *_ = sent
    (applied.folder / "hold").touch()
    first = json.loads(submit("--json").stdout)
    again = submit("--json")
    (applied.folder / "hold").unlink()
    told = json.loads(again.stdout)
    assert first["new"]
    assert (told["new"], told["job"]) == (False, first["job"])
    assert "nothing was sent" in again.stderr


def test_a_refusal_names_the_queue_and_no_secret(sent, aws, tmp_path):
    submit, *_ = sent
    outputs = json.loads((tmp_path / "aws.json").read_text())
    outputs["job_queue"]["value"] = "no-such-queue"
    (tmp_path / "aws.json").write_text(json.dumps(outputs))
    done = submit()
    assert done.exit_code == 1
    assert (
        "AWS Batch in us-west-2 refuses no-such-queue: ClientException: Job queue no-such-queue does not" in done.output
    )


def test_spot_loss_is_tried_again_and_failure_is_not(aws):
    [definition] = aws("batch").describe_job_definitions(jobDefinitionName="stac-sm")["jobDefinitions"]
    rules = definition["retryStrategy"]["evaluateOnExit"]
    assert definition["retryStrategy"]["attempts"] == 5

    def action(reason, status_reason, code):
        for rule in rules:
            patterns = {"onReason": reason, "onStatusReason": status_reason, "onExitCode": code}
            given = {name: value for name, value in rule.items() if name in patterns}
            if all(_matches(pattern, patterns[name]) for name, pattern in given.items()):
                return rule["action"].upper()
        return "RETRY"  # as AWS Batch documents

    assert action("", "Host EC2 (instance i-0123) terminated.", "") == "RETRY"
    assert action("CannotPullContainerError: timed out", "Task failed to start", "") == "RETRY"
    assert action("", "Essential container in task exited", "1") == "EXIT"
    killed = "OutOfMemoryError: Container killed due to memory usage"
    assert action(killed, "Essential container in task exited", "137") == "EXIT"


def _matches(pattern, text):
    return text.startswith(pattern[:-1]) if pattern.endswith("*") else text == pattern


def test_what_the_workers_are_given_is_locked(aws, applied):
    [definition] = aws("batch").describe_job_definitions(jobDefinitionName="stac-sm")["jobDefinitions"]
    container = definition["containerProperties"]
    assert container["readonlyRootFilesystem"]
    assert container["user"] == "10001"
    assert not container["privileged"]
    assert container["jobRoleArn"] == applied.outputs()["worker_role"]
    assert container["logConfiguration"]["options"]["awslogs-group"] == applied.outputs()["log_group"]


def test_buckets_are_private_and_take_only_what_is_encrypted_on_the_way(aws, applied):
    s3 = aws("s3")
    for output in ("inputs", "products"):
        bucket = applied.outputs()[output].split("/")[2]
        assert all(s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values())
        assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
        [statement] = s3_policy(aws, bucket)["Statement"]
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_a_web_page_may_read_what_is_signed(aws, applied):
    bucket = applied.outputs()["products"].split("/")[2]
    [rule] = aws("s3").get_bucket_cors(Bucket=bucket)["CORSRules"]
    assert (set(rule["AllowedMethods"]), rule["AllowedOrigins"]) == ({"GET", "HEAD"}, ["*"])
    assert {"Content-Range", "ETag"} <= set(rule["ExposeHeaders"])


def test_spot_queue_budget_and_log_are_there(aws):
    [environment] = aws("batch").describe_compute_environments()["computeEnvironments"]
    assert environment["computeResources"]["type"] == "SPOT"
    assert environment["computeResources"]["minvCpus"] == 0
    [budget] = aws("budgets").describe_budgets(AccountId="123456789012")["Budgets"]
    assert float(budget["BudgetLimit"]["Amount"]) == 200
    warned = aws("budgets").describe_notifications_for_budget(AccountId="123456789012", BudgetName="stac-sm")
    assert {one["NotificationType"] for one in warned["Notifications"]} == {"ACTUAL", "FORECASTED"}
    [log] = aws("logs").describe_log_groups()["logGroups"]
    assert log["retentionInDays"] == 30


ACCOUNT = "123456789012"
INPUTS, PRODUCTS = (f"arn:aws:s3:::stac-sm-{name}-{ACCOUNT}-us-west-2" for name in ("inputs", "products"))
OBJECT, PUT = f"{PRODUCTS}/sm/sm-1km-daily/a.tif", {"s3:ObjectCreationOperation": "true"}
BATCH, LOG = f"arn:aws:batch:us-west-2:{ACCOUNT}", f"arn:aws:logs:us-west-2:{ACCOUNT}:log-group:/stac-sm/slices"
IMAGES = f"arn:aws:ecr:us-west-2:{ACCOUNT}:repository/stac-sm"

MAY = {
    "worker": [
        Request("s3:GetObject", f"{INPUTS}/inputs/catalog.json"),
        Request("s3:GetObject", OBJECT),
        Request("s3:PutObject", OBJECT, PUT | {"s3:if-none-match": "*"}),
        Request("s3:PutObject", OBJECT, PUT | {"s3:if-match": "etag"}),
        Request("s3:PutObject", OBJECT, {"s3:ObjectCreationOperation": "false"}),  # a part of an upload
        Request("s3:ListBucket", INPUTS, {"s3:prefix": "inputs/glass-lst/"}),
        Request("s3:ListBucket", PRODUCTS, {"s3:prefix": "sm/sm-1km-daily/"}),
    ],
    "execution": [
        Request("ecr:GetAuthorizationToken", "*"),
        Request("ecr:BatchGetImage", IMAGES),
        Request("logs:PutLogEvents", f"{LOG}:log-stream:slice/1"),
    ],
    "operator": [
        Request("s3:PutObject", f"{INPUTS}/inputs/x"),
        Request("s3:DeleteObject", OBJECT),
        Request("s3:ListBucket", PRODUCTS),
        Request("batch:SubmitJob", f"{BATCH}:job-queue/stac-sm"),
        Request("batch:SubmitJob", f"{BATCH}:job-definition/stac-sm:3"),
        Request("batch:TerminateJob", f"{BATCH}:job/1"),
        Request("batch:ListJobs", "*"),
        Request("logs:FilterLogEvents", LOG),
    ],
}

MAY_NOT = {
    "worker": [
        Request("s3:PutObject", OBJECT, PUT),  # over what is there
        Request("s3:PutObject", f"{INPUTS}/inputs/x", PUT | {"s3:if-none-match": "*"}),
        Request("s3:PutObject", f"{PRODUCTS}/other/x", PUT | {"s3:if-none-match": "*"}),
        Request("s3:PutObject", f"{PRODUCTS}/smaller/x", PUT | {"s3:if-none-match": "*"}),
        Request("s3:DeleteObject", OBJECT),
        Request("s3:DeleteObject", f"{INPUTS}/inputs/x"),
        Request("s3:DeleteObjectVersion", OBJECT),
        Request("s3:GetObject", f"{PRODUCTS}/other/x"),
        Request("s3:GetObject", "arn:aws:s3:::another-bucket/x"),
        Request("s3:ListBucket", PRODUCTS),
        Request("s3:ListBucket", PRODUCTS, {"s3:prefix": ""}),
        Request("s3:ListBucket", PRODUCTS, {"s3:prefix": "other/"}),
        Request("s3:ListBucket", INPUTS, {"s3:prefix": "secret/"}),
        Request("s3:ListBucket", "arn:aws:s3:::another-bucket", {"s3:prefix": "sm/"}),
        Request("s3:ListAllMyBuckets", "*"),
        Request("s3:PutObjectAcl", OBJECT),
        Request("s3:PutBucketPolicy", PRODUCTS),
        Request("s3:PutLifecycleConfiguration", PRODUCTS),
        Request("batch:SubmitJob", f"{BATCH}:job-queue/stac-sm"),
        Request("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/stac-sm-operator"),
        Request("sts:AssumeRole", f"arn:aws:iam::{ACCOUNT}:role/stac-sm-operator"),
        Request("logs:PutLogEvents", f"{LOG}:log-stream:slice/1"),
        Request("secretsmanager:GetSecretValue", f"arn:aws:secretsmanager:us-west-2:{ACCOUNT}:secret:a-123456"),
    ],
    "execution": [
        Request("s3:GetObject", OBJECT),
        Request("ecr:PutImage", IMAGES),
        Request("ecr:BatchGetImage", f"arn:aws:ecr:us-west-2:{ACCOUNT}:repository/other"),
        Request("logs:PutLogEvents", f"arn:aws:logs:us-west-2:{ACCOUNT}:log-group:/other:log-stream:a"),
        Request("logs:DeleteLogGroup", LOG),
    ],
    "operator": [
        Request("s3:DeleteBucket", PRODUCTS),
        Request("s3:PutBucketPolicy", PRODUCTS),
        Request("s3:DeleteObjectVersion", OBJECT),  # what was removed can be brought back
        Request("s3:DeleteObject", f"{PRODUCTS}/other/x"),
        Request("batch:SubmitJob", f"{BATCH}:job-queue/other"),
        Request("batch:RegisterJobDefinition", f"{BATCH}:job-definition/stac-sm"),
        Request("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/stac-sm-worker"),
        Request("ecr:PutImage", IMAGES),
    ],
}


@pytest.fixture(scope="module")
def judged():
    need("an evaluator of IAM policies", why_no_evaluator())


def policy_of(aws, role):
    return aws("iam").get_role_policy(RoleName=f"stac-sm-{role}", PolicyName=role)["PolicyDocument"]


@pytest.mark.parametrize("role", MAY)
def test_a_role_may_do_its_work(aws, judged, role):
    found = outcomes(policy_of(aws, role), MAY[role])
    assert dict(zip(MAY[role], found, strict=True)) == dict.fromkeys(MAY[role], "Allowed")


@pytest.mark.parametrize("role", MAY_NOT)
def test_a_role_may_do_nothing_else(aws, judged, role):
    found = outcomes(policy_of(aws, role), MAY_NOT[role])
    assert not set(found) - {"ImplicitlyDenied", "ExplicitlyDenied"}, dict(zip(MAY_NOT[role], found, strict=True))


class Recorder(FaultyProxy):
    """A proxy that keeps what each request asks a policy for."""

    def __init__(self, store):
        super().__init__(store)
        self.asked = []

    def forward(self, method, path, headers, body):
        self.asked.append(permission(method, path, {name.lower(): value for name, value in headers.items()}))
        return super().forward(method, path, headers, body)


def permission(method, path, headers):
    """What Amazon asks the policy for, by its table of S3 operations and permissions."""
    split = urlsplit(path)
    query, (bucket, _, key) = parse_qs(split.query, keep_blank_values=True), unquote(split.path[1:]).partition("/")
    arn = f"arn:aws:s3:::{bucket}/{key}".rstrip("/")
    if not key:
        return Request("s3:ListBucket", arn, {"s3:prefix": query.get("prefix", [""])[0]})
    if method in {"GET", "HEAD"}:
        return Request("s3:GetObject", arn)
    if method == "DELETE":
        return Request("s3:AbortMultipartUpload" if "uploadId" in query else "s3:DeleteObject", arn)
    creates = "partNumber" not in query and "uploads" not in query
    conditions = {f"s3:{name}": headers[name] for name in ("if-none-match", "if-match") if name in headers}
    return Request("s3:PutObject", arn, {"s3:ObjectCreationOperation": str(creates).lower()} | conditions)


def test_all_that_a_slice_asks_of_the_store_is_allowed_to_a_worker(sent, aws, judged, applied):
    """Least privilege that suffices: requests of real slices, told by a proxy, before the policy as it was applied."""
    submit, plan, store = sent
    assert submit("--json").exit_code == 0
    recorder = Recorder(applied.server)
    with recorder as proxied:
        command = [*warm_python(), "-m", "stac_sm", "run", f"{store.root}/plans/{plan.id}.parquet", "--workers", "1"]
        for index in range(2):
            given = [*command, "--project", store.root, "--slice", f"{index}/2"]
            done = subprocess.run(given, env=os.environ | proxied.environment | {"AWS_ENDPOINT_URL": proxied.endpoint},
                                  capture_output=True, text=True, check=False)  # fmt: skip
            assert done.returncode == 0, done.stderr
    probing = [one for one in recorder.asked if "probe-" in one.resource]  # of stores that are not Amazon's
    asked = {str(one): one for one in recorder.asked if one not in probing}
    counts = {
        action: sum(one.action == action for one in asked.values()) for action in ("s3:GetObject", "s3:PutObject")
    }
    assert min(counts.values()) > 10, counts
    found = outcomes(policy_of(aws, "worker"), list(asked.values()))
    refused = [name for name, outcome in zip(asked, found, strict=True) if outcome != "Allowed"]
    assert refused == []
    assert any(one.context.get("s3:if-none-match") == "*" for one in asked.values())
    assert any("s3:if-match" in one.context for one in asked.values())  # links of days and months are swapped


def test_nobody_writes_without_encryption_on_the_way(aws, judged):
    boundary = s3_policy(aws, PRODUCTS.rpartition(":")[2])
    plain = Request("s3:GetObject", OBJECT, {"aws:SecureTransport": "false"})
    safe = Request("s3:GetObject", OBJECT, {"aws:SecureTransport": "true"})
    assert outcomes(policy_of(aws, "worker"), [plain, safe], boundary) == ["ExplicitlyDenied", "Allowed"]


def test_anybody_reads_what_is_public_where_that_is_asked_for_and_nothing_else(aws, judged, applied):
    """A principal with no policy of its own, under the policy of the bucket alone."""
    nothing, anonymous = {"Version": "2012-10-17", "Statement": []}, {"aws:SecureTransport": "true"}
    public = [Request("s3:GetObject", f"{PRODUCTS}/sm/{id}/x.json", anonymous) for id in wholly_public_collections()]
    hidden = [
        Request(action, f"{PRODUCTS}/{path}", anonymous)
        for action, path in (
            ("s3:GetObject", "sm/ismn-stations/NET/S/S.0.series.parquet"),
            ("s3:GetObject", "sm/ismn-stations/collection.json"),
            ("s3:GetObject", "sm/matchups/m/m.0.table.parquet"),
            ("s3:GetObject", "sm/merit-dem/a/a.tif"),
            ("s3:GetObject", "sm/glass-lst/a/a.tif"),
            ("s3:GetObject", "sm/sm-models/m/m.0.series.html"),
            ("s3:GetObject", "sm/validation/v/v.0.report.html"),
            ("s3:GetObject", "sm/sm-1km-daily-mine/x.tif"),
            ("s3:GetObject", "sm/catalog.json"),
            ("s3:GetObject", "sm/stac-sm.toml"),
            ("s3:GetObject", "other/sm-1km-daily/x.tif"),
            ("s3:PutObject", "sm/sm-1km-daily/x.tif"),
            ("s3:DeleteObject", "sm/sm-1km-daily/x.tif"),
        )
    ] + [Request("s3:ListBucket", PRODUCTS, anonymous | {"s3:prefix": "sm/sm-1km-daily/"})]
    plain = [Request(one.action, one.resource, {"aws:SecureTransport": "false"}) for one in public]
    bucket = PRODUCTS.rpartition(":")[2]
    private = s3_policy(aws, bucket)
    assert "Allowed" not in outcomes(nothing, [*public, *hidden], private)
    try:
        applied.run(*APPLY_AGAIN, "-var=public_read=true")
        policy = s3_policy(aws, bucket)
        assert set(outcomes(nothing, public, policy)) == {"Allowed"}
        assert not set(outcomes(nothing, [*hidden, *plain], policy)) & {"Allowed"}
        block = aws("s3").get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
        assert (block["BlockPublicAcls"], block["IgnorePublicAcls"]) == (True, True)
        code, said = applied.run(*APPLY_AGAIN, '-var=public_collections=["*"]', codes=(0, 1))
        assert (code, "ids of collections, without slashes and wildcards" in said) == (1, True)
    finally:
        applied.run(*APPLY_AGAIN)
    assert s3_policy(aws, bucket) == private


def test_roles_are_taken_by_those_they_are_for(aws):
    trusted = {}
    for role in ("worker", "execution", "instance", "batch", "operator"):
        document = aws("iam").get_role(RoleName=f"stac-sm-{role}")["Role"]["AssumeRolePolicyDocument"]
        [statement] = document["Statement"]
        trusted[role] = next(iter(statement["Principal"].values()))
        if role in {"worker", "execution", "batch"}:
            assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": ACCOUNT}}
    assert trusted == {
        "worker": "ecs-tasks.amazonaws.com",
        "execution": "ecs-tasks.amazonaws.com",
        "instance": "ec2.amazonaws.com",
        "batch": "batch.amazonaws.com",
        "operator": f"arn:aws:iam::{ACCOUNT}:root",
    }


def test_everything_is_taken_down_again(applied, aws):
    s3 = boto3.session.Session().resource("s3", region_name="us-west-2")
    for output in ("inputs", "products"):  # Terraform removes no bucket that holds anything
        bucket = s3.Bucket(applied.outputs()[output].split("/")[2])
        bucket.Policy().delete()  # moto has no https, which the policy asks for
        bucket.object_versions.delete()
    applied.run("destroy", "-auto-approve", "-input=false")
    assert applied.run("state", "list")[1].strip() == ""
    assert aws("iam").list_roles(PathPrefix="/")["Roles"] == []
    assert s3.meta.client.list_buckets()["Buckets"] == []
