"""Secrets: planted wherever a user has them, used in a flow that partly fails, and found nowhere in what it wrote."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import threading
from dataclasses import replace
from urllib.parse import quote

import pytest
import requests

from stac_sm.storage.store import open_store
from tests.support.fields import TILE, copied_project, edit
from tests.support.object_stores import FaultyProxy, environment_of, moto_server, new_bucket
from tests.support.warm_start import warm_python

pytestmark = pytest.mark.integration

KEY, SECRET, TOKEN = "AKIDPLANTEDCANARY", "planted/secret+canary", "planted-session-token-canary"
SIGNATURE, PASSWORD, SUBSCRIPTION = "planted-signature-canary", "planted-proxy-canary", "planted-subscription-canary"
SECRETS = (KEY, SECRET, TOKEN, SIGNATURE, PASSWORD, SUBSCRIPTION)
SIGNED = f"https://data.example.org/lst.tif?se=2030&sig={SIGNATURE}"
PLANTED = "LST.2018183"
BUCKET = "secrets"
_PRODUCT = "sm-1km-daily"
_ASKED = (
    "/", "/api", "/collections", f"/collections/{_PRODUCT}/items", "/search?ids=x", "/search?bbox=x", "/assets/x/y",
    f"/assets/{_PRODUCT}/collection.json",
)  # fmt: skip


@pytest.fixture(scope="module")
def flow(tmp_path_factory):
    """What commands have printed and written, on a store that repeats all headers of a request that it refuses."""
    folder = tmp_path_factory.mktemp("secrets")
    project, _, _ = copied_project(folder / "p")
    edit(project.catalog, "glass-lst", PLANTED, lambda item: item["assets"]["lst"].update(href=SIGNED))
    proxy = None
    server = moto_server()
    new_bucket(server, BUCKET)
    with environment_of(server):
        store = open_store(f"s3://{BUCKET}/p")
        for file in sorted(project.folder.rglob("*")):
            if file.is_file() and ".scratch" not in file.parts:
                store.create(file.relative_to(project.folder).as_posix(), file)
    proxy = FaultyProxy(server)
    with proxy as proxied:
        said = commands(folder, store.root, replace(proxied, access_key=KEY, secret_key=SECRET), proxy)
    with environment_of(server):
        written = {entry.path: store.read(entry.path) for entry in store.list_objects()}
    return said, written, folder, proxy.seen


def commands(folder, root, store, proxy):
    """Output and exit code of each command."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("proxy")}
    environment = (
        kept
        | store.environment
        | {
            "AWS_SESSION_TOKEN": TOKEN,
            "https_proxy": f"http://user:{PASSWORD}@127.0.0.1:9",
            "PC_SDK_SUBSCRIPTION_KEY": SUBSCRIPTION,
            "STAC_SM_RETRY_FIRST_WAIT": "0.02",
            "STAC_SM_RETRY_LONGEST_WAIT": "0.1",
        }
    )

    def run(*arguments):
        command = [*warm_python(), "-m", "stac_sm", *arguments, "--project", root]
        done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    plan = f"{root}/plans/plan.parquet"
    found = {"plan": run("plan", "--tiles", TILE, "--period", "2018-07-01/2018-07-02", "--out", plan)}
    found["run"] = run("run", plan, "--workers", "1")
    found["status"] = run("status", plan)
    found["audit"] = run("audit", "sm-1km-daily")
    for command in ("mosaic", "validate"):
        found[command] = run(command, "--period", "2018-07-01/2018-07-02", "--json")
    found["annual"] = run("annual", "2018", "--json")
    found["index"] = run("index", "sm-1km-daily")
    found["doctor"] = run("doctor")
    found["submit"] = run("submit", plan, "--to", "slurm", "--dry-run")
    pods = ("--image", "stac-sm:0.1.0", "--endpoint", "http://objects:9000")
    found["kubernetes"] = run("submit", plan, "--to", "kubernetes", *pods, "--dry-run")
    outputs = {"region": "r", "job_queue": "q", "job_definition": "d", "products": root, "log_group": "l"}
    (folder / "aws.json").write_text(json.dumps({name: {"value": value} for name, value in outputs.items()}))
    found["aws-batch"] = run("submit", plan, "--to", "aws-batch", "--infra", str(folder / "aws.json"), "--dry-run")
    found["serve"] = served(
        [sys.executable, "-m", "stac_sm", "serve", "--project", root, "--port", "0"], environment, proxy
    )
    for fault in ("denied", "expired", "501"):
        proxy.rule = lambda method, path, fault=fault: fault if "era5-land" in path else "ok"
        found[fault] = run("plan", "--tiles", TILE, "--period", "2018-07-02", "--out", plan)
    proxy.rule = lambda method, path: "denied" if method == "PUT" else "ok"
    found["read-only"] = run("run", plan, "--workers", "1")
    return found


