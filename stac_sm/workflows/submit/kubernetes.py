"""Send a plan to Kubernetes, as an Indexed Job or as a Dask cluster: the manifests of ``infra/kubernetes``, filled in.

`submit` fills in a manifest and applies it by kubectl.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from typing import Any

from stac_sm.core.errors import InputError
from stac_sm.storage.address import is_remote
from stac_sm.workflows.submit.job import ArrayJob, SubmittedJob, infra_file

KUBERNETES_ARRAY_LIMIT = 100_000
"""Largest Indexed Job of Kubernetes."""

PARALLEL = 50
"""Pods at the same time, if nobody says how many."""

_SECONDS = 60

Manifest = dict[str, Any]
"""One resource of Kubernetes."""


@dataclass(frozen=True)
class Cluster:
    """Place of the pods, and their image."""

    image: str
    """Image of ``infra/container``, best with its digest."""

    namespace: str = "default"
    """Namespace of the cluster."""

    parallel: int = PARALLEL
    """Pods that may run at the same time."""


def job_manifest(job: ArrayJob, cluster: Cluster) -> Manifest:
    """Return the manifest of the Indexed Job of a plan.

    Parameters
    ----------
    job
        Plan and project lie on S3.
    cluster
        Image, namespace and number of pods.

    Returns
    -------
    dict
        Resource of Kubernetes.

    Raises
    ------
    InputError
        If the workers could not reach the plan or the project.
    """
    _check_reach(job)
    manifest = _template("job.yaml")
    manifest["metadata"] |= {"name": job.name, "namespace": cluster.namespace}
    manifest["spec"] |= {"completions": job.slices, "parallelism": min(job.slices, cluster.parallel)}
    pod = manifest["spec"]["template"]["spec"]
    pod["containers"][0] |= {"command": list(job.command), "image": cluster.image, "resources": _resources(job)}
    return manifest


def dask_cluster_manifest(job: ArrayJob, cluster: Cluster) -> Manifest:
    """Return the manifest of a Dask cluster for a plan, for Dask's operator: a worker for each slice.

    Parameters
    ----------
    job
        CPUs and memory of a worker are those of a slice.
    cluster
        Image, namespace and number of pods.

    Returns
    -------
    dict
        Resource of Kubernetes.
    """
    manifest = _template("daskcluster.yaml")
    manifest["metadata"] |= {"name": job.name, "namespace": cluster.namespace}
    spec = manifest["spec"]
    spec["worker"]["replicas"] = min(job.slices, cluster.parallel)
    worker = spec["worker"]["spec"]["containers"][0]
    worker |= {"image": cluster.image, "resources": _resources(job)}
    worker["args"][worker["args"].index("--memory-limit") + 1] = f"{job.mebibytes}MiB"
    spec["scheduler"]["spec"]["containers"][0]["image"] = cluster.image
    service = spec["scheduler"]["service"]
    service["selector"]["dask.org/cluster-name"] = job.name
    return manifest


def manifest_text(manifest: Manifest) -> str:
    """Return a manifest as YAML.

    Parameters
    ----------
    manifest
        Resource of Kubernetes.

    Returns
    -------
    str
        Its keys in the order in which they are given.
    """
    import yaml  # type: ignore[import-untyped, unused-ignore]

    return str(yaml.safe_dump(manifest, sort_keys=False))


def submit_to_kubernetes(job: ArrayJob, manifest: Manifest, *, dry_run: bool = False) -> SubmittedJob:
    """Apply a manifest by kubectl; the same one again changes nothing.

    Parameters
    ----------
    job
        The array job that the manifest is of.
    manifest
        Of `job_manifest` or `dask_cluster_manifest`.
    dry_run
        Whether only to return what would be sent.

    Returns
    -------
    SubmittedJob
        With kind and name of the resource as its id.

    Raises
    ------
    InputError
        If kubectl is not here, or the cluster refuses the manifest.
    """
    namespace = manifest["metadata"]["namespace"]
    kind = str(manifest["kind"]).lower()
    if dry_run:
        return SubmittedJob(job, "", False, request=manifest)
    said = _kubectl(["apply", "-f", "-"], json.dumps(manifest))
    watch = (
        job.status,
        f"kubectl --namespace {namespace} get {kind} {job.name} --watch",
        f"kubectl --namespace {namespace} logs --selector job-name={job.name} --prefix --follow",
    )
    return SubmittedJob(job, f"{kind}/{job.name}", "created" in said, watch[: 3 if kind == "job" else 2], manifest)


def _check_reach(job: ArrayJob) -> None:
    for what, place in (("project", job.project), ("plan", job.plan)):
        if not is_remote(place):
            raise InputError(
                f"the {what} lies in {place}, which pods do not see: put it on S3, then give --project s3://BUCKET/PREFIX"
            )


def _resources(job: ArrayJob) -> dict[str, dict[str, str]]:
    """Return requests and limits; they are equal, so that a pod is killed for its own memory only."""
    memory = f"{job.mebibytes}Mi"
    return {"requests": {"cpu": str(job.cpus), "memory": memory}, "limits": {"cpu": str(job.cpus), "memory": memory}}


def _template(name: str) -> Manifest:
    import yaml

    read = yaml.safe_load(infra_file(f"kubernetes/{name}").read_text())
    manifest: Manifest = json.loads(json.dumps(read))  # what YAML's anchors share becomes copies
    return manifest


def _kubectl(arguments: list[str], given: str) -> str:
    if shutil.which("kubectl") is None:
        raise InputError("kubectl is not here: install it, or take --dry-run and apply the manifest elsewhere")
    try:
        done = subprocess.run(
            ["kubectl", *arguments], input=given, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(f"kubectl: the cluster does not answer within {_SECONDS} s") from error
    if done.returncode:
        raise InputError(f"kubectl refuses: {done.stderr.strip()}")
    return done.stdout
