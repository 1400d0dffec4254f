"""Many clients at once, and malformed requests, against `stac-sm serve` on this machine.

python tests/benchmarks/serve_load.py --clients 64 --seconds 60 --malformed 10000 --json

First, clients search for so many seconds: no 5xx, and the memory of the server at its end beside that of its first
seconds. Then schemathesis sends requests that its OpenAPI description allows and forbids (uvx fetches it): never a
500; and paths that try to leave the store.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
import requests

sys.path.insert(0, str(Path(__file__).parents[1]))

from served import Address, made_catalog, made_items, random_search, running

_STEPS = (
    "..",
    "%2e%2e",
    "..%2f",
    "%2f",
    "daily",
    "stac-sm.toml",
    "secret.txt",
    "%00",
    ".",
    "",
    "%5c",
    "~",
    "etc",
    "%c0%ae",
)


def main() -> None:
    """Load, then malformed requests; print; exit with 1 on any 5xx, or on a secret that came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--malformed", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="stac-sm-load-") as folder:
        root, items = Path(folder) / "catalog", made_items(given.items)
        made_catalog(root, items)
        for secret in (root / "stac-sm.toml", root.parent / "secret.txt"):
            secret.write_text("s3cr3t")
        with running(root) as address:
            found = loaded(address, items, given.clients, given.seconds) | paths(address, given.malformed // 2)
            found |= schemathesis(address, given.malformed // 2)
            found["answers_after"] = requests.get(address, timeout=30).status_code
    print(json.dumps(found, indent=2) if given.json else "\n".join(f"{name}: {found[name]}" for name in found))
    sys.exit(
        1 if found["status_5xx"] or found["secrets"] or found["schemathesis"] or found["answers_after"] != 200 else 0
    )


def loaded(address: Address, items: list[dict[str, Any]], clients: int, seconds: float) -> dict[str, Any]:
    """What clients see that search one after the other."""
    took: list[float] = []
    statuses, end = Counter[int](), time.monotonic() + seconds

    def client(number: int) -> None:
        rng, session = random.Random(number), requests.Session()
        while time.monotonic() < end:
            begin = time.perf_counter()
            answer = session.post(f"{address}/search", json=random_search(rng, items) | {"limit": 10}, timeout=60)
            took.append(1000 * (time.perf_counter() - begin))
            statuses[answer.status_code] += 1

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    time.sleep(min(5.0, seconds / 2))
    early = memory(address.pid)
    for thread in threads:
        thread.join()
    return {
        "clients": clients,
        "requests": len(took),
        "requests_a_second": round(len(took) / seconds, 1),
        "statuses": dict(statuses),
        "status_5xx": sum(count for status, count in statuses.items() if status >= 500),
        **{f"p{p}_ms": round(float(np.percentile(took, p)), 1) for p in (50, 95, 99)},
        "memory_early_mib": early,
        "memory_end_mib": memory(address.pid),
    }


def memory(pid: int) -> int:
    """Resident memory of a process, MiB."""
    (kilobytes,) = re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(kilobytes) >> 10


def paths(address: str, number: int) -> dict[str, Any]:
    """Requests for paths and with queries that nobody should send."""
    rng, statuses, secrets = random.Random(0), Counter[int](), 0
    names = ("bbox", "datetime", "limit", "ids", "intersects", "filter", "sortby", "fields", "token", "filter-lang")
    for _ in range(number):
        connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
        if rng.random() < 0.5:
            path = "/assets/" + "/".join(rng.choice(_STEPS) for _ in range(rng.randint(1, 6)))
        else:
            place = rng.choice(("/search", "/collections/daily/items", "/aggregate"))
            path = f"{place}?{rng.choice(names)}={quote(_junk(rng))}"
        connection.request("GET", path)
        answer = connection.getresponse()
        secrets += b"s3cr3t" in answer.read()
        statuses[answer.status] += 1
        connection.close()
    return {"malformed_statuses": dict(statuses), "malformed_5xx": sum(n for s, n in statuses.items() if s >= 500),
            "secrets": secrets}  # fmt: skip


def _junk(rng: random.Random) -> str:
    characters = (
        chr(rng.choice((rng.randrange(1, 128), rng.randrange(128, 0x2000)))) for _ in range(rng.randrange(40))
    )
    return "".join(characters)


def schemathesis(address: str, number: int) -> dict[str, Any]:
    """What schemathesis finds: its exit status, 0 where no request was answered with a 5xx."""
    each = str(max(1, number // 20))  # examples of each of some 20 operations
    command = ["uvx", "schemathesis", "run", f"{address}/api", "--url", address, "--checks", "not_a_server_error"]
    done = subprocess.run(
        [*command, "--max-examples", each, "--phases", "examples,coverage,fuzzing", "--mode", "all"],
        capture_output=True,
        text=True,
        check=False,
    )
    return {"schemathesis": done.returncode, "schemathesis_says": done.stdout.strip().splitlines()[-8:]}


if __name__ == "__main__":
    main()
