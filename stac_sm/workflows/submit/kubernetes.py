"""Send a plan to Kubernetes, as an Indexed Job or as a Dask cluster: the manifests of ``infra/kubernetes``, filled in.

`submit` fills in a manifest and applies it by kubectl.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from stac_sm.core.errors import InputError
from stac_sm.storage.address import is_remote
from stac_sm.workflows.submit.job import ArrayJob, SubmittedJob, infra_file

KUBERNETES_ARRAY_LIMIT = 100_000
"""Largest Indexed Job of Kubernetes."""

PARALLEL = 50
"""Pods at the same time, if nobody says how many."""

DEADLINE_HOURS = 168
"""Hours after which Kubernetes ends a job that is still at work, if nobody says how many: a week."""

_SECONDS = 60
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LABEL = re.compile(r"([A-Za-z0-9.-]+/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_THIS_MACHINE = ("localhost", "127.", "::1", "0.0.0.0")

Manifest = dict[str, Any]
"""One resource of Kubernetes."""


@dataclass(frozen=True)
class Cluster:
    """Place of the pods, their image, and the store that they work on.

    Raises
    ------
    InputError
        If the image has neither a version nor a digest, pods would not reach the store, or a node selector or a
        toleration is not written as Kubernetes reads it.
    """

    image: str
    """Image of ``infra/container`` with its digest, or with a tag other than ``latest``."""

    namespace: str = "default"
    """Namespace of the cluster."""

    parallel: int = PARALLEL
    """Pods that may run at the same time."""

    endpoint: str = ""
    """URL of the S3 endpoint as pods reach it; empty for that of AWS or of the config map."""

    region: str = ""
    """Region of the store; empty for that of the config map."""

    pull_secrets: tuple[str, ...] = ()
    """Names of the secrets with which a private registry is read."""

    node_selectors: tuple[str, ...] = ()
    """Labels that a node must have, as ``KEY=VALUE``."""

    tolerations: tuple[str, ...] = ()
    """Taints that a node may have, as ``KEY=VALUE:EFFECT`` or ``KEY:EFFECT``."""

    deadline_hours: int = DEADLINE_HOURS
    """Hours after which the job is ended."""

    def __post_init__(self) -> None:
        _check_image(self.image)
        if not _DNS_LABEL.fullmatch(self.namespace):
            raise InputError(
                f"--namespace {self.namespace}: small letters, digits and - are required, as soil-moisture"
            )
        if self.endpoint and urlsplit(self.endpoint).scheme not in {"http", "https"}:
            raise InputError(f"--endpoint {self.endpoint}: a URL is required, as http://minio:9000")
        if (urlsplit(self.endpoint).hostname or "").startswith(_THIS_MACHINE):
            raise InputError(
                f"the S3 endpoint {self.endpoint} is this machine, which pods do not see: "
                "give --endpoint with the URL that pods reach it at"
            )

    @property
    def environment(self) -> list[dict[str, str]]:
        """Environment variables of a container: where the store is; never a secret."""
        given = {"AWS_ENDPOINT_URL_S3": self.endpoint, "AWS_REGION": self.region}
        return [{"name": name, "value": value} for name, value in given.items() if value]

    def for_store(self, settings: Mapping[str, str]) -> Cluster:
        """Return the cluster with the endpoint and region of the store, where it does not say its own.

        Parameters
        ----------
        settings
            ``AWS_ENDPOINT_URL_S3`` and ``AWS_REGION``, of this machine; either may be missing.

        Returns
        -------
        Cluster
            Its pods ask the same store.

        Raises
        ------
        InputError
            If the endpoint is this machine.
        """
        endpoint = self.endpoint or settings.get("AWS_ENDPOINT_URL_S3", "")
        return replace(self, endpoint=endpoint, region=self.region or settings.get("AWS_REGION", ""))

    def place(self, pod: Manifest) -> None:
        """Fill image, environment, pull secrets, node selectors and tolerations into the specification of a pod.

        Parameters
        ----------
        pod
            Changed in place.
        """
        for container in pod["containers"]:
            container["image"] = self.image
            if self.environment:
                container["env"] = [*container.get("env", ()), *self.environment]
        if self.pull_secrets:
            pod["imagePullSecrets"] = [{"name": name} for name in self.pull_secrets]
        if self.node_selectors:
            pod["nodeSelector"] = dict(_node_selector(text) for text in self.node_selectors)
        if self.tolerations:
            pod["tolerations"] = [_toleration(text) for text in self.tolerations]


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
    manifest["spec"]["activeDeadlineSeconds"] = cluster.deadline_hours * 3600
    pod = manifest["spec"]["template"]["spec"]
    pod["containers"][0] |= {"command": list(job.command), "resources": _resources(job)}
    cluster.place(pod)
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
    worker["resources"] = _resources(job)
    worker["args"][worker["args"].index("--memory-limit") + 1] = f"{job.mebibytes}MiB"
    cluster.place(spec["worker"]["spec"])
    cluster.place(spec["scheduler"]["spec"])
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


def submit_to_kubernetes(job: ArrayJob, manifest: Manifest, *, dry_run: bool = False, note: str = "") -> SubmittedJob:
    """Apply a manifest by kubectl; the same one again changes nothing.

    Parameters
    ----------
    job
        The array job that the manifest is of.
    manifest
        Of `job_manifest` or `dask_cluster_manifest`.
    dry_run
        Whether only to return what would be sent.
    note
        What is to be done before it can be sent, for a dry run: the manifest has it as an annotation.

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
        if note:
            manifest["metadata"].setdefault("annotations", {})["stac-sm/note"] = note
        return SubmittedJob(job, "", False, request=manifest, note=note)
    said = _kubectl(["apply", "-f", "-"], json.dumps(manifest))
    watch = (
        job.status,
        f"kubectl --namespace {namespace} get {kind} {job.name} --watch",
        f"kubectl --namespace {namespace} logs --selector job-name={job.name} --prefix --follow",
    )
    return SubmittedJob(job, f"{kind}/{job.name}", "created" in said, watch[: 3 if kind == "job" else 2], manifest)


