"""Terraform against moto's server: nothing here reaches Amazon."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.object_stores import _MOTO, ObjectStore

AWS = Path(__file__).parents[2] / "infra" / "aws"
_PROVIDER = "registry.terraform.io/hashicorp/aws"
_PLUGINS = (os.environ.get("STAC_SM_TF_PLUGINS", ""), os.environ.get("TF_PLUGIN_DIR", ""), "/opt/tf-plugins")

_OVERRIDE = """
provider "aws" {
  s3_use_path_style           = true
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = false
}
"""


_MENDED = """
import json
from moto.budgets.responses import BudgetsResponse

tags, told = [], {}
create, notify = BudgetsResponse.create_budget, BudgetsResponse.create_notification

def create_budget(self):
    tags[:] = json.loads(self.body).get("ResourceTags", [])
    return create(self)

def create_notification(self):
    asked = json.loads(self.body)
    told[asked["Notification"]["NotificationType"]] = asked["Subscribers"]
    return notify(self)

def describe_subscribers(self):
    return json.dumps({"Subscribers": told[json.loads(self.body)["Notification"]["NotificationType"]]})

BudgetsResponse.create_budget, BudgetsResponse.create_notification = create_budget, create_notification
BudgetsResponse.describe_subscribers_for_notification = describe_subscribers
BudgetsResponse.list_tags_for_resource = lambda self: json.dumps({"ResourceTags": tags})

from moto.ec2.models.launch_templates import LaunchTemplateBackend
create_template = LaunchTemplateBackend.create_launch_template

def own_tags_apart(self, name, description, data, tags):  # a template's own tags are not those of its instances
    kept = [one for one in data.pop("TagSpecifications", []) if one["ResourceType"] != "launch-template"]
    return create_template(self, name, description, data | ({"TagSpecifications": kept} if kept else {}), tags)

LaunchTemplateBackend.create_launch_template = own_tags_apart

import os
from moto.batch_simple.models import BatchSimpleBackend
from moto.moto_api import state_manager
finish = BatchSimpleBackend._mark_job_as_finished

def finish_or_hold(self, include_start_attempt, job):  # else every job has succeeded as soon as it is sent
    if os.path.exists(os.environ["HOLD_JOBS"]):
        self.backend._jobs[job.job_id] = job
    else:
        finish(self, include_start_attempt=include_start_attempt, job=job)

BatchSimpleBackend._mark_job_as_finished = finish_or_hold
state_manager.set_transition("batch::job", {"progression": "manual", "times": 1 << 30})
"""
"""What moto 5.2 lacks or has wrong, and the provider asks for; and jobs that do not end while a file is there."""


@contextlib.contextmanager
def aws_of_moto(hold: Path) -> Iterator[ObjectStore]:
    """moto's server, for all of AWS; jobs of AWS Batch succeed without being run, but wait while ``hold`` exists."""
    command = [sys.executable, "-c", _MENDED + _MOTO]
    environment = os.environ | {"MOTO_IAM_LOAD_MANAGED_POLICIES": "true", "HOLD_JOBS": str(hold)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            made = ObjectStore(f"http://127.0.0.1:{int(server.stdout.readline())}")
            setting = json.dumps({"batch": {"use_docker": False}}).encode()
            urllib.request.urlopen(f"{made.endpoint}/moto-api/config", setting).close()
            yield made
        finally:
            server.stdin.close()
            server.wait(10)


def why_no_terraform() -> str | None:
    """What is missing for Terraform."""
    if shutil.which("terraform") is None:
        return "no terraform here: install it from its makers' Debian packages"
    if plugins() is None:
        return "no AWS provider for Terraform here: `terraform providers mirror DIR`, then STAC_SM_TF_PLUGINS=DIR"
    return None


def plugins() -> Path | None:
    """Folder of Terraform's plugins with the AWS provider."""
    return next((Path(name) for name in _PLUGINS if name and Path(name, _PROVIDER).is_dir()), None)


@dataclass(frozen=True)
class Terraform:
    """A copy of infra/aws that talks to moto."""

    folder: Path
    """Where it lies."""

    server: ObjectStore
    """moto."""

    def run(self, *arguments: str, codes: tuple[int, ...] = (0,)) -> tuple[int, str]:
        """Exit code and output of a command of Terraform."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TF_"))}
        environment |= self.server.environment | {"AWS_ENDPOINT_URL": self.server.endpoint, "TF_IN_AUTOMATION": "1"}
        environment |= {"AWS_MAX_ATTEMPTS": "3"}
        command = ["terraform", f"-chdir={self.folder}", *arguments]
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as running:
            said = running.communicate(timeout=300)[0]
        assert running.returncode in codes, f"{' '.join(command)}: {running.returncode}\n{said}"
        return running.returncode, said

    @cache  # noqa: B019
    def outputs_file(self) -> dict[str, Any]:
        """What ``terraform output -json`` prints when it is first asked for."""
        return dict(json.loads(self.run("output", "-json")[1]))

    def outputs(self) -> dict[str, Any]:
        """Values of the outputs by name."""
        return {name: one["value"] for name, one in self.outputs_file().items()}

    def resources(self) -> list[dict[str, Any]]:
        """Everything that was made or looked up."""
        shown = json.loads(self.run("show", "-json")[1])
        found: list[dict[str, Any]] = shown["values"]["root_module"]["resources"]
        return found


@contextlib.contextmanager
def terraform(folder: Path, server: ObjectStore) -> Iterator[Terraform]:
    """Terraform, ready to apply infra/aws to moto."""
    for file in AWS.glob("*.tf"):
        shutil.copy(file, folder)
    (folder / "moto_override.tf").write_text(_OVERRIDE)
    made = Terraform(folder, server)
    made.run("init", "-input=false", f"-plugin-dir={plugins()}")
    yield made