def served(command, environment, proxy):
    """What a server has said and answered: pages, items, and errors while the store refuses it."""
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        said, answers = [], []
        try:
            for line in process.stderr:
                said.append(line)
                if found := re.search(r" at (http://\S+) \(", line):
                    break
            reader = threading.Thread(target=lambda: said.extend(process.stderr), daemon=True)
            reader.start()
            for fault in ("ok", "denied", "expired"):
                proxy.rule = lambda method, path, fault=fault: fault
                for path in _ASKED:
                    answer = requests.get(found[1] + path, allow_redirects=False, timeout=60)
                    answers.append((answer.status_code, answer.text))
                    if fault == "ok" and path == f"/collections/{_PRODUCT}/items":
                        assets = answer.json()["features"][0]["assets"]
                        asset = requests.get(assets["sm"]["href"], allow_redirects=False, timeout=60)
                        answers.append((asset.status_code, asset.text))  # a redirection to a signed URL
        finally:
            proxy.rule = lambda *_: "ok"
            process.terminate()
            process.wait(20)
        reader.join(20)
    statuses = {status for status, _ in answers}
    assert {200, 307, 404, 503} <= statuses, statuses
    return 0, "".join(said) + "".join(text for _, text in answers)


def spellings(secret):
    pair = base64.b64encode(f"user:{PASSWORD}".encode()).decode()
    return {secret, quote(secret, safe=""), base64.b64encode(secret.encode()).decode()} | (
        {pair} if secret == PASSWORD else set()
    )


def test_the_flow_has_used_what_was_planted_and_failed_where_it_should(flow):
    said, written, _, seen = flow
    assert said["plan"][0] == 0, said["plan"]
    assert said["run"][0] == 1
    for command in ("mosaic", "validate", "annual", "index", "doctor", "submit", "kubernetes", "aws-batch"):
        assert said[command][0] == 0, (command, said[command])
    assert "credentials" in said["doctor"][1]
    for fault in ("denied", "expired", "501", "read-only"):
        assert said[fault][0] == 1, (fault, said[fault])
    assert any(KEY in path for _, path, _ in seen), "nothing was read by a signed URL"
    assert "data.example.org" in said["run"][1]
    made = [path for path in written if path.startswith("sm-1km-daily/") and path.endswith(".tif")]
    assert made


@pytest.mark.parametrize("secret", SECRETS)
def test_no_output_holds_a_secret(flow, secret):
    said, *_ = flow
    for command, (_, text) in said.items():
        assert not [one for one in spellings(secret) if one in text], (command, text)


@pytest.mark.parametrize("secret", SECRETS)
def test_nothing_written_holds_a_secret(flow, secret):
    _, written, folder, _ = flow
    files = {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    for path, content in {**written, **files}.items():
        if not path.endswith(f"{PLANTED}.json"):  # the item of others, in which it was planted
            assert not [one for one in spellings(secret) if one.encode() in content], path


def test_no_output_holds_a_traceback_or_a_signature(flow):
    said, *_ = flow
    for command, (_, text) in said.items():
        assert "Traceback" not in text, (command, text)
        assert "X-Amz-Signature" not in text
        assert "Authorization" not in text
