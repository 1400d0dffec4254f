"""Send a plan as an array job to AWS Batch, on what ``infra/aws`` has set up.

`submit` calls it with the array job of `job`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from stac_sm.core.errors import InputError
from stac_sm.storage.s3.session import aws_client
from stac_sm.storage.signing import without_secrets
from stac_sm.workflows.project import Project
from stac_sm.workflows.submit.job import ArrayJob, SubmittedJob, as_on_s3, with_shared_plan

AWS_ARRAY_LIMIT = 10_000
"""Largest array of AWS Batch."""

_ENDED = {"SUCCEEDED", "FAILED"}


@dataclass(frozen=True)
class Infrastructure:
    """Resources that Terraform has created: its outputs of these names."""

    region: str
    """AWS region."""

    job_queue: str
    """Name of the job queue."""

    job_definition: str
    """Name and revision of the job definition."""

    products: str
    """``s3://BUCKET/PREFIX`` below which workers may write: the root of the project."""

    log_group: str
    """Where the workers' output goes."""

    @classmethod
    def read(cls, file: Path) -> Infrastructure:
        """Read what ``terraform output -json`` has printed.

        Parameters
        ----------
        file
            The JSON.

        Returns
        -------
        Infrastructure
            Names and addresses, each as text.

        Raises
        ------
        InputError
            If the file is no such thing, or an output is missing.
        """
        try:
            outputs = json.loads(file.read_text())
            return cls(**{one.name: str(outputs[one.name]["value"]) for one in fields(cls)})
        except OSError as error:
            raise InputError(f"{file} cannot be read ({error.strerror}): {_HOW}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{file} holds no outputs of infra/aws ({error} is missing or no JSON): {_HOW}") from error


_HOW = "`terraform -chdir=infra/aws output -json > aws.json` writes it"


def submit_to_aws_batch(
    project: Project, job: ArrayJob, infrastructure: Infrastructure, *, dry_run: bool = False
) -> SubmittedJob:
    """Put the plan beside the products and send the job, unless one of this plan is waiting or at work.

    Parameters
    ----------
    project
        Its catalogue lies where the workers may write.
    job
        What to send.
    infrastructure
        Queue and job definition.
    dry_run
        Whether only to return what would be sent; for a project on this machine, what would be sent once it is on S3.

    Returns
    -------
    SubmittedJob
        With AWS's id of the job.

    Raises
    ------
    InputError
        If the project does not lie where the workers may write, or AWS refuses the request.
    """
    job, note = as_on_s3(job, infrastructure.products.rstrip("/")) if dry_run else (job, "")
    _check_place(job, infrastructure)
    job = with_shared_plan(project, job, write=not dry_run)
    request = _request(job, infrastructure)
    if dry_run:
        return SubmittedJob(job, "", False, request=request, note=note)
    try:
        batch = aws_client("batch", infrastructure.region)
        running = _running(batch, job.name, infrastructure.job_queue)
        id = running or str(batch.submit_job(**request)["jobId"])
    except Exception as error:
        raise _explained(error, infrastructure) from None  # the cause may quote keys
    return SubmittedJob(job, id, not running, _watch(id, job, infrastructure), request)


def _check_place(job: ArrayJob, infrastructure: Infrastructure) -> None:
    allowed = infrastructure.products.rstrip("/")
    if job.project != allowed and not job.project.startswith(f"{allowed}/"):
        raise InputError(
            f"the project lies in {job.project}, where no worker of AWS Batch may write: only below {allowed}; "
            f"`aws s3 sync` it there, then give --project {allowed}"
        )


def _request(job: ArrayJob, infrastructure: Infrastructure) -> dict[str, Any]:
    needs = {"VCPU": str(job.cpus), "MEMORY": str(job.mebibytes)}
    return {
        "jobName": job.name,
        "jobQueue": infrastructure.job_queue,
        "jobDefinition": infrastructure.job_definition,
        **({"arrayProperties": {"size": job.slices}} if job.slices > 1 else {}),  # AWS refuses an array of one
        "containerOverrides": {
            "command": list(job.command),
            "resourceRequirements": [{"type": name, "value": value} for name, value in needs.items()],
        },
        "tags": {"stac-sm:job": job.name},
    }


def _running(batch: Any, name: str, queue: str) -> str:
    """Return the id of a job of this name that is waiting or at work; empty if there is none."""
    pages = batch.get_paginator("list_jobs").paginate(jobQueue=queue, filters=[{"name": "JOB_NAME", "values": [name]}])
    found = [job for page in pages for job in page["jobSummaryList"] if job["status"] not in _ENDED]
    return str(found[0]["jobId"]).partition(":")[0] if found else ""


def _watch(id: str, job: ArrayJob, infrastructure: Infrastructure) -> tuple[str, ...]:
    region = f"--region {infrastructure.region}"
    return (
        job.status,
        f"aws batch describe-jobs --jobs {id} {region} --query 'jobs[].[status,arrayProperties.statusSummary]'",
        f"aws logs tail {infrastructure.log_group} --follow {region}",
    )


def _explained(error: Exception, infrastructure: Infrastructure) -> Exception:
    """Return what botocore has raised, as something that a user can act on; a fault of ours stays as it is."""
    if not type(error).__module__.startswith("botocore"):
        return error
    answer = getattr(error, "response", {}).get("Error", {})
    said = f"{answer.get('Code', type(error).__name__)}: {answer.get('Message', 'no answer')}"
    return InputError(
        f"AWS Batch in {infrastructure.region} refuses {infrastructure.job_queue}: {without_secrets(said)}: check the "
        f"credentials (the operator's role may submit), and that the outputs are new: {_HOW}"
    )
