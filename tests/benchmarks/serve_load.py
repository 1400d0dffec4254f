"""Many clients at once against `stac-sm serve` on this machine: no 5xx, and memory that does not grow.

python tests/benchmarks/serve_load.py --clients 64 --seconds 60 --json

Clients search, each one after the other, for so many seconds: statuses, times, and the memory of the server at the end
beside that of its first seconds. Malformed requests are those of malformed.py. Exit code 1 on a 5xx, or where memory
has more than doubled.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import requests

from tests.support.served import Address, made_catalog, made_items, random_search, running


def main() -> None:
    """Load, then print; exit with 1 on a 5xx, memory that grows, or a server that is gone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="stac-sm-load-") as folder:
        root, items = Path(folder) / "catalog", made_items(given.items)
        made_catalog(root, items)
        with running(root, python=[sys.executable]) as address:
            found = loaded(address, items, given.clients, given.seconds)
            found["answers_after"] = requests.get(address, timeout=30).status_code
    print(json.dumps(found, indent=2) if given.json else "\n".join(f"{name}: {found[name]}" for name in found))
    grown = found["memory_end_mib"] > 2 * found["memory_early_mib"]
    sys.exit(1 if found["status_5xx"] or grown or found["answers_after"] != 200 else 0)


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


if __name__ == "__main__":
    main()
