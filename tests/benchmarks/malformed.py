"""Malformed requests, at `stac-sm serve` on this machine: never a 500, never a file from outside the store.

python tests/benchmarks/malformed.py --requests 10000 --json

schemathesis (uvx fetches it) makes them from the server's OpenAPI description, part after part with a seed of its own,
until that many were malformed: against the description, or refused with a 4xx (it makes some sound ones, too). What it
sent and got is read from its own report. Then come paths that try to leave the store, a quarter as many. Files outside
the store hold a word that must come back in no answer, and the system must not have seen them read. Exit code 1 if any
of this fails.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.served import Address, made_catalog, made_items, running

sys.path.insert(0, str(Path(__file__).parents[2]))

_SCHEMATHESIS = "schemathesis==4.32.5"
_WORD = b"s3cr3t-f1le"
_WORDS = (_WORD, b"root:x:0:", b"PATH=")
_ITEMS = 300
_WITHIN = '[parameters]\n"path.collection" = "daily"\n'  # of every second part: past the 404 of a made-up name
_EACH = 250  # requests of an operation in one part
_UP = (
    "..", "%2e%2e", ".%2e", "..%2f", "%2f", "%252e%252e", "%2e%2e%2f", "..%5c", "%5c", "%c0%ae%c0%ae", "..;", ".", "",
    "~", "%00", "%ff", "..%00", "daily", "stations", "...",
)  # fmt: skip
_GOALS = (
    "secret.txt", "catalog-other/secret.txt", ".hidden/secret.txt", "%2ehidden/secret.txt", "daily/link.txt",
    "link.txt", "daily/secrets/secret.txt", "secrets/secret.txt", "stac-sm.toml", "etc/passwd", "/etc/passwd",
    "%2fetc%2fpasswd", "proc/self/environ", "catalog/stac-sm.toml", "daily/../stac-sm.toml", "daily/..%2fstac-sm.toml",
    "secret.txt%00.json",
)  # fmt: skip
_PLACES = (
    "/assets/",
    "/assets/daily/",
    "/collections/daily/items/",
    "/collections/",
    "/browser/",
    "/tiles/",
    "/",
    "//",
)


@dataclass
class Seen:
    """What was answered."""

    statuses: Counter[int] = field(default_factory=Counter)
    malformed: int = 0
    """Requests against the description, or refused."""

    errors: list[str] = field(default_factory=list)
    """Requests that were answered with a 5xx, or not at all."""

    leaks: list[str] = field(default_factory=list)
    """Requests whose answer holds what lies outside."""

    def add(self, request: str, status: int, body: bytes, *, sound: bool) -> None:
        """Take in an answer; status 0 is none. ``sound``: whether the description allows the request."""
        self.statuses[status] += 1
        self.malformed += not sound or 400 <= status < 500
        if status >= 500 or not status:
            self.errors.append(f"{status} {request}"[:300])
        if any(word in body for word in _WORDS):
            self.leaks.append(request[:300])


def main() -> None:
    """Send requests of both kinds, print, exit with 1 on a 5xx, a leak, or a server that is gone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="stac-sm-malformed-") as folder:
        root = Path(folder) / "catalog"
        made_catalog(root, made_items(_ITEMS))
        secrets = put_secrets(root)
        with running(root) as address:
            fuzzed = schemathesis(address, given.requests, given.seed, Path(folder))
            walked = paths(address, max(1, given.requests // 4), given.seed, str(secrets[0]))
            alive = Path(f"/proc/{address.pid}").exists() and asked(address, "/")[0] == 200
        touched = [str(file) for file in secrets if file.stat().st_atime_ns]
        found = {
            "malformed_requests": fuzzed.malformed,
            "requests": sum(fuzzed.statuses.values()),
            "statuses": dict(sorted(fuzzed.statuses.items())),
            "path_requests": sum(walked.statuses.values()),
            "path_statuses": dict(sorted(walked.statuses.items())),
            "errors": fuzzed.errors + walked.errors,
            "leaks": fuzzed.leaks + walked.leaks,
            "outside_files_read": touched,
            "reads_are_seen": reads_are_seen(secrets[0]),
            "answers_after": alive,
            "seconds": round(time.monotonic() - begin),
        }
    print(json.dumps(found, indent=2) if given.json else "\n".join(f"{name}: {found[name]}" for name in found))
    sys.exit(1 if found["errors"] or found["leaks"] or touched or not alive else 0)


def put_secrets(root: Path) -> list[Path]:
    """Files that no answer may hold, with a time of their last reading that any reading changes.

    Beside the store; in a folder whose name begins as the store's; hidden in the store; and where a link leads out.
    """
    files = [root.parent / "secret.txt", root.parent / "catalog-other" / "secret.txt", root / ".hidden" / "secret.txt"]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(_WORD)
        os.utime(file, ns=(0, time.time_ns()))
    (root / "daily" / "link.txt").symlink_to(files[0])
    (root / "daily" / "secrets").symlink_to(files[1].parent)
    (root / "stac-sm.toml").write_bytes(b"# " + _WORD)
    return files


def reads_are_seen(file: Path) -> bool:
    """Whether this file system notes readings at all, tried at the very end."""
    file.read_text()
    return file.stat().st_atime_ns != 0


def schemathesis(address: Address, wanted: int, seed: int, folder: Path) -> Seen:
    """Run parts until so many malformed requests were sent."""
    seen, part, settings = Seen(), 0, folder / "schemathesis.toml"
    while seen.malformed < wanted:
        settings.write_text("" if part % 2 else _WITHIN)
        mode = "all" if part % 3 == 0 else "negative"
        each = min(_EACH, max(5, (wanted - seen.malformed) // 5))
        report, before = folder / f"{part}.ndjson", seen.malformed
        command = ["uvx", _SCHEMATHESIS, "run", f"{address}/api", "--url", str(address), "--mode", mode, "--no-color"]
        command += ["--checks", "not_a_server_error", "--continue-on-failure", "--no-shrink"]
        command += ["--phases", "examples,coverage,fuzzing" if part < 3 else "fuzzing"]
        command += ["--max-examples", str(each), "--seed", str(1000 * seed + part), "--suppress-health-check", "all"]
        command += ["--report", "ndjson", "--report-ndjson-path", str(report)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
        if report.exists():
            take_in(report, seen)
        if seen.malformed == before:
            sys.exit(f"schemathesis sent nothing malformed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        print(f"part {part}: {seen.malformed} of {wanted}", file=sys.stderr)
        part += 1
    return seen


def take_in(report: Path, seen: Seen) -> None:
    """Requests and answers of a report."""
    with report.open() as lines:
        for line in lines:
            recorded = json.loads(line).get("ScenarioFinished", {}).get("recorder") or {}
            cases = recorded.get("cases", {})
            for id, sent in recorded.get("interactions", {}).items():
                request, answer = sent["request"], sent.get("response") or {}
                case = cases.get(id, {}).get("value", {}).get("meta") or {}
                content = (answer.get("content") or {}).get("$base64") or ""
                seen.add(
                    f"{request['method']} {request['uri']}",
                    answer.get("status_code", 0),
                    base64.b64decode(content),
                    sound=case.get("generation", {}).get("mode") != "negative",
                )


def paths(address: Address, number: int, seed: int, outside: str) -> Seen:
    """Ask for paths that try to leave the store, byte for byte as they are."""
    rng, seen = random.Random(seed), Seen()
    for _ in range(number):
        goal = outside if rng.random() < 0.1 else rng.choice(_GOALS)
        path = rng.choice(_PLACES) + "/".join([*rng.choices(_UP, k=rng.randrange(6)), goal])
        seen.add(path, *asked(address, path), sound=False)
    return seen


def asked(address: Address, path: str) -> tuple[int, bytes]:
    """Status and body of what is at a path; 0 where the server gives no answer."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException) as error:
        return 0, repr(error).encode()
    finally:
        connection.close()


if __name__ == "__main__":
    main()