def _check_image(image: str) -> None:
    """Refuse an image that may be another one tomorrow: bytes of the product depend on the versions in it."""
    name, at, digest = image.partition("@")
    if not name.strip() or len(image.split()) != 1:
        raise InputError(f"--image {image!r}: found no name of an image; NAME@sha256:… is required")
    _, colon, tag = name.rpartition("/")[2].partition(":")
    if at and not _DIGEST.fullmatch(digest):
        raise InputError(f"--image {image}: a digest is sha256: and 64 hexadecimal digits; copy it from the registry")
    if not at and (not colon or not tag or tag == "latest"):
        found = "found the tag latest" if tag == "latest" else "found no tag"
        raise InputError(
            f"--image {image}: {found}, which may be another image tomorrow; a digest (NAME@sha256:…) or the tag of a "
            "version (NAME:0.1.0) is required"
        )


def _node_selector(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not _LABEL.fullmatch(key) or (value and not _LABEL.fullmatch(value)):
        raise InputError(f"--node-selector {text}: KEY=VALUE is required, such as kubernetes.io/arch=amd64")
    return key, value


def _toleration(text: str) -> dict[str, str]:
    taint, colon, effect = text.rpartition(":")
    key, equals, value = taint.partition("=")
    if not colon or effect not in _EFFECTS or not _LABEL.fullmatch(key) or (value and not _LABEL.fullmatch(value)):
        raise InputError(
            f"--toleration {text}: KEY=VALUE:EFFECT or KEY:EFFECT is required, such as spot=true:NoSchedule; "
            f"EFFECT is one of {', '.join(_EFFECTS)}"
        )
    operator = {"operator": "Equal", "value": value} if equals else {"operator": "Exists"}
    return {"key": key, **operator, "effect": effect}


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
