"""Many clients at once against `stac-sm serve` on this machine: no 5xx, memory that does not grow, and how fast.

python tests/benchmarks/serve_load.py --clients 64 --seconds 60 --json
python tests/benchmarks/serve_load.py --rival CHECKOUT --workers 2 --json   # beside another version, in turns

Each client asks for searches, pages of a collection, single items, the collections and the landing page, one after the
other, over its own connection: statuses, times, and the memory of the server at the end beside that of its first
seconds. With --rival the server of another checkout (with its own .venv) serves the same catalogue, and both are asked
in turns of some seconds. Clients are made cheap, since they share the processors with the servers. Exit code 1 on a
5xx, or where memory has more than doubled.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import psutil
import requests

from tests.support.served import Address, made_catalog, made_items, random_search, running

TURN_SECONDS = 10.0


def main() -> None:
    """Load, then print; exit with 1 on a 5xx, memory that grows, or a server that is gone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60, help="for each server")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rival", type=Path, help="checkout of another version, with its .venv")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="stac-sm-load-") as folder, ExitStack() as servers:
        root, items = Path(folder) / "catalog", made_items(given.items)
        made_catalog(root, items)
        workers = ("--workers", str(given.workers)) if given.workers > 1 else ()
        loads = {"this": Load(servers.enter_context(running(root, *workers, python=[sys.executable])))}
        if given.rival:
            python = str(given.rival.absolute() / ".venv/bin/python")  # -P: not the package of this folder
            loads["rival"] = Load(servers.enter_context(running(root, python=[python, "-P"])))
        for load in loads.values():
            requests.get(load.address, timeout=120)  # until its processes have read the index
            load.processor = processor_seconds(load.address.pid)
        turns = max(1, round(given.seconds / TURN_SECONDS))
        for turn in range(turns):
            for load in loads.values():
                load.turn(made_requests(items, turn), given.clients, given.seconds / turns)
        found: dict[str, Any] = {name: load.figures() for name, load in loads.items()}
    if given.rival:
        found["ratio"] = round(found["this"]["requests_a_second"] / found["rival"]["requests_a_second"], 2)
    print(json.dumps(found, indent=2) if given.json else "\n".join(f"{name}: {found[name]}" for name in found))
    this = found["this"]
    grown = this["memory_end_mib"] > 2 * this["memory_early_mib"]
    sys.exit(1 if this["status_5xx"] or grown or this["answers_after"] != 200 else 0)


def made_requests(items: list[dict[str, Any]], seed: int, number: int = 2000) -> list[tuple[str, bytes]]:
    """Path and body of requests of all kinds, the same for the same seed; no body is a GET."""
    rng, made = random.Random(seed), list[tuple[str, bytes]]()
    for _ in range(number):
        kind, item = rng.random(), items[min(int(rng.expovariate(1 / 500)), len(items) - 1)]  # some are asked for often
        collection = f"/collections/{quote(item['collection'])}"
        if kind < 0.3:
            made.append(("/search", json.dumps(random_search(rng, items) | {"limit": 10}).encode()))
        elif kind < 0.6:
            made.append((f"{collection}/items?limit=10&datetime=2019-0{rng.randrange(1, 10)}-01T00:00:00Z/..", b""))
        elif kind < 0.9:
            made.append((f"{collection}/items/{quote(item['id'])}", b""))
        else:
            made.append((rng.choice(("/", "/collections", collection)), b""))
    return made


class Load:
    """What clients of one server have seen so far."""

    def __init__(self, address: Address) -> None:
        self.address, self.took, self.statuses = address, list[float](), Counter[int]()
        self.seconds = 0.0
        self.early = 0
        self.processor = 0.0

    def turn(self, asked: list[tuple[str, bytes]], clients: int, seconds: float) -> None:
        """Let clients ask for some seconds."""
        end = time.monotonic() + seconds
        threads = [
            threading.Thread(target=self._client, args=(asked[number::clients], end)) for number in range(clients)
        ]
        begun = time.monotonic()
        for thread in threads:
            thread.start()
        if not self.early:
            time.sleep(min(5.0, seconds / 2))
            self.early = memory(self.address.pid)
        for thread in threads:
            thread.join()
        self.seconds += time.monotonic() - begun

    def _client(self, asked: list[tuple[str, bytes]], end: float) -> None:
        place = urlsplit(self.address)
        with socket.create_connection((str(place.hostname), int(place.port or 80)), timeout=60) as connection:
            answers = connection.makefile("rb")
            while time.monotonic() < end:
                for path, body in asked:
                    begun = time.perf_counter()
                    head = f"{'POST' if body else 'GET'} {path} HTTP/1.1\r\nHost: {place.netloc}\r\n"
                    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n" if body else "\r\n"
                    connection.sendall(head.encode() + body)
                    self.statuses[_answer(answers)] += 1
                    self.took.append(1000 * (time.perf_counter() - begun))
                    if time.monotonic() >= end:
                        break

    def figures(self) -> dict[str, Any]:
        """Requests, statuses, times in ms, and memory in MiB of all processes of the server."""
        return {
            "requests": len(self.took),
            "requests_a_second": round(len(self.took) / self.seconds, 1),
            "processor_ms_a_request": round(
                1000 * (processor_seconds(self.address.pid) - self.processor) / len(self.took), 2
            ),
            "statuses": dict(self.statuses),
            "status_5xx": sum(count for status, count in self.statuses.items() if status >= 500),
            **{f"p{p}_ms": round(float(np.percentile(self.took, p)), 1) for p in (50, 95, 99)},
            "memory_early_mib": self.early,
            "memory_end_mib": memory(self.address.pid),
            "answers_after": requests.get(self.address, timeout=30).status_code,
        }


def _answer(answers: Any) -> int:
    """Status of an answer, which is read to its end."""
    status = int(answers.readline().split()[1])
    size = 0
    while (line := answers.readline()) != b"\r\n":
        if line.lower().startswith(b"content-length:"):
            size = int(line.split(b":")[1])
    answers.read(size)
    return status


def memory(pid: int) -> int:
    """Resident memory of a process and those that it has started, MiB."""
    server = psutil.Process(pid)
    return sum(one.memory_info().rss for one in [server, *server.children(recursive=True)]) >> 20


def processor_seconds(pid: int) -> float:
    """Time on processors of a process and those that it has started, s."""
    server = psutil.Process(pid)
    return sum(sum(one.cpu_times()[:2]) for one in [server, *server.children(recursive=True)])


if __name__ == "__main__":
    main()
